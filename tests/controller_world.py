"""A real controller in this process, with a broker in memory, a raw UDP sender and a raw UDP box stand-in."""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller_sim import until
from gateway_sip import Controller as Peer
from gateway_sip import Dialog, sdp_of
from production_parts import RealBroker, RealBus, bus_broker, url_at

from simrack.controller.app import Controller
from simrack.controller.calls.services import CallLimits
from simrack.controller.models import RecordFilter, RecordRow
from simrack.controller.settings import ControllerSettings, MetricsSettings, SipSettings, TraceSettings
from simrack.controller.store.queries import Queries
from simrack.wire import topics
from simrack.wire.channel import ChannelState
from simrack.wire.messages import (
    BoxEvent,
    BoxStatus,
    CallInfo,
    CallPart,
    ChannelReport,
    CommandReply,
    EventAck,
    ModuleInfo,
    NetworkInfo,
    SimInfo,
)
from simrack.wire.mqtt import Commander, MemoryBroker, MemoryBus, Stamp
from simrack.wire.ports import SystemClock, SystemIds

NUMBER = "+882100000001"
ROUTING = """
[installation]
class = "test-lab"
owner = "Example Laboratory"
country = "001"

[[site]]
name = "lab"
country = "001"
emergency = "refuse"

[[agreement]]
name = "lab"
operator = "Emulated network"
reference = "none"
lab = true
uses = ["test"]
sites = ["lab"]
valid_from = 2020-01-01
valid_until = 2099-12-31

[[plan]]
name = "lab"
agreement = "lab"
country = "001"
imsi_prefixes = ["001"]
max_ring_s = 60

[[sender]]
name = "pbx"
legal_name = "Example Laboratory"
contact = "noc"
country = "001"
purpose = "tests"
use = "test"
addresses = ["127.0.0.1"]
digest = { user = "pbx", password = "only-for-tests" }
numbers = ["+88210*"]
default_number = "+882109000000"
other_numbers = "replace"

[[sender]]
name = "trunk"
legal_name = "Example Laboratory"
contact = "noc"
country = "001"
purpose = "tests"
use = "test"
addresses = ["127.0.0.2"]
numbers = ["+88210*"]
default_number = "+882109000001"
other_numbers = "replace"

[[pattern]]
name = "lab numbers"
prefixes = ["+88210"]
targets = [{ plan = "lab", priority = 100 }]

[limits]
rested_s = 1
"""


class Box:
    """A box stand-in: retained state over the bus, raw SIP over UDP, facts until they are acknowledged."""

    def __init__(self, bus: MemoryBus | RealBus, peer: Peer, name: str = "box-1", channels: int = 2) -> None:
        self.bus, self.peer, self.name, self.channels = bus, peer, name, channels
        self.stamp, self.seq = Stamp(f"boot-{name}"), 0
        self.acks: list[EventAck] = []
        bus.subscribe(topics.box_event_ack(name), lambda _t, p: self.acks.append(EventAck.decode(p)))
        bus.on_connect(self.publish)

    async def publish(self) -> None:
        boot, seq = self.stamp.next()
        now = datetime.now(UTC)
        status = BoxStatus(
            boot=boot, seq=seq, at=now, box=self.name, online=True, site="lab",
            sip=f"127.0.0.1:{self.peer.port}", channels=self.channels,
        )  # fmt: skip
        await self.bus.publish(topics.box_status(self.name), status.encode(), retain=True)
        for channel in range(1, self.channels + 1):
            await self.report(channel)

    async def report(self, channel: int, state: ChannelState = ChannelState.READY, attempt: str = "") -> None:
        boot, seq = self.stamp.next()
        now = datetime.now(UTC)
        call = CallInfo(call="", attempt=attempt, direction="out", number="", since=now) if attempt else None
        message = ChannelReport(
            boot=boot, seq=seq, at=now, box=self.name, channel=channel, state=state, since=now, call=call,
            module=ModuleInfo(answer_safe=True), network=NetworkInfo(stat=1),
            sim=SimInfo(iccid=f"89882100000000{channel:05}", imsi=f"0010100000{channel:05}"),
        )  # fmt: skip
        await self.bus.publish(topics.channel_state(self.name, channel), message.encode(), retain=True)

    async def carry(self, dialog: Dialog) -> None:
        """Report the call of a dialog on its channel."""
        assert dialog.invite is not None
        fields = dialog.invite.headers
        await self.report(int(fields["x-simrack-channel"]), ChannelState.ACTIVE, fields["x-simrack-attempt"])

    async def invited(self) -> Dialog:
        """The next INVITE, answered 100."""
        async with asyncio.timeout(5):
            dialog = await self.peer.offered.get()
        assert dialog.invite is not None
        dialog.respond(dialog.invite, 100, "Trying")
        return dialog

    async def tell(self, dialog: Dialog, **values: Any) -> BoxEvent:
        """Publish the part of an attempt."""
        assert dialog.invite is not None
        fields, now = dialog.invite.headers, datetime.now(UTC)
        part = CallPart.model_validate({
            "call": fields.get("x-simrack-call", ""), "attempt": fields["x-simrack-attempt"],
            "channel": fields["x-simrack-channel"], "iccid": fields["x-simrack-iccid"], "imsi": "001010000000001",
            "invited": now, "released": now, "cause": 16, "side": "calling", **values,
        })  # fmt: skip
        self.seq += 1
        event = BoxEvent(box=self.name, boot=self.stamp.boot, seq=self.seq, at=now, offset_ms=0, body=part)
        await self.send(event)
        return event

    async def send(self, event: BoxEvent) -> None:
        await self.bus.publish(topics.box_event(self.name), event.encode())


@dataclass
class World:
    """The controller and everybody around it."""

    app: Controller
    broker: MemoryBroker | RealBroker
    sip: tuple[str, int]
    metrics: str
    sender: Peer
    trunk: Peer
    box: Box
    web: MemoryBus | RealBus
    queries: Queries
    folder: Path
    commander: Commander
    ready: dict[str, Any] = field(default_factory=dict)

    def invite(
        self, number: str = NUMBER, peer: Peer | None = None, headers: str = "", sdp: bytes = b""
    ) -> Dialog:
        """A call of the trunk, which its address identifies."""
        return place(peer or self.trunk, self.sip, number, headers, sdp or sdp_of(("127.0.0.1", 4000)))

    async def final(self, dialog: Dialog) -> int:
        await until(lambda: dialog.final, "a final response")
        assert dialog.final is not None
        return dialog.final.status

    async def record(self, count: int = 1) -> RecordRow:
        """The newest record, once there are `count`."""
        for _ in range(600):
            page = await asyncio.to_thread(self.queries.records, RecordFilter())
            if page.total >= count:
                return page.rows[0]
            await asyncio.sleep(0.01)
        raise AssertionError(f"no {count} records")

    async def alarm(self, cause: str, *, open_: bool = True) -> None:
        """Wait until the alarm of a cause is open (or closed) in the database."""
        for _ in range(500):
            alarms = await asyncio.to_thread(self.queries.alarms)
            if (cause in {alarm.cause for alarm in alarms}) is open_:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"alarm {cause}: open is not {open_}")

    async def command(self, action: str, **args: Any) -> CommandReply:
        return await self.commander.send(topics.controller_command(), action, args, actor="ann")


def place(peer: Peer, to: tuple[str, int], number: str, headers: str, sdp: bytes) -> Dialog:
    """Send an INVITE with header lines of the test's own."""
    fields = dict(line.split(": ", 1) for line in headers.splitlines() if line)
    return peer.invite(to, number, sdp, fields)


def authorize(dialog: Dialog, password: str, user: str = "pbx", nonce: str = "") -> None:
    """Repeat a challenged INVITE with MD5 credentials (RFC 2617 3.2.2.1, without qop)."""
    assert dialog.final is not None
    challenge = next(m for m in dialog.got if m.status == 401).headers["www-authenticate"]
    found = nonce or _value(challenge, "nonce")
    realm = _value(challenge, "realm")
    who = _md5(f"{user}:{realm}:{password}")
    what = _md5(f"INVITE:{dialog.target}")
    response = _md5(f"{who}:{found}:{what}")
    dialog.got.clear()
    dialog.remote_uri = re.sub(r";tag=[^;]*", "", dialog.remote_uri)
    dialog.again(
        "INVITE",
        headers=f'Authorization: Digest username="{user}", realm="{realm}", nonce="{found}", '
        f'uri="{dialog.target}", response="{response}", algorithm=MD5\r\n',
        body=dialog.sdp,
    )


def _value(header: str, name: str) -> str:
    found = re.search(rf'{name}="([^"]*)"', header)
    assert found is not None
    return found.group(1)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


async def peer_at(host: str) -> Peer:
    """A peer on one of the loopback addresses."""
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Peer, local_addr=(host, 0))
    protocol.host = host
    return protocol


def settings_for(folder: Path, **sip: Any) -> ControllerSettings:
    routing = folder / "routing.toml"
    if not routing.exists():
        routing.write_text(ROUTING)
    return ControllerSettings(
        database=url_at(folder / "simrack.db"),
        data=folder,
        import_=routing,
        sip=SipSettings(**{"listen": "127.0.0.1:0", **sip}),
        metrics=MetricsSettings(listen="127.0.0.1:0"),
    )


@asynccontextmanager
async def world(
    folder: Path, broker: MemoryBroker | RealBroker | None = None, trace: TraceSettings | None = None, **sip: Any
) -> AsyncIterator[World]:
    """Start everything; stop it in order at the end."""
    settings, broker = settings_for(folder, **sip), broker or bus_broker()
    settings = settings.model_copy(update={"trace": trace or TraceSettings()})
    clock, ids = SystemClock(), SystemIds()
    limits = CallLimits(part_s=0.3)
    app = Controller(settings, clock, ids, lambda name, last: broker.bus(name, will=last), limits=limits)
    said: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    peers = [await peer_at("127.0.0.1"), await peer_at("127.0.0.2"), await peer_at("127.0.0.1")]
    box_bus, web = broker.bus("box"), broker.bus("web")
    box, commander = Box(box_bus, peers[2]), Commander(web, "web", clock, ids)
    try:
        async with asyncio.TaskGroup() as group:
            work = [group.create_task(bus.run()) for bus in (box_bus, web)]
            running = group.create_task(app.run(said.set_result))
            running.add_done_callback(lambda _task: said.cancel())
            ready = await said
            host, _, port = ready["sip"].rpartition(":")
            with contextlib.closing(Queries(settings.database)) as queries:
                yield World(
                    app, broker, (host, int(port)), ready["metrics"], peers[0], peers[1], box, web,
                    queries, folder, commander, ready,
                )  # fmt: skip
            app.stop()
            await running
            for task in work:
                task.cancel()
    finally:
        for peer in peers:
            peer.close()
        if isinstance(broker, RealBroker):
            await broker.close()
