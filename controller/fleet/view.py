"""What routing sees of the fleet: plain frozen values, taken at one instant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from simrack.wire.channel import ChannelState, Mark


@dataclass(frozen=True, slots=True)
class BoxView:
    """One box: reachable means that its birth was heard, its last will was not, and its boot id is alone."""

    box: str
    site: str
    sip: tuple[str, int] | None
    reachable: bool
    silent_s: float  # since its last message
    twin: bool = False  # a second live boot id answers to this name


@dataclass(frozen=True, slots=True)
class ChannelView:
    """One channel with its card, as last reported, plus the controller's own reservation."""

    box: str
    channel: int
    state: ChannelState
    marks: tuple[Mark, ...]
    iccid: str
    imsi: str
    registered: bool
    answer_safe: bool
    reserved: bool  # the controller has a call on it that the box may not have reported yet
    signal_dbm: int | None = None
    last_call_ended: datetime | None = None
    calls_today: int = 0
    talk_ms_today: int = 0
    talk_ms_month: int = 0
    calls_month: int = 0


@dataclass(frozen=True, slots=True)
class FleetView:
    """Boxes and channels at one instant, and the calls in progress by sender and plan."""

    boxes: Mapping[str, BoxView]
    channels: tuple[ChannelView, ...]
    sender_calls: Mapping[str, int] = field(default_factory=dict)
    plan_calls: Mapping[str, int] = field(default_factory=dict)
    sender_rate: Mapping[str, int] = field(default_factory=dict)  # calls begun in the last second
