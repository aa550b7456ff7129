"""Tells people of alarms: takes the board's news, sends what the plan says, tries again, and says when it can't.

Each kind of target has a bounded queue and one worker, so that a dead mail server does not hold up the webhook. A target
that can't be reached is an alarm itself, which goes to the other targets.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import structlog

from simrack.controller.alarms.board import AlarmBoard, AlarmNews
from simrack.controller.alarms.deliver import Secrets, Undelivered, send_mail, send_webhook
from simrack.controller.alarms.plan import Notice, NoticePlan
from simrack.controller.alarms.rules import Rules, Target
from simrack.wire.ports import Clock, Ids

log = structlog.get_logger(__name__)
#: Quiet times and repetitions are minutes; a second more does not matter.
LOOK_EVERY_S = 1.0
#: Waits between tries, about an hour and a half in all: a receiver that is restarted or moved is back by then.
BACKOFF_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 1800.0)
#: After so many failures in a row people hear of it, while it is still tried.
SAY_AFTER = 3
#: A storm of alarms is told by its newest; the page and the history have all of them.
MOST_WAITING = 200
#: Whoever waits for a test's answer has the browser's patience, and less than a command's time.
TEST_WITHIN_S = 4.0
TEST_TITLE = "This is a test: notices of alarms reach this place"
Send = Callable[[Notice, str, float | None], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """How sending to one target goes."""

    sent: int = 0
    failed: int = 0
    last_sent: datetime | None = None
    last_error: str = ""
    last_error_at: datetime | None = None


class Notifier:
    """All notices of this installation. `listen` to the board's news with `heard`."""

    def __init__(self, board: AlarmBoard, clock: Clock, ids: Ids, secrets: Secrets) -> None:
        self._board, self._clock, self._ids, self._secrets = board, clock, ids, secrets
        self.plan = NoticePlan()
        self._queues: dict[str, deque[Notice]] = {"webhook": deque(), "email": deque()}
        self._due = {kind: asyncio.Event() for kind in self._queues}
        self._deliveries: dict[str, Delivery] = {}
        self._news = asyncio.Event()
        #: Notices by target and result: sent, failed, dropped.
        self.counts = Counter[tuple[str, str]]()
        board.listen(self.heard)

    def change(self, rules: Rules) -> None:
        """Other rules; what waits for a target that is gone, or moved, is dropped."""
        before = {target.name for target in self.plan.rules.targets}
        self.plan.change(rules)
        kept = set(rules.targets)
        for name in before - {target.name for target in kept}:
            self._board.set("notice-failed", False, name)
        for queue in self._queues.values():
            left = [notice for notice in queue if notice.target in kept]
            queue.clear()
            queue.extend(left)

    def heard(self, news: AlarmNews) -> None:
        """Take one change of an alarm."""
        self.plan.take(news)
        self._news.set()
        self.look()

    def look(self) -> None:
        """Queue what is due; called every few seconds, for quiet times, repetitions and escalations."""
        # All at once: what is said of a full queue comes back here as news.
        for notice in list(self.plan.due(self._clock.utc())):
            queue = self._queues[notice.target.kind]
            if len(queue) >= MOST_WAITING:
                dropped = queue.popleft()
                self._failed(dropped.target, f"more than {MOST_WAITING} notices wait; the oldest are left out", "dropped")
            queue.append(notice)
            self._due[notice.target.kind].set()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind in self._queues:
                group.create_task(self._work(kind))
            while True:
                if not self.plan.busy:
                    self._news.clear()
                    await self._news.wait()
                self.look()
                await asyncio.sleep(LOOK_EVERY_S)

    async def test(self, name: str, actor: str) -> str:
        """Send a test notice once and now; "" when it was delivered, else why not. KeyError: no such target."""
        target = {target.name: target for target in self.plan.rules.targets}[name]
        now = self._clock.utc()
        news = AlarmNews("opened", "test", "minor", TEST_TITLE, f"Nothing. {actor} asked for it.", now)
        try:
            await self._send(Notice(target, "test", news, now), self._ids.token(), TEST_WITHIN_S)
        except Undelivered as error:
            return str(error)
        self._board.set("notice-failed", False, name)
        return ""

    def status(self) -> list[dict[str, Any]]:
        """Every target with how it goes, for the page."""
        return [self._status(target) for target in self.plan.rules.targets]

    def _status(self, target: Target) -> dict[str, Any]:
        delivery = self._deliveries.get(target.name, Delivery())
        return {
            "name": target.name, "kind": target.kind, "addresses": list(target.addresses), "least": target.least,
            "after_min": int(target.after.total_seconds() // 60), "sent": delivery.sent, "failed": delivery.failed,
            "waiting": sum(notice.target == target for notice in self._queues[target.kind]),
            "last_sent": _text(delivery.last_sent), "last_error": delivery.last_error,
            "last_error_at": _text(delivery.last_error_at), "signed": bool(self._secrets.webhook) and target.kind == "webhook",
        }  # fmt: skip

    async def _work(self, kind: str) -> None:
        queue = self._queues[kind]
        while True:
            while queue:
                # Taken out first: a queue that overflows meanwhile drops others, not the one under way.
                await self._deliver(queue.popleft())
            self._due[kind].clear()
            await self._due[kind].wait()

    async def _deliver(self, notice: Notice) -> None:
        ident, error = self._ids.token(), ""
        for number, wait in enumerate((*BACKOFF_S, 0.0), 1):
            try:
                await self._send(notice, ident, None)
            except Undelivered as failure:
                error = str(failure)
                log.warning("notice not delivered", target=notice.target.name, cause=notice.news.cause, tries=number, error=error)
                if failure.final or notice.target not in self.plan.rules.targets:
                    break
                if number == SAY_AFTER:
                    self._say(notice.target, error)
                await asyncio.sleep(wait)
            else:
                self._sent(notice)
                return
        self._failed(notice.target, error, "failed")

    async def _send(self, notice: Notice, ident: str, within_s: float | None) -> None:
        limit: Mapping[str, float] = {} if within_s is None else {"within_s": within_s}
        if notice.target.kind == "webhook":
            await send_webhook(notice, ident, self._secrets.webhook, **limit)
        else:
            await send_mail(notice, ident, self.plan.rules.mail, self._secrets.smtp_password, **limit)

    def _sent(self, notice: Notice) -> None:
        target = notice.target
        delivery = self._deliveries.get(target.name, Delivery())
        self._deliveries[target.name] = replace(delivery, sent=delivery.sent + 1, last_sent=self._clock.utc())
        self.counts[target.name, "sent"] += 1
        log.info("notice sent", target=target.name, cause=notice.news.cause, event_kind=notice.event)
        self._board.set("notice-failed", False, target.name)

    def _failed(self, target: Target, error: str, result: Literal["failed", "dropped"]) -> None:
        delivery = self._deliveries.get(target.name, Delivery())
        self._deliveries[target.name] = replace(delivery, failed=delivery.failed + 1)
        self.counts[target.name, result] += 1
        self._say(target, error)

    def _say(self, target: Target, error: str) -> None:
        delivery = self._deliveries.get(target.name, Delivery())
        self._deliveries[target.name] = replace(delivery, last_error=error, last_error_at=self._clock.utc())
        self._board.set("notice-failed", True, target.name, error[:200])


def _text(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""
