"""One call: the sender's leg, one candidate's leg at a time, and the record at the end.

A call is one task with one inbox (see `conversation`). The order of acts is what makes a call safe against a
crash: the open row is on disk before 100 Trying, both dialogs' identifiers and all that a later run needs
before the sender hears 200, and the record replaces the open row in one transaction when both legs are gone
and the box's part has come, or 2 s have passed.
"""

from collections.abc import Sequence

from simrack.controller.calls import outcome
from simrack.controller.calls.attempt import Attempt
from simrack.controller.calls.conversation import SENDER, BoxGone, Conversation, Item
from simrack.controller.calls.ladder import Ladder
from simrack.controller.calls.media import sdp_problem, wants_privacy
from simrack.controller.calls.outcome import End
from simrack.controller.calls.record import History, address_text
from simrack.controller.calls.services import Services
from simrack.controller.models import Refusal
from simrack.controller.routing.decision import CallFacts, Candidate, read_over
from simrack.controller.store.errors import StoreError, StoreRefused
from simrack.sip.legs import Connected, Disconnected, Event, Failed, IncomingLeg, Progress, Ringing, Trying
from simrack.wire.causes import Cause

#: What a test call is to go over (`read_over`); routing hears it from senders of use "test" alone.
OVER = "x-test-over"


class Call(Conversation):
    """See the module. `run` returns when the record is stored."""

    _leg: IncomingLeg

    def __init__(self, services: Services, leg: IncomingLeg, sender: str) -> None:
        invite = leg.request
        history = History(
            call=services.ids.token(8),
            direction="out",
            sender=sender,
            calling=invite.calling,
            called=invite.called,
            ingress=address_text(invite.source),
            started=services.clock.utc(),
            ladder=Ladder(services.clock),
        )
        super().__init__(services, leg, history, invite.source[0])
        self._early_media = False

    # --- beginning ----------------------------------------------------------------------------------------

    async def _open(self) -> bool:
        """Put the call on disk; without that it is refused and there is no record of it."""
        self.history.ladder.add("sender", "controller", "INVITE")
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
        await self._drain()
        # From here to the reservation nothing waits: calls of one turn of the loop would choose the same channels.
        now = on.clock.utc()
        try:
            over = read_over(invite.headers.get(OVER, ""))
        except ValueError as error:
            self._refuse(Refusal(reason="test-call", sip=400, cause=Cause.INTERWORKING, text=f"{OVER}: {error}."))
            return
        facts = CallFacts(
            sender=self.sender,
            called=invite.called,
            calling=invite.calling,
            now=now,
            source=invite.source,
            anonymous=wants_privacy(invite.headers.get("privacy", "")),
            over=over,
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

    def _decline(self, end: End) -> None:
        self.history.ladder.add("controller", "sender", f"{end.status} (cause {end.cause})")
        self._leg.reject(end.status, end.cause, end.text)

    # --- candidates ---------------------------------------------------------------------------------------

    async def _hunt(self, candidates: Sequence[Candidate]) -> None:
        """Try candidates one after the other until one is answered or the call has ended."""
        last: Failed | None = None
        for candidate in candidates:
            if self.attempts:
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
        dial = outcome.dial_of(
            self.id, name, candidate, self.history.presented, self._leg.request.sdp, on.stamp_boot
        )
        begun_ms = self.history.ladder.ms()
        leg = on.dialler.dial(dial)
        attempt = Attempt(name, number, candidate, leg, on.clock.utc(), begun_ms)
        self.attempts.append(attempt)
        self._trace(leg)
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
        self._sdp = {SENDER: self._leg.request.sdp or sdp, attempt.number: sdp}
        answer = self._leg.answer_text(sdp)
        await self._store_dialogs(self._dialogs(attempt, event.ids, answer))
        self._carrier = attempt
        history.answered, history.answered_ms = on.clock.utc(), history.ladder.ms()
        self._leg.answer(sdp)
        history.ladder.add("controller", "sender", "200 OK")
        self._live("speaking")

    def _lost_with_box(self, item: BoxGone, attempt: Attempt) -> Failed | None:
        """News of the attempt's box that end the attempt: its run is over, or it is out of reach and silent."""
        if item.box != attempt.candidate.box:
            return None
        # A ringing call goes on while only the box's MQTT link is down: its SIP may be well.
        if attempt.rang and not item.dead:
            return None
        attempt.leg.give_up(Cause.NETWORK_OUT_OF_ORDER, "box lost")
        self.history.mark("box-lost")
        return Failed(503, Cause.NETWORK_OUT_OF_ORDER, "box lost", side="local", no_response=True)
