"""One call: the sender's leg, one candidate's leg at a time, and the record at the end.

A call is one task. Everything that concerns it comes through one inbox in order: events of the sender's leg
(number 0) and of each attempt's leg (its number), the boxes' parts, orders of people, news of a box. The legs
are neutral, so that the same logic runs over SIP, over simulated legs, and over whatever comes later.

The order of acts is what makes a call safe against a crash: the open row is on disk before 100 Trying, both
dialogs' identifiers before the sender hears 200, and the record replaces the open row in one transaction when
both legs are gone and the box's part has come, or 2 s have passed.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import structlog

from simrack.controller.calls import outcome, record
from simrack.controller.calls.attempt import Attempt
from simrack.controller.calls.ladder import Ladder
from simrack.controller.calls.media import sdp_problem, wants_privacy
from simrack.controller.calls.outcome import End
from simrack.controller.calls.ports import Dialogs
from simrack.controller.calls.record import History, address_text
from simrack.controller.calls.services import Services
from simrack.controller.calls.storing import keep
from simrack.controller.models import Actor, Refusal
from simrack.controller.routing.decision import CallFacts, Candidate
from simrack.controller.store.errors import StoreDown, StoreError, StoreRefused
from simrack.sip.errors import WrongStage
from simrack.sip.legs import (
    Connected,
    Disconnected,
    Event,
    Failed,
    IncomingLeg,
    Info,
    Leg,
    Progress,
    Ringing,
    Trying,
    Update,
)
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


@dataclass(frozen=True, slots=True)
class Part:
    """The box's part of one attempt, stored already."""

    part: CallPart
    offset: timedelta


Item = tuple[int, Event] | Order | BoxGone | Part
LiveState = Literal["routing", "trying", "ringing", "speaking", "releasing", "ended"]


class Call:
    """See the module. `run` returns when the record is stored."""

    def __init__(self, services: Services, leg: IncomingLeg, sender: str) -> None:
        self._on = services
        self._leg = leg
        self.id = services.ids.token(8)
        self.sender = sender
        invite = leg.request
        self.history = History(
            call=self.id,
            direction="out",
            sender=sender,
            calling=invite.calling,
            called=invite.called,
            ingress=address_text(invite.source),
            started=services.clock.utc(),
            ladder=Ladder(services.clock),
        )
        self._inbox: asyncio.Queue[Item] = asyncio.Queue()
        self._pumps: list[asyncio.Task[None]] = []
        self._sender_gone = False
        self._early_media = False
        self._carrier: Attempt | None = None
        self._offered: int | None = None  # whose answer to a relayed re-INVITE is awaited
        self._log = log.bind(call=self.id, sender=sender)
        self._counted = False
        self._sdp: dict[int, bytes] = {}  # each leg's newest description, for an offer that asks for one

    @property
    def attempts(self) -> list[Attempt]:
        return self.history.attempts

    @property
    def host(self) -> str:
        """The address that the call came from."""
        return self._leg.request.source[0]

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
        self.history.ladder.add("sender", "controller", "INVITE")
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
        if opened:
            await self._store()

    # --- beginning ----------------------------------------------------------------------------------------

    async def _open(self) -> bool:
        """Put the call on disk; without that it is refused and there is no record of it."""
        try:
            await self._on.store.open_call(self.history.open_row(self._leg.request))
        except StoreRefused:
            # The same (sender, Call-ID, From tag) is in progress: a merged request (RFC 3261 8.2.2.2).
            self._leg.reject(482, Cause.NORMAL_UNSPECIFIED, "merged request")
            return False
        except StoreError as error:
            self._on.alarms.set("store-down", active=True, detail=str(error))
            self._on.metrics.refusals.labels("store-down").inc()
            self._leg.reject(503, Cause.TEMPORARY_FAILURE, "no record can be kept", (("Retry-After", "10"),))
            return False
        self._on.alarms.set("store-down", active=False)
        return True

    async def _serve_guarded(self) -> None:
        try:
            await self._serve()
        except Exception:  # noqa: BLE001 - see below; it is logged with its trace
            # A fault in one call must end that call with a record, never the process.
            self._log.exception("call failed inside")
            self._settle(End("failed", Cause.TEMPORARY_FAILURE, "internal error", "rack", 500))
            self._give_up_legs("internal error")
            await self._wind_up()

    async def _serve(self) -> None:
        self._leg.trying()
        self.history.ladder.add("controller", "sender", "100 Trying")
        problem = sdp_problem(self._leg.request.sdp)
        if problem:
            self._refuse(
                Refusal(reason="no-codec", sip=488, cause=Cause.BEARER_NOT_IMPLEMENTED, text=problem)
            )
        else:
            await self._route()
        if self._carrier is not None:
            await self._talk(self._carrier)
        await self._wind_up()

    async def _route(self) -> None:
        invite, on = self._leg.request, self._on
        now = on.clock.utc()
        facts = CallFacts(
            sender=self.sender,
            called=invite.called,
            calling=invite.calling,
            now=now,
            source=invite.source,
            anonymous=wants_privacy(invite.headers.get("privacy", "")),
        )
        decision = on.router.decide(facts, on.fleet.view(now))
        on.fleet.load.begin(self.sender, on.clock.monotonic())
        self._counted = True
        self.history.explanation = decision.explanation
        self.history.presented = decision.calling
        self._live("routing")
        refusal = decision.explanation.refusal
        if refusal is not None:
            self._refuse(refusal)
        elif not decision.candidates:
            self._fail(outcome.all_taken())
        else:
            await self._hunt(decision.candidates)

    def _refuse(self, refusal: Refusal) -> None:
        if refusal.reason.startswith("emergency"):
            self._on.alarms.set("emergency-refused", active=True, detail=self.sender, hold_s=3600.0)
        self._on.metrics.refusals.labels(refusal.reason).inc()
        self._fail(End("refused", refusal.cause, refusal.text, "rack", refusal.sip, refusal.reason))

    def _fail(self, end: End) -> None:
        """End an unanswered call towards the sender."""
        if self._settle(end):
            self.history.ladder.add("controller", "sender", f"{end.status} (cause {end.cause})")
            self._leg.reject(end.status, end.cause, end.text)

    # --- candidates ---------------------------------------------------------------------------------------

    async def _hunt(self, candidates: Sequence[Candidate]) -> None:
        """Try candidates one after the other until one is answered or the call has ended."""
        last: Failed | None = None
        for candidate in candidates:
            await self._drain()
            if self.history.end is not None or len(self.attempts) >= self._on.limits.attempts:
                break
            attempt = self._begin(candidate)
            if attempt is None:
                continue
            last = await self._follow(attempt)
            if last is None or not outcome.try_next(last, early_media=self._early_media):
                break
        if self.history.end is None and self._carrier is None:
            self._fail(outcome.after_failure(last) if last else outcome.all_taken())

    def _begin(self, candidate: Candidate) -> Attempt | None:
        on, number = self._on, len(self.attempts) + 1
        name = on.ids.token(8)
        if not on.fleet.reserve(name, candidate.box, candidate.channel, candidate.iccid):
            self._log.info("candidate taken meanwhile", box=candidate.box, channel=candidate.channel)
            return None
        on.fleet.load.seize(candidate.plan)
        self.history.ladder.add("controller", "box", f"INVITE {candidate.dial}", number)
        dial = outcome.dial_of(self.id, name, candidate, self.history.presented, self._leg.request.sdp)
        begun_ms = self.history.ladder.ms()
        leg = on.dialler.dial(dial)
        attempt = Attempt(name, number, candidate, leg, on.clock.utc(), begun_ms)
        self.attempts.append(attempt)
        self._pump(number, leg)
        self._live("trying")
        return attempt

    async def _follow(self, attempt: Attempt) -> Failed | None:
        """Wait for an attempt's end or answer. Returns its failure; None when the call needs no other one."""
        deadline: float | None = None
        while attempt is not self._carrier:
            if self.history.end is not None and deadline is None:
                deadline = self._after(self._on.limits.release_s)
            failed = await self._step(await self._next(deadline), attempt)
            if failed is not None:
                self._over(attempt, failed)
                return failed if self.history.end is None else None
        return None

    async def _step(self, item: Item | None, attempt: Attempt) -> Failed | None:
        """Take one item while an attempt is on its way; returns how the attempt failed, if it did."""
        if item is None:
            return Failed(408, Cause.TIMER_EXPIRED, "leg given up", side="local", no_response=True)
        if isinstance(item, BoxGone):
            return self._lost_with_box(item, attempt)
        if not isinstance(item, tuple) or item[0] != attempt.number:
            self._aside(item, attempt)
            return None
        match item[1]:
            case Connected() as event:
                await self._answered(attempt, event)
            case Failed() as event:
                return event
            case Disconnected(cause=cause, text=text, side=side):
                return Failed(480, cause, text, side)
            case event:
                self._progress(attempt, event)
        return None

    def _progress(self, attempt: Attempt, event: Event) -> None:
        """Pass on what happens before the answer, as it comes."""
        attempt.heard = True
        label = {Trying: "100 Trying", Ringing: "180 Ringing", Progress: "183 with SDP"}.get(type(event))
        if label:
            self.history.ladder.add("box", "controller", label, attempt.number)
        if not isinstance(event, Ringing | Progress):
            return
        attempt.engaged = attempt.rang = True
        self._note_alerting()
        if self.history.end is not None:
            return
        if isinstance(event, Progress):
            attempt.sdp = event.sdp
            self._early_media = True
            self._leg.progress(event.sdp)
        else:
            self._leg.ring()
        self.history.ladder.add("controller", "sender", label or "")
        self._live("ringing")

    def _note_alerting(self) -> None:
        history, now = self.history, self.history.ladder.ms()
        if history.alerting is None:
            history.alerting, history.alerting_ms = self._on.clock.utc(), now
        if history.progress_ms is None:
            history.progress_ms = now
            self._on.metrics.setup.observe(now / 1000)

    async def _answered(self, attempt: Attempt, event: Connected) -> None:
        """The network has connected: tell the disk, then the sender; or end it when the sender has gone."""
        history, on = self.history, self._on
        attempt.answered = attempt.heard = attempt.engaged = True
        if history.progress_ms is None:
            history.progress_ms = history.ladder.ms()
        history.ladder.add("box", "controller", "200 OK", attempt.number)
        sdp = event.sdp or attempt.sdp
        if history.end is not None or sdp is None:
            self._answered_in_vain(attempt, sdp)
            return
        await self._save_dialogs(attempt, event)
        self._carrier = attempt
        self._sdp = {SENDER: self._leg.request.sdp or sdp, attempt.number: sdp}
        history.answered, history.answered_ms = on.clock.utc(), history.ladder.ms()
        self._leg.answer(sdp)
        history.ladder.add("controller", "sender", "200 OK")
        self._live("speaking")

    def _answered_in_vain(self, attempt: Attempt, sdp: bytes | None) -> None:
        if self.history.end is not None and self.history.end.outcome == "cancelled":
            self._cross(attempt)
        elif sdp is None:
            self._fail(End("failed", Cause.INTERWORKING, "box answered without SDP", "rack", 502))
        attempt.leg.hang_up(Cause.NORMAL, "call is over")

    def _cross(self, attempt: Attempt) -> None:
        """A CANCEL and the network's connect crossed: the network counts an answered call, so do we."""
        history = self.history
        history.mark("cancel-crossed")
        status = history.end.status if history.end else 487
        history.end = End("answered", Cause.NORMAL, "cancelled while it was answered", "calling", status)
        attempt.answered = True

    async def _save_dialogs(self, attempt: Attempt, event: Connected) -> None:
        candidate = attempt.candidate
        dialogs = Dialogs(
            answered=self._on.clock.utc(),
            attempt=attempt.id,
            box=candidate.box,
            channel=candidate.channel,
            plan=candidate.plan,
            sender_leg=self._leg.ids,
            box_leg=event.ids,
        )
        try:
            await self._on.store.connected(self.id, dialogs)
        except StoreError as error:
            # Two people are connected; ending their call because a disk is slow would help nobody.
            self._log.error("dialog identifiers were not stored", error=str(error))
            self._on.alarms.set("store-down", active=isinstance(error, StoreDown), detail=str(error))

    def _lost_with_box(self, item: BoxGone, attempt: Attempt) -> Failed | None:
        """News of the attempt's box that end the attempt: its run is over, or it is out of reach and silent."""
        if item.box != attempt.candidate.box:
            return None
        # A ringing call goes on while only the box's MQTT link is down: its SIP may be well.
        if attempt.rang and not item.dead:
            return None
        attempt.leg.hang_up(Cause.NETWORK_OUT_OF_ORDER, "box lost")
        self.history.mark("box-lost")
        return Failed(503, Cause.NETWORK_OUT_OF_ORDER, "box lost", side="local", no_response=True)

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

    # --- speaking -----------------------------------------------------------------------------------------

    async def _talk(self, carrier: Attempt) -> None:
        """Relay between two connected legs until one of them ends or the longest duration is over."""
        deadline = self._after(carrier.candidate.max_call_s)
        while self.history.end is None:
            item = await self._next(deadline)
            if item is None:
                self.history.mark("max-duration")
                self._end_both(End("answered", Cause.NORMAL, "maximum call duration", "rack", 200))
            elif isinstance(item, tuple) and item[0] in (SENDER, carrier.number):
                self._in_call(item[0], item[1], carrier)
            elif isinstance(item, BoxGone) and item.dead and item.box == carrier.candidate.box:
                self.history.mark("box-lost")
                self._end_both(End("answered", Cause.TEMPORARY_FAILURE, "box lost", "rack", 200))
            else:
                self._aside(item, carrier)

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
            case Update(sdp=sdp, answers=True):
                self._relay_answer(source, carrier, sdp)
            case Update(sdp=sdp):
                self._relay_offer(source, carrier, sdp)
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
        self._sdp[source], self._offered = sdp, target
        self.history.ladder.add("sender" if source == SENDER else "box", "controller", "re-INVITE", source)
        try:
            other.offer(sdp)
        except WrongStage:
            # It has just ended; its last event is in the inbox.
            self._offered = None
            here.refuse_update(491)

    def _relay_answer(self, source: int, carrier: Attempt, sdp: bytes | None) -> None:
        """The answer to a relayed re-INVITE goes back; None is a refusal."""
        other = self._sides(source, carrier)[1]
        self._offered = None
        if sdp is None:
            other.refuse_update(488)
            return
        self._sdp[source] = sdp
        other.accept_update(sdp)

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
                self._straggler(self.attempts[number - 1], event)
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
        history.ended, history.ended_ms = self._on.clock.utc(), history.ladder.ms()
        self._log.info("call ended", outcome=end.outcome, cause=end.cause, side=end.side, text=end.text)
        return True

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
        await keep(self._on, record.build(self.history))
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
            )
        )
