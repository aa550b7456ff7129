// A test call: gives the control room this browser's voice and ear over WebRTC, shows how the call goes, hangs up.
"use strict";
(() => {
  const card = document.getElementById("test-call");
  if (!card) return;
  const by = (id) => document.getElementById(id);
  const form = by("call-form");
  const said = by("call-said");
  const start = by("call-start");
  const stop = by("call-stop");
  const audio = by("call-audio");
  const meters = { heard: by("meter-heard"), said: by("meter-said") };
  const rows = [...document.querySelectorAll(".run li")];
  const keys = [...document.querySelectorAll("[data-key]")];
  const QUIET_DB = -60;
  const GATHER_MS = 3000; // candidates of this machine come within some ms; a slow resolver must not hold it up
  const ASK_MS = 500;
  const ASK_RECORD_MS = 1000;
  const RECORD_TRIES = 20; // a record is written within seconds of the end of both sides
  let peer = null;
  let sound = null;
  let voice = null;
  let call = "";
  let timers = [];
  card.analysers = {};

  const say = (text, wrong = false) => {
    said.textContent = text;
    said.classList.toggle("wrong", wrong);
  };

  const post = (path, body) => fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": card.dataset.csrf },
    body: JSON.stringify(body || {}),
    keepalive: true,
  });

  // A page that answers with a form or a page instead of JSON says that nobody is signed in any more.
  const json = async (answer) => {
    if (answer.redirected || !(answer.headers.get("Content-Type") || "").startsWith("application/json")) return null;
    return answer.json();
  };

  const quiet = () => {
    timers.forEach(clearInterval);
    timers = [];
    if (peer) peer.close();
    if (sound) sound.close();
    if (voice) voice.getTracks().forEach((track) => track.stop());
    peer = sound = voice = null;
    Object.values(meters).forEach((meter) => { meter.value = QUIET_DB; });
    keys.forEach((key) => { key.disabled = true; });
    start.disabled = false;
    stop.disabled = true;
  };

  const fail = (text) => {
    if (call) post(`/test-call/${call}/hang-up`);
    call = "";
    quiet();
    say(text, true);
  };

  const wrong = (field, text) => {
    const place = by(`e-${field}`);
    if (place) place.textContent = text;
    const input = by(field);
    if (input) { input.setAttribute("aria-invalid", "true"); input.focus(); }
  };

  const clear = () => {
    ["number", "sender", "over"].filter(by).forEach((field) => { by(`e-${field}`).textContent = ""; by(field).removeAttribute("aria-invalid"); });
    by("result").textContent = "";
    rows.forEach((row) => { row.className = ""; row.lastElementChild.textContent = ""; });
  };

  const gathered = (connection) => new Promise((done) => {
    if (connection.iceGatheringState === "complete") { done(); return; }
    setTimeout(done, GATHER_MS);
    connection.addEventListener("icegatheringstatechange", () => {
      if (connection.iceGatheringState === "complete") done();
    });
  });

  const measure = (stream, name) => {
    const analyser = sound.createAnalyser();
    analyser.fftSize = 2048;
    sound.createMediaStreamSource(stream).connect(analyser);
    card.analysers[name] = analyser;
    const samples = new Float32Array(analyser.fftSize);
    timers.push(setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const mean = samples.reduce((sum, value) => sum + value * value, 0) / samples.length;
      meters[name].value = mean > 0 ? Math.max(QUIET_DB, 10 * Math.log10(mean)) : QUIET_DB;
    }, 100));
  };

  const microphone = async () => {
    if (!navigator.mediaDevices) return "Browsers lend a microphone to https:// pages and to this machine only";
    try {
      voice = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true } });
      return "";
    } catch (error) {
      return error.name === "NotAllowedError" ? "The microphone was not allowed" : "No microphone was found";
    }
  };

  const show = (told) => {
    rows.forEach((row) => {
      const at = told.times[row.dataset.state];
      const past = at !== undefined || row.dataset.state === "connecting";
      row.className = row.dataset.state === told.state ? "now" : past ? "done" : "";
      row.lastElementChild.textContent = at === undefined ? "" : `${(at / 1000).toFixed(2)} s`;
    });
  };

  const result = async (id, tries) => {
    const answer = await fetch(`/test-call/${id}/result`);
    if (!answer.ok || answer.redirected || call) return;
    by("result").innerHTML = await answer.text();
    if (!by("result").querySelector("[data-waits]")) return;
    if (tries > 0) setTimeout(() => result(id, tries - 1), ASK_RECORD_MS);
    else by("result").querySelector("[data-waits]").textContent = "Its record has not come yet; it will be under Records.";
  };

  const over = (told) => {
    const id = call;
    call = "";
    quiet();
    say(`The call to ${told.number} is over.`);
    result(id, RECORD_TRIES);
  };

  const ask = async (note) => {
    const answer = await fetch(`/test-call/${call}`).catch(() => null);
    if (!call || !answer) return; // the network is away for a moment: voice goes on
    if (answer.status === 404) { call = ""; quiet(); say("The control room was started anew; the call is gone.", true); return; }
    const told = await json(answer);
    if (!told) { fail("You are signed out, so the call was ended. Sign in and repeat."); return; }
    show(told);
    if (told.over) { over(told); return; }
    say(`${told.number}: ${told.words}.${note ? ` ${note}: nothing is sent, you only hear.` : ""}`);
    keys.forEach((key) => { key.disabled = !["early", "answered"].includes(told.state); });
  };

  const dial = async () => {
    clear();
    start.disabled = true;
    say("Connecting your browser…");
    const fields = Object.fromEntries(new FormData(form));
    sound = new AudioContext();
    let note = "";
    if (fields.voice === "microphone") {
      note = await microphone();
      if (note) fields.voice = "silence";
    }
    const here = peer = new RTCPeerConnection();
    if (voice) here.addTransceiver(voice.getAudioTracks()[0], { direction: "sendrecv", streams: [voice] });
    else here.addTransceiver("audio", { direction: "recvonly" });
    here.ontrack = (event) => {
      const stream = new MediaStream([event.track]);
      audio.srcObject = stream;
      audio.play().catch(() => say("Your browser holds the sound back: hang up, then call again.", true));
      measure(stream, "heard");
    };
    if (voice) measure(voice, "said");
    await here.setLocalDescription(await here.createOffer());
    await gathered(here);
    const answer = await post("/test-call", { ...fields, sdp: here.localDescription.sdp });
    const told = await json(answer);
    if (here !== peer) return;
    if (!told) { fail("Not placed: sign in again and repeat."); return; }
    if (told.error) {
      fail(told.field ? "Not placed." : told.error);
      if (told.field) wrong(told.field, told.error);
      return;
    }
    call = told.id;
    stop.disabled = false;
    stop.focus();
    show(told);
    await here.setRemoteDescription({ type: "answer", sdp: told.sdp });
    timers.push(setInterval(() => ask(note), ASK_MS));
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!start.disabled) dial().catch((error) => fail(`Not possible: ${error.message}.`));
  });
  stop.addEventListener("click", () => {
    stop.disabled = true;
    say("Hanging up…");
    if (call) post(`/test-call/${call}/hang-up`);
  });
  keys.forEach((key) => key.addEventListener("click", () => {
    if (call) post(`/test-call/${call}/press`, { keys: key.dataset.key });
  }));
  window.addEventListener("pagehide", () => { if (call) post(`/test-call/${call}/hang-up`); });
})();
