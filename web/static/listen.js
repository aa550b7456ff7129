// Hears a call: asks the control room for its voice over WebRTC, plays it, shows its level. Nothing is sent.
"use strict";
(() => {
  const card = document.getElementById("listen");
  if (!card) return;
  const ways = Number(card.dataset.ways);
  const said = document.getElementById("listen-said");
  const start = document.getElementById("listen-start");
  const stop = document.getElementById("listen-stop");
  const players = [...card.querySelectorAll("audio")];
  const meters = [...card.querySelectorAll("meter")];
  const QUIET_DB = -60;
  const GATHER_MS = 3000; // candidates of this machine come within some ms; a slow resolver must not hold it up
  let peer = null;
  let session = "";
  let sound = null;
  const ASK_MS = 2000;
  let timer = 0;
  let asking = 0;
  let before = 0;

  const say = (text, wrong = false) => {
    if (said.textContent !== text) said.textContent = text; // it is read out at each change
    said.className = wrong ? "wrong" : "mute";
  };

  const post = (path, body) => fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": card.dataset.csrf },
    body: JSON.stringify(body || {}),
    keepalive: true,
  });

  const end = (text, wrong = false) => {
    clearInterval(timer);
    clearInterval(asking);
    if (session) post(`/listening/${session}/end`);
    if (peer) peer.close();
    if (sound) sound.close();
    peer = sound = null;
    session = "";
    meters.forEach((meter) => { meter.value = QUIET_DB; });
    start.disabled = false;
    stop.disabled = true;
    say(text, wrong);
  };

  const gathered = (connection) => new Promise((done) => {
    if (connection.iceGatheringState === "complete") { done(); return; }
    setTimeout(done, GATHER_MS);
    connection.addEventListener("icegatheringstatechange", () => {
      if (connection.iceGatheringState === "complete") done();
    });
  });

  const level = (analyser, samples) => {
    analyser.getFloatTimeDomainData(samples);
    const mean = samples.reduce((sum, value) => sum + value * value, 0) / samples.length;
    return mean > 0 ? Math.max(QUIET_DB, 10 * Math.log10(mean)) : QUIET_DB;
  };

  const basis = () => card.basis ? ` Legal basis: ${card.basis}` : "";

  // The control room ends what its page does not ask for, and says here why it ended it.
  const ask = async (here) => {
    const answer = await fetch(`/listening/${session}`).catch(() => null);
    const away = answer && (answer.redirected || answer.status === 401 || answer.status === 403);
    const told = away ? { over: "Your session has ended: sign in again." } : answer ? await answer.json().catch(() => ({})) : {};
    if (here !== peer || here.connectionState !== "connected") return;
    if (told.over || told.error) { session = ""; end(told.over || "It was ended."); return; }
    if (!told.packets) { say("The control room does not answer; trying again…", true); return; }
    const count = told.packets.reduce((sum, one) => sum + one, 0);
    say(count > before ? `Listening.${basis()}` : "Connected, but no voice comes now.");
    before = count;
  };

  const hear = (way, track) => {
    const stream = new MediaStream([track]);
    players[way].srcObject = stream;
    players[way].play().catch(() => say("Your browser holds the sound back: press Stop, then Listen again.", true));
    const analyser = sound.createAnalyser();
    analyser.fftSize = 2048;
    sound.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    card.analysers[way] = analyser;
    return () => { meters[way].value = level(analyser, samples); };
  };

  const listen = async () => {
    start.disabled = true;
    say("Connecting…");
    sound = new AudioContext();
    card.analysers = [];
    const draws = [];
    const here = peer = new RTCPeerConnection();
    const lines = Array.from({ length: ways }, () => here.addTransceiver("audio", { direction: "recvonly" }));
    here.ontrack = (event) => { draws.push(hear(lines.indexOf(event.transceiver), event.track)); };
    here.onconnectionstatechange = () => {
      if (here !== peer) return;
      if (here.connectionState === "connected") say(`Listening.${basis()}`);
      if (here.connectionState === "failed" || here.connectionState === "disconnected") end("The connection was lost.", true);
    };
    await here.setLocalDescription(await here.createOffer());
    await gathered(here);
    const answer = await post(card.dataset.offer, { sdp: here.localDescription.sdp, ...(card.fields ? card.fields() : {}) });
    const told = await answer.json().catch(() => ({}));
    if (here !== peer) return;
    if (!answer.ok || told.error) { end(`Not possible: ${told.error || "sign in again and repeat"}.`, true); return; }
    session = told.session;
    card.basis = told.basis;
    stop.disabled = false;
    card.dispatchEvent(new CustomEvent("listening", { detail: told }));
    await here.setRemoteDescription({ type: "answer", sdp: told.sdp });
    timer = setInterval(() => draws.forEach((draw) => draw()), 100);
    before = 0;
    asking = setInterval(() => ask(here), ASK_MS);
  };

  start.addEventListener("click", () => listen().catch((error) => end(`Not possible: ${error.message}.`, true)));
  stop.addEventListener("click", () => end("Not listening."));
  card.querySelectorAll("input[data-way]").forEach((box) => box.addEventListener("change", () => {
    players[Number(box.dataset.way)].muted = !box.checked;
  }));
  window.addEventListener("pagehide", () => { if (session) end("Not listening."); });
})();
