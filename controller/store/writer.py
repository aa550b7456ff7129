"""The controller's one writer: what is written, as methods; `group.py` has the thread that does it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Literal, Self

from sqlalchemy import Table
from sqlalchemy.engine import Connection

from simrack.controller.audit import policy
from simrack.controller.audit.chain import Fact, Head
from simrack.controller.calls.ports import Dialogs, Finished, LeftCall, OpenCall
from simrack.controller.models import AlarmRow
from simrack.controller.store import audit, configs, jobs, leftover, partitions, turned_away
from simrack.controller.store.engine import parse_url
from simrack.controller.store.group import GroupCommit
from simrack.controller.store.tables import CONFIG_TABLES
from simrack.wire.messages import BoxEvent, CallPart
from simrack.wire.ports import Clock

# Rows of a configuration import per transaction (architecture: who writes what).
IMPORT_BATCH = 1000
# A box that stood apart for longer tells its parts to records that stay as they are.
PARTS_COME_WITHIN = timedelta(days=7)

Severity = Literal["critical", "major", "minor"]


class Writer:
    """Everything that the controller writes. Use as an async context manager, after `migrate(url)`.

    Every method returns when its rows are on disk, and raises `StoreDown` when the database can't take them
    now or `StoreRefused` when it will never take them.
    """

    def __init__(self, url: str, clock: Clock, run: str) -> None:
        self._clock = clock
        self._run = run
        self._lost: frozenset[str] = frozenset()  # calls whose attempts only their boxes know
        self.group = GroupCommit(url, clock)
        self.by_month = parse_url(url).get_backend_name() == "postgresql"

    async def __aenter__(self) -> Self:
        self.group.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Write what waits, then close the connection."""
        await self.group.stop()

    async def open_call(self, call: OpenCall) -> None:
        """The open row of a call. `StoreRefused` when (sender, Call-ID, From tag) has one already.

        After `StoreDown` there is none, or there will be none as soon as the database answers again: its caller
        refuses the call.
        """
        await self.group.do(
            lambda connection: jobs.open_call(connection, call, self._run),
            undo=lambda connection: jobs.forget(connection, call.call),
        )

    async def connected(self, call: str, dialogs: Dialogs) -> None:
        """Both dialogs' identifiers."""
        await self.group.do(lambda connection: jobs.connected(connection, call, dialogs))

    async def finish(self, finished: Finished) -> None:
        """Open row out, record in, in one transaction. Safe to repeat after `StoreDown`."""
        await self.group.do(lambda connection: self._finish(connection, finished))

    def _finish(self, connection: Connection, finished: Finished) -> None:
        new = jobs.finish(connection, finished)
        fact = policy.refusal(finished.record) if new else None
        if fact is not None:
            audit.append(connection, (fact,), self._run)

    async def audit(self, facts: Iterable[Fact]) -> Head:
        """Chain facts, each source once; without any it makes sure that the log has begun. Safe to repeat."""
        facts, now = tuple(facts), self._clock.utc()
        return await self.group.do(lambda connection: audit.append(connection, facts, self._run, now))

    async def take_acts(self, since: int) -> int:
        """Chain acts of the control room, from number `since` on, each once; how many were taken."""
        return await self.group.do(lambda connection: audit.take_acts(connection, self._run, since))

    async def last_event(self, box: str, boot: str) -> int:
        """The highest sequence stored of one run of a box, 0 for none."""
        return await self.group.do(lambda connection: jobs.last_event(connection, box, boot))

    async def take_events(self, events: Sequence[BoxEvent]) -> None:
        """Store facts once each; all of them may be acknowledged afterwards."""
        await self.store_events(events)

    async def store_events(self, events: Sequence[BoxEvent]) -> tuple[BoxEvent, ...]:
        """As `take_events`, and return those that had not been stored before."""
        now = self._clock.utc()

        def work(connection: Connection) -> tuple[BoxEvent, ...]:
            new = tuple(event for event in events if jobs.take_event(connection, event, now))
            for event in new:
                turned_away.record(connection, event)
                if isinstance(event.body, CallPart) and event.body.call in self._lost:
                    leftover.claim_parts(connection, event.body.call)
            return new

        return await self.group.do(work)

    async def left_calls(self) -> tuple[LeftCall, ...]:
        """The open calls of earlier runs, with what is known of each."""
        return await self.group.do(lambda connection: leftover.left_calls(connection, self._run))

    async def take_over(self, call: str, dialogs: Dialogs) -> None:
        """Make an earlier run's open row this run's. `StoreRefused` when there is none."""
        await self.group.do(lambda connection: leftover.take_over(connection, call, dialogs, self._run))

    async def close_left_over(self, keep: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Close the other open calls of earlier runs with cause 41, side rack; returns their ids."""
        now = self._clock.utc()

        def work(connection: Connection) -> tuple[tuple[str, ...], frozenset[str]]:
            closed = leftover.close_left_over(connection, self._run, now, keep)
            return closed, leftover.lost_calls(connection, now - PARTS_COME_WITHIN)

        closed, self._lost = await self.group.do(work)
        return closed

    async def open_alarm(
        self, cause: str, severity: Severity, title: str, advice: str = ""
    ) -> tuple[AlarmRow, bool]:
        """Open an alarm, or count it when one of this cause stands; (row, newly open)."""
        now = self._clock.utc()
        return await self.group.do(lambda c: jobs.open_alarm(c, cause, severity, title, advice, now))

    async def close_alarm(self, cause: str) -> bool:
        """Close the alarm of this cause; False when none stood."""
        now = self._clock.utc()
        return await self.group.do(lambda connection: jobs.close_alarm(connection, cause, now))

    async def acknowledge_alarm(self, alarm: int, by: str, note: str, *, release: bool = False) -> str | None:
        """Put an open alarm in somebody's hand, or take it out again; its cause, None when it is not open."""
        now = None if release else self._clock.utc()
        return await self.group.do(lambda connection: jobs.acknowledge_alarm(connection, alarm, by, note, now))

    async def import_config(
        self,
        digest: str,
        source: str,
        actor: str,
        rows: Iterable[tuple[Table, Sequence[Mapping[str, Any]]]],
        *,
        activate: bool = True,
    ) -> int:
        """Write a whole configuration under a new version, then put it in force by one row, if it is to be."""
        now = self._clock.utc()
        version = await self.group.do(lambda c: jobs.config_version(c, digest, source, actor, now))
        for table, all_rows in rows:
            await self._put_rows(table, version, all_rows)
        done = jobs.activate if activate else configs.finish_version
        await self.group.do(lambda connection: done(connection, version, now))
        return version

    async def change_config(self, new: configs.NewVersion) -> int:
        """Make a version from another one, copied inside the database in batches, and put it in force.

        StoreRefused: its parent is not in force any more; what was written of it is never used.
        """
        now = self._clock.utc()
        version = await self.group.do(lambda connection: configs.new_version(connection, new, now))
        for table in CONFIG_TABLES.values():
            for portion in configs.portions(await self._pieces(table, new), configs.COPY_BATCH):
                write = partial(configs.write_portion, table=table, parent=new.parent, version=version, portion=portion)
                await self.group.do(write)
        await self.group.do(lambda connection: configs.activate_after(connection, version, new.parent, now))
        return version

    async def _pieces(self, table: Table, new: configs.NewVersion) -> list[configs.Piece]:
        edits = new.edits.get(table, ())
        names = [edit.old for edit in edits if edit.old is not None]

        def work(connection: Connection) -> list[configs.Piece]:
            at = configs.places(connection, table, new.parent, names)
            return list(configs.pieces(edits, at, configs.extent(connection, table, new.parent)))

        return await self.group.do(work)

    async def _put_rows(self, table: Table, version: int, rows: Sequence[Mapping[str, Any]]) -> None:
        for start in range(0, len(rows), IMPORT_BATCH):
            batch = [{**row, "version": version} for row in rows[start : start + IMPORT_BATCH]]
            await self.group.do(partial(jobs.config_rows, table=table, rows=batch))

    async def activate_config(self, version: int) -> None:
        """Put a stored version in force."""
        now = self._clock.utc()
        await self.group.do(lambda connection: jobs.activate(connection, version, now))

    async def thin_config(self, keep: int) -> int:
        """Remove the rows of versions beyond the newest `keep`, in batches; how many versions it were."""
        old = await self.group.do(lambda connection: configs.old_versions(connection, keep))
        for version in old:
            await self.group.do(partial(configs.retire, version=version))
            while await self.group.do(partial(configs.remove_rows, version=version, most=configs.COPY_BATCH)):
                pass
        return len(old)

    async def make_partitions(self) -> int:
        """Make the months to come, where the database keeps records by month; returns how many were new."""
        today = self._clock.utc().date()
        return await self.group.do(lambda connection: partitions.make_ahead(connection, today))

    async def remove(self, work: Callable[[Connection], int]) -> int:
        """Remove what retention found, a few rows at a time; returns how many were there."""
        return await self.group.do(work)

    async def probe(self) -> None:
        """Write something that changes nothing. Raises `StoreDown` when nothing can be written."""
        await self.group.do(jobs.touch)
