"""The controller's desk for the configuration behind a control room on the bench: the real one, without bus and calls."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from config.bench import Bench
from production_parts import as_owner
from store.values import FixedClock
from web_helpers import Stand

from simrack.controller.config.files import Configuration
from simrack.controller.config.rows import EMPTY
from simrack.controller.routing.decide import decide
from simrack.controller.routing.decision import CallFacts
from simrack.controller.store.writer import Writer
from simrack.web.services.route_tests import idle_fleet
from simrack.wire import topics
from simrack.wire.messages import CommandReply

ANSWER_S = 20.0


class Controller:
    """Answers commands of pages with a desk over the same database."""

    def __init__(self, stand: Stand) -> None:
        self.stand, self.seen = stand, list[str]()
        self._configuration = Configuration(as_owner(stand.room.settings.database))
        self._loop = asyncio.new_event_loop()
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._ready.wait(ANSWER_S)
        stand.room.live.command = self.command  # type: ignore[method-assign]

    async def _run(self) -> None:
        url = as_owner(self.stand.room.settings.database)
        async with Writer(url, FixedClock(), "run") as store:
            self.bench = Bench(store, self._configuration, await asyncio.to_thread(self._configuration.in_force))
            self._ready.set()
            await self._stop.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(ANSWER_S)
        self._configuration.close()
        self._loop.close()

    def command(self, topic: str, action: str, args: dict[str, Any], *, actor: str, timeout_s: float = 5.0) -> CommandReply:
        """As `Live.command`."""
        assert topic == topics.controller_command()
        self.seen.append(action)
        work = self._explain(args) if action == "explain" else self.bench.ask(action, actor, **args)
        result = asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s + ANSWER_S)
        error = str(result.pop("refused", ""))
        return CommandReply(id="1", ok=not error, error=error, result=result)

    async def _explain(self, args: dict[str, Any]) -> dict[str, Any]:
        now = self.stand.clock.utc()
        facts = CallFacts(sender=args["sender"], called=args["called"], calling=args["calling"], now=now)
        table = self.bench.table if self.bench.table.version else EMPTY
        told = decide(facts, table, idle_fleet(self.stand.model.snapshot())).explanation
        return {"explanation": told.model_dump(mode="json", exclude_defaults=True)}


@contextmanager
def controller_of(stand: Stand) -> Iterator[Controller]:
    """A controller behind this room, until the block ends."""
    running = Controller(stand)
    try:
        yield running
    finally:
        running.close()
