"""What a channel, a box and a site look like: messages in, words, tones and shapes out (pure).

State is fill + word + shape, never colour alone: `tone` picks fill and border (dashed = empty, hatched =
searching), `icon` the shape, `word` the text. Red is only for what a person must act on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import groupby

from simrack.controller.models import Names
from simrack.web.rack import ChannelKey, Rack
from simrack.web.text import clock_text, number_text
from simrack.wire.channel import IN_CALL, LABELS, ChannelState, Mark
from simrack.wire.drain import Mode
from simrack.wire.messages import BoxStatus, ChannelReport, DrainInfo

S = ChannelState

# tone and shape of each state; every state of the table must have its row (tests hold that).
LOOKS: dict[ChannelState, tuple[str, str]] = {
    S.READY: ("ready", "ring"),
    S.DIALLING: ("between", "dial"),
    S.ALERTING: ("between", "bell"),
    S.INCOMING: ("between", "in"),
    S.RELEASING: ("between", "end"),
    S.ACTIVE: ("speaking", "voice"),
    S.HELD: ("held", "pause"),
    S.SMS: ("message", "letter"),
    S.USSD: ("message", "hash"),
    S.STARTING: ("searching", "power"),
    S.SEARCHING: ("searching", "search"),
    S.NO_SIM: ("empty", "card"),
    S.ABSENT: ("missing", "gone"),
    S.PIN_NEEDED: ("fault", "lock"),
    S.PIN_BLOCKED: ("fault", "lock"),
    S.DENIED: ("fault", "deny"),
    S.FAULT: ("fault", "alert"),
    S.MAINTENANCE: ("drain", "tool"),
}
MARK_LABELS = {Mark.DRAINING: "Draining", Mark.DISABLED: "Disabled", Mark.RESTING: "Resting"}
LEGEND: tuple[tuple[str, str, str], ...] = (
    ("ready", "ring", "Ready"), ("speaking", "voice", "Speaking"), ("between", "bell", "Ringing"),
    ("held", "pause", "On hold"), ("message", "letter", "SMS, USSD"), ("searching", "search", "Searching"),
    ("empty", "card", "No SIM"), ("drain", "drain", "Draining"), ("missing", "gone", "Missing"),
    ("fault", "alert", "Fault"),
)  # fmt: skip

_BARS_DBM = (-109, -95, -85, -75)


# Up to so many letters fit at full size in the narrowest cell; the longest word of ours has nine.
SHORT_WORD, LONGEST_WORD = 6, 9
# The full words are in the label, for screen readers and on hover.
SHORT = {S.MAINTENANCE: "Service", S.PIN_NEEDED: "PIN", S.PIN_BLOCKED: "PUK"}
# What an unreachable channel was, in words that a cell holds.
WAS = dict.fromkeys((*IN_CALL, S.SMS, S.USSD), "was busy") | {
    S.READY: "was ready", S.NO_SIM: "no SIM", S.ABSENT: "missing", S.FAULT: "was faulty",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """One channel in the grid."""

    box: str
    channel: int
    tone: str
    icon: str
    word: str
    main: str  # the word, or the timer of a call
    since: datetime | None  # the timer's start: it ticks in the browser
    sub: str
    detail: str
    bars: int
    label: str  # for screen readers and on hover

    @property
    def width(self) -> int:
        """How many letters the narrow cell must take; 0: it does so at full size."""
        return min(len(self.main), LONGEST_WORD) if len(self.main) > SHORT_WORD else 0

    @property
    def id(self) -> str:
        return f"ch-{self.box}-{self.channel}"


@dataclass(frozen=True, slots=True)
class BoxView:
    """One box with its cells."""

    box: str
    online: bool
    since: datetime
    notes: tuple[str, ...]  # what a person should know, in amber
    calls: int
    lost_calls: int  # calls of an unreachable box: they go on there, but nobody here sees them
    channels: int
    cells: tuple[Cell, ...]
    restarting: bool = False  # a person wanted it, and it comes back by itself

    @property
    def size(self) -> str:
        """Small boxes get wide cells, which show more."""
        return "small" if self.channels <= 4 else "middle" if self.channels <= 16 else "large"


@dataclass(frozen=True, slots=True)
class SiteView:
    """The boxes of one place."""

    name: str
    title: str
    boxes: tuple[BoxView, ...]

    @property
    def calls(self) -> int:
        return sum(box.calls for box in self.boxes)

    @property
    def channels(self) -> int:
        return sum(box.channels for box in self.boxes)


def bars(signal_dbm: int | None) -> int:
    """0 to 4 bars."""
    return 0 if signal_dbm is None else sum(signal_dbm >= limit for limit in _BARS_DBM)


def plan_of(report: ChannelReport | None, names: Names) -> str:
    """The plan of the card in this channel, by its title."""
    if report is None or report.sim is None:
        return ""
    plan = names.plan_of(report.sim.iccid, report.sim.imsi)
    return names.plans.get(plan, plan)


def sites(rack: Rack, names: Names, now: datetime) -> tuple[SiteView, ...]:
    """The whole rack: sites by title, boxes by name, channels by number."""
    return tuple(
        SiteView(name, title, tuple(box_view(box.box, rack, names, now) for box in boxes))
        for (title, name), boxes in by_site(rack.boxes.values(), names)
    )


def by_site(boxes: Iterable[BoxStatus], names: Names) -> Iterable[tuple[tuple[str, str], Iterable[BoxStatus]]]:
    """((title, name) of the site, its boxes by name), by title."""
    ordered = sorted(boxes, key=lambda box: (_site(box, names), box.box))
    return groupby(ordered, key=lambda box: _site(box, names))


def _site(box: BoxStatus, names: Names) -> tuple[str, str]:
    return names.sites.get(box.site, box.site), box.site


def box_view(box: str, rack: Rack, names: Names, now: datetime, *, head_only: bool = False) -> BoxView:
    """A box as it stands, with its cells unless only its head is drawn."""
    status = rack.boxes[box]
    numbers = channels_of(box, rack)
    reports = [rack.channels.get((box, number)) for number in numbers]
    busy = sum(report is not None and report.state in IN_CALL for report in reports)
    return BoxView(
        box=box,
        online=status.online,
        since=status.at,
        notes=_notes(status, reports, busy),
        calls=busy if status.online else 0,
        lost_calls=0 if status.online else busy,
        channels=len(numbers),
        cells=() if head_only else tuple(cell((box, number), rack, names, now) for number in numbers),
        restarting=restarting(status, now),
    )


# An agent starts within seconds and its modules within a minute; later it is simply gone.
RESTART_S = 120


def restarting(status: BoxStatus, now: datetime) -> bool:
    """It went because somebody wanted it to restart, a moment ago."""
    wanted = status.drain is not None and status.drain.then == "restart-box"
    return wanted and not status.online and (now - status.at).total_seconds() < RESTART_S


def channels_of(box: str, rack: Rack) -> Sequence[int]:
    """Channels that the box has or has told of."""
    return sorted(rack.numbers.get(box, frozenset()).union(range(1, rack.boxes[box].channels + 1)))


def how_many(box: str, rack: Rack) -> int:
    """How many channels those are."""
    return _how_many(rack.numbers.get(box, frozenset()), rack.boxes[box].channels)


# Asked twice for each box of a page; most boxes of a fleet are alike.
@lru_cache(1024)
def _how_many(told: frozenset[int], channels: int) -> int:
    return len(told.union(range(1, channels + 1)))


# A box whose clock is off by more stamps its facts wrongly enough to puzzle a reader of records.
CLOCK_NOTE_MS = 500


_WHEN: dict[Mode, str] = {"now": "now", "when-calls-end": "when its calls end", "when-convenient": "when convenient"}


def drain_text(drain: DrainInfo, calls: int) -> str:
    """What is planned or under way, with the calls that are left."""
    left = f"{calls} call{'s' * (calls != 1)} left" if calls else ""
    if not drain.draining:
        what = "drain" if drain.then == "keep" else "restart"
        return f"{what} {_WHEN[drain.mode]}"
    if drain.then == "keep":
        return f"draining, {left}" if left else "drained: takes no calls"
    return f"restarts after {left}" if left else "restarts"


def _notes(status: BoxStatus, reports: Iterable[ChannelReport | None], calls: int) -> tuple[str, ...]:
    notes = [drain_text(status.drain, calls)] if status.drain is not None and status.online else []
    silent = sum(report is None for report in reports)
    if silent and status.online:
        notes.append(f"{silent} channel{'s' * (silent > 1)} missing")
    if status.outbox:
        notes.append(f"{status.outbox} facts wait")
    if status.clock_offset_ms is not None and abs(status.clock_offset_ms) > CLOCK_NOTE_MS:
        notes.append(f"clock {status.clock_offset_ms / 1000:+.1f} s")
    if status.link == "plain":
        notes.append("link without tunnel")
    return tuple(notes)


def cell(key: ChannelKey, rack: Rack, names: Names, now: datetime) -> Cell:
    """One channel as it stands."""
    report = rack.channels.get(key)
    if report is None:
        return _plain(key, "missing", "gone", "Missing", "no report", "not reported by its box")
    box = rack.boxes.get(key[0])
    if box is not None and not box.online:
        # One red header says it; the cells only tell what was there.
        was = f"was {LABELS[report.state].lower()}"
        return _plain(key, "unknown", "unknown", "Unknown", WAS.get(report.state, "not ready"), was)
    return _reported(key, report, rack, names, now)


def _plain(key: ChannelKey, tone: str, icon: str, word: str, sub: str, whole: str) -> Cell:
    label = f"{key[0]} channel {key[1]}: {word}, {whole}"
    return Cell(key[0], key[1], tone, icon, word, word, None, sub, "", 0, label)


def _reported(key: ChannelKey, report: ChannelReport, rack: Rack, names: Names, now: datetime) -> Cell:
    tone, icon = LOOKS[report.state]
    word = LABELS[report.state]
    if report.marks and report.state == S.READY:
        tone, icon, word = "drain", "drain", MARK_LABELS[report.marks[0]]
    since = report.call.connected if report.call is not None and report.state in (S.ACTIVE, S.HELD) else None
    main = clock_text((now - since).total_seconds()) if since is not None and report.state == S.ACTIVE else word_in_cell(report)
    sub = _sub(report, names)
    detail = _detail(report)
    signal = bars(report.network.signal_dbm) if report.network is not None else 0
    label = ", ".join(filter(None, (f"{key[0]} channel {key[1]}: {word}", sub, detail, _call_label(report, rack, names))))
    return Cell(
        key[0], key[1], tone, icon, word, main, since if report.state == S.ACTIVE else None, sub, detail,
        signal, label,
    )  # fmt: skip


def word_in_cell(report: ChannelReport) -> str:
    """The state in a word that fits; a mark of a ready channel stands for it."""
    if report.marks and report.state == S.READY:
        return MARK_LABELS[report.marks[0]]
    return SHORT.get(report.state, LABELS[report.state])


def _sub(report: ChannelReport, names: Names) -> str:
    if report.state in (S.FAULT, S.DENIED) and report.fault:
        return report.fault
    if report.state == S.NO_SIM:
        return "empty"
    if report.marks and report.state in IN_CALL:
        return MARK_LABELS[report.marks[0]].lower()
    return plan_of(report, names) or (report.sim.msisdn if report.sim else "")


def _detail(report: ChannelReport) -> str:
    """The second small line, for which only wide cells have room."""
    if report.call is not None:
        return number_text(report.call.number)
    if report.network is not None and report.network.operator:
        return " ".join(filter(None, (report.network.operator, report.network.technology)))
    return report.module.model if report.module is not None else ""


def _call_label(report: ChannelReport, rack: Rack, names: Names) -> str:
    call = rack.call_on((report.box, report.channel))
    return f"call of {names.senders.get(call.sender, call.sender)}" if call is not None else ""


def sims_in_service(rack: Rack) -> tuple[int, int, int]:
    """(cards registered at reachable boxes, cards known, cards resting)."""
    known = registered = resting = 0
    for box, kinds in rack.kinds.items():
        status = rack.boxes.get(box)
        online = status is not None and status.online
        for kind, count in kinds.items():
            known += kind.card * count
            resting += kind.resting * count
            registered += (online and kind.registered) * count
    return registered, known, resting
