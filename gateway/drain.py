"""Taking channels, or the whole box, out of use without cutting off who speaks.

An order says how (now, when calls end, when convenient), what follows (restart or nothing) and a limit in time, at
which it happens whatever is on. `next_step` decides; `Drains` looks at each order once a second, because a call's
end, a quiet minute and a limit are then one kind of news. An order for a channel and one for the box may stand at
the same time; a newer one takes the place of an older one of the same thing.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

import structlog

from simrack.gateway import calls_logic as logic
from simrack.gateway.errors import CommandRefused
from simrack.gateway.module import Module
from simrack.wire.causes import Cause
from simrack.wire.channel import ChannelState, Mark
from simrack.wire.drain import LAST_CALLS_S, LEAST_LIMIT_S, LIMITS_S, MODES, MOST_LIMIT_S, QUIET_S, Mode, Then
from simrack.wire.messages import DrainInfo
from simrack.wire.ports import Clock, iso_ms

log = structlog.get_logger(__name__)
# A person who waits for the last call to end doesn't notice a second.
LOOK_S = 1.0
# Enough for the reply to leave; a person does not notice it.
STOP_DELAY_S = 0.2
# A module that was told to start anew and shows nothing of it for so long is the recovery ladder's business.
RESTART_S = 120.0
_GONE = (ChannelState.ABSENT, ChannelState.FAULT)


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asked for; `limit_s` seconds from now it happens at the latest."""

    mode: Mode
    then: Then
    limit_s: float


class Step(Enum):
    """What is due: nothing, refusing new calls, or the thing itself."""

    WAIT = auto()
    DRAIN = auto()
    ACT = auto()


def read_order(args: Mapping[str, Any], then: Then) -> Order:
    """The order in a command's arguments: `mode` and `limit_s`, both optional. Raises `CommandRefused`."""
    mode = args.get("mode", "now")
    if mode not in MODES:
        raise CommandRefused(f"mode is one of {', '.join(MODES)}")
    limit = args.get("limit_s")
    if limit is None or mode == "now":
        return Order(mode, then, LIMITS_S[mode])
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not LEAST_LIMIT_S <= limit <= MOST_LIMIT_S:
        raise CommandRefused(f"limit_s is a number of seconds from {LEAST_LIMIT_S} to {MOST_LIMIT_S}")
    return Order(mode, then, float(limit))


def next_step(order: Order, *, waited_s: float, calls: int, quiet_s: float) -> Step:
    """What is due after `waited_s`, with `calls` in progress, and none for `quiet_s`."""
    if waited_s >= order.limit_s:
        return Step.ACT
    if order.mode == "when-calls-end":
        return Step.DRAIN if calls else Step.ACT
    if not calls and quiet_s >= QUIET_S:
        return Step.ACT
    return Step.DRAIN if waited_s >= order.limit_s - LAST_CALLS_S else Step.WAIT


@dataclass(slots=True, eq=False)
class Plan:
    """An order under way. `quiet_since` is when it was first seen without a call, on the monotonic clock."""

    order: Order
    modules: tuple[Module, ...]
    since: datetime
    begun: float
    channel: int | None = None  # None: the whole box
    quiet_since: float | None = None
    draining: bool = False
    acted: bool = False
    acted_at: float = 0.0
    starts: int = 0
    work: asyncio.Task[None] | None = None

    @property
    def calls(self) -> int:
        """Calls that it waits for."""
        return sum(module.current is not None for module in self.modules)

    @property
    def info(self) -> DrainInfo:
        """As the centre is told."""
        by = self.since + timedelta(seconds=self.order.limit_s)
        return DrainInfo(mode=self.order.mode, then=self.order.then, since=self.since, by=by, draining=self.draining)


@dataclass(slots=True)
class Drains:
    """See the module. `now` is the controller's time as the box knows it; `tell` hears of the box's own order."""

    modules: Mapping[int, Module]
    clock: Clock
    now: Callable[[], datetime]
    stop: Callable[[], None]
    tell: Callable[[DrainInfo | None], None]
    _plans: dict[int | None, Plan] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Look after the orders until cancelled."""
        try:
            while True:
                await self._news.wait()
                while self._plans:
                    self.look()
                    await asyncio.sleep(LOOK_S)
                self._news.clear()
        finally:
            for plan in self._plans.values():
                if plan.work is not None:
                    plan.work.cancel()

    def order(self, order: Order, channel: int | None = None) -> dict[str, Any]:
        """Take an order for a channel, or for the box; what it will touch, for whoever asked."""
        modules = tuple(self.modules.values()) if channel is None else (self.modules[channel],)
        known = self._plans.get(channel)
        if known is not None and known.acted and known.order.then != "keep":
            raise CommandRefused("it is being restarted already")
        plan = Plan(order, modules, self.now(), self.clock.monotonic(), channel)
        calls = plan.calls
        self._plans[channel] = plan
        log.info("drain ordered", channel=channel, mode=order.mode, then=order.then, limit_s=order.limit_s, calls=calls)
        self._consider(plan)
        # One that still takes calls must not keep the marks of the order whose place it took.
        self._mark(modules)
        self._show(plan)
        self._news.set()
        return {"mode": order.mode, "then": order.then, "calls": calls, "by": iso_ms(plan.info.by)}

    def end(self, channel: int | None = None) -> dict[str, Any]:
        """Take an order back: new calls are taken again. Raises `CommandRefused` when there is none."""
        plan = self._plans.get(channel)
        if plan is None:
            raise CommandRefused("nothing is planned or drained here")
        if plan.acted and plan.order.then != "keep":
            raise CommandRefused("it is being restarted already")
        self._drop(plan)
        return {"channel": channel} if channel is not None else {}

    def look(self) -> None:
        """Do what is due."""
        for plan in tuple(self._plans.values()):
            if not plan.acted:
                self._consider(plan)
            elif self._is_over(plan):
                self._drop(plan)

    def _consider(self, plan: Plan) -> None:
        now, calls = self.clock.monotonic(), plan.calls
        if calls:
            plan.quiet_since = None
        elif plan.quiet_since is None:
            plan.quiet_since = now
        quiet_s = 0.0 if plan.quiet_since is None else now - plan.quiet_since
        step = next_step(plan.order, waited_s=now - plan.begun, calls=calls, quiet_s=quiet_s)
        if step is Step.WAIT:
            return
        if not plan.draining:
            plan.draining = True
            self._mark(plan.modules)
            self._show(plan)
        if step is Step.ACT:
            self._act(plan)

    def _act(self, plan: Plan) -> None:
        plan.acted, plan.acted_at = True, self.clock.monotonic()
        log.info("drained", channel=plan.channel, then=plan.order.then, calls_cut=plan.calls)
        match plan.order.then:
            case "restart-box":
                asyncio.get_running_loop().call_later(STOP_DELAY_S, self.stop)
            case "restart-module":
                module = plan.modules[0]
                plan.starts = module.channel.starts
                plan.work = asyncio.create_task(module.restart("restarted by a person"), name="restart-module")
            case "keep":
                for module in plan.modules:
                    if module.current is not None:
                        module.current.feed(logic.Ordered(Cause.NORMAL, "ended by a person"))

    def _is_over(self, plan: Plan) -> bool:
        """Whether the module has begun anew: until then it would take a call that the restart then cuts off."""
        if plan.work is None or not plan.work.done():
            return False
        channel = plan.modules[0].channel
        late = self.clock.monotonic() - plan.acted_at > RESTART_S
        return late or channel.starts > plan.starts or channel.state in _GONE

    def _drop(self, plan: Plan) -> None:
        if self._plans.get(plan.channel) is plan:
            del self._plans[plan.channel]
        if plan.work is not None and plan.work.done() and not plan.work.cancelled() and plan.work.exception():
            log.error("restart failed", channel=plan.channel, error=str(plan.work.exception()))
        self._mark(plan.modules)
        self._show(plan)

    def _mark(self, modules: tuple[Module, ...]) -> None:
        """Marks follow the orders: a channel drains while one of its own or one of the box does."""
        for module in modules:
            channel = module.channel
            on = any(plan.draining for key in (None, channel.number) if (plan := self._plans.get(key)) is not None)
            if on != (Mark.DRAINING in channel.marks):
                channel.mark(Mark.DRAINING, on=on)

    def _show(self, plan: Plan) -> None:
        known = self._plans.get(plan.channel)
        info = known.info if known is not None else None
        if plan.channel is None:
            self.tell(info)
        else:
            plan.modules[0].channel.show_drain(info)
