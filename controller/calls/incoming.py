"""A call that rings at a module: offered by its box, refused with its reason, and kept as a record.

Receivers of such calls come with routing; until then nobody answers, and the caller hears so at once.
"""

import asyncio
from datetime import timedelta

import structlog

from simrack.controller.calls import record
from simrack.controller.calls.attempt import Attempt
from simrack.controller.calls.ladder import Ladder
from simrack.controller.calls.outcome import End
from simrack.controller.calls.record import History, address_text
from simrack.controller.calls.services import Services
from simrack.controller.calls.storing import keep
from simrack.controller.routing.decision import Candidate
from simrack.controller.store.errors import StoreError
from simrack.sip.legs import IncomingLeg
from simrack.wire.causes import Cause
from simrack.wire.messages import CallPart

log = structlog.get_logger(__name__)
NO_RECEIVER = End("refused", Cause.OUT_OF_ORDER, "no receiver", "rack", 404, "no-receiver")


class IncomingCall:
    """One offer of a box. `run` returns when the record is stored."""

    def __init__(self, services: Services, leg: IncomingLeg, box: str) -> None:
        self._on, self._leg = services, leg
        invite, headers, now = leg.request, leg.request.headers, services.clock.utc()
        self.id = services.ids.token(8)
        self.sender = ""
        self.history = History(
            call=self.id,
            direction="in",
            sender="",
            calling=invite.calling,
            called=invite.called,
            ingress=address_text(invite.source),
            started=now,
            ladder=Ladder(services.clock),
        )
        number = headers.get("x-simrack-channel", "")
        candidate = Candidate(
            box=box,
            sip=invite.source,
            channel=int(number) if number.isdecimal() else 0,
            iccid=headers.get("x-simrack-iccid", ""),
            plan="",
            dial="",
            early_media="auto",
            hide_number=None,
            max_ring_s=0,
            max_call_s=0,
        )
        name = headers.get("x-simrack-attempt", "") or services.ids.token(8)
        self.attempt = Attempt(name, 1, candidate, leg, now, begun_ms=0, engaged=True)
        self.history.attempts.append(self.attempt)
        self._part = asyncio.Event()
        services.tracing.hold(invite.call_id)

    @property
    def attempts(self) -> list[Attempt]:
        return self.history.attempts

    @property
    def host(self) -> str:
        """The address of the box."""
        return self._leg.request.source[0]

    def give_up(self) -> None:
        """Leave the box not waiting after a fault inside."""
        self._leg.hang_up(Cause.TEMPORARY_FAILURE, "internal error")

    def take_part(self, part: CallPart, offset: timedelta) -> None:
        """Hand over what the box tells of it."""
        self.attempt.part, self.attempt.offset = part, offset
        self._part.set()

    async def run(self) -> None:
        """Refuse the call and keep its record."""
        history = self.history
        history.ladder.add("box", "controller", "INVITE")
        try:
            await self._on.store.open_call(history.open_row(self._leg.request))
        except StoreError as error:
            log.error("no record of an incoming call", box=self.attempt.candidate.box, error=str(error))
            self._leg.reject(503, Cause.TEMPORARY_FAILURE, "no record can be kept")
            self._on.tracing.drop((self._leg.request.call_id,))
            return
        self._leg.trying()
        self._refuse()
        try:
            async with asyncio.timeout(self._on.limits.part_s):
                await self._part.wait()
        except TimeoutError:
            log.info("box tells nothing of an incoming call yet", call=self.id)
        await keep(self._on, record.build(history))
        self._on.tracing.over(self.id, history.started, (self._leg.request.call_id,), failed=True)

    def _refuse(self) -> None:
        history = self.history
        history.ladder.add("controller", "box", f"{NO_RECEIVER.status} (cause {NO_RECEIVER.cause})")
        self._leg.reject(NO_RECEIVER.status, NO_RECEIVER.cause, NO_RECEIVER.text)
        history.end = NO_RECEIVER
        history.ended, history.ended_ms = self._on.clock.utc(), history.ladder.ms()
        self.attempt.ended, self.attempt.cause = history.ended, NO_RECEIVER.cause
        self.attempt.text = NO_RECEIVER.text
        self._on.metrics.refusals.labels(NO_RECEIVER.refusal).inc()
