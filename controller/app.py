"""The controller: its parts, wired, in the order in which they may start.

The database is migrated before anything reads it, the configuration is in force before a call can ask, the
boxes are heard before SIP opens, and the ready line comes last. It stops the other way round: no new calls,
calls in progress ended with their records, farewell, end.
"""

import asyncio
import contextlib
import fcntl
import ipaddress
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import structlog

from simrack.controller.alarms.board import AlarmBoard
from simrack.controller.alarms.deliver import Secrets
from simrack.controller.alarms.desk import AlarmDesk
from simrack.controller.alarms.metrics import AlarmFigures
from simrack.controller.alarms.thresholds import FreeDisk, free_share
from simrack.controller.alarms.traffic import Traffic
from simrack.controller.alarms.watch import Watch
from simrack.controller.audit.actors import Actors
from simrack.controller.audit.gate import Gate
from simrack.controller.audit.keeper import EVERY_S, Keeper
from simrack.controller.calls.banfile import BanFile
from simrack.controller.calls.commands import (
    MOST_TOGETHER,
    Action,
    Args,
    CommandDesk,
    CommandRefused,
    names_of,
    text_of,
)
from simrack.controller.calls.desk import EARLIER_S, Desk
from simrack.controller.calls.guard import Guard
from simrack.controller.calls.listening import Listening
from simrack.controller.calls.metrics import Metrics
from simrack.controller.calls.ports import LeftCall
from simrack.controller.calls.resumed import resumable
from simrack.controller.calls.services import CallLimits, Feed, Services
from simrack.controller.calls.strays import Strays
from simrack.controller.config.desk import ConfigDesk, Surroundings
from simrack.controller.config.files import Configuration, import_file
from simrack.controller.config.rows import EMPTY
from simrack.controller.config.samples import CallSamples
from simrack.controller.config.taking import guard_limits, prepared, trace_mode
from simrack.controller.fleet.history import recent_keys, usage_from_records
from simrack.controller.fleet.link import FleetLink, will
from simrack.controller.fleet.state import Fleet
from simrack.controller.keeping.schedule import BackupSchedule
from simrack.controller.routing.current import Routing
from simrack.controller.routing.decision import CallFacts, read_over
from simrack.controller.routing.table import RoutingTable
from simrack.controller.settings import ControllerSettings
from simrack.controller.store import upkeep
from simrack.controller.store.audit import AuditQueries
from simrack.controller.store.migrate import Migrated, migrate
from simrack.controller.store.queries import Queries
from simrack.controller.store.retention import Retention
from simrack.controller.store.writer import Writer
from simrack.controller.tracing.export import send_trace
from simrack.controller.tracing.keeper import TraceKeeper
from simrack.sip.digest import Digest
from simrack.sip.legs import DialogIds, IncomingLeg, Invite, Leg, Rejection
from simrack.sip.ports import Address, CallStack, Door
from simrack.sip.stack import Admission, SipStack
from simrack.sip.trace import Tapes
from simrack.wire import tuning
from simrack.wire.causes import Cause
from simrack.wire.errors import UserError
from simrack.wire.logship import LogShip
from simrack.wire.metrics import MetricsPage
from simrack.wire.mqtt import Bus, Commander, MqttBus, Stamp
from simrack.wire.ports import Clock, Ids, SystemClock, SystemIds
from simrack.wire.sections import parse_address

log = structlog.get_logger(__name__)
#: A broker on this machine answers at once; without one the controller serves, and refuses for lack of boxes.
BROKER_WAIT_S = 10.0
#: Calls get this long to end with their records; `simrack up` waits longer than this before it kills.
STOP_WITHIN_S = 6.0
#: As long as the settings allow (`sip.ban_hours`).
MOST_BAN_HOURS = 24 * 365
MakeBus = Callable[[str, tuple[str, bytes]], Bus]


class LastingStack(CallStack, Protocol):
    """The SIP stack as the controller uses it: dialogs outlive a run."""

    def adopt(self, dialog: DialogIds, answer: str = "") -> Leg:
        """A connected leg from stored identifiers."""

    def release(self, dialog: DialogIds, cause: int, text: str = "") -> None:
        """Send a BYE from stored identifiers."""


class MakeStack(Protocol):
    """Makes the SIP stack; the arguments are those of `SipStack`."""

    def __call__(
        self, *, listen: Address, on_invite: Callable[[IncomingLeg], None], clock: Clock, ids: Ids,
        trusted: Callable[[Address], bool], admit: Callable[[Address], Admission],
        suspect: Callable[[Address, str], None] | None = None,
        hears: Callable[[Address], bool] = ..., door: Door | None = None, tapes: Tapes | None = None,
    ) -> LastingStack: ...  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parts:
    """What reaches outside the process, as a person may replace it: a simulation has no sockets and no threads."""

    make_stack: MakeStack = SipStack
    make_store: Callable[[str, Clock, str], Writer] = Writer
    migrate: Callable[[str, Clock], Migrated] = migrate
    #: Free space of the data folder's disk in percent; a simulation has no disk.
    free_disk: Callable[[Path], float] | None = free_share
    #: Whether log lines go to the control room; a simulation's are nobody's.
    ship_logs: bool = False
    #: How often acts of the control room are looked for, in s; a simulation has none and lives through years.
    acts_every_s: float = EVERY_S


class Controller:
    """One controller process."""

    def __init__(
        self,
        settings: ControllerSettings,
        clock: Clock,
        ids: Ids,
        make_bus: MakeBus | None = None,
        software: str = "",
        limits: CallLimits | None = None,
        parts: Parts | None = None,
    ) -> None:
        self.settings, self.clock, self.ids, self.software = settings, clock, ids, software
        self.parts = parts or Parts()
        self.make_bus = make_bus or (lambda name, last: MqttBus(settings.mqtt.url, name, will=last))
        self.limits = limits or CallLimits()
        self.stopping = asyncio.Event()
        self.handing_over = False

    def stop(self) -> None:
        """End soon, in order, and all calls with their records."""
        self.stopping.set()

    def hand_over(self) -> None:
        """End soon, and leave the answered calls to the next run."""
        self.handing_over = True
        self.stopping.set()

    async def run(self, ready: Callable[[dict[str, Any]], None]) -> None:
        """Serve until `stop`; `ready` is told once, with the addresses.

        Raises:
            UserError: a setting, the configuration, the database or a port can't be used.
        """
        boot, url = self.ids.token(4), self.settings.database
        migrated = await asyncio.to_thread(self.parts.migrate, url, self.clock)
        async with AsyncExitStack() as stack:
            configuration = Configuration(url)
            stack.callback(configuration.close)
            store = await stack.enter_async_context(self.parts.make_store(url, self.clock, boot))
            rooms = _Rooms(self, store, boot, configuration)
            await rooms.remember(migrated.set_aside)
            await rooms.serve(stack, ready)


class _Rooms:
    """The parts of a running controller."""

    def __init__(self, owner: Controller, store: Writer, boot: str, configuration: Configuration) -> None:
        self._owner, self._settings, self._configuration = owner, owner.settings, configuration
        self._clock, self._ids = owner.clock, owner.ids
        self._store = store
        self._stamp = Stamp(boot)
        self._bus = owner.make_bus(f"controller-{boot}", will(boot, self._clock))
        self._metrics = Metrics()
        self._metrics.registry.register(store.group.seconds)
        self._fleet = Fleet(self._clock)
        self._board = AlarmBoard(store, self._bus, self._clock, self._stamp)
        self._feed = Feed(self._bus)
        self._audit = AuditQueries(self._settings.database)
        self._keeper = Keeper(store, self._audit, boot, owner.parts.acts_every_s)
        self._actors = Actors(self._audit.account, self._clock)
        self._backups = BackupSchedule(
            self._settings.backup_url or self._settings.database, lambda: self._routing.table.options, self._board, self._clock
        )
        self._retention = Retention(store, self._settings.database, self._clock, lambda: self._routing.table.options)
        self._routing = Routing(EMPTY)
        self._samples = CallSamples(self._settings.database)
        self._left: tuple[LeftCall, ...] = ()
        self._traffic = Traffic()
        self._tapes = Tapes(self._clock)
        listen = parse_address(self._settings.sip.listen)
        self._traces = TraceKeeper(self._tapes, store, self._clock, listen, self._settings.trace.keep)
        self._stack = self._sip_stack()
        self._desk = self._make_desk(boot)
        self._bans = BanFile(self._settings.data, self._desk.guard.bans, self._clock)
        self._link = FleetLink(
            self._bus,
            self._fleet,
            store,
            self._clock,
            self._stamp,
            self._desk.take_part,
            self._metrics.events.inc,
        )
        self._watch = Watch(self._board, self._fleet, self._bus, self._clock)
        self._free_disk = FreeDisk(self._settings.data, owner.parts.free_disk)
        self._alarm_desk = self._make_alarm_desk()
        self._routing.listen(lambda table: self._alarm_desk.in_force(table.options))
        self._zones: tuple[ZoneInfo, ...] = ()  # kept: the call path must not touch the disk
        self._config = self._make_config_desk()
        listeners = Commander(self._bus, "listening", self._clock, self._ids)
        self._listening = Listening(self._desk, lambda: self._routing.table, listeners)
        self._commands = CommandDesk(
            self._bus,
            self._clock,
            self._actions(),
            self._metrics,
            Commander(self._bus, "controller", self._clock, self._ids),
            Gate(self._actors, self._keeper, self._clock),
        )
        self._strays = Strays(
            self._fleet.carried, self._desk.attempts, Commander(self._bus, "strays", self._clock, self._ids)
        )
        self._bus.on_connect(self._board.publish)

    def _make_config_desk(self) -> ConfigDesk:
        return ConfigDesk(
            Surroundings(
                store=self._store, reader=self._configuration.reader, clock=self._clock, realm=self._settings.sip.realm,
                find=self._actors.find, current=lambda: self._routing.table, force=self._force, fleet=self._fleet.view,
                sample=self._samples.recent,
            )
        )  # fmt: skip

    async def serve(self, stack: AsyncExitStack, ready: Callable[[dict[str, Any]], None]) -> None:
        """Run all parts until the owner stops."""
        stack.callback(self._audit.close)
        stack.callback(self._retention.close)
        stack.callback(self._samples.close)
        parts = asyncio.TaskGroup()
        async with parts:
            tasks = [
                parts.create_task(work)
                for work in (
                    self._bus.run(),
                    self._board.run(),
                    self._feed.run(),
                    self._link.run(),
                    self._commands.run(),
                    self._watch.run(self._look),
                    self._alarm_desk.run(),
                    self._free_disk.run(),
                    *self._log_ship(boot=self._stamp.boot),
                    self._bans.run(),
                    self._traces.run(),
                    self._keeper.run(),
                    self._retention.run(),
                    self._backups.run(),
                    upkeep.keep_up(self._store),
                    upkeep.watch(self._store, self._board),
                )
            ]
            calls = parts.create_task(self._desk.run())
            try:
                await self._open(stack, ready)
                tasks.append(parts.create_task(self._strays.run()))
                await self._owner.stopping.wait()
                await self._desk.stop(STOP_WITHIN_S, hand_over=self._owner.handing_over)
                await calls
                await self._traces.flush()
                await self._keeper.stop()
                await self._link.farewell()
            finally:
                for task in (*tasks, calls):
                    task.cancel()

    async def _open(self, stack: AsyncExitStack, ready: Callable[[dict[str, Any]], None]) -> None:
        """Open the doors, once the boxes can be heard."""
        await self._wait_for_broker()
        await self._stack.start()
        stack.push_async_callback(self._stack.stop)
        self._traces.here(self._stack.address)
        self._go_on()
        said: dict[str, Any] = {"ready": True, "sip": "{}:{}".format(*self._stack.address)}
        if self._settings.metrics.listen:
            page = MetricsPage(self._metrics.registry, parse_address(self._settings.metrics.listen))
            said["metrics"] = await page.start()
            stack.push_async_callback(page.stop)
        self._link.sip = said["sip"]
        with contextlib.suppress(Exception):
            await self._link.publish()
        ready(said)

    def _go_on(self) -> None:
        """Resume the answered calls that an earlier run has left; what can't be resumed is ended on both legs."""
        self._desk.resume([left for left in self._left if _goes_on(left)], self._stack)
        for left in self._left:
            if left.dialogs is None or _goes_on(left):
                continue
            for dialog in (left.dialogs.sender_leg, left.dialogs.box_leg):
                if dialog.complete:
                    self._stack.release(dialog, Cause.TEMPORARY_FAILURE, "controller restarted")

    async def _wait_for_broker(self) -> None:
        connected = asyncio.Event()

        async def note() -> None:
            connected.set()

        self._bus.on_connect(note)
        if self._bus.connected:
            return
        try:
            async with asyncio.timeout(BROKER_WAIT_S):
                await connected.wait()
        except TimeoutError:
            log.error("the broker does not answer; serving without boxes", wait_s=BROKER_WAIT_S)

    async def remember(self, damaged: Path | None) -> None:
        """Take up what the database knows: alarms, left-over calls, the SIMs' counters, the configuration.

        Raises:
            UserError: the routing file has mistakes and there is no earlier version to go on with.
        """
        url, now = self._settings.database, self._clock.utc()
        await self._store.audit(())
        queries = Queries(url)
        alarms = await asyncio.to_thread(queries.alarms)
        await asyncio.to_thread(queries.close)
        in_hand = [alarm.cause for alarm in alarms if alarm.acknowledged is not None]
        self._board.resume({alarm.cause: alarm.severity for alarm in alarms}, in_hand)
        self._board.set("store-damaged", active=damaged is not None, detail=str(damaged))
        await self._take_stock(url, now)
        self._fleet.load_usage(await asyncio.to_thread(usage_from_records, url, now), now)
        await self._bans.load()
        await self._first_config()
        self._alarm_desk.resume(alarms)
        self._link.config_version, self._link.software = self._routing.version, self._owner.software

    async def _take_stock(self, url: str, now: datetime) -> None:
        """Sort what earlier runs have left open: answered calls go on, the others are closed as lost."""
        self._left = await self._store.left_calls()
        resumed = frozenset(left.open.call for left in self._left if _goes_on(left))
        closed = await self._store.close_left_over(resumed)
        if self._left:
            log.warning("an earlier run has left calls open", go_on=len(resumed), closed_as_lost=len(closed))
        # Whoever missed our answer repeats its INVITE over several restarts of ours, if need be.
        recent = await asyncio.to_thread(recent_keys, url, now - timedelta(seconds=EARLIER_S))
        self._desk.remember(recent | {left.key for left in self._left})

    async def _first_config(self) -> None:
        try:
            table = await self._load_config("start")
        except UserError as error:
            table = await asyncio.to_thread(self._configuration.in_force)
            if table is EMPTY:
                raise
            log.error("the routing file was rejected; the version before stays", error=str(error))
            self._board.set("config-rejected", active=True, detail=str(error))
        else:
            self._board.set("config-rejected", active=False)
        await self._force(table)

    async def _force(self, table: RoutingTable) -> None:
        """Put a table in force: routing, the door's limits; boxes and pages are told its version."""
        channels = self._fleet.view(self._clock.utc()).channels
        self._zones, seats = await asyncio.to_thread(prepared, table, channels)
        self._routing.swap(table, seats)
        self._desk.guard.take(guard_limits(self._settings.sip, table.options))
        self._traces.mode = trace_mode(self._settings.trace, table.options)
        await self._link.config_changed(table.version)

    async def _load_config(self, actor: str) -> RoutingTable:
        """Import the routing file if it changed, and compile what is in force. Raises `UserError`."""
        path = self._settings.import_
        if path is not None:
            realm = self._settings.sip.realm
            if self._routing.table is EMPTY:
                # What people have changed is judged against what runs.
                self._routing.swap(await asyncio.to_thread(self._configuration.in_force))
            put = self._config.put
            await import_file(path, self._store, self._configuration, realm=realm, actor=actor, put=put)
        return await asyncio.to_thread(self._configuration.in_force)

    def _sip_stack(self) -> LastingStack:
        return self._owner.parts.make_stack(
            listen=parse_address(self._settings.sip.listen),
            on_invite=lambda leg: self._desk.on_invite(leg),
            clock=self._clock,
            ids=self._ids,
            hears=lambda source: self._desk.hears(source),
            trusted=lambda source: self._desk.trusted(source),
            admit=lambda _source: Admission.ACCEPT,
            suspect=lambda source, problem: self._desk.suspect(source, problem),
            door=self,
            tapes=self._tapes,
        )

    # The door of the stack, which is made before the desk.

    def judge(self, invite: Invite) -> Rejection | None:
        return self._desk.judge(invite)

    def answers(self, source: Address) -> bool:
        return self._desk.answers(source)

    def lag(self, late_s: float) -> None:
        self._desk.lag(late_s)

    def _make_desk(self, boot: str) -> Desk:
        sip = self._settings.sip
        limits = guard_limits(sip, self._routing.table.options)
        services = Services(
            clock=self._clock,
            ids=self._ids,
            store=self._store,
            router=self._routing,
            dialler=self._stack,
            fleet=self._fleet,
            alarms=self._board,
            feed=self._feed,
            metrics=self._metrics,
            stamp_boot=boot,
            traffic=self._traffic,
            limits=self._owner.limits,
            tracing=self._traces,
        )
        digest = Digest(sip.realm, self._clock, self._ids)
        return Desk(services, self._routing, digest, Guard(self._clock, limits))

    def _make_alarm_desk(self) -> AlarmDesk:
        given, free = self._settings.notices, self._owner.parts.free_disk
        desk = AlarmDesk(
            self._board, self._fleet, self._traffic, self._bus, self._clock, self._ids,
            Secrets(given.webhook_secret, given.smtp_password),
            None if free is None else lambda: self._free_disk.share,
        )  # fmt: skip
        self._metrics.registry.register(AlarmFigures(self._board, desk.notifier))
        return desk

    def _log_ship(self, boot: str) -> list[Coroutine[Any, Any, None]]:
        if not self._owner.parts.ship_logs:
            return []
        return [LogShip("controller", boot, self._bus, self._clock).run()]

    def _look(self) -> None:
        self._metrics.open_alarms.set(len(self._board.open_causes))
        self._alarm_desk.look()

    # --- commands -----------------------------------------------------------------------------------------

    def _actions(self) -> dict[str, Action]:
        return {
            "hang-up": self._hang_up,
            "hang-up-group": self._hang_up_group,
            **self._config.actions(),
            "reload-config": self._reload,
            "explain": self._explain,
            "banned": self._banned,
            "ban": self._ban,
            "free": self._free,
            **self._alarm_desk.actions(),
            "send-trace": self._send_trace,
            "listen": self._listening.listen,
            "backup": self._backup,
        }

    async def _backup(self, _args: Args, _actor: str) -> dict[str, Any]:
        return await self._backups.now()

    async def _hang_up(self, args: Args, actor: str) -> dict[str, Any]:
        call = text_of(args, "call")
        if not self._desk.hang_up(call, actor):
            raise CommandRefused(f"there is no call {call}")
        return {"call": call}

    async def _hang_up_group(self, args: Args, actor: str) -> dict[str, Any]:
        """End exactly the calls that are named: whoever asked saw these, and none that came meanwhile."""
        calls = names_of(args, "calls", MOST_TOGETHER)
        ended = [call for call in calls if self._desk.hang_up(call, actor)]
        return {"ended": len(ended), "over": len(calls) - len(ended)}

    async def _reload(self, _args: Args, actor: str) -> dict[str, Any]:
        async with self._config.lock:
            before = self._routing.version
            try:
                table = await self._load_config(actor)
            except UserError as error:
                self._board.set("config-rejected", active=True, detail=str(error))
                raise
            self._board.set("config-rejected", active=False)
            await self._force(table)
        return {"version": table.version, "changed": table.version != before}

    async def _explain(self, args: Args, _actor: str) -> dict[str, Any]:
        now = self._clock.utc()
        try:
            over = read_over(str(args.get("over") or ""))
        except ValueError as error:
            raise CommandRefused(f"over: {error}") from error
        facts = CallFacts(
            sender=text_of(args, "sender"),
            called=text_of(args, "called").strip(),
            calling=str(args.get("calling") or ""),
            now=now,
            over=over,
        )
        decision = self._routing.explain(facts, self._fleet.view(now))
        return {"explanation": decision.explanation.model_dump(mode="json", exclude_defaults=True)}

    async def _banned(self, _args: Args, _actor: str) -> dict[str, Any]:
        bans = self._desk.guard.banned()
        return {"addresses": [ban.address for ban in bans], "bans": [ban.to_json() for ban in bans]}

    async def _ban(self, args: Args, _actor: str) -> dict[str, Any]:
        address = _ip_address(text_of(args, "address"))
        hours = args.get("hours")
        if hours is not None and not (isinstance(hours, int | float) and 0 < hours <= MOST_BAN_HOURS):
            raise CommandRefused(f"hours must be above 0 and at most {MOST_BAN_HOURS}")
        refused = self._desk.ban(address, hours and hours * 3600.0, str(args.get("reason") or "")[:60])
        if refused:
            raise CommandRefused(refused)
        return {"address": address}

    async def _free(self, args: Args, _actor: str) -> dict[str, Any]:
        address = _ip_address(text_of(args, "address"))
        if not self._desk.guard.free(address):
            raise CommandRefused(f"{address} is not banned")
        return {"address": address}


    async def _send_trace(self, args: Args, _actor: str) -> dict[str, Any]:
        return await send_trace(self._settings.trace, self._settings.database, text_of(args, "call"))


def _goes_on(left: LeftCall) -> bool:
    try:
        resumable(left)
    except ValueError:
        return False
    return True


def _ip_address(text: str) -> str:
    """An address in the one way in which sources are written. Raises `CommandRefused`."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise CommandRefused(f"{text} is no IP address") from None


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold the data folder's lock: two controllers would write one database and answer for the same calls.

    Raises:
        UserError: another controller holds it, or the folder can't be used.
    """
    path = folder / "controller.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except OSError as error:
        raise UserError(
            f"the data folder can't be used: {error.strerror}", str(folder), "Check `data` and its rights."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another controller runs with this data folder",
                str(path),
                "End it, or choose another `data`.",
            ) from None
        yield


def run(settings: ControllerSettings, ready: Callable[[dict[str, Any]], None]) -> None:
    """The whole process: its lock, its signals, its end. Raises `UserError`."""
    with one_at_a_time(settings.data):
        asyncio.run(_serve(settings, ready, f"simrack {version('simrack')}"))


async def _serve(
    settings: ControllerSettings, ready: Callable[[dict[str, Any]], None], software: str
) -> None:
    controller = Controller(settings, SystemClock(), SystemIds(), software=software, parts=Parts(ship_logs=True))
    loop = asyncio.get_running_loop()
    on_term = controller.hand_over if settings.on_stop == "hand-over" else controller.stop
    loop.add_signal_handler(signal.SIGTERM, on_term)
    loop.add_signal_handler(signal.SIGINT, controller.stop)
    loop.add_signal_handler(signal.SIGUSR1, controller.hand_over)

    def settled(said: dict[str, Any]) -> None:
        tuning.settle()
        ready(said)

    await controller.run(settled)
