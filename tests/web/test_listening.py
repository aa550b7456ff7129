"""The control room's end of a call's voice: RTP in, WebRTC out, whoever asks and however they leave."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av.audio.frame import AudioFrame
from web_helpers import Hands, Stand, wait_until

from simrack.web.accounts.base import Who
from simrack.web.listening import (
    MOST_SESSIONS,
    SILENT_S,
    Ears,
    Inlet,
    NotHeard,
    Session,
    Way,
    check_offer,
)
from simrack.web.pages_listen import AGAIN_S, MOST_S, RENEW_S, Standing
from simrack.wire.errors import CommandFailed
from simrack.wire.messages import CommandReply
from simrack.wire.ports import SystemClock, SystemIds

OFFER = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
    + "m=audio 9 UDP/TLS/RTP/SAVPF 111 8\r\na=rtpmap:8 PCMA/8000\r\na=recvonly\r\n" * 2
)


@pytest.fixture
def ears() -> Iterator[Ears]:
    made = Ears("127.0.0.1", SystemClock(), SystemIds())
    yield made
    made.stop()


class Box:
    """A box's port that copies a call."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.number = 65530  # wraps soon

    @property
    def address(self) -> str:
        return "{}:{}".format(*self.socket.getsockname())

    def say(self, to: str, octet: int) -> None:
        host, _, port = to.rpartition(":")
        head = bytes((0x80, 8)) + (self.number & 0xFFFF).to_bytes(2, "big")
        stamp = (self.number * 160 & 0xFFFFFFFF).to_bytes(4, "big")
        self.number += 1
        self.socket.sendto(head + stamp + b"abcd" + bytes((octet,)) * 160, (host, int(port)))

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def box() -> Iterator[Box]:
    made = Box()
    yield made
    made.close()


async def test_each_direction_reaches_the_browser_as_it_was_sent(ears: Ears, box: Box) -> None:
    """Who listens hears what was said, on the side that said it."""
    over = threading.Event()
    session = await asyncio.to_thread(ears.open, 1, "Ada", "call-1", 2, lambda _session: over.set())
    browser = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    lines = [browser.addTransceiver("audio", direction="recvonly") for _ in range(2)]
    await browser.setLocalDescription(await browser.createOffer())
    sdp = await asyncio.to_thread(ears.connect, session, browser.localDescription.sdp, source=box.address)
    assert sdp.count("a=sendonly") == 2
    assert "opus" not in sdp.lower()
    await browser.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
    speaking = asyncio.create_task(_speak(box, session))
    # 0xAA and 0x2A are the loudest of A-law, up and down: what comes out must be far from silence.
    async with asyncio.timeout(20):
        first, second = [await line.receiver.track.recv() for line in lines]
        while True:
            peaks = [peak(frame) for frame in (first, second)]
            if peaks[0] > 30_000 and 0 < peaks[1] < 100:
                break
            first, second = [await line.receiver.track.recv() for line in lines]
    speaking.cancel()
    assert ears.find(session.id, 1) is session
    assert ears.find(session.id, 2) is None, "another account's"
    await browser.close()
    await asyncio.to_thread(ears.close, session)
    assert await asyncio.to_thread(over.wait, 5)
    assert ears.find(session.id, 1) is None


def peak(frame: object) -> int:
    assert isinstance(frame, AudioFrame)
    return int(max(map(abs, frame.to_ndarray()[0].tolist())))


async def _speak(box: Box, session: Session) -> None:
    while True:
        for address, octet in zip(session.addresses, (0xAA, 0xD5), strict=True):
            box.say(address, octet)
        await asyncio.sleep(0.02)


async def test_what_the_box_begins_anew_goes_on_for_the_browser() -> None:
    """Where the box was asked anew its packets count from elsewhere: the voice would jump by hours, or stop."""
    inlet = Inlet(SystemClock())
    way = Way(inlet)
    for stream, stamp in ((b"aaaa", 2**32 - 160), (b"aaaa", 0), (b"bbbb", 7_000_000), (b"bbbb", 7_000_320)):
        inlet.datagram_received(bytes((0x80, 8, 0, 1)) + stamp.to_bytes(4, "big") + stream + bytes(160), ("127.0.0.1", 4000))
    assert [(await way.recv()).pts for _ in range(4)] == [0, 160, 320, 640]


def test_a_second_listener_is_told_who_listens_and_the_next_waits_until_the_box_has_stopped(ears: Ears) -> None:
    """The first would be cut off without a word, or the order to stop would silence whoever came next."""
    told = threading.Event()

    def leaving(_session: Session) -> None:
        told.wait(5)

    first = ears.open(1, "Ada", "call-1", 2, leaving)
    with pytest.raises(NotHeard, match="Ada listens to this call already"):
        ears.open(2, "Bo", "call-1", 2, lambda _session: None)
    with pytest.raises(NotHeard, match="in another window"):
        ears.open(1, "Ada", "call-1", 2, lambda _session: None)
    ears.open(2, "Bo", "call-2", 2, lambda _session: None)
    ears.close(first)
    opened: list[Session] = []
    waiting = threading.Thread(target=lambda: opened.append(ears.open(2, "Bo", "call-1", 2, lambda _session: None)))
    waiting.start()
    assert ears.listener("call-1") is None
    told.set()
    waiting.join(5)
    assert ears.listener("call-1") is opened[0]


@pytest.mark.parametrize("ending", ["refused", "silent"])
async def test_a_listener_who_may_not_go_on_is_ended_and_told_why(ending: str) -> None:
    """Somebody would hear a call on after the right, the legal basis or the page has gone."""
    clock, why, over = Hands(), "", threading.Event()
    ears = Ears("127.0.0.1", clock, SystemIds())
    session = await asyncio.to_thread(ears.open, 1, "Ada", "call-1", 2, lambda _session: over.set(), lambda _session: why)
    browser = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for _ in range(2):
        browser.addTransceiver("audio", direction="recvonly")
    await browser.setLocalDescription(await browser.createOffer())
    await asyncio.to_thread(ears.connect, session, browser.localDescription.sdp)
    if ending == "refused":
        why = "It ended: no legal basis."
    else:
        clock.forward(SILENT_S + 1)
    assert await asyncio.to_thread(over.wait, 10)
    said = why or "Its page has not asked for it any more."
    assert (ears.ended(session.id, 1), ears.ended(session.id, 2), ears.find(session.id, 1)) == (said, "", None)
    await browser.close()
    await asyncio.to_thread(ears.stop)


async def test_only_the_boxs_own_port_is_believed(ears: Ears, box: Box) -> None:
    """A stranger on the machine must not put words into a call that somebody listens to."""
    session = await asyncio.to_thread(ears.open, 1, "Ada", "call-1", 1, lambda _session: None)
    stranger = Box()
    session.inlets[0].source = box.socket.getsockname()
    stranger.say(session.addresses[0], 0xAA)
    box.socket.sendto(b"no RTP at all", session.inlets[0].address)
    box.say(session.addresses[0], 0xAA)
    await asyncio.to_thread(wait_until, lambda: session.packets == (1,))
    stranger.close()


def test_an_offer_that_asks_for_anything_else_is_refused() -> None:
    """Bad input: whatever a script sends in place of a browser's offer."""
    check_offer(OFFER, 2)
    for offer, words in (
        ("", "2 audio lines"), (OFFER, "1 audio line"), (OFFER.replace("recvonly", "sendrecv"), "only ask to hear"),
        (OFFER.replace("PCMA", "GSM"), "PCMA"), (OFFER + "x" * 20_000, "too long"), (OFFER.replace("m=audio", "m=video", 1), "2 audio"),
    ):  # fmt: skip
        with pytest.raises(NotHeard, match=words):
            check_offer(offer, 1 if words == "1 audio line" else 2)


def test_a_broken_offer_ends_its_session_and_no_other(ears: Ears) -> None:
    """One bad browser must not cost the others their ears."""
    over: list[Session] = []
    good = ears.open(1, "Ada", "call-1", 2, over.append)
    bad = ears.open(1, "Ada", "call-2", 2, over.append)
    with pytest.raises(NotHeard):
        ears.connect(bad, OFFER)  # no ICE, no fingerprint
    wait_until(lambda: over == [bad])
    assert ears.find(good.id, 1) is good


def test_there_is_an_end_to_listeners(ears: Ears) -> None:
    """A script that opens listeners must not use up the machine's ports."""
    for number in range(MOST_SESSIONS):
        ears.open(1, "Ada", str(number), 2, lambda _session: None)
    with pytest.raises(NotHeard, match="most at a time"):
        ears.open(1, "Ada", "one more", 2, lambda _session: None)


# --- pages ------------------------------------------------------------------------------------------------


class Controller:
    """The controller's end of the command."""

    def __init__(self, stand: Stand, monkeypatch: pytest.MonkeyPatch, **reply: Any) -> None:
        self.asked: list[tuple[str, dict[str, Any], str]] = []
        self.reply = reply

        def command(_topic: str, action: str, args: dict[str, Any], *, actor: str) -> CommandReply:
            self.asked.append((action, args, actor))
            if not self.reply:
                raise CommandFailed("listen: no answer in time")
            return CommandReply(id="1", **self.reply)

        monkeypatch.setattr(stand.room.live, "command", command)


@pytest.fixture
def call(demo: Stand) -> str:
    return next(call.call for call in demo.model.snapshot().calls.values() if call.state == "speaking")


def post(demo: Stand, browser: Any, path: str, body: object) -> Any:
    return browser.client.post(path, json=body, headers={"X-CSRF-Token": browser.csrf()})


def test_a_refusal_of_the_controller_is_said_and_leaves_nothing_open(
    demo: Stand, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a legal basis the page says so; no port stays open and no audit entry claims that somebody listened."""
    controller = Controller(demo, monkeypatch, ok=False, error="the record of sender x names no legal basis")
    browser = demo.signed_in()
    page = browser.get(f"/calls/{call}/listen")
    assert page.status_code == 200
    assert "written to the audit log" in page.text
    reply = post(demo, browser, f"/calls/{call}/listen", {"sdp": OFFER})
    assert (reply.status_code, reply.json) == (200, {"error": "the record of sender x names no legal basis"})
    action, args, actor = controller.asked[0]
    assert action == "listen"
    assert args["call"] == call
    assert actor.startswith("user:")
    wait_until(lambda: controller.asked[-1][1] == {"call": call, "seconds": 0})
    assert demo.app.extensions["ears"]._sessions == {}
    demo.app.extensions["ears"].stop()


def test_the_page_names_who_listens_and_the_box_is_not_asked(demo: Stand, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A colleague would be cut off by whoever comes second."""
    controller, ears = Controller(demo, monkeypatch, ok=True), demo.app.extensions["ears"]
    browser = demo.signed_in()
    for owner, name, page_says, answer_says in (
        (99, "Bo <Lindqvist>", "<b>Bo &lt;Lindqvist&gt;</b> listens to this call now", "Bo <Lindqvist> listens to this call already, and one person at a time can"),
        (1, "Ada", "You listen to this call already, in another window.", "you listen to this call already, in another window; stop there first"),
    ):  # fmt: skip
        first = ears.open(owner, name, call, 2, lambda _session: None)
        assert page_says in browser.get(f"/calls/{call}/listen").text
        assert post(demo, browser, f"/calls/{call}/listen", {"sdp": OFFER}).json == {"error": answer_says}
        ears.close(first)
    assert controller.asked == []
    ears.stop()


def test_the_box_is_asked_anew_before_its_time_lapses_until_the_call_is_over(
    demo: Stand, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long call would fall silent after ten minutes; or be heard on without a legal basis."""
    controller, ears = Controller(demo, monkeypatch, ok=True), demo.app.extensions["ears"]
    standing = Standing(demo.room, Who("user:Ada"))
    session = ears.open(1, "Ada", call, 2, lambda _session: None)
    standing.begin(session)
    assert RENEW_S + 3 * AGAIN_S < MOST_S, "several tries fit in"
    for wait_s, reply, said, orders in (
        (RENEW_S - 1, {"ok": True}, "", 1), (1, {"ok": True}, "", 2), (RENEW_S, {}, "", 3), (AGAIN_S - 1, {"ok": True}, "", 3),
        (1, {"ok": True}, "", 4), (RENEW_S, {"ok": False, "error": "the record names no legal basis"}, "It ended: the record names no legal basis.", 5),
    ):  # fmt: skip
        demo.clock.forward(wait_s)
        controller.reply = reply
        assert (standing.keep(session), len(controller.asked)) == (said, orders)
    assert all(args == controller.asked[0][1] and args["seconds"] == MOST_S for _, args, _ in controller.asked)
    live = demo.model.snapshot().calls[call]
    demo.feed(live.model_copy(update={"seq": live.seq + 1, "state": "ended"}))
    assert standing.keep(session) == "The call is over."
    ears.stop()


def test_a_page_that_asks_late_is_told_why_it_was_ended(demo: Stand, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page would say that it listens, for ever; another person's would learn of it."""
    browser, ears = demo.signed_in(), demo.app.extensions["ears"]
    ears._over["gone"] = (1, "The call is over.")
    ears._over["other"] = (2, "The call is over.")
    assert browser.get("/listening/gone").json == {"over": "The call is over."}
    assert browser.get("/listening/other").status_code == 404
    Controller(demo, monkeypatch, ok=True)
    session = ears.open(1, "Ada", call, 2, lambda _session: None)
    assert browser.get(f"/listening/{session.id}").json == {"packets": [0, 0]}
    ears.stop()


@pytest.mark.parametrize("body", [{}, {"sdp": 7}, [], "x", {"sdp": ""}])
def test_a_body_without_an_offer_is_told_so(demo: Stand, call: str, body: object) -> None:
    """Bad input never becomes a 500."""
    browser = demo.signed_in()
    browser.get(f"/calls/{call}/listen")
    assert post(demo, browser, f"/calls/{call}/listen", body).status_code == 400


def test_calls_that_are_not_there_and_forms_of_others_are_refused(demo: Stand, call: str) -> None:
    """Other people's pages and guessed ids reach nothing."""
    browser = demo.signed_in()
    browser.get(f"/calls/{call}/listen")
    assert post(demo, browser, "/calls/none/listen", {"sdp": OFFER}).status_code == 404
    assert browser.get("/calls/none/listen").status_code == 404
    assert browser.get("/listening/none").status_code == 404
    browser.get(f"/calls/{call}/listen")
    assert post(demo, browser, "/listening/none/end", {}).status_code == 204
    assert browser.client.post(f"/calls/{call}/listen", json={"sdp": OFFER}).status_code == 400


