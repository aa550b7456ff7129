"""How a call ends, and whether the next candidate may be tried: plain rules, no I/O."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from simrack.controller.routing.decision import Candidate
from simrack.sip.legs import Dial, Failed
from simrack.wire import causes
from simrack.wire.causes import Cause
from simrack.wire.messages import Side

Outcome = Literal["answered", "failed", "refused", "cancelled"]


@dataclass(frozen=True, slots=True)
class End:
    """Why a call ended. `status` is what the sender got; `text` the words of whoever ended it."""

    outcome: Outcome
    cause: int
    text: str
    side: Side
    status: int
    refusal: str = ""


def try_next(failed: Failed, *, early_media: bool) -> bool:
    """Whether another candidate may be tried after this failure (routing: in-call rerouting).

    Once a 183 with SDP went to the sender, another answer SDP would break RFC 6337 3.1.
    """
    # "unsure": the box can't tell whether the called party is rung already.
    if early_media or failed.headers.get("x-simrack-refusal", "") == "unsure":
        return False
    return failed.no_response or causes.rerouteable(failed.cause)


def after_failure(failed: Failed) -> End:
    """The end of a call whose last candidate failed like this."""
    row = causes.ROWS.get(failed.cause)
    if failed.no_response:
        return End("failed", Cause.TEMPORARY_FAILURE, "no answer from the box", "rack", 503)
    if failed.headers.get("x-simrack-refusal", "") in ("not-ready", "other-sim"):
        return End("failed", Cause.TEMPORARY_FAILURE, "channel out of service", "rack", 503)
    if failed.cause == Cause.CHANNEL_UNAVAILABLE:
        # The sender knows nothing of channels: for it this is "all lines busy".
        return End("failed", Cause.NO_CIRCUIT, failed.text or "channel taken", "rack", 503)
    side: Side = "called" if row is not None and row.blame == "called" else "rack"
    status = failed.status if failed.status >= 400 else causes.sip_of(failed.cause)
    return End("failed", failed.cause, failed.text, side, status)


def refusal_of_offer(status: int) -> int:
    """What who offered a new session hears when the other side did not take it.

    488 stands for what concerns the other leg alone (credentials, its dialog); 408 becomes 504, because a 408 to a
    re-INVITE would end the call (RFC 3261 12.2.1.2).
    """
    if status == 408:
        return 504
    return status if status in (415, 486, 488, 491, 500, 503, 504, 600, 603, 606) else 488


def all_taken() -> End:
    """Every candidate was taken by another call between the decision and the attempt."""
    return End("failed", Cause.NO_CIRCUIT, "all channels busy", "rack", 503)


def dial_of(
    call: str, attempt: str, candidate: Candidate, calling: str, sdp: bytes | None, run: str = ""
) -> Dial:
    """The INVITE to a box (architecture: SIP box <-> controller); `run` is this controller's boot id."""
    clir = "" if candidate.hide_number is None else "hide" if candidate.hide_number else "show"
    headers = {
        "X-Simrack-Call": call,
        "X-Simrack-Attempt": attempt,
        "X-Simrack-Channel": str(candidate.channel),
        "X-Simrack-ICCID": candidate.iccid,
        "X-Simrack-Early-Media": candidate.early_media,
        "X-Simrack-Max-Ring": str(candidate.max_ring_s),
        "X-Simrack-Max-Call": str(candidate.max_call_s),
    }
    if clir:
        headers["X-Simrack-Clir"] = clir
    if run:
        headers["X-Simrack-Run"] = run
    return Dial(
        address=candidate.sip,
        called=candidate.dial,
        calling=calling or "anonymous",
        sdp=sdp,
        headers=headers,
        # The box counts the ring time itself; ours only catches a box that forgets to.
        ring_s=candidate.max_ring_s + RING_MARGIN_S,
    )


#: How much longer than the box the controller waits for an answer.
RING_MARGIN_S = 5.0


def headline(words: Iterable[str]) -> str:
    """The first of `words` that says something."""
    return next((word for word in words if word), "")
