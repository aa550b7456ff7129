"""A thousand channels that are only messages: boxes as the controller sees them, in one small process.

Each box is a UDP port that answers INVITE with 180 and 200, and BYE with 200, and tells over MQTT what a box
tells: its birth, the state of each channel at each step of a call, and the call's part. No module, no voice.
Repeated requests of the controller are counted: a clean run has none.

Usage: boxes.py <mqtt url> <boxes> <channels a box>. Prints a ready line, then one line of counts at SIGUSR1
and at its end (SIGTERM).
"""

import asyncio
import json
import re
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from simrack.wire import topics
from simrack.wire.channel import ChannelState
from simrack.wire.messages import (
    BoxEvent,
    BoxStatus,
    CallInfo,
    CallPart,
    ChannelReport,
    MediaFigures,
    ModuleInfo,
    NetworkInfo,
    SimInfo,
)
from simrack.wire.mqtt import BrokerUrl

BOOT = "standin1"
STATUS_EVERY_S = 60.0
T1_S = 0.5  # RFC 3261: an answer is repeated until its ACK comes
CAUSE_NORMAL = 16
SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)
COUNTS: Counter[str] = Counter()


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Standing:
    """One call on a channel."""

    call: str
    attempt: str
    channel: int
    number: str
    answer: bytes
    invited: datetime
    connected: datetime | None = None
    repeat: asyncio.TimerHandle | None = None


class Teller:
    """MQTT in a thread of its own, so that the SIP side never waits."""

    def __init__(self, url: str) -> None:
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="standin")
        self._client.max_inflight_messages_set(1000)
        parsed = BrokerUrl.parse(url)
        if parsed.username:
            self._client.username_pw_set(parsed.username, parsed.password)
        self._client.connect(parsed.host, parsed.port)
        self._client.loop_start()

    def tell(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@dataclass
class Box(asyncio.DatagramProtocol):
    """One box."""

    number: int
    channels: int
    teller: Teller
    calls: dict[str, Standing] = field(default_factory=dict)
    seq: int = 0
    facts: int = 0

    @property
    def name(self) -> str:
        return f"box-{self.number:03}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)
        self.address = "{}:{}".format(*transport.get_extra_info("sockname"))
        self.born = now()

    def say_all(self) -> None:
        self.say_status()
        for channel in range(1, self.channels + 1):
            self.report(channel, ChannelState.READY)

    def say_status(self) -> None:
        status = BoxStatus(
            boot=BOOT, seq=self._next(), at=now(), box=self.name, online=True, site="lab", sip=self.address,
            channels=self.channels, clock_offset_ms=0,
        )  # fmt: skip
        self.teller.tell(topics.box_status(self.name), status.encode(), retain=True)

    def report(self, channel: int, state: ChannelState, standing: Standing | None = None) -> None:
        call = None
        if standing is not None:
            call = CallInfo(
                call=standing.call, attempt=standing.attempt, direction="out", number=standing.number,
                since=standing.invited, connected=standing.connected,
            )  # fmt: skip
        report = ChannelReport(
            boot=BOOT, seq=self._next(), at=now(), box=self.name, channel=channel, state=state, since=now(),
            module=ModuleInfo(model="EC25", driver="quectel-ec2x", answer_safe=True),
            sim=SimInfo(iccid=iccid(self.number, channel), imsi=f"00101{self.number:06}{channel:04}"),
            network=NetworkInfo(stat=1, operator="Lab", technology="LTE", signal_dbm=-70), call=call,
        )  # fmt: skip
        self.teller.tell(topics.channel_state(self.name, channel), report.encode(), retain=True)

    # --- SIP ------------------------------------------------------------------------------------------------

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        text = data.decode("latin-1")
        method = text.partition(" ")[0]
        call_id = header(text, "call-id")
        if method == "INVITE":
            self._invite(text, call_id, addr)
        elif method == "ACK":
            standing = self.calls.get(call_id)
            if standing is not None and standing.repeat is not None:
                standing.repeat.cancel()
                standing.repeat = None
        elif method == "BYE":
            self._bye(text, call_id, addr)
        elif method == "CANCEL":
            COUNTS["cancels"] += 1

    def _invite(self, text: str, call_id: str, addr: tuple[str, int]) -> None:
        known = self.calls.get(call_id)
        if known is not None:
            COUNTS["repeated INVITE"] += 1
            self.transport.sendto(known.answer, addr)
            return
        contact = f"Contact: <sip:{self.address}>\r\n"
        answer = response(text, "200 OK", contact + "Content-Type: application/sdp\r\n", SDP)
        standing = Standing(
            call=header(text, "x-simrack-call"), attempt=header(text, "x-simrack-attempt"),
            channel=int(header(text, "x-simrack-channel")), number=text.partition(":")[2].partition("@")[0],
            answer=answer, invited=now(),
        )  # fmt: skip
        self.calls[call_id] = standing
        COUNTS["calls"] += 1
        self.report(standing.channel, ChannelState.DIALLING, standing)
        self.transport.sendto(response(text, "180 Ringing", contact), addr)
        self.report(standing.channel, ChannelState.ALERTING, standing)
        standing.connected = now()
        self._answer(standing, addr, T1_S)
        self.report(standing.channel, ChannelState.ACTIVE, standing)

    def _answer(self, standing: Standing, addr: tuple[str, int], after: float) -> None:
        self.transport.sendto(standing.answer, addr)
        loop = asyncio.get_running_loop()
        standing.repeat = loop.call_later(after, self._again, standing, addr, after)

    def _again(self, standing: Standing, addr: tuple[str, int], after: float) -> None:
        COUNTS["repeated 200"] += 1
        self._answer(standing, addr, min(4.0, 2 * after))

    def _bye(self, text: str, call_id: str, addr: tuple[str, int]) -> None:
        self.transport.sendto(response(text, "200 OK", ""), addr)
        standing = self.calls.pop(call_id, None)
        if standing is None:
            COUNTS["repeated BYE"] += 1
            return
        if standing.repeat is not None:
            standing.repeat.cancel()
        self.report(standing.channel, ChannelState.READY)
        self._tell_part(standing)

    def _tell_part(self, standing: Standing) -> None:
        released = now()
        assert standing.connected is not None
        self.facts += 1
        part = CallPart(
            call=standing.call, attempt=standing.attempt, channel=standing.channel,
            iccid=iccid(self.number, standing.channel), imsi=f"00101{self.number:06}{standing.channel:04}",
            number=standing.number, invited=standing.invited, dialled=standing.invited, alerting=standing.invited,
            connected=standing.connected, released=released, side="calling", cause=CAUSE_NORMAL,
            talk_ms=round((released - standing.connected).total_seconds() * 1000), media=MediaFigures(codec="PCMU"),
        )  # fmt: skip
        event = BoxEvent(box=self.name, boot=BOOT, seq=self.facts, at=released, offset_ms=0, body=part)
        self.teller.tell(topics.box_event(self.name), event.encode())

    def _next(self) -> int:
        self.seq += 1
        return self.seq


def iccid(box: int, channel: int) -> str:
    """A card's number of its own for each channel."""
    return f"8900101{box:06}{channel:06}"


def header(text: str, name: str) -> str:
    """One header of a request, by its lower-case name."""
    found = re.search(rf"(?im)^{name}[ \t]*:[ \t]*(.*?)\r?$", text)
    return found.group(1) if found else ""


def response(request: str, status: str, extra: str, body: str = "") -> bytes:
    """A response that copies what RFC 3261 8.2.6.2 says."""
    lines = request.partition("\r\n\r\n")[0].split("\r\n")[1:]
    kept = [line for line in lines if line.partition(":")[0].strip().lower() in ("via", "from", "call-id", "cseq")]
    to = header(request, "to")
    to = to if ";tag=" in to else f"{to};tag=standin"
    head = "\r\n".join([f"SIP/2.0 {status}", *kept, f"To: {to}"])
    return f"{head}\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}".encode("latin-1")


def say_counts() -> None:
    print(json.dumps(dict(COUNTS)), flush=True)


async def main(url: str, boxes: int, channels: int) -> None:
    """Serve until SIGTERM."""
    loop, teller, end = asyncio.get_running_loop(), Teller(url), asyncio.Event()
    rack = []
    for number in range(1, boxes + 1):
        _, box = await loop.create_datagram_endpoint(
            lambda number=number: Box(number, channels, teller),  # type: ignore[misc]
            local_addr=("127.0.0.1", 0),
        )
        box.say_all()
        rack.append(box)
    loop.add_signal_handler(signal.SIGTERM, end.set)
    loop.add_signal_handler(signal.SIGUSR1, say_counts)
    print(json.dumps({"ready": True, "channels": boxes * channels}), flush=True)
    while not end.is_set():
        try:
            await asyncio.wait_for(end.wait(), STATUS_EVERY_S)
        except TimeoutError:
            for box in rack:
                box.say_status()
    say_counts()
    teller.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
