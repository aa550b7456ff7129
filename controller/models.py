"""What the controller's rooms and the pages tell each other about calls: explanation, story, rows.

All are frozen; what is stored as JSON is a pydantic model.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from simrack.wire.messages import AtLine, MediaFigures
from simrack.wire.rights import ROLES, SCOPED


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Dropped(_Stored):
    """One candidate that fell out, for people: "lab-01 / 3" and a sentence."""

    candidate: str
    reason: str


class CheckStep(_Stored):
    """One row of the funnel: how many candidates went in, how many are left, who fell out and why."""

    check: str  # stable reason code, for instance "channel-ready"
    title: str
    went_in: int
    left: int
    dropped: tuple[Dropped, ...] = ()  # the first 20
    note: str = ""


class OrderedCandidate(_Stored):
    """One candidate that remained, in order."""

    box: str
    channel: int
    iccid: str
    plan: str
    criteria: tuple[tuple[str, str], ...] = ()  # (criterion, value) in lexicographic order
    decided_by: str = ""  # the criterion that put it before the next one
    outcome: str = ""  # "", "answered", or why the attempt failed


class Refusal(_Stored):
    """Why a call was refused, in the three languages of the field."""

    reason: str  # stable reason code, for instance "no-pattern"
    sip: int
    cause: int  # Q.850
    text: str


class Explanation(_Stored):
    """Why a call went where it went; at most 4 KB as JSON (the rest is recomputed from the version)."""

    config_version: int
    sender: str
    called_received: str
    called: str = ""  # E.164 with "+"
    calling_received: str = ""
    calling: str = ""
    pattern: str = ""
    targets: tuple[str, ...] = ()
    steps: tuple[CheckStep, ...] = ()
    order: tuple[OrderedCandidate, ...] = ()
    refusal: Refusal | None = None
    notes: tuple[str, ...] = ()


Actor = Literal["sender", "controller", "box", "module", "network"]


class LadderLine(_Stored):
    """One arrow of the signalling ladder, `ms` since the INVITE came in."""

    ms: int
    source: Actor
    target: Actor
    label: str
    attempt: int = 0


class AttemptRow(_Stored):
    """One candidate tried."""

    attempt: str
    number: int  # 1, 2, ...
    box: str
    channel: int
    iccid: str = ""
    started: datetime
    ended: datetime | None = None
    cause: int = 0
    cause_text: str = ""
    outcome: str = ""
    talk_ms: int = 0
    at_log: tuple[AtLine, ...] = ()
    media: MediaFigures | None = None


class KeptCall(_Stored):
    """What stands in the open row of an answered call beside its dialogs, so that a later run can go on with it.

    `..._ms` count from the INVITE; `monotonic` is the clock of durations when `answered_ms` was read. SDP is kept
    with one character per octet.
    """

    dialled: str = ""
    box_sip: tuple[str, int] = ("", 0)
    max_call_s: int = 0
    number: int = 1  # of the attempt that was answered
    begun_ms: int = 0
    attempt_started: datetime
    progress_ms: int | None = None
    alerting: datetime | None = None
    alerting_ms: int | None = None
    answered_ms: int = 0
    monotonic: float | None = None
    presented: str = ""
    sender_sdp: str = ""
    box_sdp: str = ""
    answer: str = ""  # the 200 to the sender, repeated until its ACK comes
    explanation: Explanation | None = None
    ladder: tuple[LadderLine, ...] = ()
    tried: tuple[AttemptRow, ...] = ()
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordRow:
    """One CDR as lists show it. Durations in ms."""

    call: str
    direction: Literal["out", "in"]
    sender: str
    calling_received: str
    calling: str
    called_received: str
    called: str
    dialled: str
    started: datetime
    alerting: datetime | None
    answered: datetime | None
    ended: datetime
    setup_ms: int
    ring_ms: int
    talk_network_ms: int
    talk_sender_ms: int
    outcome: Literal["answered", "failed", "refused", "cancelled"]
    cause: int
    cause_original: str
    side: Literal["called", "calling", "rack"]
    sip_status: int
    refusal: str
    box: str
    channel: int | None
    iccid: str
    imsi: str
    plan: str
    pattern: str
    ingress: str
    egress: str
    codec: str
    mos: float | None
    attempts: int
    estimated: bool
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Story:
    """Everything about one call."""

    record: RecordRow
    explanation: Explanation | None
    ladder: tuple[LadderLine, ...]
    attempts: tuple[AttemptRow, ...]


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Filters of the Records page; every field is optional and travels in the URL."""

    text: str = ""  # part of a number, a call id
    sender: str = ""
    plan: str = ""
    box: str = ""
    outcome: str = ""
    cause: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    channel: int | None = None
    iccid: str = ""
    pattern: str = ""
    direction: str = ""
    side: str = ""
    refusal: str = ""
    # False: `text` looks at call ids alone, for people who see no subscriber's number whole.
    numbers: bool = True
    sort: str = "-started"
    after: str = ""  # what the page before called `next` (or the one behind it `previous`)
    per_page: int = 50


@dataclass(frozen=True, slots=True)
class RecordPage:
    """One page of records.

    `total` counts up to 10,000; `more` says that there are, or may be, others. `looked_back_to`: this page ends
    there, because so many records were looked at, and `next` goes on looking.
    """

    rows: tuple[RecordRow, ...]
    total: int
    per_page: int
    more: bool = False
    next: str = ""
    previous: str = ""
    looked_back_to: datetime | None = None
    exact: bool = False  # the text is a whole number, of which all calls were found


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """One alarm; `closed` None means open."""

    id: int
    cause: str  # deduplication key, for instance "box-unreachable:lab-01"
    severity: Literal["critical", "major", "minor"]
    title: str
    advice: str
    opened: datetime
    closed: datetime | None
    count: int
    last: datetime | None = None  # when it was last said again
    acknowledged: datetime | None = None
    acknowledged_by: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class AlarmFilter:
    """Filters of the alarms' history; every field is optional and travels in the URL. Newest first."""

    state: Literal["open", "acknowledged", "closed", ""] = ""
    severity: Literal["critical", "major", "minor", ""] = ""
    kind: str = ""
    text: str = ""  # part of the title, the cause or the note
    since: datetime | None = None  # still open at, or opened after
    until: datetime | None = None  # opened before
    after: int = 0  # the last id of the page before
    per_page: int = 50


@dataclass(frozen=True, slots=True)
class AlarmPage:
    """One page of alarms; `next` is the `after` of the following one, 0 when there is none."""

    rows: tuple[AlarmRow, ...]
    next: int


@dataclass(frozen=True, slots=True)
class OpenCallRow:
    """One call in progress as the database knows it."""

    call: str
    direction: Literal["out", "in"]
    sender: str
    calling: str
    called: str
    started: datetime
    answered: datetime | None
    box: str
    channel: int | None
    plan: str


@dataclass(frozen=True, slots=True)
class Figures:
    """The tiles above the Rack page; ratios are 0..1, None where nothing was counted. `spark` = 24 values, oldest first."""

    calls_hour: int
    asr_hour: float | None
    asr_week_ago: float | None
    acd_s: float | None
    acd_week_ago_s: float | None
    pdd_ms: float | None
    pdd_p95_ms: float | None
    spark_calls: tuple[int, ...] = ()
    spark_asr: tuple[float, ...] = ()
    spark_acd: tuple[float, ...] = ()
    spark_pdd: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Names:
    """Titles of the configured things by name, so that no page shows a raw id where a name exists."""

    senders: dict[str, str] = field(default_factory=dict)
    plans: dict[str, str] = field(default_factory=dict)
    sites: dict[str, str] = field(default_factory=dict)
    sim_plans: dict[str, str] = field(default_factory=dict)  # ICCID -> plan
    imsi_plans: dict[str, str] = field(default_factory=dict)  # IMSI prefix -> plan; the longest wins
    plan_owners: dict[str, str] = field(default_factory=dict)  # plan -> its owner, "" of the rack's own
    plan_operators: dict[str, str] = field(default_factory=dict)  # plan -> operator of its agreement

    def plan_of(self, iccid: str, imsi: str) -> str:
        """The plan of a SIM by its card, else by the longest IMSI prefix; "" when none has it."""
        found = self.sim_plans.get(iccid, "")
        prefixes = (imsi[:length] for length in range(len(imsi), 0, -1))
        return found or next((self.imsi_plans[p] for p in prefixes if p in self.imsi_plans), "")


@dataclass(frozen=True, slots=True)
class Own:
    """Whose rows somebody may see: traffic of these senders, over these plans. None: no bound on that side.

    A row is seen when both sides let it through; an empty set lets nothing through.
    """

    senders: frozenset[str] | None = None
    plans: frozenset[str] | None = None

    @classmethod
    def of(cls, role: str, scope: Iterable[str], plan_owners: Mapping[str, str]) -> "Own":
        """The bounds of a role (wire.rights.SCOPED) with the names that its account was given."""
        kind, names = SCOPED.get(role), frozenset(scope)
        if role not in ROLES:
            return cls(frozenset(), frozenset())
        if kind == "senders":
            return cls(senders=names)
        if kind == "owners":
            return cls(plans=frozenset(plan for plan, owner in plan_owners.items() if owner and owner in names))
        return cls()

    @property
    def everything(self) -> bool:
        """No bound at all."""
        return self.senders is None and self.plans is None

    def sees(self, sender: str, plan: str) -> bool:
        """Whether a call of this sender over this plan is theirs."""
        return (self.senders is None or sender in self.senders) and (self.plans is None or plan in self.plans)

    def sees_plan(self, plan: str) -> bool:
        """Whether a plan, and so its SIMs and the channels that hold them, are theirs. Never a sender's."""
        return self.senders is None and (self.plans is None or plan in self.plans)

    def sees_sender(self, sender: str) -> bool:
        """Whether a sender's own record is theirs. Never an owner's."""
        return self.plans is None and (self.senders is None or sender in self.senders)
