"""Two connected legs until both are gone, and the record at the end: what every answered call goes through.

Everything that concerns a call comes through one inbox in order: events of the sender's leg (number 0) and of
each attempt's leg (its number), the boxes' parts, orders of people, news of a box. The legs are neutral, so
that the same logic runs over SIP, over simulated legs, and over whatever comes later. `call.Call` begins a
conversation by an INVITE, `resumed.ResumedCall` with what an earlier run of the controller has left of one.
"""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

import structlog

from simrack.controller.calls import outcome, record
from simrack.controller.calls.attempt import Attempt
from simrack.controller.calls.outcome import End
from simrack.controller.calls.ports import CROSSED, UNANSWERED, Dialogs
from simrack.controller.calls.record import History
from simrack.controller.calls.services import Services
from simrack.controller.calls.storing import keep
from simrack.controller.models import Actor, KeptCall
from simrack.controller.store.errors import StoreDown, StoreError
from simrack.sip.errors import WrongStage
from simrack.sip.legs import Connected, DialogIds, Disconnected, Event, Failed, Info, Leg, Probed, Update
from simrack.wire.causes import Cause
from simrack.wire.messages import CallPart, LiveCall

log = structlog.get_logger(__name__)
SENDER = 0


@dataclass(frozen=True, slots=True)
class Order:
    """Somebody other than the two parties ends the call."""

    text: str
    mark: str = ""
    cause: int = Cause.TEMPORARY_FAILURE


@dataclass(frozen=True, slots=True)
class BoxGone:
    """A box became unreachable, or (`dead`) the run of it that carries the call is over."""

    box: str
    dead: bool
    boot: str = ""  # the run that was in force


@dataclass(frozen=True, slots=True)
class Part:
    """The box's part of one attempt, stored already."""

    part: CallPart
    offset: timedelta


@dataclass(frozen=True, slots=True)
class Lost:
    """The box that carried a call of an earlier run does not know it any more (`reconcile`)."""

    text: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class _Offer:
    """A relayed re-INVITE whose answer is awaited."""

    target: int
    until: float  # loop time


Item = tuple[int, Event] | Order | BoxGone | Part | Lost
LiveState = Literal["routing", "trying", "ringing", "speaking", "releasing", "ended"]


class Conversation(ABC):
    """See the module. `run` of a subclass returns when the record is stored."""

    def __init__(self, services: Services, leg: Leg, history: History, host: str) -> None:
        self._on, self._leg, self.history = services, leg, history
        #: The address that the call came from.
        self.host = host
        self.id, self.sender = history.call, history.sender
        self._inbox: asyncio.Queue[Item] = asyncio.Queue()
        self._pumps: list[asyncio.Task[None]] = []
        self._sender_gone = False
        self._carrier: Attempt | None = None
        self._offered: _Offer | None = None
        self._doubt: float | None = None  # loop time until which the box must say that it has the call
        self._log = log.bind(call=self.id, sender=self.sender)
        self._counted = False
        self._sdp: dict[int, bytes] = {}  # each leg's newest description, for an offer that asks for one
        self._stored: Dialogs | None = None  # what a later run would go on with
        self._group: asyncio.TaskGroup
        self._legs: list[str] = []  # Call-IDs: the sender's leg, then each attempt's
        self._trace(leg)

    @property
    def attempts(self) -> list[Attempt]:
        return self.history.attempts

    @property
    def speaking(self) -> bool:
        """Answered, and not over."""
        return self._carrier is not None and self.history.end is None

    @property
    def on_air(self) -> Attempt | None:
        """The attempt whose box may have voice of this call."""
        if self._carrier is not None or not self.attempts or self.attempts[-1].gone:
            return self._carrier
        return self.attempts[-1]

    def listened(self, who: str) -> None:
        """A person begins to hear the call: it is marked, in the record and on pages."""
        self.history.mark("listened")
        self.history.ladder.add("controller", "box", f"{who} listens")
        self._live("releasing" if self.history.end else "speaking" if self._carrier else "ringing")

    def hang_up(self, order: Order) -> None:
        """End the call from outside."""
        self._inbox.put_nowait(order)

    def give_up(self) -> None:
        """Leave nobody waiting after a fault inside; legs that have ended stay as they are."""
        self._give_up_legs("internal error")

    def take_part(self, part: CallPart, offset: timedelta) -> None:
        """Hand over what the box tells of one attempt."""
        self._inbox.put_nowait(Part(part, offset))

    def box_gone(self, news: BoxGone) -> None:
        """Say that a box is unreachable or was started anew."""
        self._inbox.put_nowait(news)

    async def run(self) -> None:
        """Serve the call to its end."""
        opened = False
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                self._pump(SENDER, self._leg)
                opened = await self._open()
                if opened:
                    await self._serve_guarded()
            finally:
                for task in self._pumps:
                    task.cancel()
                if self._counted:
                    self._on.fleet.load.end(self.sender)
                if not opened:
                    self._on.tracing.drop(self._legs)
        if opened:
            await self._store()

    async def _serve_guarded(self) -> None:
        try:
            await self._serve()
        except Exception:  # noqa: BLE001 - see below; it is logged with its trace
            # A fault in one call must end that call with a record, never the process.
            self._log.exception("call failed inside")
            self._settle(End("failed", Cause.TEMPORARY_FAILURE, "internal error", "rack", 500))
            self._give_up_legs("internal error")
            await self._wind_up()

    @abstractmethod
    async def _open(self) -> bool:
        """Have the call on disk; False: it has ended, and there is no record to make."""

    @abstractmethod
    async def _serve(self) -> None:
        """Serve both legs to their end."""

    @property
    def _box_boot(self) -> str:
        return self._stored.box_boot if self._stored is not None else ""

    def _over(self, attempt: Attempt, failed: Failed) -> None:
        """An attempt's leg has ended before it carried the call."""
        if attempt.gone:
            return
        attempt.fail(failed, self._on.clock.utc())
        label = "no response" if failed.no_response else f"{failed.status} (cause {failed.cause})"
        self.history.ladder.add("box", "controller", label, attempt.number)
        self._release(attempt, "no-response" if failed.no_response else "failed")

    def _release(self, attempt: Attempt, result: str) -> None:
        self._on.fleet.release(attempt.id, at_once=attempt.untouched)
        self._on.fleet.load.leave(attempt.candidate.plan)
        self._on.metrics.attempts.labels(result).inc()

    def _answered_in_vain(self, attempt: Attempt, sdp: bytes | None) -> None:
        if self.history.end is not None:
            self._cross(attempt)
        elif sdp is None:
            self._fail(End("failed", Cause.INTERWORKING, "box answered without SDP", "rack", 502))
        attempt.leg.hang_up(Cause.NORMAL, "call is over")

    def _cross(self, attempt: Attempt) -> None:
        """A CANCEL, whoever wanted it, and the network's connect crossed: the network counts an answered call, so do we."""
        history = self.history
        history.mark(CROSSED)
        attempt.answered = True
        end = history.end
        if end is None or end.outcome == "cancelled":
            status = end.status if end else 487
            history.end = End("answered", Cause.NORMAL, "cancelled while it was answered", "calling", status)
        else:
            history.end = replace(end, outcome="answered", text=f"{end.text}, while it was answered")

    def _count_connect(self) -> None:
        """A box ended its leg unanswered, and the network had connected all the same: the box's part says so."""
        end, unseen = self.history.end, [one for one in self.attempts if one.connected_unseen]
        if not unseen:
            return
        if end is not None and end.outcome in UNANSWERED:
            # Not the last one always: a box that stops refuses a call while its module connects, and others were tried.
            self._cross(unseen[-1])
        else:
            self.history.mark("late-answer")

    # --- speaking -----------------------------------------------------------------------------------------

    async def _talk(self, carrier: Attempt) -> None:
        """Relay between two connected legs until one of them ends or the longest duration is over."""
        talked_s = (self.history.ladder.ms() - (self.history.answered_ms or 0)) / 1000
        deadline = self._after(carrier.candidate.max_call_s - talked_s)
        while self.history.end is None:
            offered, doubt = self._offered, self._doubt
            item = await self._next(min(deadline, offered.until if offered else deadline, doubt or deadline))
            if item is not None:
                self._hear(item, carrier)
            elif offered is not None and self._after(0) >= offered.until:
                self._answer_for(carrier, offered)
            elif doubt is not None and self._after(0) >= doubt:
                self._box_lost()
            elif self._after(0) >= deadline:
                self.history.mark("max-duration")
                self._end_both(End("answered", Cause.NORMAL, "maximum call duration", "rack", 200))

    def _hear(self, item: Item, carrier: Attempt) -> None:
        """Take one item while two people speak."""
        if isinstance(item, tuple) and item[0] in (SENDER, carrier.number):
            self._in_call(item[0], item[1], carrier)
        elif isinstance(item, BoxGone) and self._is_over(item, carrier):
            # Restarted, or a second box under its name: the one that has the call answers for it.
            self._doubt = self._after(self._on.limits.probe_s)
            carrier.leg.probe()
        elif isinstance(item, Lost):
            self.history.mark(item.mark or "lost")
            self._end_both(End("answered", Cause.TEMPORARY_FAILURE, item.text, "rack", 200))
        else:
            self._aside(item, carrier)

    def _probed(self, *, alive: bool) -> None:
        """The box's word on a call whose box is in doubt."""
        if self._doubt is None:
            return
        self._doubt = None
        if alive:
            self._log.warning("another run of the box was born, and the call's own is still alive")
        else:
            self._box_lost()

    def _box_lost(self) -> None:
        self.history.mark("box-lost")
        self._end_both(End("answered", Cause.TEMPORARY_FAILURE, "box lost", "rack", 200))

    def _is_over(self, news: BoxGone, carrier: Attempt) -> bool:
        """Whether the very run of the box that carries the call has gone."""
        same_run = not news.boot or not self._box_boot or news.boot == self._box_boot
        return news.dead and news.box == carrier.candidate.box and same_run

    def _in_call(self, source: int, event: Event, carrier: Attempt) -> None:
        match event:
            case Disconnected(cause=cause, text=text):
                self._gone(source, carrier, event)
                end = End("answered", cause, text, "calling" if source == SENDER else "called", 200)
                self._end_both(end, source)
            case Failed() if source == SENDER:
                # Its CANCEL crossed our 200 before the stack could send it.
                self._sender_gone = True
                self._settle(End("cancelled", event.cause, event.text, "calling", event.status))
                self._cross(carrier)
                self.history.answered = self.history.answered_ms = None
                carrier.leg.hang_up(Cause.NORMAL, "cancelled")
            case Update(answers=True):
                self._relay_answer(source, carrier, event)
            case Update(sdp=sdp):
                self._relay_offer(source, carrier, sdp)
            case Probed(alive=alive) if source == carrier.number:
                self._probed(alive=alive)
            case Probed(alive=False) if source == SENDER:
                # It hung up while nobody was there to hear it, and has given up its BYE (RFC 3261, timer F).
                self.history.mark("sender-gone")
                self._end_both(End("answered", Cause.NORMAL, "the sender had hung up", "calling", 200))
            case Info(content_type=kind, body=body):
                self._sides(source, carrier)[1].info(kind, body)

    def _relay_offer(self, source: int, carrier: Attempt, sdp: bytes | None) -> None:
        """A re-INVITE goes to the other side, which answers it."""
        here, other, target = self._sides(source, carrier)
        if self._offered is not None:
            # Both sides offer at once: the later one tries again (RFC 3261 14.2).
            here.refuse_update(491)
            return
        if sdp is None:
            here.accept_update(self._sdp[target])
            return
        self._sdp[source], self._offered = sdp, _Offer(target, self._after(self._on.limits.offer_s))
        self.history.ladder.add("sender" if source == SENDER else "box", "controller", "re-INVITE", source)
        try:
            other.offer(sdp)
        except WrongStage:
            # It has just ended; its last event is in the inbox.
            self._offered = None
            here.refuse_update(491)

    def _relay_answer(self, source: int, carrier: Attempt, answer: Update) -> None:
        """The answer to a relayed re-INVITE goes back; no SDP is a refusal."""
        other = self._sides(source, carrier)[1]
        if self._offered is None:
            self._log.warning("an answer to a re-INVITE came too late", leg=source)
            return
        self._offered = None
        if answer.sdp is None:
            other.refuse_update(outcome.refusal_of_offer(answer.status))
            return
        self._sdp[source] = answer.sdp
        other.accept_update(answer.sdp)
        self._keep_in_step(carrier)

    def _answer_for(self, carrier: Attempt, offer: _Offer) -> None:
        """Tell who offered that the other side said nothing; the session stays as it was."""
        self._offered = None
        self.history.ladder.add("controller", "sender" if offer.target else "box", "504 (re-INVITE)")
        (self._leg if offer.target else carrier.leg).refuse_update(504)

    def _sides(self, source: int, carrier: Attempt) -> tuple[Leg, Leg, int]:
        """(the leg that spoke, the other one, the other one's number)."""
        if source == SENDER:
            return self._leg, carrier.leg, carrier.number
        return carrier.leg, self._leg, SENDER

    def _end_both(self, end: End, gone: int | None = None) -> None:
        """End both legs of an answered call; the one that ended by itself is `gone`."""
        if not self._settle(end):
            return
        carrier = self._carrier
        self._live("releasing")
        if gone != SENDER:
            self.history.ladder.add("controller", "sender", f"BYE (cause {end.cause})")
            self._leg.hang_up(end.cause, end.text)
        if carrier is not None and gone != carrier.number:
            self.history.ladder.add("controller", "box", f"BYE (cause {end.cause})", carrier.number)
            carrier.leg.hang_up(end.cause, end.text)

    def _gone(self, source: int, carrier: Attempt, event: Disconnected | Failed) -> None:
        """Note that a connected leg is over."""
        who: Actor = "sender" if source == SENDER else "box"
        label = f"BYE (cause {event.cause})" if event.side == "remote" else "200 OK (BYE)"
        self.history.ladder.add(who, "controller", label, source)
        if source == SENDER:
            self._sender_gone = True
        elif not carrier.gone:
            carrier.ended, carrier.cause, carrier.text = self._on.clock.utc(), event.cause, event.text
            self._release(carrier, "answered")

    # --- what a later run needs --------------------------------------------------------------------------

    def _dialogs(self, attempt: Attempt, box_leg: DialogIds, answer: str) -> Dialogs:
        """All that a later run needs to go on with the call."""
        history, candidate = self.history, attempt.candidate
        told = history.explanation
        now_ms = history.ladder.ms()
        return Dialogs(
            answered=self._on.clock.utc(),
            attempt=attempt.id,
            box=candidate.box,
            channel=candidate.channel,
            plan=candidate.plan,
            sender_leg=self._leg.ids,
            box_leg=box_leg,
            iccid=candidate.iccid,
            pattern=told.pattern if told else "",
            calling=(told.calling if told else "") or history.presented or history.calling,
            called=(told.called if told else "") or history.called,
            box_boot=self._on.fleet.boot_of(candidate.box),
            kept=KeptCall(
                dialled=candidate.dial,
                box_sip=candidate.sip,
                max_call_s=candidate.max_call_s,
                number=attempt.number,
                begun_ms=attempt.begun_ms,
                attempt_started=attempt.started,
                progress_ms=history.progress_ms,
                alerting=history.alerting,
                alerting_ms=history.alerting_ms,
                answered_ms=now_ms,
                monotonic=self._on.clock.monotonic(),
                presented=history.presented,
                sender_sdp=_text(self._sdp.get(SENDER)),
                box_sdp=_text(self._sdp.get(attempt.number)),
                answer=answer,
                explanation=record.explained(history),
                ladder=history.ladder.lines(),
                tried=tuple(tried.row() for tried in self.attempts if tried is not attempt),
                marks=tuple(history.marks),
            ),
        )

    async def _store_dialogs(self, dialogs: Dialogs) -> None:
        self._stored = dialogs
        try:
            await self._on.store.connected(self.id, dialogs)
        except StoreError as error:
            # Two people are connected; ending their call because a disk is slow would help nobody.
            self._go_on_unwritten("dialog identifiers were not stored", error)
            if isinstance(error, StoreDown):
                self._pumps.append(self._group.create_task(self._store_later(dialogs)))

    async def _store_later(self, dialogs: Dialogs) -> None:
        """Until the database takes it: the call may go on for an hour, and another run must be able to go on with it."""
        while self._stored is dialogs:
            await asyncio.sleep(self._on.limits.store_retry_s)
            try:
                await self._on.store.connected(self.id, dialogs)
            except StoreDown:
                continue
            except StoreError as error:
                self._log.error("dialog identifiers were refused", error=str(error))
                return
            self._on.alarms.set("store-down", active=False)
            self._log.info("dialog identifiers are stored after all")
            return

    def _go_on_unwritten(self, what: str, error: StoreError) -> None:
        self._log.error(what, error=str(error))
        self._on.alarms.set("store-down", active=isinstance(error, StoreDown), detail=str(error))

    def _keep_in_step(self, carrier: Attempt) -> None:
        """A re-INVITE may have moved a side (target refresh): what is on disk must lead there too."""
        before = self._stored
        if before is None or before.kept is None:
            return
        ours, theirs = self._leg.ids, carrier.leg.ids
        moved = _place(ours) != _place(before.sender_leg) or _place(theirs) != _place(before.box_leg)
        if moved:
            kept = before.kept.model_copy(update={
                "sender_sdp": _text(self._sdp.get(SENDER)), "box_sdp": _text(self._sdp.get(carrier.number)), "answer": "",
            })  # fmt: skip
            now = replace(before, sender_leg=ours, box_leg=theirs, kept=kept)
            self._group.create_task(self._store_dialogs(now))

    # --- what may come at any time ------------------------------------------------------------------------

    def _aside(self, item: Item, current: Attempt | None) -> None:
        """Take what isn't the current attempt's own progress."""
        match item:
            case Part(part=part, offset=offset):
                for attempt in self.attempts:
                    if attempt.id == part.attempt and attempt.part is None:
                        attempt.part, attempt.offset = part, offset
            case Order():
                self._obey(item, current)
            case (0, Failed() | Disconnected() as event):
                self._caller_gave_up(event, current)
            case (int() as number, event) if number != SENDER:
                self._straggler(next(a for a in self.attempts if a.number == number), event)
            case _:
                return

    def _caller_gave_up(self, event: Failed | Disconnected, current: Attempt | None) -> None:
        already = self._sender_gone
        self._sender_gone = True
        if already or self.history.end is not None:
            return
        self.history.ladder.add("sender", "controller", "CANCEL")
        cause = event.cause or Cause.NORMAL
        self._settle(End("cancelled", cause, event.text, "calling", 487))
        self._cancel(current, cause, event.text)

    def _obey(self, order: Order, current: Attempt | None) -> None:
        if order.mark:
            self.history.mark(order.mark)
        if self._carrier is not None:
            self._end_both(End("answered", order.cause, order.text, "rack", 200))
        elif self.history.end is None:
            self._fail(End("failed", order.cause, order.text, "rack", 503))
            self._cancel(current, order.cause, order.text)

    def _cancel(self, current: Attempt | None, cause: int, text: str) -> None:
        if current is not None and not current.gone:
            self.history.ladder.add("controller", "box", "CANCEL", current.number)
            current.leg.hang_up(cause, text)

    def _straggler(self, attempt: Attempt, event: Event) -> None:
        """An attempt that was given up speaks: a late 200 is acknowledged by its leg, and ended here."""
        match event:
            case Connected() if attempt.gone:
                attempt.answered = attempt.late = attempt.engaged = True
                attempt.silent = False
                self.history.mark("late-answer")
                self.history.ladder.add("box", "controller", "200 OK, too late", attempt.number)
                attempt.leg.hang_up(Cause.NORMAL, "answered too late")
            case Failed() | Disconnected() if not attempt.gone:
                failed = event if isinstance(event, Failed) else Failed(487, event.cause, event.text)
                if attempt.answered:
                    self._gone(attempt.number, attempt, event)
                else:
                    self._over(attempt, failed)
            case Connected() if self.history.end is not None:
                self._answered_in_vain(attempt, event.sdp)

    # --- the end ------------------------------------------------------------------------------------------

    def _settle(self, end: End) -> bool:
        """Set why the call ended; the first reason stands."""
        history = self.history
        if history.end is not None:
            return False
        history.end = end
        # The wall clock may have been set back in the call; durations come from the other one.
        history.ended = max(self._on.clock.utc(), history.answered or history.started)
        history.ended_ms = history.ladder.ms()
        self._log.info("call ended", outcome=end.outcome, cause=end.cause, side=end.side, text=end.text)
        return True

    def _fail(self, end: End) -> None:
        """End an unanswered call towards the sender."""
        if self._settle(end):
            self._decline(end)

    def _decline(self, end: End) -> None:
        self._leg.hang_up(end.cause, end.text)

    async def _wind_up(self) -> None:
        """Wait for both legs to go, then for the box's part."""
        limits = self._on.limits
        deadline = self._after(limits.release_s)
        while not self._legs_gone():
            if not self._take_last(await self._next(deadline)):
                self._log.warning("a leg did not end in time")
                break
        for attempt in self.attempts:
            if not attempt.gone:
                self._over(attempt, Failed(408, Cause.TIMER_EXPIRED, "leg given up", side="local"))
        deadline = self._after(limits.part_s)
        while any(attempt.awaits_part for attempt in self.attempts):
            if not self._take_last(await self._next(deadline)):
                break

    def _take_last(self, item: Item | None) -> bool:
        """Take an item after the end; False when the time is over."""
        if item is None:
            return False
        if isinstance(item, tuple) and item[0] == SENDER:
            self._sender_gone = self._sender_gone or isinstance(item[1], Failed | Disconnected)
        else:
            self._aside(item, None)
        return True

    def _legs_gone(self) -> bool:
        # A rejected sender's leg is the stack's to retransmit and forget; only dialogs are waited for.
        sender = self._sender_gone or self.history.answered is None
        return sender and all(attempt.gone for attempt in self.attempts)

    def _give_up_legs(self, text: str) -> None:
        self._leg.hang_up(Cause.TEMPORARY_FAILURE, text)
        for attempt in self.attempts:
            if not attempt.gone:
                attempt.leg.hang_up(Cause.TEMPORARY_FAILURE, text)

    async def _store(self) -> None:
        self._count_connect()
        await keep(self._on, record.build(self.history))
        history = self.history
        failed = history.end is None or history.end.outcome != "answered" or bool(history.marks)
        self._on.tracing.over(self.id, history.started, self._legs, failed=failed)
        self._count_sims()
        self._live("ended")

    def _count_sims(self) -> None:
        """Count talk time on the SIMs; an estimated record counts what the sender talked."""
        history = self.history
        for attempt in self.attempts:
            talk = attempt.part.talk_ms if attempt.part else 0
            if attempt is self._carrier and attempt.part is None and history.answered_ms is not None:
                talk = history.ended_ms - history.answered_ms
            if attempt.engaged:
                self._on.fleet.count(attempt.candidate.iccid, attempt.ended or history.started, talk)

    # --- small things -------------------------------------------------------------------------------------

    def _trace(self, leg: Leg) -> None:
        self._legs.append(leg.ids.call_id)
        self._on.tracing.hold(self._legs[-1])

    def _pump(self, number: int, leg: Leg) -> None:
        async def pump() -> None:
            while True:
                self._inbox.put_nowait((number, await leg.events.get()))

        self._pumps.append(self._group.create_task(pump()))

    def _after(self, seconds: float) -> float:
        return asyncio.get_running_loop().time() + seconds

    async def _next(self, deadline: float | None) -> Item | None:
        """The next item; None when `deadline` (loop time) has come first."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self._inbox.get()
        except TimeoutError:
            return None

    async def _drain(self) -> None:
        """Take what came between two attempts."""
        await asyncio.sleep(0)  # the pumps hand over what waits
        while not self._inbox.empty():
            self._aside(self._inbox.get_nowait(), None)

    def _live(self, state: LiveState) -> None:
        boot, seq = self._on.stamp()
        history, attempt = self.history, self.attempts[-1] if self.attempts else None
        self._on.feed.tell(
            LiveCall(
                boot=boot,
                seq=seq,
                at=self._on.clock.utc(),
                call=self.id,
                state=state,
                sender=self.sender,
                calling=history.presented or history.calling,
                called=(history.explanation.called if history.explanation else "") or history.called,
                started=history.started,
                answered=history.answered,
                box=attempt.candidate.box if attempt else "",
                channel=attempt.candidate.channel if attempt else None,
                plan=attempt.candidate.plan if attempt else "",
                attempt=attempt.number if attempt else 0,
                listened="listened" in history.marks,
            )
        )


def _text(sdp: bytes | None) -> str:
    # One character per octet, so that what comes back is what went in.
    return (sdp or b"").decode("latin-1")


def _place(ids: DialogIds) -> tuple[str, str]:
    return ids.remote_target, ids.remote_address
