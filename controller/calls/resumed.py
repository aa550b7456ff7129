"""An answered call of an earlier run of the controller, which goes on.

Both legs are adopted from their stored identifiers, so that whatever either side does is answered and passed
on from the first moment; meanwhile the box is asked whether it still carries the call (`reconcile`). The
record is made once, at the end, with what was on disk and what came since.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

from simrack.controller.calls import reconcile
from simrack.controller.calls.attempt import Attempt
from simrack.controller.calls.conversation import SENDER, Conversation, Item, Lost, Part
from simrack.controller.calls.ladder import Ladder
from simrack.controller.calls.outcome import End
from simrack.controller.calls.ports import Adopter, Dialogs, LeftCall
from simrack.controller.calls.reconcile import Verdict
from simrack.controller.calls.record import History
from simrack.controller.calls.services import Services
from simrack.controller.models import KeptCall
from simrack.controller.routing.decision import Candidate
from simrack.controller.store.errors import StoreError

#: The fleet changes by messages; looking again this often costs nothing and delays nobody.
LOOK_EVERY_S = 0.25
#: By then the reports of most boxes are there; thousands of questions at once would hold up all calls.
ASK_AT_LOOK = 2
#: RFC 3261 13.3.1.4: who answers repeats the 200 for 64 * T1; later an ACK is out of the question.
ACK_WITHIN_MS = 32_000


class ResumedCall(Conversation):
    """See the module. `left` is resumable (`resumable`)."""

    def __init__(self, services: Services, left: LeftCall, stack: Adopter) -> None:
        dialogs, kept = resumable(left)
        opened, clock = left.open, services.clock
        since_ms, suspect = reconcile.elapsed_ms(
            dialogs.answered, clock.utc(), kept.monotonic, clock.monotonic()
        )
        answer = kept.answer if since_ms < ACK_WITHIN_MS else ""
        sender_leg, box_leg = stack.adopt(dialogs.sender_leg, answer), stack.adopt(dialogs.box_leg)
        history = History(
            call=opened.call,
            direction=opened.direction,
            sender=opened.sender,
            calling=opened.calling,
            called=opened.called,
            ingress=opened.ingress,
            started=opened.started,
            ladder=Ladder(clock, kept.ladder, kept.answered_ms + since_ms),
            progress_ms=kept.progress_ms,
            alerting=kept.alerting,
            alerting_ms=kept.alerting_ms,
            answered=dialogs.answered,
            answered_ms=kept.answered_ms,
            presented=kept.presented,
            explanation=kept.explanation,
            tried=kept.tried,
            marks=list(kept.marks),
        )
        history.mark("resumed")
        if suspect:
            history.mark("clock-suspect")
        super().__init__(services, sender_leg, history, opened.ingress.rpartition(":")[0])
        candidate = Candidate(
            box=dialogs.box,
            sip=kept.box_sip,
            channel=dialogs.channel or 0,
            iccid=dialogs.iccid,
            plan=dialogs.plan,
            dial=kept.dialled,
            early_media="auto",
            hide_number=None,
            max_ring_s=0,
            max_call_s=kept.max_call_s,
        )
        carrier = Attempt(
            dialogs.attempt, kept.number, candidate, box_leg, kept.attempt_started, kept.begun_ms,
            engaged=True, heard=True, rang=True, answered=True,
        )  # fmt: skip
        history.attempts.append(carrier)
        self._trace(box_leg)
        self._carrier = carrier
        self._sdp = {SENDER: kept.sender_sdp.encode("latin-1"), kept.number: kept.box_sdp.encode("latin-1")}
        self._stored = dialogs
        self._acknowledged = not answer
        self._known: bool | None = None  # the box's answer to OPTIONS
        if left.part is not None:
            # It came before the crash, whose run had not stored the record yet.
            self.take_part(left.part, timedelta())
        self._claim(carrier)

    def _claim(self, carrier: Attempt) -> None:
        """Hold channel, card and places again, before the first new call can ask for them."""
        on, candidate = self._on, carrier.candidate
        if not on.fleet.reserve(carrier.id, candidate.box, candidate.channel, candidate.iccid):
            self._log.warning("channel of a resumed call is held by another", box=candidate.box)
        on.fleet.load.seize(candidate.plan)
        on.fleet.load.begin(self.sender, on.clock.monotonic(), resumed=True)
        self._counted = True

    async def _open(self) -> bool:
        """Make the row this run's. A row that can't be written now is taken over all the same, unwritten."""
        assert self._stored is not None, "set with the row"
        assert self._carrier is not None, "set with the row"
        dialogs = replace(self._stored, sender_leg=self._leg.ids, box_leg=self._carrier.leg.ids)
        self._stored = dialogs
        try:
            await self._on.store.take_over(self.id, dialogs)
        except StoreError as error:
            self._go_on_unwritten("an open row was not taken over", error)
        return True

    async def _serve(self) -> None:
        carrier = self._carrier
        assert carrier is not None, "set with the row"
        self._pump(carrier.number, carrier.leg)
        self.history.ladder.add("controller", "box", "resumed after a restart", carrier.number)
        self._log.info("call resumed", box=carrier.candidate.box, channel=carrier.candidate.channel)
        self._live("speaking")
        if self._acknowledged:
            # Its BYE may have been given up in a long outage, and the voice of a module never stops by itself.
            self._leg.probe()
        watch = self._group.create_task(self._watch(carrier))
        try:
            await self._talk(carrier)
        finally:
            watch.cancel()
        await self._wind_up()

    async def _watch(self, carrier: Attempt) -> None:
        """Look at the fleet until the box has told, or was silent for too long."""
        clock, candidate = self._on.clock, carrier.candidate
        begun, looks = clock.monotonic(), 0
        missing_since: float | None = None
        while True:
            seen = self._on.fleet.seen(candidate.box, candidate.channel, carrier.id, self._box_boot)
            now = clock.monotonic()
            missing_since = (missing_since or now) if reconcile.missing(seen, self._known) else None
            verdict = reconcile.judge(seen, self._known, now - begun, now - (missing_since or now))
            if verdict is Verdict.HELD:
                self._log.info("the box carries the resumed call", box=candidate.box)
                return
            if verdict in (Verdict.GONE, Verdict.UNHEARD):
                words = "call lost at the box" if verdict is Verdict.GONE else "box did not come back"
                self._inbox.put_nowait(Lost(words, "box-lost" if seen.other_run else "lost"))
                return
            looks += 1
            if looks == ASK_AT_LOOK:
                carrier.leg.probe()
            await asyncio.sleep(LOOK_EVERY_S)

    def _probed(self, *, alive: bool) -> None:
        self._known = alive
        super()._probed(alive=alive)

    def _aside(self, item: Item, current: Attempt | None) -> None:
        super()._aside(item, current)
        carrier = self._carrier
        if isinstance(item, Part) and self.history.end is None and carrier is not None and carrier.part is not None:
            # The box has released it while nobody was there to hear its BYE.
            part = carrier.part
            self._end_both(End("answered", part.cause, part.cause_text, part.side, 200))


def resumable(left: LeftCall) -> tuple[Dialogs, KeptCall]:
    """What a resumed call is made of; ValueError: the call was not answered, or its row is not complete."""
    dialogs = left.dialogs
    if dialogs is None or dialogs.kept is None:
        raise ValueError(f"call {left.open.call} was not answered")
    if not (dialogs.sender_leg.complete and dialogs.box_leg.complete):
        raise ValueError(f"call {left.open.call} has no complete identifiers")
    return dialogs, dialogs.kept
