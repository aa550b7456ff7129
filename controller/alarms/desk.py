"""Everything about alarms that people do or set: acknowledging, who is told, thresholds, log levels."""

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from simrack.controller.alarms.board import AlarmBoard, AlarmNews
from simrack.controller.alarms.deliver import Secrets
from simrack.controller.alarms.notifier import Notifier
from simrack.controller.alarms.rules import rules_of
from simrack.controller.alarms.thresholds import FleetFigures, Thresholds
from simrack.controller.alarms.traffic import Traffic
from simrack.controller.calls.commands import Action, Args, CommandRefused, text_of
from simrack.controller.config.catalogue import Values
from simrack.controller.models import AlarmRow
from simrack.wire import topics
from simrack.wire.errors import LinkDown
from simrack.wire.logs import LEVELS
from simrack.wire.messages import PROCESS, LogWish
from simrack.wire.mqtt import Bus
from simrack.wire.ports import Clock, Ids
from simrack.wire.rights import actor_name

MOST_NOTE = 500
#: A level below `info` for longer than this would be forgotten, and fill disks.
MOST_LEVEL_MIN = 60


class AlarmDesk:
    """The controller's commands about alarms and logs, and the parts behind them."""

    def __init__(
        self, board: AlarmBoard, fleet: FleetFigures, traffic: Traffic, bus: Bus, clock: Clock, ids: Ids, secrets: Secrets,
        disk: Callable[[], float] | None,
    ) -> None:  # fmt: skip
        self._board, self._bus, self._clock = board, bus, clock
        self.notifier = Notifier(board, clock, ids, secrets)
        self._thresholds = Thresholds(board, fleet, traffic, clock, disk)
        self._options = Values()

    def in_force(self, options: Values) -> None:
        """Other options from now on."""
        self._options = options
        self.notifier.change(rules_of(options))

    def resume(self, alarms: Iterable[AlarmRow]) -> None:
        """Go on with what an earlier run has told people."""
        now = self._clock.utc()
        for alarm in alarms:
            news = AlarmNews("opened", alarm.cause, alarm.severity, alarm.title, alarm.advice, alarm.opened)
            self.notifier.plan.resume(news, now)

    def look(self) -> None:
        """Judge the figures, and see which notices are due; called every few seconds."""
        self._thresholds.look(self._options)
        self.notifier.look()

    async def run(self) -> None:
        """Tell people until cancelled."""
        await self.notifier.run()

    def actions(self) -> dict[str, Action]:
        """Command -> what does it."""
        return {
            "acknowledge-alarm": self._acknowledge,
            "notices": self._notices,
            "test-notice": self._test,
            "log-level": self._log_level,
        }

    async def _acknowledge(self, args: Args, actor: str) -> dict[str, Any]:
        alarm, note, release = args.get("alarm"), str(args.get("note") or "").strip(), bool(args.get("release"))
        if not isinstance(alarm, int) or isinstance(alarm, bool) or not 0 < alarm < 2**63:
            raise CommandRefused("the command needs the number of an alarm")
        if len(note) > MOST_NOTE:
            raise CommandRefused(f"a note has at most {MOST_NOTE} characters; this has {len(note)}")
        cause = await self._board.acknowledge(alarm, actor_name(actor), note, release=release)
        if cause is None:
            raise CommandRefused(f"alarm {alarm} is not open (any more)")
        return {"alarm": alarm, "cause": cause}

    async def _notices(self, _args: Args, _actor: str) -> dict[str, Any]:
        return {"targets": self.notifier.status(), "held": self.notifier.plan.waiting}

    async def _test(self, args: Args, actor: str) -> dict[str, Any]:
        name = text_of(args, "target")
        try:
            error = await self.notifier.test(name, actor_name(actor))
        except KeyError:
            raise CommandRefused(f"there is no target {name}; set its address first") from None
        if error:
            raise CommandRefused(f"the test did not arrive: {error}")
        return {"target": name}

    async def _log_level(self, args: Args, actor: str) -> dict[str, Any]:
        process, level, minutes = text_of(args, "process"), text_of(args, "level"), args.get("minutes", MOST_LEVEL_MIN)
        if not re.match(PROCESS, process) or process == topics.EVERY_PROCESS:
            raise CommandRefused("name one process, for instance controller or box-lab-01")
        if level not in LEVELS:
            raise CommandRefused(f"level must be one of {', '.join(LEVELS)}")
        if not isinstance(minutes, int) or isinstance(minutes, bool) or not 1 <= minutes <= MOST_LEVEL_MIN:
            raise CommandRefused(f"minutes must be a whole number from 1 to {MOST_LEVEL_MIN}")
        wish = LogWish.model_validate({"level": level, "seconds": minutes * 60, "actor": actor_name(actor)})
        try:
            await self._bus.publish(topics.log_wish(process), wish.encode())
        except LinkDown as error:
            raise CommandRefused(str(error)) from error
        until = self._clock.utc() + timedelta(minutes=minutes)
        return {"process": process, "level": level, "until": until.isoformat()}
