"""The box: wires its parts together and keeps them running in one loop.

```
 controller -- SIP --> switchboard -> module/call -> driver -- AT --> module
            <- RTP --> voice ticker <------------------- PCM -------->
            <- MQTT -> uplink <- outbox <- parts and faults
```
Each task has its owner here; a module's task never raises, so only a fault of the box itself ends the group.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import structlog

from simrack.gateway import calls_logic as logic
from simrack.gateway.channel import Channel
from simrack.gateway.commands import Commands
from simrack.gateway.console import Consoles
from simrack.gateway.discovery import HotPlug, locate
from simrack.gateway.drain import Drains
from simrack.gateway.figures import Figures, Sources, Tally
from simrack.gateway.host import Host, nothing_known
from simrack.gateway.journal import Journal
from simrack.gateway.module import Module
from simrack.gateway.outbox import Outbox
from simrack.gateway.ports import Hands, Locator, NoHands, NoPace, Opener, Pace, Sound, Tools
from simrack.gateway.settings import BoxSettings, check_link
from simrack.gateway.switchboard import Switchboard
from simrack.gateway.uplink import Self, Uplink, will
from simrack.sip.legs import IncomingLeg
from simrack.sip.ports import Address, CallStack
from simrack.sip.stack import Admission, SipStack
from simrack.wire.causes import Cause
from simrack.wire.logship import LogShip
from simrack.wire.messages import DrainInfo, FaultPart
from simrack.wire.metrics import MetricsPage
from simrack.wire.mqtt import Bus
from simrack.wire.ports import Clock, Ids
from simrack.wire.sections import parse_address

log = structlog.get_logger(__name__)

# Calls get this long to be released on both sides when the box stops; +CHUP needs a second or two.
STOP_S = 10.0
# An INVITE may overtake the new controller's first word, which takes another way; a controller needs longer than
# this from its start to its first call.
OVERTAKEN_S = 1.0
# A BYE costs 5 ms of the loop. All at once they would hold up the modules' own word of the release, and talk time.
APART_S = 0.01
# For the same reason what other BYEs wait in the socket is read in small portions, with the modules' ports in between.
READ_SIP_FOR_S = 0.01
# How often the box asks itself whether it still has a controller.
ALONE_CHECK_S = 30.0

MakeBus = Callable[[str, tuple[str, bytes]], Bus]
#: Work beside the calls that runs as long as the box does, for instance the voice ticker.
Background = Callable[[], Any]


class MakeStack(Protocol):
    """Makes the SIP stack; the arguments are those of `SipStack`."""

    def __call__(
        self, *, listen: Address, on_invite: Callable[[IncomingLeg], None], clock: Clock, ids: Ids,
        trusted: Callable[[Address], bool], admit: Callable[[Address], Admission],
        hears: Callable[[Address], bool] = ..., read_for_s: float = ...,
    ) -> CallStack: ...  # fmt: skip


class Watcher(Protocol):
    """Tells of plugged modules until cancelled."""

    async def run(self) -> None:
        """Listen until cancelled."""


@dataclass(slots=True)
class Box:
    """One box process. `strict` makes illegal channel moves raise (tests)."""

    settings: BoxSettings
    clock: Clock
    ids: Ids
    make_bus: MakeBus
    sound: Sound
    opener: Opener
    background: tuple[Background, ...] = ()
    pace: Pace = field(default_factory=NoPace)
    strict: bool = False
    software: str = "simrack"
    make_stack: MakeStack = SipStack
    locate: Locator = locate
    hands: Hands = field(default_factory=NoHands)
    host: Host = nothing_known
    #: Sends log lines to the control room; none where they are nobody's (a simulation, tests).
    ship: Callable[[str, str, Bus, Clock], LogShip] | None = None
    watch_plugs: Callable[[Callable[[], None]], Watcher] = HotPlug
    modules: dict[int, Module] = field(default_factory=dict)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _group: asyncio.TaskGroup | None = None
    _calls: set[asyncio.Task[None]] = field(default_factory=set)
    _uplink: Uplink | None = None
    _switchboard: Switchboard | None = None

    def stop(self) -> None:
        """End all calls, then `run`."""
        self._stop.set()

    async def run(self, ready: Callable[[Mapping[str, Any]], None]) -> None:
        """Serve until stopped; `ready` is called once INVITEs are taken.

        Raises:
            UserError: a setting, the folder or a port can't be used.
        """
        check_link(self.settings)
        outbox = await Outbox.open(self.settings.box, self.settings.data, self.clock, self.ids)
        try:
            await self._run(outbox, ready)
        finally:
            await outbox.close()

    async def _run(self, outbox: Outbox, ready: Callable[[Mapping[str, Any]], None]) -> None:
        controller = parse_address(self.settings.sip.controller)
        stack = self.make_stack(
            listen=parse_address(self.settings.sip.listen),
            on_invite=self._invited,
            clock=self.clock,
            ids=self.ids,
            # The box serves only the controller; whatever comes from elsewhere is dropped unanswered.
            hears=lambda source: source == controller,
            trusted=lambda source: source == controller,
            admit=lambda _source: Admission.ACCEPT,
            read_for_s=READ_SIP_FOR_S,
        )
        await stack.start()
        try:
            address = f"{stack.address[0]}:{stack.address[1]}"
            await self._serve(outbox, stack, controller, address, ready)
        finally:
            await stack.stop()

    async def _serve(
        self,
        outbox: Outbox,
        stack: CallStack,
        controller: tuple[str, int],
        address: str,
        ready: Callable[[Mapping[str, Any]], None],
    ) -> None:
        box = self.settings.box
        bus = self.make_bus(f"box-{box}", will(box, outbox.boot, self.clock.utc()))
        channels = tuple(self._channel(row.channel, outbox) for row in self.settings.module)
        drains = Drains(self.modules, self.clock, self._now, self.stop, self._show_drain)
        consoles = Consoles(box, bus, self.clock, self._now)
        uplink = Uplink(
            me=Self(box, self.settings.site, address, self.software, self.settings.link),
            bus=bus,
            outbox=outbox,
            channels=channels,
            clock=self.clock,
            actions=Commands(self.modules, outbox, drains, consoles, self.stop, self.ids).table(),
            on_new_controller=self.end_unclaimed,
            host=self.host,
        )
        tally = Tally(uplink)
        limit_s = self.settings.calls.max_call_s
        journal = Journal(outbox, tally, self.clock, limit_s, frozenset(channel.number for channel in channels))
        tools = Tools(
            settings=self.settings,
            clock=self.clock,
            ids=self.ids,
            facts=tally,
            attempts=journal,
            sound=self.sound,
            locate=self.locate,
            opener=self.opener,
            dial=stack.dial,
            controller=controller,
            hands=self.hands,
            pace=self.pace,
            overhear=consoles.heard,
        )
        for row, channel in zip(self.settings.module, channels, strict=True):
            self.modules[row.channel] = Module(row, channel, tools)
        self._uplink, self._switchboard = uplink, Switchboard(tools, self.modules)
        figures = Figures(Sources(self.modules, tally, self._switchboard.attempts, self.pace, outbox))
        if outbox.set_aside:
            await uplink.put(FaultPart(channel=0, reason=f"corrupt file set aside as {outbox.set_aside}"))
        async with self._metrics(figures) as page, asyncio.TaskGroup() as group:
            self._group = group
            ship = self.ship(f"box-{box}", outbox.boot, bus, self.clock).run if self.ship is not None else None
            services = (
                *((ship,) if ship is not None else ()),
                bus.run, uplink.run, journal.run, drains.run, consoles.run, self._watch_alone, self.watch_plugs(self._plugged).run,
                *self.background,
            )  # fmt: skip
            tasks = [group.create_task(work()) for work in services]
            tasks += [group.create_task(module.run()) for module in self.modules.values()]
            ready({"ready": True, "box": box, "sip": address, **page})
            await self._stop.wait()
            await self._wind_down(uplink)
            for task in tasks:
                task.cancel()
        self._group = None

    @contextlib.asynccontextmanager
    async def _metrics(self, figures: Figures) -> AsyncIterator[dict[str, str]]:
        """Serve the page where the settings want one; its address for the readiness line."""
        if not self.settings.metrics.listen:
            yield {}
            return
        page = MetricsPage(figures.registry, parse_address(self.settings.metrics.listen))
        address = await page.start()
        try:
            yield {"metrics": address}
        finally:
            await page.stop()

    def _channel(self, number: int, outbox: Outbox) -> Channel:
        marks = outbox.marks.get(number, frozenset())
        return Channel(self.settings.box, number, self.clock, self._changed, self.strict, marks=marks)

    def _now(self) -> datetime:
        """The controller's time where it was heard: whoever reads a moment of ours has that clock."""
        told = self._uplink.controller_time if self._uplink is not None else None
        return told or self.clock.utc()

    def _show_drain(self, drain: DrainInfo | None) -> None:
        if self._uplink is not None:
            self._uplink.show_drain(drain)

    def _changed(self, channel: Channel) -> None:
        if self._uplink is not None:
            self._uplink.channel_changed(channel)

    def _plugged(self) -> None:
        for module in self.modules.values():
            module.wake()

    def _invited(self, leg: IncomingLeg) -> None:
        if self._group is None or self._switchboard is None:
            leg.reject(503, Cause.TEMPORARY_FAILURE, "the box is starting or stopping")
            return
        task = self._group.create_task(self._guarded(leg, self._switchboard))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _guarded(self, leg: IncomingLeg, switchboard: Switchboard) -> None:
        try:
            await switchboard.take(leg)
        except Exception:
            # A fault in one call's beginning must not end the box and all its calls.
            log.exception("INVITE failed", box=self.settings.box)
            leg.hang_up(Cause.TEMPORARY_FAILURE, "internal error")

    # --- endings ------------------------------------------------------------------------------------------

    def _busy(self) -> list[Module]:
        return [module for module in self.modules.values() if module.current is not None]

    def _order_all(self, event: logic.Event) -> list[Module]:
        busy = self._busy()
        for module in busy:
            if module.current is not None:
                module.current.feed(event)
        return busy

    async def _order_in_turn(self, event: logic.Event) -> list[Module]:
        """As `_order_all`, one after the other."""
        busy = self._busy()
        for module in busy:
            if module.current is not None:
                module.current.feed(event)
                await asyncio.sleep(APART_S)
        return busy

    async def _wind_down(self, uplink: Uplink) -> None:
        if self._switchboard is not None:
            self._switchboard.closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                # Again until nobody is busy: a call may come in at a module while the others end.
                while busy := await self._order_in_turn(logic.Ordered(Cause.TEMPORARY_FAILURE, "the box stops")):
                    for module in busy:
                        await module.idle()
        await uplink.farewell()
        for task in self._calls:
            # Their parts come from the journal, at the next start.
            log.error("a call did not end in time", box=self.settings.box, task=task.get_name())
            task.cancel()

    def end_unclaimed(self, gone_at: float | None) -> None:
        """The controller was restarted: calls whose INVITE died with it go, those that it answered are adopted."""
        before = self.clock.monotonic() - OVERTAKEN_S
        calls = [module.current for module in self._busy() if module.current is not None]
        # A box that was cut off hears of the new controller late, and may have calls of it by then.
        run = self._uplink.controller if self._uplink is not None else ""
        orphans = [
            call for call in calls
            if call.invited_before(before) and not call.answered_before(gone_at) and not (run and call.ticket.run == run)
        ]  # fmt: skip
        for call in orphans:
            call.feed(logic.Ordered(Cause.TEMPORARY_FAILURE, "the controller was restarted"))
        if orphans:
            log.warning("new controller: unanswered calls ended", box=self.settings.box, calls=len(orphans))

    async def _watch_alone(self) -> None:
        while True:
            await asyncio.sleep(ALONE_CHECK_S)
            self.end_if_alone()

    def end_if_alone(self) -> None:
        """architecture.md: a box that has heard no controller for its configured time ends its calls."""
        if self._uplink is None or self._uplink.silent_s() < self.settings.calls.alone_hours * 3600:
            return
        busy = self._order_all(logic.Expired(logic.Timer.ALONE))
        if busy:
            log.warning("no controller: calls ended", box=self.settings.box, calls=len(busy))
