"""Fake peers for the call logic: legs that a test plays by hand, a store in memory, a router that says what it is told.

Nothing here imitates the thing under test; a simulated leg only notes what it was asked to do and gives the
events that the test puts in.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from simrack.controller.calls.call import Call
from simrack.controller.calls.metrics import Metrics
from simrack.controller.calls.ports import Dialogs, Finished, OpenCall
from simrack.controller.calls.services import CallLimits, Feed, Services
from simrack.controller.fleet.state import Fleet
from simrack.controller.fleet.view import FleetView
from simrack.controller.models import Explanation, OrderedCandidate, Refusal
from simrack.controller.routing.decision import CallFacts, Candidate, Decision
from simrack.controller.store.errors import StoreDown, StoreRefused
from simrack.sip.legs import Connected, Dial, DialogIds, Disconnected, Event, Failed, Headers, Invite, Probed
from simrack.wire.channel import ChannelState
from simrack.wire.messages import BoxEvent, BoxStatus, CallInfo, CallPart, ChannelReport, NetworkInfo, SimInfo
from simrack.wire.mqtt import MemoryBroker

OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
ANSWER = OFFER.replace(b"4000", b"20000").replace(b" 8 0 101", b" 8 101")
BOX_SIP = ("127.0.0.1", 5091)


class TestClock:
    """Both clocks under a test's hand; the loop's timers run in real time."""

    __test__ = False

    def __init__(self) -> None:
        self.mono = 1000.0
        self.now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.mono

    def utc(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.mono += seconds
        self.now += timedelta(seconds=seconds)


class CountingIds:
    """Ids that tests can read."""

    def __init__(self) -> None:
        self.count = 0

    def token(self, octets: int = 12) -> str:
        self.count += 1
        return f"{self.count:0{octets * 2}x}"


class SimLeg:
    """A leg that writes down what it is asked, in a journal that all parts of one test share."""

    def __init__(self, journal: list[str], name: str) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.journal, self.name = journal, name
        self.ended = False
        self.connected = False

    ids_now: DialogIds | None = None  # after the far end has moved

    @property
    def ids(self) -> DialogIds:
        return self.ids_now or DialogIds(call_id=f"id-{self.name}", local_tag="l", remote_tag="r")

    def note(self, what: str) -> None:
        self.journal.append(f"{self.name}:{what}")

    def say(self, event: Event) -> None:
        """The far side does something."""
        self.ended = self.ended or isinstance(event, Failed | Disconnected)
        self.connected = self.connected or isinstance(event, Connected)
        self.events.put_nowait(event)

    def accept_update(self, sdp: bytes | None) -> None:
        self.note("accept-update")

    def refuse_update(self, status: int) -> None:
        self.note(f"refuse-update {status}")

    def offer(self, sdp: bytes) -> None:
        self.note("offer")

    def info(self, content_type: str, body: bytes) -> None:
        self.note(f"info {body.decode()}")

    knows: bool | None = False  # what the far end says when it is asked whether it has the call

    def probe(self) -> None:
        self.note("probe")
        if self.knows is not None:
            self.say(Probed(self.knows))

    def hang_up(self, cause: int, text: str = "") -> None:
        if self.ended:
            return
        self.note(f"hang-up {int(cause)}")
        if self.connected:
            self.say(Disconnected(int(cause), text, "local"))
        elif self.cancel_works:
            self.say(Failed(487, int(cause), text, "local"))

    def give_up(self, cause: int, text: str = "") -> None:
        self.note("give-up")
        self.hang_up(cause, text)

    cancel_works = True


class SimSender(SimLeg):
    """The sender's leg."""

    def __init__(self, journal: list[str], invite: Invite) -> None:
        super().__init__(journal, "sender")
        self.request = invite

    def trying(self) -> None:
        self.note("100")

    def ring(self) -> None:
        self.note("180")

    def progress(self, sdp: bytes) -> None:
        self.note("183")

    def answer_text(self, sdp: bytes) -> str:
        return f"SIP/2.0 200 OK\r\n\r\n{sdp.decode()}"

    def answer(self, sdp: bytes, headers: Headers = ()) -> None:
        if self.ended:
            return
        self.note("200")
        self.say(Connected(None, self.ids))

    def reject(self, status: int, cause: int, text: str = "", headers: Headers = ()) -> None:
        if self.ended:
            return
        self.note(f"{status}/{int(cause)}")
        self.say(Failed(status, int(cause), text, "local"))

    def cancel(self) -> None:
        """The sender gives up before the answer."""
        self.say(Failed(487, 16, "cancelled"))


class SimBoxes:
    """The outgoing half: each dialled leg waits for the test to play the box."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal
        self.dials: list[Dial] = []
        self.legs: list[SimLeg] = []
        self.on_dial: Callable[[SimLeg, Dial], None] | None = None

    def dial(self, dial: Dial) -> SimLeg:
        leg = SimLeg(self.journal, f"box{len(self.legs) + 1}")
        leg.note("invite")
        self.dials.append(dial)
        self.legs.append(leg)
        if self.on_dial is not None:
            self.on_dial(leg, dial)
        return leg

    def attempt(self, index: int) -> str:
        return self.dials[index].headers["X-Simrack-Attempt"]


class MemoryStore:
    """The store's contract in memory."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal
        self.open: dict[str, OpenCall] = {}
        self.dialogs: dict[str, Dialogs] = {}
        self.finished: list[Finished] = []
        self.events: list[BoxEvent] = []
        self.down = False

    async def open_call(self, call: OpenCall) -> None:
        self._check()
        key = (call.sender, call.call_id, call.from_tag)
        if key in {(o.sender, o.call_id, o.from_tag) for o in self.open.values()}:
            raise StoreRefused("open already")
        self.open[call.call] = call
        self.journal.append("store:open")

    async def connected(self, call: str, dialogs: Dialogs) -> None:
        self._check()
        self.dialogs[call] = dialogs
        self.journal.append("store:dialogs")

    async def take_over(self, call: str, dialogs: Dialogs) -> None:
        self._check()
        self.dialogs[call] = dialogs
        self.journal.append("store:taken-over")

    async def finish(self, finished: Finished) -> None:
        self._check()
        del self.open[finished.record.call]
        self.finished.append(finished)
        self.journal.append("store:cdr")

    async def last_event(self, box: str, boot: str) -> int:
        self._check()
        return max((event.seq for event in self.events if (event.box, event.boot) == (box, boot)), default=0)

    async def take_events(self, events: Sequence[BoxEvent]) -> Sequence[BoxEvent]:
        self._check()
        seen = {(e.box, e.boot, e.seq) for e in self.events}
        new = [e for e in events if (e.box, e.boot, e.seq) not in seen]
        self.events += new
        return new

    def _check(self) -> None:
        if self.down:
            raise StoreDown("disk full")


@dataclass
class ToldRouter:
    """Says what the test told it to say."""

    candidates: tuple[Candidate, ...] = ()
    refusal: Refusal | None = None
    asked: list[CallFacts] = field(default_factory=list)

    def decide(self, facts: CallFacts, fleet: FleetView) -> Decision:
        self.asked.append(facts)
        order = tuple(
            OrderedCandidate(box=c.box, channel=c.channel, iccid=c.iccid, plan=c.plan)
            for c in self.candidates
        )
        told = Explanation(
            config_version=1,
            sender=facts.sender,
            called_received=facts.called,
            called=facts.called,
            order=order,
            refusal=self.refusal,
        )
        return Decision(told, () if self.refusal else self.candidates, calling="+88200")


class AlarmNotes:
    """Open alarms, as causes."""

    def __init__(self) -> None:
        self.open: set[str] = set()

    def set(
        self, kind: str, active: bool, subject: str = "", detail: str = "", hold_s: float | None = None
    ) -> None:
        cause = f"{kind}:{subject}" if subject else kind
        (self.open.add if active else self.open.discard)(cause)


def candidate(channel: int = 1, box: str = "box-1") -> Candidate:
    return Candidate(
        box=box,
        sip=BOX_SIP,
        channel=channel,
        iccid=f"8988200000000000{channel:03}",
        plan="lab",
        dial="+8825550001",
        early_media="auto",
        hide_number=None,
        max_ring_s=60,
        max_call_s=3600,
    )


def invite(called: str = "8825550001", source: tuple[str, int] = ("192.0.2.7", 5060), **more: str) -> Invite:
    return Invite(
        source=source,
        method_uri=f"sip:{called}@127.0.0.1",
        called=called,
        calling="88200",
        call_id=more.get("call_id", "call-1"),
        from_tag="tag-1",
        sdp=OFFER,
        headers={},
        authorization=more.get("authorization", ""),
    )


@dataclass
class Stage:
    """Everything around one call."""

    journal: list[str]
    clock: TestClock
    store: MemoryStore
    boxes: SimBoxes
    router: ToldRouter
    fleet: Fleet
    alarms: AlarmNotes
    services: Services

    def call(self, asked: Invite | None = None) -> tuple[Call, SimSender]:
        sender = SimSender(self.journal, asked or invite())
        return Call(self.services, sender, "acme"), sender

    def part(self, index: int = 0, **values: object) -> CallPart:
        """The box's part of an attempt."""
        now = self.clock.utc()
        fields: dict[str, object] = {
            "call": self.boxes.dials[index].headers["X-Simrack-Call"],
            "attempt": self.boxes.attempt(index),
            "channel": int(self.boxes.dials[index].headers["X-Simrack-Channel"]),
            "invited": now,
            "released": now,
            "cause": 16,
            "side": "called",
        }
        return CallPart.model_validate(fields | values)


def stage(*candidates: Candidate, refusal: Refusal | None = None, **limits: float) -> Stage:
    journal: list[str] = []
    clock, store, boxes = TestClock(), MemoryStore(journal), SimBoxes(journal)
    router, alarms, fleet = ToldRouter(candidates, refusal), AlarmNotes(), Fleet(clock)
    times = CallLimits(release_s=0.3, part_s=0.05, store_retry_s=0.01)
    for name, value in limits.items():
        setattr(times, name, value)
    services = Services(
        clock=clock,
        ids=CountingIds(),
        store=store,
        router=router,
        dialler=boxes,
        fleet=fleet,
        alarms=alarms,
        feed=Feed(MemoryBroker().bus("controller")),
        metrics=Metrics(),
        stamp_boot="boot",
        limits=times,
    )
    return Stage(journal, clock, store, boxes, router, fleet, alarms, services)


async def until(condition: Callable[[], object], what: str = "condition") -> None:
    """Wait for something that must come about soon."""
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"{what} did not come about")


def status(
    clock: TestClock, boot: str = "b1", seq: int = 1, *, box: str = "box-1", online: bool = True
) -> BoxStatus:
    return BoxStatus(
        boot=boot,
        seq=seq,
        at=clock.utc(),
        box=box,
        online=online,
        site="hall",
        sip="127.0.0.1:5091",
        channels=2,
    )


def report(
    clock: TestClock,
    boot: str = "b1",
    seq: int = 2,
    channel: int = 1,
    *,
    box: str = "box-1",
    state: ChannelState = ChannelState.READY,
    call: CallInfo | None = None,
) -> ChannelReport:
    sim = SimInfo(iccid=f"8988200000000000{channel:03}", imsi=f"00101000000{channel:04}")
    return ChannelReport(
        boot=boot, seq=seq, at=clock.utc(), box=box, channel=channel, state=state, since=clock.utc(),
        sim=sim, network=NetworkInfo(stat=1), call=call,
    )  # fmt: skip
