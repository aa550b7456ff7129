// The control room's few hands of its own: timers, live pill, keys, drawer, dialog, theme. htmx does the rest.
"use strict";
(() => {
  const $ = (selector) => document.querySelector(selector);
  const body = document.body;
  const root = document.documentElement;
  const wall = root.classList.contains("wall");

  // The server's clock rules: a laptop that is ten minutes off must not show calls of minus ten minutes.
  let offset = body.dataset.now ? Date.parse(body.dataset.now) - Date.now() : 0;
  const now = () => Date.now() + offset;

  const span = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    const two = (value) => String(value).padStart(2, "0");
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor(whole / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  };

  const time = body.dataset.zone
    ? new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: body.dataset.zone })
    : null;

  const tick = () => {
    for (const element of document.querySelectorAll("[data-since]")) {
      if (element.id === "link-state") continue;
      const text = span((now() - Date.parse(element.dataset.since)) / 1000);
      if (element.textContent !== text) element.textContent = text;
    }
    const clock = $("#clock");
    if (clock && time) clock.textContent = time.format(now());
    live();
  };

  // --- live pill: says whether what is on the screen is true now
  const STALE_MS = 25000; // two and a half heartbeats
  let heard = 0;
  let counted = 0;
  let open = false;
  let opened = false;
  let short = false;
  let said = "";

  const hear = () => { heard = Date.now(); counted = performance.now(); };
  // A clock that is set back must not make the page young; one that stands while a laptop sleeps neither.
  const age = () => Math.max(Date.now() - heard, performance.now() - counted);

  const state = () => {
    const link = $("#link-state");
    const old = heard ? `, ${span(age() / 1000)} old` : "";
    if (!navigator.onLine) return ["trouble", `offline${old}`];
    if (!opened && !heard) return ["", "connecting"];
    if (!open && !(short && heard && age() < STALE_MS)) return ["trouble", `reconnecting${old}`];
    if (heard && age() > STALE_MS) return ["trouble", `stale${old}`];
    if (link && link.dataset.broker === "0") return ["trouble", `no broker for ${span((now() - Date.parse(link.dataset.since)) / 1000)}`];
    if (link && link.dataset.controller === "0") return ["trouble", "controller down"];
    return ["ok", "live"];
  };

  const live = () => {
    const pill = $("#live-pill");
    if (!pill) return;
    const [kind, text] = state();
    pill.classList.toggle("ok", kind === "ok");
    pill.classList.toggle("trouble", kind === "trouble");
    body.classList.toggle("stale", kind === "trouble");
    // Screen readers hear the change of kind, not every second of it.
    pill.setAttribute("aria-live", kind === said ? "off" : "polite");
    said = kind;
    const word = $("#live-word");
    if (word.textContent !== text) word.textContent = text;
  };

  document.addEventListener("htmx:sseOpen", (event) => {
    if (wall && opened && !open && !short) location.reload(); // weeks later the page itself may be newer
    source = event.detail.source;
    open = opened = true;
    if (!short) hear();
    live();
  });
  document.addEventListener("htmx:sseBeforeMessage", (event) => {
    hear();
    open = true;
    const message = event.detail;
    if (event.target.id === "beat") {
      const sent = Date.parse(message.data);
      if (sent) offset = sent - Date.now();
      event.preventDefault();
      live();
    }
    if (event.target.id === "signed-out") {
      event.preventDefault();
      leave();
    }
  });
  document.addEventListener("htmx:afterSettle", live);

  // --- a hidden tab gives its stream back: a browser has six connections for all tabs of one server
  const SLEEP_MS = 20000;
  let source = null;
  let asleep = false;
  let sleeper = 0;
  let turns = 0;
  let begun = performance.now();
  const wake = () => {
    const place = $("#live");
    if (!place || !place.hasAttribute("sse-connect")) return;
    if (source) source.close();
    asleep = false;
    begun = performance.now();
    turns += 1;
    // htmx takes up again what looks changed; the place in the address brings everything missed meanwhile.
    for (const element of [place, ...place.querySelectorAll("[sse-swap], [hx-trigger*='sse:']")]) {
      element.setAttribute("data-turn", turns);
    }
    window.htmx.process(place);
  };
  // A stream that is cut comes back by itself; only one that is refused is a fault, which htmx then says and repeats.
  window.htmx.createEventSource = (url) => {
    const made = source = new EventSource(url);
    const lost = (event) => {
      if (made !== source) return;
      open = false;
      live();
      if (made.readyState === EventSource.CLOSED && navigator.onLine && refused) refused.call(made, event);
    };
    let refused = null;
    Object.defineProperty(made, "onerror", { set: (act) => { refused = act; } });
    made.addEventListener("error", lost);
    return made;
  };
  // Without a network there is nothing to ask for; each try would only be one more red line in the console.
  window.addEventListener("offline", () => { open = false; if (source) source.close(); live(); });
  window.addEventListener("online", () => { live(); if (!asleep) wake(); });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (navigator.onLine) return;
    event.preventDefault();
    const by = event.detail.requestConfig.triggeringEvent;
    if (by && by.isTrusted) say("You are offline: nothing was sent. What is on the page stays.");
  });

  // --- a proxy that gathers passes nothing on before a stream ends: then the page asks for streams that end soon
  const GATHERED = "simrack-gathered";
  const gathered = () => {
    const place = $("#live");
    short = true;
    place.setAttribute("sse-connect", `${place.getAttribute("sse-connect")}&short=1`);
  };
  const notice = () => {
    if (short || asleep || !source || !navigator.onLine || document.hidden) return;
    if (performance.now() - begun < STALE_MS || (heard && age() < STALE_MS)) return;
    gathered();
    try { sessionStorage.setItem(GATHERED, "1"); } catch { /* a browser that keeps nothing finds out again */ }
    wake();
  };
  setInterval(notice, 5000);
  try {
    if (sessionStorage.getItem(GATHERED) && $("#live[sse-connect]")) gathered();
  } catch { /* as above */ }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(sleeper);
    if (!document.hidden && asleep) wake();
    if (!document.hidden || wall) return;
    sleeper = setTimeout(() => {
      if (!source) return;
      asleep = true;
      open = false;
      source.close();
    }, SLEEP_MS);
  });

  // --- words for people who do not see the change
  let saying = 0;
  const say = (text) => {
    const place = $("#say");
    if (!place) return;
    place.textContent = text;
    clearTimeout(saying);
    saying = setTimeout(() => { place.textContent = ""; }, 5000);
  };
  // A list that renews itself must not take back what somebody has just chosen.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const list = event.detail.target;
    if (!list || list.id !== "listing" || event.detail.requestConfig.verb !== "get") return;
    if (list.querySelector(":checked")) event.preventDefault();
  });
  document.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    const fresh = event.detail.xhr.getResponseHeader("X-CSRF-Token");
    if (fresh) {
      for (const input of document.querySelectorAll('input[name="csrf"]')) input.value = fresh;
      say("You have signed in again meanwhile. Nothing was lost: press the button once more.");
      return;
    }
    if (status === 401) {
      say("Your session has ended. Sign in again in another tab; what you typed stays here.");
      return;
    }
    if (event.detail.target && event.detail.target.id === "dialog") return;
    say(status === 503 ? "The database can't be read now; what you see stays as it was." : `That did not work (${status}).`);
  });
  document.addEventListener("htmx:sendError", () => say("The control room can't be reached now."));

  // --- dialog: an answer that says no is shown where the question was
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target && event.detail.target.id === "dialog" && event.detail.xhr.status >= 400) {
      event.detail.shouldSwap = event.detail.xhr.status === 502;
      if (event.detail.xhr.status === 404) {
        $("#dialog").close();
        say("That call is over already.");
      }
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    const dialog = $("#dialog");
    if (event.detail.target === dialog && !dialog.open) dialog.showModal();
    if (event.detail.target && event.detail.target.id === "drawer") shown(event.detail);
  });
  document.addEventListener("simrack:done", (event) => {
    $("#dialog").close();
    say(event.detail.value);
  });

  // --- drawer
  let from = null;
  let shownAt = "";
  const mark = () => {
    shownAt = location.pathname + location.search;
    for (const cell of document.querySelectorAll(".ch[aria-current]")) cell.removeAttribute("aria-current");
    const cell = document.querySelector(`.ch[href="${location.pathname}"]`);
    if (cell) cell.setAttribute("aria-current", "true");
  };
  const close = () => {
    const drawer = $("#drawer");
    if (!drawer || !drawer.firstElementChild) return false;
    drawer.textContent = "";
    history.pushState(null, "", `/rack${location.search}`);
    mark();
    if (from && document.getElementById(from)) document.getElementById(from).focus();
    return true;
  };
  // A cell was opened: focus goes in. A live refresh of the open drawer leaves the focus where it is.
  const shown = (detail) => {
    mark();
    const cell = detail.requestConfig && detail.requestConfig.elt;
    if (!cell || !cell.classList.contains("ch")) return;
    from = cell.id;
    const button = $("#drawer-close");
    if (button) button.focus();
  };
  document.addEventListener("htmx:pushedIntoHistory", () => mark());
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-close]")) {
      event.preventDefault();
      close();
    } else if (event.target.closest("[data-close-dialog]") && $("#dialog").open) {
      event.preventDefault();
      $("#dialog").close();
    }
  });
  // A link within the page (skip to content) comes here as well, and must not lose the focus that it set.
  window.addEventListener("popstate", () => { if (location.pathname + location.search !== shownAt) location.reload(); });

  // --- theme: as the system, light, dark; a cookie, so that the next page is drawn in it
  const WORDS = { "": "System", light: "Light", dark: "Dark" };
  const themed = () => {
    if (!$("#theme")) return;
    const word = WORDS[root.dataset.theme || ""];
    $("#theme-word").textContent = word;
    $("#theme").setAttribute("aria-label", `Colours: ${word}`);
  };
  const turn = () => {
    const order = ["", "light", "dark"];
    const next = order[(order.indexOf(root.dataset.theme || "") + 1) % order.length];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    document.cookie = `theme=${next}; path=/; max-age=${next ? 31536000 : 0}; samesite=lax`;
    themed();
    document.dispatchEvent(new Event("simrack:theme"));
  };

  // --- a form that is sent when the session has ended comes back after signing in, without its secrets
  const KEPT = "simrack-form";
  const person = body.dataset.person || "";
  const read = () => { try { return JSON.parse(sessionStorage.getItem(KEPT)); } catch { return null; } };
  const keep = (value) => {
    try {
      if (value) sessionStorage.setItem(KEPT, JSON.stringify(value));
      else sessionStorage.removeItem(KEPT);
    } catch { /* a browser that keeps nothing, or too little, loses what was typed */ }
  };
  const SECRET = ["password", "hidden", "file", "submit", "button"];
  const typed = (form) => [...form.elements]
    .filter((field) => field.name && !SECRET.includes(field.type) && field.autocomplete !== "one-time-code")
    .map((field) => [field.name, field.value, ["checkbox", "radio"].includes(field.type) ? field.checked : null]);
  const touched = (field) => {
    if (SECRET.includes(field.type) || !field.name) return false;
    if (["checkbox", "radio"].includes(field.type)) return field.checked !== field.defaultChecked;
    if (!field.options) return field.value !== field.defaultValue;
    const first = [...field.options].find((option) => option.defaultSelected) || field.options[0];
    return Boolean(first) && field.value !== first.value;
  };
  const here = () => location.pathname + location.search;
  const keepForm = (form) => {
    const fields = typed(form);
    keep(fields.length ? { action: form.getAttribute("action"), page: here(), person, fields } : null);
  };
  // The session is over: whatever somebody was typing comes back with them.
  const leave = () => {
    const form = [...document.forms].find((one) => one.method === "post" && [...one.elements].some(touched));
    if (form) keepForm(form);
    location.href = `/sign-in?next=${encodeURIComponent(here())}`;
  };
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post" || !person) return;
    keepForm(form);
  });
  const restore = (kept) => {
    const form = [...document.forms].find((one) => one.method === "post" && one.getAttribute("action") === kept.action);
    if (!form) return;
    const rest = [...kept.fields];
    for (const field of form.elements) {
      const at = rest.findIndex(([name, value, checked]) => name === field.name && (checked === null || value === field.value));
      if (!field.name || at < 0 || SECRET.includes(field.type)) continue;
      const [[, value, checked]] = rest.splice(at, 1);
      if (checked === null) field.value = value;
      else field.checked = checked;
    }
    const words = document.createElement("p");
    words.className = "why";
    words.setAttribute("role", "alert");
    words.textContent = "You had to sign in again, so nothing was sent. What you typed is back, but for passwords: look at it and press the button again.";
    form.prepend(words);
  };
  const kept = read();
  if (kept && !person) keep({ ...kept, door: true });
  else if (kept && body.querySelector("[data-form-back]")) keep({ ...kept, door: true });
  else if (kept) {
    keep(null);
    if (kept.door && kept.person === person && kept.page === here()) restore(kept);
  }

  // --- keys
  let gone = 0;
  const step = (event) => {
    const cells = [...document.querySelectorAll(".ch")];
    const at = cells.indexOf(document.activeElement);
    if (at < 0) return false;
    let next = at;
    if (event.key === "ArrowRight") next = at + 1;
    else if (event.key === "ArrowLeft") next = at - 1;
    else {
      // The nearest cell in the next row, whatever box it is in.
      const here = cells[at].getBoundingClientRect();
      const down = event.key === "ArrowDown";
      let best = Infinity;
      cells.forEach((cell, index) => {
        const there = cell.getBoundingClientRect();
        const rows = down ? there.top - here.top : here.top - there.top;
        const far = rows * 4 + Math.abs(there.left - here.left);
        if (rows > 4 && far < best) [best, next] = [far, index];
      });
    }
    if (cells[next]) cells[next].focus();
    event.preventDefault();
    return true;
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && !document.querySelector("dialog[open], :popover-open")) {
      if (document.activeElement && document.activeElement.id === "find") document.activeElement.blur();
      else close();
      return;
    }
    if (event.target.closest("input, select, textarea") || document.querySelector("dialog[open]")) return;
    if (event.key.startsWith("Arrow") && step(event)) return;
    if (event.key === "/") {
      const field = $("#find");
      if (field) field.focus();
      event.preventDefault();
    } else if (event.key === "?") {
      const keys = $("#keys");
      if (keys) keys.showModal();
    } else if (event.key === "g") {
      gone = Date.now();
    } else if (Date.now() - gone < 1500) {
      gone = 0;
      const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
      if (link) location.href = link.href;
    }
  });

  if ($("#theme")) $("#theme").addEventListener("click", turn);
  if ($("#keys-button")) $("#keys-button").addEventListener("click", () => $("#keys").showModal());
  for (const select of document.querySelectorAll(".filters select")) {
    // By keys each letter is a change: whoever works that way says when with the button.
    let keyed = false;
    select.addEventListener("keydown", () => { keyed = true; });
    select.addEventListener("pointerdown", () => { keyed = false; });
    select.addEventListener("change", () => { if (!keyed) select.form.requestSubmit(); });
  }
  // A wall that lost its stream for good (a new release, a dead proxy) starts over by itself, but not before
  // somebody answers: a reload into nothing would leave the browser's error page there for ever.
  const LOST_MS = 120000;
  if (wall) setInterval(async () => {
    if (age() < LOST_MS) return;
    try {
      if ((await fetch("/healthz")).ok) location.reload();
    } catch { /* still away: the next turn asks again */ }
  }, 30000);
  themed();
  mark();
  tick();
  setInterval(tick, 1000);
})();
