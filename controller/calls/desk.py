"""The desk: every INVITE comes here, is identified, and becomes a call, a challenge, or a refusal."""

import asyncio
from collections import Counter
from datetime import timedelta

import structlog

from simrack.controller.calls.call import BoxGone, Call, Order
from simrack.controller.calls.guard import Gate, Guard
from simrack.controller.calls.incoming import IncomingCall
from simrack.controller.calls.ingress import (
    Challenge,
    DigestCheck,
    FromBox,
    Identified,
    Stranger,
    enter,
)
from simrack.controller.calls.ports import Senders
from simrack.controller.calls.record import address_text
from simrack.controller.calls.services import Services
from simrack.controller.fleet.state import BoxChange
from simrack.sip.legs import IncomingLeg
from simrack.wire.causes import Cause
from simrack.wire.messages import CallPart

log = structlog.get_logger(__name__)
AnyCall = Call | IncomingCall
#: After an overload a sender comes back no sooner than the burst is over.
RETRY_AFTER_S = 5
#: An INVITE is repeated for 32 s (RFC 3261, timer B); twice that covers a slow start.
EARLIER_S = 64.0
#: An alarm about something that happened stays for this long after it last happened.
OVERLOAD_HOLD_S = 60.0
FAILURES_HOLD_S = 3600.0
#: Of what strangers send, each reason is logged at most once in this many seconds (with a count).
SAMPLE_EVERY_S = 1.0


class Desk:
    """All calls in progress, and the door in front of them."""

    def __init__(self, services: Services, senders: Senders, digest: DigestCheck, guard: Guard) -> None:
        self._on, self._senders, self._digest, self.guard = services, senders, digest, guard
        self._calls: dict[str, AnyCall] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False
        self._earlier: frozenset[tuple[str, str, str]] = frozenset()
        self._earlier_until = 0.0
        self._sampled: dict[str, float] = {}
        self._unlogged: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()  # where the calls in progress came from
        services.fleet.listen(self._box_changed)

    async def run(self) -> None:
        """Own the calls' tasks until `stop`."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self._stop.wait()
            for task in tuple(self._tasks):
                task.cancel()
        self._group = None

    @property
    def calls(self) -> dict[str, AnyCall]:
        """Calls in progress by id."""
        return dict(self._calls)

    def gate(self, source: tuple[str, int]) -> Gate:
        """Judge the source of a new INVITE; boxes always come in."""
        if self._on.fleet.box_at(source) is not None:
            return Gate.OPEN
        gate = self.guard.gate(source)
        if gate is Gate.OVERLOAD:
            self._note_overload()
        return gate

    def hears(self, source: tuple[str, int]) -> bool:
        """Whether anything of this source is looked at: not while it is banned, unless a call of it is on."""
        if not self.guard.is_banned(source) or source[0] in self._hosts:
            return True
        return self._on.fleet.box_at(source) is not None

    def trusted(self, source: tuple[str, int]) -> bool:
        """Whether `X-Simrack-*` headers of this source count."""
        return self._on.fleet.box_at(source) is not None

    def suspect(self, source: tuple[str, int], problem: str) -> None:
        """Count a packet that could not be used as a failure of its source."""
        if not self.trusted(source):
            self._on.metrics.strangers.labels("malformed").inc()
            self._count_failure(source, f"malformed: {problem}")

    def on_invite(self, leg: IncomingLeg) -> None:
        """Take a new INVITE. Nothing has been sent for it."""
        source = leg.request.source
        entrance = enter(leg.request, self._on.fleet.box_at(source), self._senders, self._digest)
        match entrance:
            case FromBox(box=box):
                self._begin(IncomingCall(self._on, leg, box))
            case Challenge(stale=stale):
                self._challenge(leg, stale=stale)
            case Stranger():
                self._turn_away(leg, entrance)
            case Identified(sender=sender, digest=by_digest):
                if by_digest:
                    self.guard.passed(source)
                self._admit(leg, sender)

    def hang_up(self, call: str, actor: str) -> bool:
        """End a call because a person wants it; False when there is none of this id."""
        found = self._calls.get(call)
        if not isinstance(found, Call):
            return False
        found.hang_up(Order(f"hung up by {actor}", mark="hung-up", cause=Cause.NORMAL))
        return True

    def take_part(self, part: CallPart, offset: timedelta) -> None:
        """Hand a box's part to its call, if that is still in progress."""
        for call in self._by_part(part):
            call.take_part(part, offset)

    def remember(self, keys: frozenset[tuple[str, str, str]]) -> None:
        """Know calls of an earlier run by (sender, Call-ID, From tag), whose INVITEs may still be repeated."""
        self._earlier, self._earlier_until = keys, self._on.clock.monotonic() + EARLIER_S

    def drain(self) -> None:
        """Take no new calls; those in progress go on."""
        self._draining = True

    async def stop(self, within_s: float) -> None:
        """End all calls, with their records, within a time; then give up what is left."""
        self.drain()
        for call in self._calls.values():
            if isinstance(call, Call):
                call.hang_up(Order("controller stops", mark="controller-stopped"))
        try:
            async with asyncio.timeout(within_s):
                await self._empty.wait()
        except TimeoutError:
            # Their open rows stay on disk and are closed at the next start.
            log.warning("calls were left open", calls=len(self._calls))
        self._stop.set()

    # --- the door -----------------------------------------------------------------------------------------

    def _challenge(self, leg: IncomingLeg, *, stale: bool) -> None:
        self._on.metrics.challenges.inc()
        self.guard.refused(leg.request.source)
        leg.reject(
            401,
            Cause.REJECTED,
            "who are you?",
            self._digest.challenge(stale, self._senders.algorithms(leg.request.source)),
        )

    def _turn_away(self, leg: IncomingLeg, stranger: Stranger) -> None:
        source = leg.request.source
        self._on.metrics.strangers.labels(stranger.reason).inc()
        self._sample(stranger.reason, source)
        self.guard.refused(source)
        if stranger.failure:
            self._count_failure(source, stranger.reason)
        leg.reject(stranger.status, stranger.cause, stranger.text)

    def _count_failure(self, source: tuple[str, int], reason: str) -> None:
        spare = self._senders.knows(source)
        if not self.guard.failed(source, spare=spare):
            return
        if spare:
            self._on.alarms.set(
                "sender-failures", active=True, subject=source[0], detail=reason, hold_s=FAILURES_HOLD_S
            )
        else:
            log.warning("source banned", source=source[0], reason=reason, seconds=self.guard.limits.ban_s)

    def _admit(self, leg: IncomingLeg, sender: str) -> None:
        retry = (("Retry-After", str(RETRY_AFTER_S)),)
        if self._draining:
            self._on.metrics.refusals.labels("draining").inc()
            leg.reject(503, Cause.TEMPORARY_FAILURE, "controller stops", retry)
        elif self._is_earlier(leg, sender):
            self._on.metrics.refusals.labels("earlier-run").inc()
            leg.reject(503, Cause.TEMPORARY_FAILURE, "controller was restarted", retry)
        elif not self.guard.admit():
            self._note_overload()
            leg.reject(503, Cause.CONGESTION, "overload", retry)
        else:
            self._begin(Call(self._on, leg, sender))

    def _is_earlier(self, leg: IncomingLeg, sender: str) -> bool:
        """Whether this INVITE belongs to a call that has its record from an earlier run."""
        key = (sender, leg.request.call_id, leg.request.from_tag)
        return key in self._earlier and self._on.clock.monotonic() < self._earlier_until

    def _note_overload(self) -> None:
        self._on.metrics.overload.inc()
        self._on.alarms.set("overload", active=True, hold_s=OVERLOAD_HOLD_S)

    def _sample(self, reason: str, source: tuple[str, int]) -> None:
        """Log one of many."""
        now = self._on.clock.monotonic()
        self._unlogged[reason] += 1
        if now - self._sampled.get(reason, -SAMPLE_EVERY_S) >= SAMPLE_EVERY_S:
            self._sampled[reason] = now
            count = self._unlogged.pop(reason)
            log.info("unidentified INVITE", reason=reason, source=address_text(source), count=count)

    # --- calls --------------------------------------------------------------------------------------------

    def _begin(self, call: AnyCall) -> None:
        assert self._group is not None, "the desk takes calls only while it runs"
        self._calls[call.id] = call
        self._hosts[call.host] += 1
        self._empty.clear()
        self._on.metrics.in_progress.set(len(self._calls))
        task = self._group.create_task(self._serve(call), name=f"call-{call.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, call: AnyCall) -> None:
        try:
            await call.run()
        except Exception:
            # One call's fault must not end all the others.
            log.exception("call task failed", call=call.id)
            call.give_up()
        finally:
            del self._calls[call.id]
            self._hosts[call.host] -= 1
            if not self._hosts[call.host]:
                del self._hosts[call.host]
            self._on.metrics.in_progress.set(len(self._calls))
            if not self._calls:
                self._empty.set()

    def _by_part(self, part: CallPart) -> list[AnyCall]:
        call = self._calls.get(part.call)
        if call is not None:
            return [call]
        return [c for c in self._calls.values() if any(a.id == part.attempt for a in c.attempts)]

    def _box_changed(self, change: BoxChange) -> None:
        if change.kind not in ("unreachable", "replaced"):
            return
        for call in self._calls.values():
            if isinstance(call, Call):
                call.box_gone(BoxGone(change.box, dead=change.kind == "replaced"))
