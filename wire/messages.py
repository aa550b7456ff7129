"""Every message that crosses MQTT, as pydantic models; `asyncapi.py` renders them.

Unknown fields are ignored and an unknown version is refused, so that boxes and controller may differ by
one release. Times are aware UTC; durations are integers in ms and were measured on a monotonic clock.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simrack.wire.channel import ChannelState, Mark
from simrack.wire.drain import Mode, Then
from simrack.wire.errors import BadMessage, UnknownVersion

VERSION = 1

BoxId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Side = Literal["called", "calling", "rack"]
#: Names of processes on the Logs page: `controller`, `web`, `box-lab-01`.
PROCESS = r"^[a-z0-9][a-z0-9-]{0,59}$"


class Part(BaseModel):
    """A value inside a message."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Message(Part):
    """Anything that is the payload of a topic."""

    v: int = VERSION

    def encode(self) -> bytes:
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def decode(cls, payload: bytes | bytearray | str) -> Self:
        """Parse a payload.

        Raises:
            UnknownVersion: the sender speaks another message version.
            BadMessage: the payload is not this message; the text names the field.
        """
        try:
            message = cls.model_validate_json(payload)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "payload"
            raise BadMessage(f"{cls.__name__}: {where}: {first['msg']}") from error
        if message.v != VERSION:
            raise UnknownVersion(f"{cls.__name__}: version {message.v}, this release speaks {VERSION}")
        return message


class Reported(Message):
    """State: the newest wins, by (boot, seq); a receiver drops older ones."""

    boot: str
    seq: int = Field(ge=0)
    at: datetime


class DrainInfo(Part):
    """A person wants this out of use: how, what follows, and until when at the latest (the controller's clock)."""

    mode: Mode
    then: Then
    since: datetime
    by: datetime
    #: No new calls are taken any more; False while "when convenient" still waits for a quiet while.
    draining: bool = True


class HostFigures(Part):
    """The box's computer as it stands; None: it can't tell."""

    disk_free_mb: int | None = None  # of the folder that holds the box's file
    disk_mb: int | None = None
    memory_free_mb: int | None = None
    memory_mb: int | None = None
    load: float | None = None  # processes that want to run, mean of a minute, per processor
    temperature_c: float | None = None  # of the hottest sensor
    sessions: int = 0  # with the broker, since the process began


class BoxStatus(Reported):
    """Birth, life and last will of a box (`online` false)."""

    box: BoxId
    online: bool
    site: str = ""
    sip: str = ""  # "address:port" where the box takes INVITEs
    software: str = ""
    channels: int = 0
    uptime_s: int = 0
    clock_offset_ms: int | None = None
    outbox: int = 0  # facts that wait for the controller
    link: Literal["loopback", "tunnel", "plain"] = "loopback"
    trouble: str = ""  # why its file can't be written now: new calls are refused
    drain: DrainInfo | None = None  # of the whole box
    host: HostFigures | None = None


class ModuleInfo(Part):
    """What the module says of itself; the IMEI is read, never written."""

    imei: str = ""
    manufacturer: str = ""
    model: str = ""
    firmware: str = ""
    driver: str = ""
    answer_safe: bool = False  # the family has a proven answer signal


class SimInfo(Part):
    """The card in the module."""

    iccid: str
    imsi: str = ""
    msisdn: str = ""


# 27.007 7.2 <stat>: 1 home, 5 roaming.
_REGISTERED = (1, 5)


class NetworkInfo(Part):
    """Registration and signal; `stat` is the <stat> of 27.007 +CREG."""

    stat: int = 0
    operator: str = ""
    technology: str = ""
    roaming: bool = False
    signal_dbm: int | None = None
    cell: str = ""
    reject_cause: str = ""

    @property
    def registered(self) -> bool:
        """Whether the card is: at home or roaming (27.007 7.2)."""
        return self.stat in _REGISTERED


class CallInfo(Part):
    """The call that a channel carries."""

    call: str
    attempt: str
    direction: Literal["out", "in"]
    number: str
    since: datetime
    connected: datetime | None = None


class RungFigures(Part):
    """One rung of the recovery ladder since the box started: tries, how many of them brought the module back."""

    rung: str
    tries: int = 0
    cured: int = 0
    failed: int = 0


class RecoveryInfo(Part):
    """What is and was done to bring a module back; `failed` names the rungs that did not help in this trouble."""

    rung: str = ""  # what is being tried now
    failed: tuple[str, ...] = ()
    out: bool = False  # given up: out of service
    figures: tuple[RungFigures, ...] = ()


class ChannelReport(Reported):
    """Everything that the centre needs to know of one channel."""

    box: BoxId
    channel: int = Field(ge=1)
    state: ChannelState
    since: datetime
    marks: tuple[Mark, ...] = ()
    module: ModuleInfo | None = None
    sim: SimInfo | None = None
    network: NetworkInfo | None = None
    call: CallInfo | None = None
    fault: str = ""
    recovery: RecoveryInfo | None = None
    drain: DrainInfo | None = None  # of this channel alone


class FlowFigures(Part):
    """One direction of a call's voice."""

    packets: int = 0
    octets: int = 0
    lost: int = 0
    late: int = 0
    concealed: int = 0
    jitter_ms: float = 0.0
    level_dbfs: float | None = None
    levels: tuple[int, ...] = ()  # dBFS once a second, at most 300 values
    bursts: int = 0  # runs of made-up voice
    longest_burst_ms: int = 0
    dead_air: float = 0.0  # share of the talk without voice for 2 s and more
    delay_ms: float = 0.0  # that the box adds in this direction, at the end


class MediaFigures(Part):
    """Voice of one attempt as the box measured it."""

    codec: str = ""
    to_network: FlowFigures = FlowFigures()
    from_network: FlowFigures = FlowFigures()
    drift_ppm: float = 0.0
    mos: float | None = None
    strangers: int = 0  # RTP packets from sources that have no part in the call
    #: "" or what was wrong since the answer: `no-media`, `one-way:no-rtp`, `one-way:silent-rtp`, `...-pcm`.
    trouble: str = ""


class AtLine(Part):
    """One line at the module's port: `ms` since the INVITE reached the box; `>` sent, `<` received."""

    ms: int
    way: Literal[">", "<"]
    text: str


class ConsoleLine(Part):
    """One line at a module's port as it passes; secrets are masked by the box."""

    at: datetime
    way: Literal[">", "<"]
    text: str


class ConsoleLines(Message):
    """What passed at a module's port while somebody watches; never kept."""

    box: BoxId
    channel: int = Field(ge=1)
    until: datetime  # then the box stops sending
    left_out: int = 0  # lines that were too many for one message
    lines: tuple[ConsoleLine, ...] = ()


class CallPart(Part):
    """The box's part of a record: what the module and the network did for one attempt."""

    kind: Literal["call-part"] = "call-part"
    call: str
    attempt: str
    channel: int
    iccid: str = ""
    imsi: str = ""
    imei: str = ""
    direction: Literal["out", "in"] = "out"
    number: str = ""
    invited: datetime
    dialled: datetime | None = None
    alerting: datetime | None = None
    connected: datetime | None = None
    released: datetime
    talk_ms: int = 0  # connect to release at the module
    ring_ms: int = 0  # dial to connect or release
    dial_delay_ms: int = 0  # INVITE at the box to the dial command
    cause: int  # Q.850
    cause_text: str = ""  # the module's own words
    side: Side
    #: The box was restarted in the call: times come from its journal, and what it missed is a guess.
    estimated: bool = False
    #: An incoming call that the box refused by itself and never offered: the record has nothing but this part.
    turned_away: bool = False
    early_media: bool = False
    media: MediaFigures = MediaFigures()
    at_log: tuple[AtLine, ...] = ()


class FaultPart(Part):
    """A module or channel went wrong, or came back (`cleared`)."""

    kind: Literal["fault"] = "fault"
    channel: int
    reason: str
    cleared: bool = False
    #: The rung of the recovery ladder that did not help; "" for the trouble itself.
    rung: str = ""


class BoxEvent(Message):
    """One fact; (box, boot, seq) is its id, and the controller stores it once."""

    box: BoxId
    boot: str
    seq: int = Field(ge=1)
    at: datetime
    offset_ms: int | None = None
    body: Annotated[CallPart | FaultPart, Field(discriminator="kind")]


class AckRange(Part):
    """Sequences `first` to `last` of one boot are stored."""

    boot: str
    first: int
    last: int


class EventAck(Message):
    """The outbox may delete these."""

    box: BoxId
    ranges: tuple[AckRange, ...]


class Command(Message):
    """Something to do. Refused after `deadline`; doing it twice under one `id` does it once."""

    id: str
    action: str
    actor: str
    deadline: datetime
    reply_to: str = ""
    args: dict[str, Any] = Field(default_factory=dict)


class CommandReply(Message):
    """What became of a command."""

    id: str
    ok: bool
    error: str = ""
    result: dict[str, Any] = Field(default_factory=dict)


class ControllerStatus(Reported):
    """Birth, life and last will of the controller."""

    online: bool
    sip: str = ""
    config_version: int = 0
    software: str = ""


class ControllerTime(Message):
    """The controller's wall clock, for the boxes' offset."""

    boot: str
    seq: int
    at: datetime


class LiveCall(Reported):
    """A call in progress as pages show it; `state` "ended" takes it off the page."""

    call: str
    state: Literal["routing", "trying", "ringing", "speaking", "releasing", "ended"]
    sender: str
    calling: str = ""
    called: str = ""
    started: datetime
    answered: datetime | None = None
    box: str = ""
    channel: int | None = None
    plan: str = ""
    attempt: int = 0
    listened: bool = False  # a person hears or has heard it


class AlarmSummary(Reported):
    """How many alarms are open and in nobody's hand, worst first; `acknowledged` are in somebody's."""

    critical: int = 0
    major: int = 0
    minor: int = 0
    acknowledged: int = 0


class LogLine(Part):
    """One log line; `seq` counts the lines of its process."""

    seq: int
    at: datetime
    level: str
    event: str
    box: str = ""
    channel: str = ""
    call: str = ""
    sender: str = ""
    sim: str = ""
    fields: dict[str, str] = Field(default_factory=dict)


class LogLines(Message):
    """What a process logged since its last message; without lines it says that it is there, and its level."""

    process: str = Field(pattern=PROCESS)
    boot: str
    level: str
    level_until: datetime | None = None  # then it is the usual one again
    lines: tuple[LogLine, ...] = ()


class LogWish(Message):
    """Another level for a while, or lines that were sent before once more."""

    level: Literal["debug", "info", "warning", "error"] | None = None
    seconds: int = Field(default=3600, ge=1, le=3600)
    recent: int = Field(default=0, ge=0, le=1000)
    actor: str = ""


class ConfigChanged(Reported):
    """The configuration version in force."""

    version: int


MESSAGES: tuple[type[Message], ...] = (
    BoxStatus, ChannelReport, BoxEvent, EventAck, Command, CommandReply, ControllerStatus, ControllerTime,
    LiveCall, AlarmSummary, ConfigChanged, ConsoleLines, LogLines, LogWish,
)  # fmt: skip


