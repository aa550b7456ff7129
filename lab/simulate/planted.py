"""Bugs that are planted in the real code, one at a time, to prove that the simulation finds such bugs.

Each is a way in which a change could go wrong unnoticed. `PLANTED` names it, the invariant that it breaks, and
the patch. A bug counts as found when any check fails, because one mistake often shows at another place first.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Self
from unittest.mock import patch

from simrack.controller import app
from simrack.controller.calls import conversation, outcome, record, storing
from simrack.controller.calls.call import Call
from simrack.controller.calls.conversation import Conversation
from simrack.controller.calls.resumed import ResumedCall
from simrack.controller.calls.strays import Strays
from simrack.controller.fleet.link import FleetLink
from simrack.controller.fleet.reservations import Reservation, Reservations
from simrack.controller.fleet.state import Fleet
from simrack.controller.store import jobs
from simrack.controller.store.errors import StoreError
from simrack.controller.store.group import GroupCommit
from simrack.controller.store.writer import Writer
from simrack.gateway import calls_logic as logic
from simrack.gateway import outbox as outbox_module
from simrack.gateway import switchboard
from simrack.gateway.agent import Box
from simrack.gateway.call import LiveCall
from simrack.gateway.errors import StoreBroken
from simrack.gateway.module import Module
from simrack.gateway.outbox import Outbox
from simrack.gateway.uplink import Uplink
from simrack.sip.legs import Failed
from simrack.wire.causes import Cause
from simrack.wire.messages import AckRange, BoxEvent

Plant = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Planted:
    """One bug: its name, the invariant that it breaks, what it does."""

    name: str
    invariant: int
    what: str
    plant: Plant


PLANTED: list[Planted] = []


def _bug(invariant: int, what: str) -> Callable[[Plant], Plant]:
    def note(plant: Plant) -> Plant:
        PLANTED.append(Planted(plant.__name__.replace("_", "-"), invariant, what, plant))
        return plant

    return note


def _swap(owner: Any, name: str, value: Any) -> AbstractContextManager[Any]:
    return patch.object(owner, name, value)


async def _async_nothing(*_args: Any, **_more: Any) -> None:
    return


def _nothing(*_args: Any, **_more: Any) -> None:
    return


# --- 1: records and the network's ledger --------------------------------------------------------------------


@_bug(1, "the record of a cancelled call is not stored")
def cancelled_call_not_recorded() -> AbstractContextManager[Any]:
    real = storing.keep

    async def keep(on: Any, finished: Any) -> None:
        if finished.record.outcome != "cancelled":
            await real(on, finished)

    return _swap(conversation, "keep", keep)


@_bug(1, "a record leaves its open row behind")
def open_row_left() -> AbstractContextManager[Any]:
    real = jobs.finish

    def finish(connection: Any, finished: Any) -> Any:
        row = connection.exec_driver_sql("SELECT * FROM open_call WHERE call = ?", (finished.record.call,)).mappings().first()
        done = real(connection, finished)
        if row is not None:
            names, marks = ", ".join(row), ", ".join("?" * len(row))
            connection.exec_driver_sql(f"INSERT INTO open_call ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608 - names of columns
        return done

    return _swap(jobs, "finish", finish)


@_bug(1, "talk time counts from the dial, not from the answer")
def talk_from_dial() -> AbstractContextManager[Any]:
    real = LiveCall._part

    def part(self: Any, figures: Any) -> Any:
        told = real(self, figures)
        return told.model_copy(update={"talk_ms": told.talk_ms + told.ring_ms}) if told.talk_ms else told

    return _swap(LiveCall, "_part", part)


@_bug(1, "BYE of the sender is not passed on to the box")
def bye_not_passed_on() -> AbstractContextManager[Any]:
    def end_both(self: Any, end: Any, gone: int | None = None) -> None:
        if self._settle(end) and gone != conversation.SENDER:
            self._leg.hang_up(end.cause, end.text)

    return ExitStackOf(_swap(Conversation, "_end_both", end_both), _swap(Strays, "look", lambda _self: []))


@_bug(1, "the module is not hung up when the sender cancels")
def cancel_leaves_module() -> AbstractContextManager[Any]:
    real = logic._leave

    def leave(call: Any, end: Any, *, leg: bool) -> Any:
        left, actions = real(call, end, leg=leg)
        if call.answered or leg:
            return left, actions
        return replace(left, phase=logic.Phase.ENDED), tuple(a for a in actions if not isinstance(a, logic.HangUp))

    return _swap(logic, "_leave", leave)


@_bug(1, "a call that the box reports and nobody claims is left alone")
def strays_left_alone() -> AbstractContextManager[Any]:
    return ExitStackOf(_swap(Strays, "look", lambda _self: []), _swap(Call, "_cancel", _nothing))


@_bug(1, "a record without the box's part is not marked estimated")
def estimated_mark_forgotten() -> AbstractContextManager[Any]:
    real = record._record

    def build(history: Any) -> Any:
        row = real(history)
        return replace(row, estimated=False, talk_network_ms=row.talk_network_ms + (500 if row.estimated else 0))

    return _swap(record, "_record", build)


# --- 4: never two calls on a channel ------------------------------------------------------------------------


@_bug(4, "channels are not reserved")
def reservation_not_taken() -> AbstractContextManager[Any]:
    return _swap(Reservations, "take", lambda *_args: True)


@_bug(4, "a reservation replaces another call's")
def reservation_stolen() -> AbstractContextManager[Any]:
    def take(self: Any, attempt: str, box: str, channel: int, iccid: str) -> bool:
        made = Reservation(attempt, box, channel, iccid)
        self._by_attempt[attempt] = self._by_channel[box, channel] = made
        self._by_card[iccid] = made
        return True

    return ExitStackOf(
        _swap(Reservations, "take", take), _swap(Reservations, "holds", lambda *_args: False),
        _swap(Reservations, "_free", lambda _self, r: (r.box, r.channel)),
    )  # fmt: skip


@_bug(4, "another candidate is tried although the called party was reached")
def retry_after_busy() -> AbstractContextManager[Any]:
    return _swap(outcome, "try_next", lambda _failed, *, early_media: True)


@_bug(4, "the candidate that has failed is tried once more")
def same_candidate_again() -> AbstractContextManager[Any]:
    real = Call._hunt

    async def hunt(self: Any, candidates: Any) -> None:
        await real(self, [item for candidate in candidates for item in (candidate, candidate)])

    return ExitStackOf(
        _swap(Call, "_hunt", hunt), _swap(outcome, "try_next", lambda _failed, *, early_media: True),
        _swap(Fleet, "reserve", lambda *_args: True),
    )  # fmt: skip


@_bug(4, "a box takes a call for a channel that has one")
def busy_channel_taken() -> AbstractContextManager[Any]:
    return ExitStackOf(
        _swap(switchboard, "refusal", lambda _channel, _iccid: ""),
        _swap(Reservations, "holds", lambda *_args: False),
    )


@_bug(4, "a candidate is dialled while the one before still rings")
def dial_both() -> AbstractContextManager[Any]:
    async def follow(self: Any, attempt: Any) -> Any:
        real = Call._follow_real  # type: ignore[attr-defined]
        if len(self.attempts) == 1:
            return Failed(503, int(Cause.NO_CIRCUIT), "too impatient")
        return await real(self, attempt)

    return ExitStackOf(patch.object(Call, "_follow_real", Call._follow, create=True), _swap(Call, "_follow", follow))


# --- 5: one module's trouble --------------------------------------------------------------------------------

_NEIGHBOURS: list[Module] = []


@contextmanager
def _knowing_neighbours() -> Iterator[None]:
    real = Module.__post_init__

    def begin(self: Any) -> None:
        real(self)
        _NEIGHBOURS.append(self)

    with patch.object(Module, "__post_init__", begin):
        try:
            yield
        finally:
            _NEIGHBOURS.clear()


def _beside(module: Any) -> list[Any]:
    return [
        other for other in _NEIGHBOURS
        if other is not module and other.channel.box == module.channel.box and other.tools is module.tools
    ]  # fmt: skip


@_bug(5, "a module that is lost takes its neighbours' calls along")
def neighbours_lost() -> AbstractContextManager[Any]:
    real = Module._out_of_service

    async def out(self: Any, state: Any, reason: str) -> None:
        for other in _beside(self):
            if other.current is not None:
                other.current.feed(logic.Ordered(Cause.TEMPORARY_FAILURE, reason))
        await real(self, state, reason)

    return ExitStackOf(_knowing_neighbours(), _swap(Module, "_out_of_service", out))


@_bug(5, "a module that does not obey has its neighbours started anew")
def neighbours_distrusted() -> AbstractContextManager[Any]:
    real = Module.distrust

    def distrust(self: Any, reason: str) -> None:
        real(self, reason)
        for other in _beside(self):
            real(other, reason)

    return ExitStackOf(_knowing_neighbours(), _swap(Module, "distrust", distrust))


@_bug(5, "work on all modules of a box waits for the slowest")
def one_lock_for_all() -> AbstractContextManager[Any]:
    import asyncio

    locks: dict[str, asyncio.Lock] = {}
    real = LiveCall._put_on_hook

    async def hook(self: Any, cause: int) -> None:
        lock = locks.setdefault(f"{self.line.channel.box} {id(self.tools)}", asyncio.Lock())
        async with lock:
            await asyncio.sleep(5.0)
            await real(self, cause)

    return _swap(LiveCall, "_put_on_hook", hook)


@_bug(5, "a module that vanished is not taken into service again")
def module_not_back() -> AbstractContextManager[Any]:
    import asyncio

    async def never(self: Any, *_args: Any) -> None:
        await asyncio.Event().wait()

    return _swap(Module, "_came_back", never)


@_bug(5, "a module's failure ends its box")
def module_ends_box() -> AbstractContextManager[Any]:
    async def out(self: Any, state: Any, reason: str) -> None:
        raise RuntimeError(f"{state}: {reason}")

    return _swap(Module, "_out_of_service", out)


# --- 6: controller gone; facts in order, once ---------------------------------------------------------------


@_bug(6, "facts are acknowledged although the database did not take them")
def acknowledged_before_stored() -> AbstractContextManager[Any]:
    async def stored(self: Any, events: Any) -> Any:
        with suppress(StoreError):
            await self._store.take_events(events)
        return events

    return _swap(FleetLink, "_stored", stored)


@_bug(6, "a box forgets a fact as soon as it was sent")
def forgotten_when_sent() -> AbstractContextManager[Any]:
    real = Uplink._send_fact

    async def send(self: Any, event: BoxEvent) -> None:
        await real(self, event)
        await self.outbox.acknowledge((AckRange(boot=event.boot, first=event.seq, last=event.seq),))

    return _swap(Uplink, "_send_fact", send)


@_bug(6, "the sequence of facts begins anew under the same boot id")
def boot_id_kept() -> AbstractContextManager[Any]:
    return _swap(outbox_module._Rows, "_next_boot", lambda _self, _token: "1-same")


@_bug(6, "facts are stored in the order in which they happen to come")
def order_ignored() -> AbstractContextManager[Any]:
    async def in_order(self: Any, events: Any) -> Any:
        return list(reversed(events))

    return ExitStackOf(_swap(FleetLink, "_in_order", in_order), _swap(Uplink, "_on_ack", _nothing))


@_bug(6, "answered calls are ended when another controller comes")
def answered_ended_at_restart() -> AbstractContextManager[Any]:
    return _swap(Box, "end_unclaimed", lambda self, _gone: self._order_all(logic.Ordered(41, "restarted")))


@_bug(6, "a box ends its calls as soon as it hears that the controller is gone")
def calls_end_with_controller() -> AbstractContextManager[Any]:
    from simrack.wire.messages import ControllerStatus

    real = Uplink._on_controller

    def heard(self: Any, topic: str, payload: bytes) -> None:
        if not ControllerStatus.decode(payload).online:
            self.on_new_controller(float("-inf"))
        real(self, topic, payload)

    return _swap(Uplink, "_on_controller", heard)


@_bug(6, "a fact that is stored a second time counts again")
def part_taken_twice() -> AbstractContextManager[Any]:
    real = FleetLink._stored

    async def stored(self: Any, events: Any) -> Any:
        kept = await real(self, events)
        more = [event.model_copy(update={"seq": event.seq + 1000}) for event in kept if event.seq < 1000]
        if more:
            await self._store.take_events(more)
        return kept

    return _swap(FleetLink, "_stored", stored)


# --- 7: database gone, disk full ----------------------------------------------------------------------------


@_bug(7, "a call is accepted although its open row can't be written")
def accepted_without_row() -> AbstractContextManager[Any]:
    async def opened(self: Any) -> bool:
        with suppress(StoreError):
            await self._on.store.open_call(self.history.open_row(self._leg.request))
        return True

    return _swap(Call, "_open", opened)


@_bug(7, "100 goes out before the open row is on disk")
def trying_before_row() -> AbstractContextManager[Any]:
    real = Call._open

    async def opened(self: Any) -> bool:
        self._leg.trying()
        return await real(self)

    return _swap(Call, "_open", opened)


@_bug(7, "a record is given up when the database is down")
def record_given_up() -> AbstractContextManager[Any]:
    async def keep(on: Any, finished: Any) -> None:
        with suppress(StoreError):
            await on.store.finish(finished)

    return _swap(conversation, "keep", keep)


@_bug(7, "a failed commit is told as done")
def failed_commit_ignored() -> AbstractContextManager[Any]:
    return _swap(GroupCommit, "_failed", _nothing)


@_bug(7, "a fact that a full disk refuses is dropped")
def full_disk_drops_facts() -> AbstractContextManager[Any]:
    async def flush(self: Any) -> bool:
        unsaved = list(self._unsaved.values())
        self._unsaved.clear()
        try:
            await self._db.run(self._db.add, unsaved, ())
        except StoreBroken:
            return False
        return True

    return _swap(Outbox, "flush", flush)


@_bug(7, "an open row is not even tried for")
def open_row_skipped() -> AbstractContextManager[Any]:
    return _swap(Writer, "open_call", _async_nothing)


# --- 8: restarts --------------------------------------------------------------------------------------------


@_bug(8, "answered calls are not resumed after a restart")
def resume_forgets() -> AbstractContextManager[Any]:
    return _swap(app, "_goes_on", lambda _left: False)


@_bug(8, "open rows of earlier runs are not looked at")
def left_over_ignored() -> AbstractContextManager[Any]:
    async def none(self: Any) -> tuple[Any, ...]:
        return ()

    return ExitStackOf(_swap(Writer, "left_calls", none), _swap(Writer, "close_left_over", lambda *_a, **_m: none(None)))


@_bug(8, "200 is passed on before the dialogs are on disk")
def dialogs_not_stored() -> AbstractContextManager[Any]:
    return _swap(Conversation, "_store_dialogs", _async_nothing)


@_bug(8, "a call whose box was started anew goes on for ever")
def dead_box_ignored() -> AbstractContextManager[Any]:
    return ExitStackOf(_swap(Conversation, "box_gone", _nothing), _swap(ResumedCall, "box_gone", _nothing))


@_bug(8, "a resumed call is given up at once")
def resumed_given_up() -> AbstractContextManager[Any]:
    async def watch(self: Any, _carrier: Any) -> None:
        self._inbox.put_nowait(conversation.Lost("impatient", "lost"))

    return _swap(ResumedCall, "_watch", watch)


class ExitStackOf(ExitStack):
    """Several patches as one."""

    def __init__(self, *patches: AbstractContextManager[Any]) -> None:
        super().__init__()
        self._patches = patches

    def __enter__(self) -> Self:
        super().__enter__()
        for one in self._patches:
            self.enter_context(one)
        return self


def named(name: str) -> Planted:
    """The bug of this name. KeyError: there is none."""
    return {bug.name: bug for bug in PLANTED}[name]
