"""What is fuzzed, and what must hold for every input: each target takes octets and raises when it finds something.

Only the errors that a parser promises may leave it; they are caught here by name. What comes out is read again and
must say the same; sizes are bounded by what went in. Time and memory are bounded by the runner.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from simrack.controller.calls.bans import Ban
from simrack.controller.config.checks import check
from simrack.controller.config.models import RoutingFile
from simrack.controller.settings import ControllerSettings
from simrack.drivers.at.allow import allows, forbidden
from simrack.drivers.at.chat import Chat
from simrack.drivers.at.fields import number, split_fields, value_of
from simrack.drivers.at.framing import Framer, Line
from simrack.drivers.at.result import parse_final
from simrack.drivers.modems.generic import replies
from simrack.gateway.settings import BoxSettings
from simrack.gateway.voice.playout import Playout
from simrack.sip import codecs, dtmf, rtp, sdp
from simrack.sip.calls import invite_of
from simrack.sip.digest import MAX_USED, Digest, parse, same_uri
from simrack.sip.replies import Replies
from simrack.sip.screen import (
    KEPT_BACK,
    MAX_MESSAGE,
    Packet,
    encode,
    mark_via,
    reply,
    screen,
    uri_of,
    user_of,
)
from simrack.wire import causes, messages, tomlfile, topics
from simrack.wire.errors import BadMessage, UnknownVersion, UserError

Target = Callable[[bytes], None]
SOURCE = ("192.0.2.9", 5070)
REPLIES = Replies("only for tests")


class FixedClock:
    """Time stands still."""

    def monotonic(self) -> float:
        return 1000.0

    def utc(self) -> Any:
        raise AssertionError("no parser asks for the date")


class FixedIds:
    """No two runs differ."""

    def token(self, octets: int = 12) -> str:
        return "ab" * octets


# --- SIP ------------------------------------------------------------------------------------------------------


def sip(data: bytes) -> None:
    """The screen: refused or understood; what is understood says the same in its plain form; answers are bounded."""
    trusted = data[:1] == b"\x01"
    screened = screen(data, trusted=trusted)
    packet = screened.packet
    if packet is None:
        assert screened.refusal is not None
        return
    if not trusted:
        assert not any(name.startswith("x-simrack-") for name, _ in packet.headers)
    if screened.refusal is not None:
        if screened.refusal.status:
            answer, _where = reply(packet, SOURCE, screened.refusal, REPLIES.tag(packet))
            assert len(answer) < 4 * len(data) + 1000
            head = answer.decode().partition("\r\n\r\n")[0]
            assert all(": " in line for line in head.split("\r\n")[1:])
        return
    assert len(data) <= MAX_MESSAGE
    again = screen(encode(packet.text()), trusted=True)
    assert again.refusal is None, (again.refusal, packet.text())
    assert again.packet is not None
    assert _said(again.packet) == _said(packet)
    if packet.method == "INVITE":
        invite = invite_of(packet, SOURCE)
        assert not any(ord(character) < 32 for character in invite.called + invite.calling)
    mark_via(packet.first("via"), SOURCE)
    [causes.parse_reason(value) for value in packet.all("reason")]


def _said(packet: Packet) -> tuple[Any, ...]:
    headers = [pair for pair in packet.headers if pair[0] not in KEPT_BACK]
    return packet.method, packet.uri, packet.status, headers, packet.body, packet.sdp


def address(data: bytes) -> None:
    """The small readers of addresses."""
    text = data.decode("utf-8", "replace")
    assert len(user_of(uri_of(text))) <= len(text)
    same_uri(text[: len(text) // 2], text[len(text) // 2 :])


def authorization(data: bytes) -> None:
    """Authorization headers of strangers: a verdict, nothing kept of a wrong one, nobody let in."""
    text = data.decode("latin-1")
    digest = Digest("simrack", FixedClock(), FixedIds())
    verdict = digest.check(text, "INVITE", "sip:1@192.0.2.1", lambda user: "secret" if user == "pbx" else None)
    assert not verdict.ok, "the fuzzer knows no password"
    assert len(digest._used) <= min(1, MAX_USED)
    given = parse(text)
    assert (given is None) == (verdict.problem == "malformed")


def session(data: bytes) -> None:
    """SDP: an error of its own, or a choice whose answer can be read again."""
    try:
        offered = sdp.parse(data)
        chosen = sdp.negotiate(offered, ("PCMA", "PCMU", "G722"))
        sdp.check_family(chosen, "192.0.2.1")
    except sdp.SdpError:
        return
    answer = sdp.answer(chosen, ("192.0.2.1", 4000), 1)
    assert len(answer) < len(data) + 2000
    assert 1 <= chosen.remote[1] <= 65535
    if chosen.receives and not chosen.layout[0]:  # we ask for one line only, and read no others' answers
        back = sdp.read_answer((chosen.codec,), answer)
        assert (back.codec, back.payload_type) == (chosen.codec, chosen.payload_type)


# --- voice ----------------------------------------------------------------------------------------------------


def voice(data: bytes) -> None:
    """RTP, telephone events and playout: a stream of datagrams, some pulled in between."""
    name = ("PCMA", "PCMU")[len(data) & 1]
    playout = Playout(codecs.make(name, 8000), 8000, 8000)
    hearing, now, at = dtmf.Hearing(), 0.0, 0
    while at + 2 <= len(data) and now < 20:
        length, step = data[at], data[at + 1]
        datagram, at = data[at + 2 : at + 2 + length], at + 2 + length
        now += step / 255
        packet = rtp.parse(datagram)
        if packet is not None:
            assert rtp.parse(packet.encode()) == packet
            event = dtmf.decode(packet.payload)
            assert event is None or dtmf.decode(event.encode()) == event
            hearing.feed(packet.payload, packet.timestamp)
            playout.put(packet, now)
        if step & 1:
            assert len(playout.pull(160)) == 320
    assert len(playout.pull(160)) == 320
    assert len(playout._heap) <= 2000
    assert 0 <= playout.delay_ms < 60_000


# --- AT -------------------------------------------------------------------------------------------------------


class DeadStream:
    """A port that takes everything."""

    def attach(self, received: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        self.received = received

    def write(self, data: bytes) -> None:
        return

    async def close(self) -> None:
        return


_LINE_READERS: tuple[Callable[[str], Any], ...] = (
    split_fields, number, value_of, parse_final, replies.call_row, replies.registration, replies.signal_dbm,
    replies.operator, replies.card_state, replies.iccid, replies.imsi, replies.release_cause,
    replies.calling_number, forbidden,
)  # fmt: skip


def at_lines(data: bytes) -> None:
    """A module's octets: framing whatever the pieces, every reply reader on every line, the chat itself."""
    cut = data[0] if data else 0
    whole, pieces = Framer(), Framer()
    tokens = whole.feed(data) + whole.flush()
    parted = [token for i in range(0, len(data), cut + 1) for token in pieces.feed(data[i : i + cut + 1])]
    parted += pieces.flush()
    if b"> " not in data and len(data) < 1000:  # a prompt is told by what has come so far, a long line is cut
        assert [t for t in parted if isinstance(t, Line)] == [t for t in tokens if isinstance(t, Line)]
    lines = [token.text for token in tokens if isinstance(token, Line)]
    assert sum(len(line) for line in lines) <= 2 * len(data)
    for line in lines:
        for reader in _LINE_READERS:
            reader(line)
        allows(("AT+CSQ", "AT+COPS=*"), line)
    replies.call_rows(lines)
    replies.own_number(lines)
    stream = DeadStream()
    chat = Chat(stream, clock=FixedClock())
    chat.on_line = lambda _line: None
    stream.received(data)


# --- files and messages ---------------------------------------------------------------------------------------

_MESSAGES = tuple(
    found for found in vars(messages).values()
    if isinstance(found, type) and issubclass(found, messages.Message) and found is not messages.Message
)  # fmt: skip


def payloads(data: bytes) -> None:
    """MQTT: every message class on every payload, and the topics."""
    for kind in _MESSAGES:
        try:
            message = kind.decode(data)
        except (BadMessage, UnknownVersion):
            continue
        assert kind.decode(message.encode()) == message
    text = data.decode("utf-8", "replace")
    if text.count("/") >= 3:
        topics.box_of(text)


def bans(data: bytes) -> None:
    """The ban list's own file."""
    try:
        ban = Ban.from_json(json.loads(data))
    except (ValueError, RecursionError):
        return
    assert Ban.from_json(ban.to_json()).address == ban.address


def configuration(data: bytes) -> None:
    """TOML of a person: understood, or a mistake with its place."""
    text = data.decode("utf-8", "replace")
    for model in (RoutingFile, ControllerSettings, BoxSettings):
        with suppress(UserError):
            file = tomlfile.parse(model, text, "x.toml", environ={})
            if isinstance(file, RoutingFile):
                check(file, text, "x.toml")


def rtp_stream(*packets: rtp.Packet) -> bytes:
    """Packets as `voice` takes them: length, time, octets."""
    datagrams = [packet.encode()[:255] for packet in packets]
    return b"".join(struct.pack("BB", len(d), 5) + d for d in datagrams)


TARGETS: Mapping[str, Target] = {
    "sip": sip, "address": address, "authorization": authorization, "sdp": session, "voice": voice, "at": at_lines,
    "mqtt": payloads, "toml": configuration, "bans": bans,
}  # fmt: skip
