"""The desk: every INVITE comes here, is identified, and becomes a call, a challenge, or a refusal."""

import asyncio
import zlib
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

import structlog

from simrack.controller.calls.call import Call
from simrack.controller.calls.conversation import BoxGone, Conversation, Order
from simrack.controller.calls.guard import BY_HAND, FAILURES, FLOOD, Guard, Heard
from simrack.controller.calls.incoming import IncomingCall
from simrack.controller.calls.ingress import (
    Challenge,
    DigestCheck,
    Entrance,
    FromBox,
    Identified,
    Stranger,
    enter,
)
from simrack.controller.calls.ports import Adopter, LeftCall, Senders
from simrack.controller.calls.record import address_text
from simrack.controller.calls.resumed import ResumedCall
from simrack.controller.calls.services import Services
from simrack.controller.fleet.state import BoxChange
from simrack.sip.legs import IncomingLeg, Invite, Rejection
from simrack.wire.causes import Cause
from simrack.wire.messages import CallPart

log = structlog.get_logger(__name__)
AnyCall = Conversation | IncomingCall
#: After an overload a sender comes back no sooner than the burst is over, and not all of its calls in one second.
RETRY_AFTER_S, RETRY_SPREAD_S = 5, 6
#: An INVITE is repeated for 32 s (RFC 3261, timer B); twice that covers a slow start.
EARLIER_S = 64.0
#: An alarm about something that happened stays for this long after it last happened.
OVERLOAD_HOLD_S = 60.0
FAILURES_HOLD_S = 3600.0
#: Of what strangers send, each reason is logged at most once in this many seconds (with a count).
SAMPLE_EVERY_S = 1.0
_SILENCE = Rejection(0)


class Desk:
    """All calls in progress, and the door in front of them."""

    def __init__(self, services: Services, senders: Senders, digest: DigestCheck, guard: Guard) -> None:
        self._on, self._senders, self._digest, self.guard = services, senders, digest, guard
        self._calls: dict[str, AnyCall] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[asyncio.Task[None], AnyCall] = {}
        self._stop = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False
        self._earlier: frozenset[tuple[str, str, str]] = frozenset()
        self._earlier_until = 0.0
        self._sampled: dict[str, float] = {}
        self._unlogged: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()  # where the calls in progress came from
        self._senders_calls: Counter[str] = Counter()  # calls in progress by sender
        self._judged: tuple[Invite, Entrance] | None = None
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

    def attempts(self) -> set[str]:
        """Ids of all attempts of the calls in progress."""
        return {attempt.id for call in self._calls.values() for attempt in call.attempts}

    def hears(self, source: tuple[str, int]) -> bool:
        """Whether a packet of this source is looked at: not of a banned one, nor more than its budget."""
        if self._on.fleet.box_at(source) is not None:
            return True
        host = source[0]
        known = host in self._hosts or self._senders.knows(source)
        heard = self.guard.hears(host, known=known)
        if heard is Heard.YES:
            return True
        self._on.metrics.unheard.labels(heard.value).inc()
        if heard is Heard.FLOOD:
            self._flooded(host, known=known)
        return False

    def answers(self, source: tuple[str, int]) -> bool:
        """Whether this source may have one more answer outside all calls; takes it from its budget."""
        return self._on.fleet.box_at(source) is not None or self.guard.answered(source[0])

    def lag(self, late_s: float) -> None:
        """Take in how late the loop runs; a machine that can't keep up admits less."""
        if not self.guard.late(late_s):
            return
        pressure = self.guard.pressure
        self._on.metrics.admitted_part.set(pressure.factor)
        if pressure.factor < 1:
            log.warning("admission follows the machine", late_s=round(pressure.worst_s, 3), part=round(pressure.factor, 2))
            self._on.alarms.set("machine-slow", active=True, hold_s=OVERLOAD_HOLD_S)

    def trusted(self, source: tuple[str, int]) -> bool:
        """Whether `X-Simrack-*` headers of this source count."""
        return self._on.fleet.box_at(source) is not None

    def suspect(self, source: tuple[str, int], problem: str) -> None:
        """Count a packet that could not be used as a failure of its source."""
        if not self.trusted(source):
            self._on.metrics.strangers.labels("malformed").inc()
            self._count_failure(source, f"malformed: {problem}")

    def judge(self, invite: Invite) -> Rejection | None:
        """Decide on a new INVITE before anything is made of it: identified, admitted, or answered and forgotten."""
        source, self._judged = invite.source, None
        box = self._on.fleet.box_at(source)
        if box is None and not self.guard.may_answer(source[0]):
            return _SILENCE
        entrance = enter(invite, box, self._senders, self._digest)
        rejection = self._rejection(invite, entrance)
        if rejection is None:
            self._judged = (invite, entrance)
        return rejection

    def on_invite(self, leg: IncomingLeg) -> None:
        """Take a new INVITE that was judged (or judge it now). Nothing has been sent for it."""
        judged, self._judged = self._judged, None
        if judged is None or judged[0] != leg.request:
            rejection = self.judge(leg.request)
            judged, self._judged = self._judged, None
            if rejection is not None or judged is None:
                refused = rejection or _SILENCE
                leg.reject(refused.status or 503, refused.cause, refused.text, refused.headers)
                return
        match judged[1]:
            case FromBox(box=box):
                self._begin(IncomingCall(self._on, leg, box))
            case Identified(sender=sender):
                self._begin(Call(self._on, leg, sender))

    def hang_up(self, call: str, actor: str) -> bool:
        """End a call because a person wants it; False when there is none of this id."""
        found = self._calls.get(call)
        if not isinstance(found, Conversation):
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

    def resume(self, left: Iterable[LeftCall], stack: Adopter) -> None:
        """Go on with answered calls of an earlier run; at once after the stack has started, before it reads."""
        for call in left:
            self._begin(ResumedCall(self._on, call, stack))

    def drain(self) -> None:
        """Take no new calls; those in progress go on."""
        self._draining = True

    async def stop(self, within_s: float, *, hand_over: bool = False) -> None:
        """End all calls, with their records, within a time; then give up what is left.

        With `hand_over` those that are answered are left as they are: their open rows stay, nothing is sent, and
        the next run goes on with them.
        """
        self.drain()
        for call in self._calls.values():
            if isinstance(call, Conversation) and not (hand_over and call.speaking):
                call.hang_up(Order("controller stops", mark="controller-stopped"))
        if hand_over:
            await self._wait_for_the_rest(within_s)
            return
        try:
            async with asyncio.timeout(within_s):
                await self._empty.wait()
        except TimeoutError:
            # Their open rows stay on disk and are closed at the next start.
            log.warning("calls were left open", calls=len(self._calls))
        self._stop.set()

    async def _wait_for_the_rest(self, within_s: float) -> None:
        """Until only calls are left that speak; then let go of them."""
        waiting = [task for task, call in self._tasks.items() if not (isinstance(call, Conversation) and call.speaking)]
        if waiting:
            await asyncio.wait(waiting, timeout=within_s)
        log.info("answered calls are left to the next run", calls=len(self._calls))
        self._stop.set()

    # --- the door -----------------------------------------------------------------------------------------

    def _rejection(self, invite: Invite, entrance: Entrance) -> Rejection | None:
        match entrance:
            case Challenge(stale=stale):
                return self._challenge(invite, stale=stale)
            case Stranger():
                return self._turn_away(invite, entrance)
            case Identified(sender=sender, digest=by_digest):
                if by_digest:
                    self.guard.passed(invite.source[0])
                return self._admit(invite, sender)
        return None

    def _challenge(self, invite: Invite, *, stale: bool) -> Rejection:
        self._on.metrics.challenges.inc()
        self.guard.answered(invite.source[0])
        headers = self._digest.challenge(stale, self._senders.algorithms(invite.source))
        return Rejection(401, Cause.REJECTED, "who are you?", tuple(headers))

    def _turn_away(self, invite: Invite, stranger: Stranger) -> Rejection:
        source = invite.source
        self._on.metrics.strangers.labels(stranger.reason).inc()
        self._sample(stranger.reason, source)
        self.guard.answered(source[0])
        if stranger.failure:
            self._count_failure(source, stranger.reason)
        return Rejection(stranger.status, stranger.cause, stranger.text)

    def _count_failure(self, source: tuple[str, int], reason: str) -> None:
        spare = self._senders.knows(source) or self.guard.is_good(source[0])
        if not self.guard.failed(source[0], f"{FAILURES}: {reason}", spare=spare):
            return
        if spare:
            self._on.alarms.set(
                "sender-failures", active=True, subject=source[0], detail=reason, hold_s=FAILURES_HOLD_S
            )
        else:
            self._told_of_ban(source[0], reason)

    def _flooded(self, host: str, *, known: bool) -> None:
        if known or self.guard.is_good(host):
            self._on.alarms.set("sender-flood", active=True, subject=host, hold_s=FAILURES_HOLD_S)
        else:
            self.guard.ban(host, FLOOD)
            self._told_of_ban(host, FLOOD)

    def _told_of_ban(self, host: str, reason: str) -> None:
        self._on.metrics.bans.inc()
        log.warning("source banned", source=host, reason=reason, seconds=self.guard.limits.ban_s)

    def ban(self, host: str, seconds: float | None, reason: str) -> str:
        """Ban an address because a person wants it; why not, or ""."""
        source = (host, 0)
        if self._senders.knows(source) or host in self._hosts or self._on.fleet.has_host(host):
            return f"{host} belongs to a sender or a box; disable that instead"
        self.guard.ban(host, f"{BY_HAND}: {reason}" if reason else BY_HAND, seconds)
        return ""

    def _admit(self, invite: Invite, sender: str) -> Rejection | None:
        if self._draining:
            return self._refuse(invite, "draining", Cause.TEMPORARY_FAILURE, "controller stops")
        if self._is_earlier(invite, sender):
            return self._refuse(invite, "earlier-run", Cause.TEMPORARY_FAILURE, "controller was restarted")
        if self._in_setup(sender) >= self.guard.limits.setup_per_sender:
            return self._refuse(invite, "setup-limit", Cause.CONGESTION, "too many unanswered calls")
        if not self.guard.admit(sender):
            self._note_overload()
            return self._refuse(invite, "overload", Cause.CONGESTION, "overload")
        return None

    def _refuse(self, invite: Invite, reason: str, cause: Cause, text: str) -> Rejection:
        self._on.metrics.refusals.labels(reason).inc()
        wait = RETRY_AFTER_S + zlib.crc32(invite.call_id.encode()) % RETRY_SPREAD_S
        return Rejection(503, cause, text, (("Retry-After", str(wait)),))

    def _in_setup(self, sender: str) -> int:
        """Calls of a sender that are not answered yet; counted one by one only when there could be too many."""
        held = self._senders_calls[sender]
        if held < self.guard.limits.setup_per_sender:
            return held
        return sum(c.sender == sender and c.history.answered is None for c in self._calls.values())

    def _is_earlier(self, invite: Invite, sender: str) -> bool:
        """Whether this INVITE belongs to a call that has its record from an earlier run."""
        key = (sender, invite.call_id, invite.from_tag)
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
        self._senders_calls[call.sender] += 1
        self._empty.clear()
        self._on.metrics.in_progress.set(len(self._calls))
        self._on.traffic.begun(self._on.clock.monotonic())
        task = self._group.create_task(self._serve(call), name=f"call-{call.id}")
        self._tasks[task] = call
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

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
            self._senders_calls[call.sender] -= 1
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
            if isinstance(call, Conversation):
                call.box_gone(BoxGone(change.box, dead=change.kind == "replaced", boot=change.boot))
