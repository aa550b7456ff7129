"""One channel: its state, moved in one place along the table of `wire/channel.py`, and what it reports."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from simrack.drivers.modems.base import CardState
from simrack.gateway.errors import IllegalMove
from simrack.wire.channel import IN_CALL, ChannelState, Mark, allowed
from simrack.wire.messages import (
    CallInfo,
    ChannelReport,
    DrainInfo,
    ModuleInfo,
    NetworkInfo,
    RecoveryInfo,
    SimInfo,
)
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)
S = ChannelState

# 27.007 7.2 <stat>: 3 is denied; other cards that are not registered are on their way or without service.
_DENIED = 3
_BY_CARD = {
    CardState.ABSENT: S.NO_SIM,
    CardState.FAILURE: S.NO_SIM,
    CardState.PIN: S.PIN_NEEDED,
    CardState.PUK: S.PIN_BLOCKED,
    CardState.BUSY: S.SEARCHING,
}


def resting_state(card: CardState | None, network: NetworkInfo | None) -> ChannelState:
    """The state of a served channel that has no call, from its card and its registration."""
    if card is None:
        return S.STARTING
    if card is not CardState.READY:
        return _BY_CARD[card]
    if network is None:
        return S.SEARCHING
    if network.registered:
        return S.READY
    return S.DENIED if network.stat == _DENIED else S.SEARCHING


def refusal(channel: "Channel", iccid: str) -> str:
    """Why this channel can't take a call for card `iccid` now: "taken", "not-ready", "other-sim", or ""."""
    if channel.state in IN_CALL or channel.reserved:
        return "taken"
    if channel.state is not S.READY or channel.marks:
        return "not-ready"
    if channel.sim is None or channel.sim.iccid != iccid:
        return "other-sim"
    return ""


@dataclass(slots=True)
class Channel:
    """What the box knows of one channel. Only `set_state` moves it; `changed` is called after each change.

    With `strict` an illegal move raises (tests); without it is logged, counted and made: in the field the
    world is right and the table is not.
    """

    box: str
    number: int
    clock: Clock
    changed: Callable[["Channel"], None]
    strict: bool = False
    state: ChannelState = S.ABSENT
    since: datetime = field(init=False)
    marks: frozenset[Mark] = frozenset()
    reserved: bool = False
    module: ModuleInfo | None = None
    card: CardState | None = None
    sim: SimInfo | None = None
    network: NetworkInfo | None = None
    call: CallInfo | None = None
    fault: str = ""
    recovery: RecoveryInfo | None = None
    drain: DrainInfo | None = None
    starts: int = 0  # how often a module was begun here
    illegal_moves: int = 0

    def __post_init__(self) -> None:
        self.since = self.clock.utc()

    def set_state(self, state: ChannelState, why: str = "") -> None:
        """Move to `state`; staying is no move. Raises IllegalMove when `strict`."""
        old = self.state
        if state is old:
            return
        if not allowed(old, state):
            self._illegal(old, state)
        self.state, self.since = state, self.clock.utc()
        if state is not S.FAULT:
            self.fault = ""
        log.info("channel moved", box=self.box, channel=self.number, old=old.value, new=state.value, why=why)
        self.changed(self)

    def _illegal(self, old: ChannelState, new: ChannelState) -> None:
        self.illegal_moves += 1
        log.error("illegal move", box=self.box, channel=self.number, old=old.value, new=new.value)
        if self.strict:
            raise IllegalMove(f"channel {self.number}: {old} -> {new}")

    def rest(self, why: str = "") -> None:
        """Go to the state that card and network give, unless a call or work on the channel is in the way."""
        goal = resting_state(self.card, self.network)
        if goal is self.state:
            return
        if not allowed(self.state, goal) and allowed(self.state, S.SEARCHING):
            self.set_state(S.SEARCHING, why)
        self.set_state(goal, why)

    def card_is(self, card: CardState, sim: SimInfo | None) -> None:
        """Note what the module said of its card."""
        self.card = card
        self.sim = sim if card is CardState.READY else None
        self._settle("card")

    def network_is(self, network: NetworkInfo) -> None:
        """Note registration and signal."""
        if network == self.network:
            return
        self.network = network
        self._settle("network")

    def _settle(self, why: str) -> None:
        before = self.state
        if before not in IN_CALL and before not in (S.USSD, S.SMS, S.MAINTENANCE, S.ABSENT, S.FAULT):
            self.rest(why)
        if self.state is before:
            self.changed(self)

    def begin(self) -> None:
        """A module is being started here; nothing of the one before holds any more."""
        self.module = self.card = self.sim = self.network = None
        self.starts += 1
        self.set_state(S.STARTING)

    def gone(self, state: ChannelState, reason: str) -> None:
        """The module vanished (ABSENT) or does not work (FAULT)."""
        self.module = self.card = self.sim = self.network = None
        self.set_state(state, reason)
        self.fault = reason
        self.changed(self)

    def carry(self, call: CallInfo | None) -> None:
        """Show the call that runs here, or none."""
        self.call = call
        self.changed(self)

    def mark(self, mark: Mark, *, on: bool) -> None:
        """Put a mark beside the state, or take it off."""
        self.marks = self.marks | {mark} if on else self.marks - {mark}
        log.info("channel marked", box=self.box, channel=self.number, mark=mark.value, on=on)
        self.changed(self)

    def show_drain(self, drain: DrainInfo | None) -> None:
        """Show what is planned for it, or nothing."""
        self.drain = drain
        self.changed(self)

    def report(self, boot: str, seq: int) -> ChannelReport:
        """The retained message of this channel."""
        return ChannelReport(
            boot=boot,
            seq=seq,
            at=self.clock.utc(),
            box=self.box,
            channel=self.number,
            state=self.state,
            since=self.since,
            marks=tuple(sorted(self.marks)),
            module=self.module,
            sim=self.sim,
            network=self.network,
            call=self.call,
            fault=self.fault,
            recovery=self.recovery,
            drain=self.drain,
        )
