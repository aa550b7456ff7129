"""The control room's own phone: it calls as a sender, is heard and hears, and ends whatever happens."""

import asyncio
import re
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import replace
from typing import Any

import cryptography.hazmat.primitives.serialization
import pytest
import sip_peer
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack
from av.audio.frame import AudioFrame
from sip_peer import Message, Peer
from web_helpers import wait_until

from simrack.sip.digest import Digest, hashed
from simrack.web import earpiece, phone
from simrack.web.earpiece import Line, Microphone, NoEarpiece, check_offer
from simrack.web.phone import NotPlaced, Order, Phone, PhoneCall
from simrack.wire.ports import SystemClock, SystemIds

USER, PASSWORD, REALM = "test-calls", "four rainy copper horses", "rack"
NUMBER = "+4930123"
OFFER = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 8\r\na=rtpmap:8 PCMA/8000\r\na=recvonly\r\n"
LOUD, QUIET = 0xAA, 0xD5  # the loudest and the softest of A-law


# Two loops that import it at the same moment would wait for each other's lock, which the tests forbid.
assert cryptography.hazmat.primitives.serialization


class LaterClock(SystemClock):
    """The real clock, put forward."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@pytest.fixture
def clock() -> LaterClock:
    return LaterClock()


@pytest.fixture
def own(clock: LaterClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:
    monkeypatch.setattr(sip_peer, "WAIT_S", 20.0)
    made = Phone(clock, SystemIds())
    yield made
    made.stop()


@pytest.fixture
async def far(own: Phone) -> AsyncIterator[Peer]:
    """The controller's side, in the test's hands."""
    peer = await Peer.open(("127.0.0.1", 9))
    yield peer
    peer.close()


@pytest.fixture
def voice() -> Iterator[socket.socket]:
    """Where the far end's voice lives."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(10)
        yield made


def order(far: Peer, **changed: Any) -> Order:
    return replace(Order(NUMBER, "tests", "+4940999", far.address, "127.0.0.1", seconds=60), **changed)


def body(voice: socket.socket) -> bytes:
    return (
        b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        + b"m=audio %d RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n" % voice.getsockname()[1]
    )


def place(own: Phone, wanted: Order, **more: object) -> Awaitable[tuple[PhoneCall, str]]:
    return asyncio.to_thread(lambda: own.place(wanted, 1, lambda _call: None, **more))  # type: ignore[arg-type]


async def over(call: PhoneCall) -> None:
    await asyncio.to_thread(wait_until, lambda: call.is_over, 20, "the end of the call")


async def answered(far: Peer, voice: socket.socket) -> Message:
    """The far end takes the call."""
    invite = await far.request("INVITE")
    far.reply(invite, 200, "OK", body=body(voice))
    await far.request("ACK")
    return invite


@pytest.mark.parametrize("keep", ["SHA-256", "MD5"])
async def test_the_stored_hashes_answer_the_controllers_challenge(keep: str, own: Phone, far: Peer) -> None:
    """Test calls would need a password that nobody has."""
    doorman = Digest(REALM, SystemClock(), SystemIds())
    whole = hashed(USER, REALM, PASSWORD)
    secret = "{HA1}" + next(part for part in whole.removeprefix("{HA1}").split(",") if part.startswith(keep))
    call, _ = await place(own, order(far, user=USER, secret=secret))
    invite = await far.request("INVITE")
    assert "authorization" not in dict(invite.headers)
    far.reply(invite, 401, extra="\r\n".join(f"{name}: {value}" for name, value in doorman.challenge()))
    again = await far.next(lambda m: m.start.startswith("INVITE ") and "authorization" in dict(m.headers))
    verdict = doorman.check(again.one("authorization"), "INVITE", again.start.split()[1], {USER: PASSWORD}.get)
    assert verdict.ok, verdict.problem
    far.reply(again, 486, "Busy Here", extra='Reason: Q.850;cause=17;text="busy"')
    await over(call)
    assert (call.status, call.cause, call.answered, call.why) == (486, 17, False, "")


async def test_a_wrong_password_is_asked_once(own: Phone, far: Peer) -> None:
    """A phone that goes on trying would be taken for an attack, and its address banned."""
    doorman = Digest(REALM, SystemClock(), SystemIds())
    call, _ = await place(own, order(far, user=USER, secret=hashed(USER, REALM, "wrong")))
    for _ in range(2):
        invite = await far.request("INVITE")
        far.reply(invite, 401, extra="\r\n".join(f"{name}: {value}" for name, value in doorman.challenge()))
        await far.request("ACK")
    await over(call)
    assert call.status == 401


class Tone(AudioStreamTrack):
    """A browser's microphone that says something loud."""

    async def recv(self) -> AudioFrame:
        frame = await super().recv()
        assert isinstance(frame, AudioFrame)
        for plane in frame.planes:
            plane.update((b"\x00\x40" * (plane.buffer_size // 2))[: plane.buffer_size])
        return frame


async def browser_of(speaks: bool) -> tuple[RTCPeerConnection, str]:
    made = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    if speaks:
        made.addTrack(Tone())
    else:
        made.addTransceiver("audio", direction="recvonly")
    await made.setLocalDescription(await made.createOffer())
    return made, made.localDescription.sdp


def peak(frame: object) -> int:
    assert isinstance(frame, AudioFrame)
    return int(max(map(abs, frame.to_ndarray()[0].tolist())))


async def test_voice_goes_both_ways_before_and_after_the_answer(own: Phone, far: Peer, voice: socket.socket) -> None:
    """A person would not hear the announcement, or not be heard."""
    browser, offer = await browser_of(speaks=True)
    call, sdp = await place(own, order(far), offer=offer, microphone=True)
    assert "a=sendrecv" in sdp
    await browser.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
    invite = await far.request("INVITE")
    far.reply(invite, 183, "Session Progress", body=body(voice))
    port = int(re.search(rb"m=audio (\d+)", invite.body)[1])  # type: ignore[index]
    stop = threading.Event()
    speaking = threading.Thread(target=_speak, args=(voice, port, stop))
    speaking.start()
    track = browser.getReceivers()[0].track
    async with asyncio.timeout(30):
        while peak(await track.recv()) < 30_000:
            pass
    assert call.state == "early"
    assert not call.answered
    far.reply(invite, 200, "OK", body=body(voice))
    await far.request("ACK")
    assert await asyncio.to_thread(_loud, voice), "the microphone arrives"
    await asyncio.to_thread(wait_until, lambda: call.answered, 10)
    await browser.close()
    bye = await far.request("BYE")
    far.reply(bye, 200)
    stop.set()
    speaking.join(5)
    await over(call)
    assert (call.why, call.cause) == ("The browser left.", 16)


def _speak(voice: socket.socket, port: int, stop: threading.Event) -> None:
    number = 0
    while not stop.wait(0.02):
        head = bytes((0x80, 8)) + (number & 0xFFFF).to_bytes(2, "big") + (number * 160).to_bytes(4, "big")
        voice.sendto(head + b"abcd" + bytes((LOUD,)) * 160, ("127.0.0.1", port))
        number += 1


def _loud(voice: socket.socket) -> bool:
    """Whether something that is no silence arrives."""
    return any(set(voice.recv(2048)[12:]) - {QUIET, 0x55} for _ in range(500))


async def test_keys_and_an_update_of_the_far_end(own: Phone, far: Peer, voice: socket.socket) -> None:
    """A menu could not be tried; or a call would break when the rack moves its voice."""
    call, _ = await place(own, order(far, tone_hz=1000.0))
    with pytest.raises(NotPlaced, match="no voice yet"):
        await asyncio.to_thread(own.press, call, "5")
    invite = await answered(far, voice)
    await asyncio.to_thread(wait_until, lambda: call.sent > 0, 10)
    await asyncio.to_thread(own.press, call, "5")
    assert await asyncio.to_thread(_event, voice) == 5
    far.far = invite.source
    far.from_callee("INVITE", invite, 7, body=body(voice))
    assert b"m=audio" in (await far.status(200)).body
    far.from_callee("BYE", invite, 8)
    await over(call)
    assert call.side == "remote"
    assert call.heard_dbfs is None, "nothing came"


def _event(voice: socket.socket) -> int:
    while True:
        packet = voice.recv(2048)
        if packet[1] & 0x7F == 101:
            return packet[12]


async def test_a_controller_that_does_not_answer_is_named(own: Phone, far: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody would wait for ever, or read a number that says nothing."""
    monkeypatch.setattr(phone, "NO_RESPONSE_S", 0.3)
    call, _ = await place(own, order(far))
    await over(call)
    assert call.why == f"The controller's SIP at {far.hostport} does not answer. Is it running there?"


async def test_a_browser_that_never_connects_is_not_called_for(own: Phone, far: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel would be taken for nobody."""
    monkeypatch.setattr(phone, "CONNECT_S", 0.2)
    browser, offer = await browser_of(speaks=False)
    call, sdp = await place(own, order(far), offer=offer)
    assert "a=sendonly" in sdp
    await over(call)
    assert (call.why, far.heard) == ("Your browser could not be reached by UDP, so nothing was dialled.", [])
    await browser.close()


@pytest.mark.parametrize("ending", ["person", "seconds"])
async def test_each_call_has_its_end(ending: str, own: Phone, far: Peer, voice: socket.socket) -> None:
    """A forgotten test call would keep a SIM busy."""
    call, _ = await place(own, order(far, seconds=1 if ending == "seconds" else 60))
    await answered(far, voice)
    if ending == "person":
        await asyncio.to_thread(wait_until, lambda: call.answered, 10)
        await asyncio.to_thread(own.hang_up, call)
    far.reply(await far.request("BYE"), 200)
    await over(call)
    assert call.why == ("Test calls last at most 1 s." if ending == "seconds" else "You hung up.")
    assert own.find(call.id, 1) is call
    assert own.find(call.id, 2) is None, "another account's"


async def test_a_page_that_no_longer_asks_ends_its_call(own: Phone, clock: LaterClock, far: Peer) -> None:
    """Whoever is signed out in the middle would go on calling."""
    browser, offer = await browser_of(speaks=False)
    call, sdp = await place(own, order(far), offer=offer)
    await browser.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
    invite = await far.request("INVITE")
    far.reply(invite, 180, "Ringing")
    await asyncio.to_thread(wait_until, lambda: call.state == "ringing", 10)
    clock.ahead = phone.SILENT_S + 1
    cancel = await far.request("CANCEL")
    far.reply(cancel, 200)
    far.reply(invite, 487, "Request Terminated")
    await over(call)
    assert call.why == "Its page has not asked for it any more."
    await browser.close()


async def test_there_is_an_end_to_calls(own: Phone, far: Peer) -> None:
    """A second tab, a colleague or a script would take the channels of customers."""
    first, _ = await place(own, order(far))
    invite = await far.request("INVITE")
    far.reply(invite, 180, "Ringing")
    for owner, wanted, words in (
        (1, order(far), "you have a test call already"), (2, order(far, local="127.0.0.2"), "uses the address 127.0.0.1"),
    ):  # fmt: skip
        with pytest.raises(NotPlaced, match=words):
            await asyncio.to_thread(own.place, wanted, owner, lambda _call: None)
    second, _ = await asyncio.to_thread(own.place, order(far), 2, lambda _call: None)
    with pytest.raises(NotPlaced, match="2 test calls are in progress"):
        await asyncio.to_thread(own.place, order(far), 3, lambda _call: None)
    far.reply(invite, 404, "Not Found")
    far.reply(await far.request("INVITE"), 404, "Not Found")
    await over(first)
    await over(second)
    assert [call.id for call in own.of(1)] == [first.id]


def test_a_number_with_a_line_break_or_an_address_that_is_not_here_ends_with_words(own: Phone) -> None:
    """Bad input: the phone's thread would die, and with it everybody's calls."""
    for wanted in (
        Order("1\r\nX: y", "tests", "+4940999", ("127.0.0.1", 9), "127.0.0.1"),
        Order(NUMBER, "tests", "+4940999", ("127.0.0.1", 9), "192.0.2.77"),
    ):
        call, _ = own.place(wanted, 1, lambda _call: None)
        wait_until(lambda call=call: call.is_over, 10)  # type: ignore[misc]
        assert call.why


def test_an_offer_that_asks_for_anything_else_is_refused(own: Phone) -> None:
    """Bad input: whatever a script sends in place of a browser's offer."""
    check_offer(OFFER, speaks=False)
    for offer, speaks, words in (
        ("", False, "one audio line"), (OFFER, True, "to speak and to hear"), (OFFER.replace("recvonly", "sendrecv"), False, "only ask to hear"),
        (OFFER.replace("PCMA", "GSM"), False, "PCMA"), (OFFER + "x" * 20_000, False, "too long"), (OFFER.replace("m=audio", "m=video"), False, "one audio"),
    ):  # fmt: skip
        with pytest.raises(NoEarpiece, match=words):
            check_offer(offer, speaks=speaks)
    for offer in (OFFER, "nonsense"):
        with pytest.raises(NotPlaced):
            own.place(Order(NUMBER, "tests", "", ("127.0.0.1", 9), "127.0.0.1"), 1, lambda _call: None, offer=offer)
    assert own.of(1) == ()


async def test_time_never_jumps_for_the_browser() -> None:
    """Where the ringing tone and the answer are two streams the browser's voice would stop for minutes."""
    line = Line()
    for stream, stamp in ((1, 2**32 - 160), (1, 0), (2, 7_000_000), (2, 7_000_320), (2, 3)):
        line.put(stream, stamp, bytes(160))
    assert [(await line.next())[0] for _ in range(5)] == [0, 160, 320, 640, 800]


def test_a_microphone_that_runs_ahead_loses_the_oldest() -> None:
    """Delay would grow with each second of a call."""
    microphone = Microphone()
    microphone.put(b"\x01\x00" * earpiece.MOST_AHEAD)
    microphone.put(b"\x02\x00" * 10)
    taken = microphone.take(earpiece.MOST_AHEAD // 2, 8000)
    assert len(taken) == earpiece.MOST_AHEAD
    assert taken.endswith(b"\x02\x00" * 10)
    assert microphone.take(2, 8000) == bytes(4), "silence while nothing comes"
