"""The invariants, judged by the books of the network, the senders and the wire; the rack's own word is the accused.

Numbers are those of quality.md. A breach is kept with the calls that it is about, and ends the simulation.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from simrack.lab.simulate.network import Row, SimModule
from simrack.lab.simulate.senders import SenderCall, is_invite
from simrack.lab.simulate.wire import Address, Message
from simrack.lab.simulate.world import CONTROLLER, World
from simrack.wire.messages import BoxEvent, CallPart, EventAck

WORDS = {
    1: "No CDR lost, none twice; no call without one; answered calls and talk time equal the network's ledger "
    "within 100 ms or are marked estimated; 5 s after a kill the network holds no leg that no record claims.",
    4: "Never two calls on a channel; never one card in two channels.",
    5: "A module's trouble disturbs no other call.",
    6: "Controller gone: calls in progress go on; on return everything arrives, in order, once.",
    7: "Database gone or full, disk full: new calls refused, nothing half-written, recovery by itself.",
    8: "Restart of any process under load: accepted work resumes; other calls are not lost.",
}
TALK_MS = 100
#: A leg that no record claims may live this long (quality.md), and a box that was started needs its own time first.
UNCLAIMED_S = 5.0
BOX_START_S = 6.0
#: What was lost is repeated within T2 (RFC 3261 17.1.2.2).
REPEAT_S = 4.0
#: Time stands still for a frozen process; what it measures meanwhile is off by that.
EDGE_S = 0.3
#: What a database refused is on disk this long after it is well again.
STORED_S = 3.0


@dataclass(frozen=True, slots=True)
class Breach:
    """A broken invariant."""

    invariant: int
    what: str
    calls: tuple[str, ...] = ()


@dataclass
class Judge:
    """See the module. `breaches` is empty while all is well; the first one counts."""

    world: World
    breaches: list[Breach] = field(default_factory=list)
    #: Observed on the wire, for this stretch of the simulation.
    calls: dict[str, SenderCall] = field(default_factory=dict)
    answered_by_rack: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _attempts: dict[str, "_Attempt"] = field(default_factory=dict)  # by Call-ID of the box leg
    _events: dict[tuple[str, str], dict[int, BoxEvent]] = field(default_factory=lambda: defaultdict(dict))
    _first_row: int = 0
    _cards: dict[str, str] = field(default_factory=dict)
    checks: int = 0
    _wire_bad: float = 0.0  # when the wire last lost packets
    _unclaimed: dict[int, float] = field(default_factory=dict)
    _out_of_touch: dict[str, float] = field(default_factory=dict)  # when box and controller last did not hear each other
    _estimated: set[str] = field(default_factory=set)  # attempts whose boxes said so themselves

    def breach(self, invariant: int, what: str, *calls: str) -> None:
        """Note a broken invariant."""
        self.breaches.append(Breach(invariant, what, tuple(dict.fromkeys(calls))))

    @property
    def now(self) -> float:
        return self.world.loop.time()

    # --- what is seen at once -----------------------------------------------------------------------------

    def second_call(self, module: SimModule, number: str) -> None:
        """A module was told to dial while it holds a call."""
        held = module.row.number if module.row else ""
        self.breach(4, f"{_seat(module.seat)} was told to dial {number} while it held {held}", number, held)

    def packet(self, source: Address, to: Address, message: Message) -> None:
        """Watch the wire: each message is a step."""
        self.checks += 1
        if source == CONTROLLER and message.status and message.method == "INVITE":
            self._controller_answers(to, message)
        elif source == CONTROLLER and is_invite(message):
            self._controller_dials(message)
        elif to == CONTROLLER and message.status >= 300 and message.method == "INVITE":
            self._attempts.pop(message.call_id, None)
        if message.method in ("BYE", "CANCEL") and not message.status:
            self._attempts.pop(message.call_id, None)

    def _controller_answers(self, to: Address, message: Message) -> None:
        number = self.world.story.numbers.get(message.call_id, "")
        if to not in {sender.address for sender in self.world.senders} or number not in self.calls:
            return
        seen = self.answered_by_rack[number]
        if message.status in seen:
            return
        if not seen and message.status < 300:
            self._must_be_on_disk(number, message.call_id)
        if message.status == 200 and not seen & {200}:
            self._must_have_dialogs(number, message.call_id)
        seen.add(message.status)

    def _must_be_on_disk(self, number: str, call_id: str) -> None:
        rows = self.world.rows(
            "SELECT 1 FROM open_call WHERE sip_call_id = ? UNION ALL SELECT 1 FROM cdr WHERE sip_call_id = ?",
            call_id, call_id,
        )  # fmt: skip
        if not rows:
            self.breach(7, f"the call to {number} was accepted without an open row on disk", number)

    def _must_have_dialogs(self, number: str, call_id: str) -> None:
        # With a database that refuses, or did not answer while we stood still, two people are connected all the same.
        if self.world.disk.broken or self.world.disk.refused or self._touched(self.world.controller.frozen, self.now):
            return
        rows = self.world.rows("SELECT sender_dialog, box_dialog FROM open_call WHERE sip_call_id = ?", call_id)
        if rows and not all(dialog not in (None, "null") for dialog in rows[0]):
            self.breach(8, f"the call to {number} was answered before its dialogs were on disk", number)

    def _controller_dials(self, message: Message) -> None:
        life = self.world.controller.life
        box, channel = message.header("x-simrack-attempt"), message.header("x-simrack-channel")
        del box
        seat = (self.world.story.names.get(CONTROLLER, ""), channel)
        del seat
        iccid = message.header("x-simrack-iccid")
        if message.call_id in self._attempts:
            return
        for other in self._attempts.values():
            if other.run is life and other.iccid == iccid:
                text = f"two attempts at once on card {iccid} (channel {channel}): {other.number} and {message.called}"
                self.breach(4, text, other.number, message.called)
        self._attempts[message.call_id] = _Attempt(life, iccid, message.called)

    def event(self, client: str, topic: str, payload: bytes) -> None:
        """Watch the broker: facts and their acknowledgements."""
        if topic.endswith("/event"):
            event = BoxEvent.decode(payload)
            if isinstance(event.body, CallPart) and event.body.estimated:
                self._estimated.add(event.body.attempt)
            known = self._events[event.box, event.boot].setdefault(event.seq, event)
            if known.body != event.body:
                self.breach(6, f"fact {event.box} {event.boot} {event.seq} came with another body")
        elif topic.endswith("/ack") and client.startswith("controller"):
            self._acknowledged(EventAck.decode(payload))

    def _acknowledged(self, ack: EventAck) -> None:
        for item in ack.ranges:
            stored = self.world.rows(
                "SELECT count(*) FROM box_event_seen WHERE box = ? AND boot = ? AND seq BETWEEN ? AND ?",
                ack.box, item.boot, item.first, item.last,
            )[0][0]  # fmt: skip
            if stored != item.last - item.first + 1:
                what = f"facts {item.first}-{item.last} of {ack.box} ({item.boot}) were acknowledged, {stored} are stored"
                self.breach(6, what)

    def dialled(self, row: Row) -> None:
        """A number is dialled: not after its owner has spoken."""
        for other in self._rows():
            if other is row or other.number != row.number or other.direction != "out":
                continue
            spoken = other.answered if other.answered is not None else other.released if other.by == "far" else None
            if spoken is None or spoken > self.now - EDGE_S or self._unheard(other):
                continue
            text = f"{row.number} was dialled again on {_seat(row.seat)} after its owner had spoken on {_seat(other.seat)}"
            self.breach(4, text, row.number)

    def _unheard(self, row: Row) -> bool:
        """Whether something kept the news of a call from the rack."""
        world, box = self.world, self.world.boxes[row.seat[0]]
        gaps = (box.gaps, box.frozen, world.network.modules[row.seat].faults, world.controller.gaps, world.controller.frozen)
        since = row.setup
        return any(self._touched(gap, since) for gap in gaps) or self._wire_bad >= since or bool(world.wire.cut)

    def released(self, row: Row) -> None:
        """A call left the network: by whom, and was there a reason?"""
        if row.direction == "out" and row.by == "module" and row.answered is not None:
            self._must_have_reason(row)

    def _must_have_reason(self, row: Row) -> None:
        """An answered call that the rack itself ends must have been ended by somebody, or its box has gone."""
        call = self.calls.get(row.number)
        begun = row.answered or row.setup
        if call is None or call.releasing or call.vanished or call.cancelled or call.by in ("sender", "nobody"):
            return
        box, controller = self.world.boxes[row.seat[0]], self.world.controller
        if self._touched(box.gaps, row.setup) or self._touched(box.frozen, row.setup):
            return
        module = self.world.network.modules[row.seat]
        if self._touched(module.faults, row.setup) or self.now - begun > 3500:
            return
        if self._touched(controller.gaps, row.setup) and call.answered_at is None:
            # It was not answered for the sender yet: its INVITE died with the controller.
            return
        if self._late(row, call) or self._unstorable(row, call):
            return
        invariant = 8 if self._touched(controller.gaps, row.setup) else 5
        if controller.gaps and controller.gaps[-1][1] == float("inf"):
            invariant = 6
        self.breach(
            invariant, f"the answered call to {row.number} on {_seat(row.seat)} was ended by the rack without a reason",
            row.number,
        )  # fmt: skip

    def _late(self, row: Row, call: SenderCall) -> bool:
        """Whether the network answered an attempt that was given up before."""
        return call.answered_at is None or any(
            other is not row and other.number == row.number and other.setup > row.setup for other in self._rows()
        )

    def _unstorable(self, row: Row, call: SenderCall) -> bool:
        """Whether the database refused the answer and had not been well for long when the controller died."""
        if row.answered is None or call.answered_at is None:
            return False
        begun, heard = row.answered - EDGE_S, call.answered_at + EDGE_S
        return any(
            bad <= heard and well >= begun and begun <= died <= well + STORED_S
            for bad, well in self.world.disk.bad for died, _born in self.world.controller.gaps
        )

    def _touched(self, gaps: list[tuple[float, float]], since: float) -> bool:
        return any(end >= since - EDGE_S for _begin, end in gaps)

    def _rows(self) -> list[Row]:
        return self.world.network.rows[self._first_row :]

    # --- what is looked at every few seconds --------------------------------------------------------------

    def look(self) -> None:
        """No leg without a record; no card in two places."""
        self.checks += 1
        if self.world.wire.cut or self.world.wire.loss:
            self._wire_bad = self.now
        for box in self.world.boxes:
            if not self._in_touch(box):
                self._out_of_touch[box] = self.now
        for row in self.world.network.held():
            self._must_be_claimed(row)

    def _in_touch(self, box: str) -> bool:
        """Whether box and controller hear each other through the broker."""
        broker = self.world.broker
        ends = [bus for client, bus in broker.sessions.items() if client == f"box-{box}" or client.startswith("contr")]
        return broker.up and not broker.slow and len(ends) == 2 and all(bus.up and not bus.stalled for bus in ends)

    def _must_be_claimed(self, row: Row) -> None:
        box = self.world.boxes[row.seat[0]]
        if not box.running or box.life is None or row.direction != "out":
            return
        module = self.world.network.modules[row.seat]
        quiet_since = max(
            [box.life.born + BOX_START_S, self.world.controller.life.born if self.world.controller.life else 0.0, row.setup, self._wire_bad + REPEAT_S, self._out_of_touch.get(box.name, 0.0)]
            + [end for _b, end in box.frozen] + [end + 70.0 for _b, end in module.faults]
        )  # fmt: skip
        claimed = self.world.rows(
            "SELECT 1 FROM open_call WHERE called_received = ? LIMIT 1", row.number
        )
        if claimed:
            self._must_follow_sender(row, quiet_since)
            return
        ended = self.world.rows("SELECT 1 FROM cdr WHERE called_received = ? LIMIT 1", row.number)
        if not ended and row.number not in self.calls:
            return
        since = max(self._unclaimed.setdefault(row.row, self.now), quiet_since)
        controller = self.world.controller
        if controller.frozen and controller.frozen[-1][1] > self.now - UNCLAIMED_S:
            return
        # It hangs up when it comes to it: behind what it does already.
        if self.now - since > UNCLAIMED_S + 2 * module.slowest_s:
            self.breach(1, f"{_seat(row.seat)} still holds {row.number}, which no record claims", row.number)

    def _must_follow_sender(self, row: Row, quiet_since: float) -> None:
        """A call that its sender has ended, while all could hear it, ends in the network too."""
        call, controller = self.calls.get(row.number), self.world.controller
        if call is None or call.by != "sender" or call.ended_at is None or row.answered is None:
            return
        troubled = [end for _begin, end in (*controller.gaps, *controller.frozen)]
        since = max([call.ended_at, quiet_since, *troubled])
        if call.ended_at >= since and self.now - call.ended_at > 2 * UNCLAIMED_S:
            self.breach(1, f"{_seat(row.seat)} still holds {row.number}, which its sender has ended", row.number)

    # --- what is counted when all is quiet ----------------------------------------------------------------

    def restless(self) -> str:
        """What keeps the rack from being idle; "" when nothing does."""
        world = self.world
        for process in world.processes:
            if not process.running:
                return f"{process.name} does not run"
        if any(call.ended_at is None for call in self.calls.values()):
            numbers = [call.number for call in self.calls.values() if call.ended_at is None]
            return f"senders still hold {', '.join(numbers[:3])}"
        held = world.network.held()
        if held:
            return f"the network still holds {held[0].number} on {_seat(held[0].seat)}"
        rows = world.rows("SELECT called_received FROM open_call")
        if rows:
            return f"{len(rows)} open rows are left ({rows[0][0]})"
        return self._not_ready() or self._not_stored()

    def _not_ready(self) -> str:
        for seat in self.world.network.modules:
            topic = f"simrack/v1/box/{seat[0]}/channel/{seat[1]}/state"
            payload = self.world.broker.retained.get(topic)
            state = json.loads(payload)["state"] if payload else "unknown"
            if state != "ready":
                return f"channel {_seat(seat)} is {state}"
        return ""

    def _not_stored(self) -> str:
        for (box, boot), events in self._events.items():
            stored = self._stored(box, boot)
            lost = sorted(set(events) - stored)
            if lost:
                return f"facts {lost[:5]} of {box} ({boot}) are not stored"
        return ""

    def _stored(self, box: str, boot: str) -> set[int]:
        rows = self.world.rows("SELECT seq FROM box_event_seen WHERE box = ? AND boot = ?", box, boot)
        return {row[0] for row in rows}

    def audit(self) -> None:
        """Hold the records against the books; all is quiet."""
        for number, call in self.calls.items():
            self._audit_call(number, call)
        self._audit_incoming()
        self._audit_events()

    def _audit_call(self, number: str, call: SenderCall) -> None:
        records = self.world.rows(
            "SELECT call, outcome, talk_network_ms, estimated, marks, answered, talk_sender_ms, sip_status FROM cdr "
            "WHERE called_received = ?", number,
        )  # fmt: skip
        seen = self.answered_by_rack[number]
        if len(records) > 1:
            self.breach(1, f"the call to {number} has {len(records)} records", number)
            return
        if not records:
            if any(status < 300 for status in seen) or any(row.number == number for row in self._rows()):
                self.breach(1, f"the call to {number} was accepted and has no record", number)
            elif seen and not seen <= {503, 482, 481, 500}:
                self.breach(1, f"the call to {number} was answered {sorted(seen)} and has no record", number)
            return
        self._audit_talk(number, call, records[0])

    def _audit_talk(self, number: str, call: SenderCall, record: tuple[Any, ...]) -> None:
        name, outcome, talk_ms, estimated = record[:4]
        rows = [row for row in self._rows() if row.number == number and row.direction == "out"]
        excused = estimated and any(self._unstorable(row, call) for row in rows)
        if call.answered_at is not None and outcome != "answered" and not excused:
            # A database that was down at the answer and stayed so until a kill knows of no answer.
            self.breach(1, f"the sender of {number} heard 200, its record says {outcome}", number)
        if estimated:
            return
        if outcome == "answered" and not any(row.answered is not None for row in rows):
            self.breach(1, f"the record of {number} says answered, the network never answered", number)
        attempts = self.world.rows("SELECT attempt, box, channel, talk_ms, part FROM attempt WHERE call = ?", name)
        for row in rows:
            told = [attempt for attempt in attempts if (attempt[1], attempt[2]) == row.seat]
            if not told and row.answered is not None:
                self.breach(1, f"the network had {number} on {_seat(row.seat)}, of which its record knows nothing", number)
            elif told and not any(self._fits(row, attempt) for attempt in told):
                said = ", ".join(f"{attempt[3]} ms" for attempt in told)
                text = f"the network counts {row.talk_s * 1000:.0f} ms for {number} on {_seat(row.seat)}, the record {said}"
                self.breach(1, text, number)
        if outcome == "answered" and len(rows) == 1:
            self._must_agree(number, talk_ms, rows[0])

    def _must_agree(self, number: str, talk_ms: int, row: Row) -> None:
        slack = TALK_MS + self._stood_still(row) * 1000
        if abs(talk_ms - row.talk_s * 1000) > slack:
            self.breach(1, f"the network counts {row.talk_s * 1000:.0f} ms for {number}, the record {talk_ms} ms", number)

    def _fits(self, row: Row, attempt: tuple[Any, ...]) -> bool:
        name, _box, _channel, talk_ms, part = attempt
        if not part or name in self._estimated:
            return True
        return bool(abs(talk_ms - row.talk_s * 1000) <= TALK_MS + self._stood_still(row) * 1000)

    def _stood_still(self, row: Row) -> float:
        """How long the box of a call, or its module, stood still at its beginning or end: no clock sees that."""
        box = self.world.boxes[row.seat[0]]
        edges = [at for at in (row.answered, row.released) if at is not None]
        module = self.world.network.modules[row.seat]
        if any(begin <= at <= end + EDGE_S for at in edges for begin, end in module.faults if begin in module.hung_at):
            # What a module doesn't say while it hangs nobody can know.
            return 1e9
        return sum(
            end - begin for begin, end in box.frozen if any(begin - EDGE_S <= at <= end + EDGE_S for at in edges)
        )

    def _audit_incoming(self) -> None:
        """Calls that came to a module and were offered have a record each."""

    def _audit_events(self) -> None:
        for (box, boot), events in self._events.items():
            stored = self._stored(box, boot)
            if not events:
                continue
            whole = set(range(1, max(stored | set(events)) + 1))
            if stored != whole:
                self.breach(6, f"facts {sorted(whole - stored)[:5]} of {box} ({boot}) were lost")
            order = self.world.rows(
                "SELECT seq FROM box_event_seen WHERE box = ? AND boot = ? ORDER BY rowid", box, boot
            )
            seqs = [row[0] for row in order]
            if seqs != sorted(seqs):
                self.breach(6, f"facts of {box} ({boot}) were stored out of order: {seqs[-8:]}")
        self._audit_parts()

    def _audit_parts(self) -> None:
        """An attempt has taken one of the parts that were told of it. There are two where a full disk made its box
        tell of it again after a restart."""
        told: dict[str, set[int]] = defaultdict(set)
        for events in self._events.values():
            for event in events.values():
                if isinstance(event.body, CallPart):
                    told[event.body.attempt].add(event.body.talk_ms)
        for attempt, talks in told.items():
            rows = self.world.rows("SELECT part, talk_ms FROM attempt WHERE attempt = ?", attempt)
            if rows and rows[0][0] and rows[0][1] not in talks:
                self.breach(6, f"attempt {attempt} has {rows[0][1]} ms, its box told of {sorted(talks)}")
            elif rows and not rows[0][0]:
                self.breach(6, f"attempt {attempt} never took the part that its box told")

    def new_stretch(self) -> None:
        """Forget what was audited."""
        self.calls.clear()
        self.answered_by_rack.clear()
        self._attempts.clear()
        self._events.clear()
        self._unclaimed.clear()
        self._estimated.clear()
        self._first_row = len(self.world.network.rows)
        self.world.disk.refused = 0
        self.world.disk.bad = [gap for gap in self.world.disk.bad if gap[1] == float("inf")]
        for process in self.world.processes:
            process.gaps = [gap for gap in process.gaps if gap[1] == float("inf")]
            process.frozen.clear()
        for module in self.world.network.modules.values():
            module.faults = [fault for fault in module.faults if fault[1] == float("inf")]
            module.hung_at.clear()
            module.slowest_s = module.late_s


@dataclass(frozen=True, slots=True)
class _Attempt:
    run: object
    iccid: str
    number: str


def _seat(seat: tuple[str, int]) -> str:
    return f"{seat[0]}/{seat[1]}"
