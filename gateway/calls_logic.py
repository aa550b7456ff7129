"""What a call at the box does next: events in, actions out, nothing else.

One call joins a SIP leg to the one voice call of a module. Both ends, the timers and the audio tell their
events here; the answer is a tuple of actions for the shell in `call.py`, in order. Rules of `gateway.md`:

- 200 goes out on the driver's ACTIVE only, and ACTIVE only comes from the family's proven answer signal;
- the voice path opens once (183 with SDP), and 180 is sent only under early media `never`;
- whatever happens, the module is on-hook at the end: every way out either heard the module release, or
  hangs up and waits for its word;
- a call that the network answered while the sender was cancelling is an answered call (routing, Races).
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from simrack.gateway.errors import BadRequest
from simrack.sip.legs import Invite
from simrack.wire import causes
from simrack.wire.causes import Cause
from simrack.wire.channel import ChannelState
from simrack.wire.messages import Side

#: In X-Simrack-Refusal: the called party may be rung already, so that no other candidate may be tried.
UNSURE = "unsure"

EarlyMedia = Literal["auto", "always", "never"]

#: Digits as 27.007 6.2 dials them; nothing else may reach the AT port, where `;` or CR would end the command.
_DIALLABLE = re.compile(r"\+?[0-9*#]{1,32}")
_DIGITS = frozenset("0123456789*#ABCD")


class Phase(StrEnum):
    """How far a call is."""

    BEGUN = "begun"  # out: the dial command goes to the module; in: the controller is being asked
    TAKEN = "taken"  # out: the module has the dial command; in: the controller answered, ATA goes out
    ALERTING = "alerting"
    ACTIVE = "active"
    ENDING = "ending"  # one side is gone, the other is being released
    ENDED = "ended"


class Timer(StrEnum):
    """Clocks that end a call."""

    RING = "ring"
    CALL = "call"
    MEDIA = "media"
    ALONE = "alone"


# --- events -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DialTaken:
    """The module has taken ATD (or ATA)."""


@dataclass(frozen=True, slots=True)
class DialRefused:
    """The module answered ATD (or ATA) with an error."""

    cause: int
    text: str


@dataclass(frozen=True, slots=True)
class DialUnsure:
    """Nobody can tell what became of the dial command: the called party may be rung."""

    text: str


@dataclass(frozen=True, slots=True)
class Alerting:
    """The far end rings."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The network connected the call: the proven signal."""


@dataclass(frozen=True, slots=True)
class Held:
    """The call was put on hold (`on`) or taken back."""

    on: bool


@dataclass(frozen=True, slots=True)
class Released:
    """The module's call is over; it is on-hook."""

    cause: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class RingIn:
    """A call came in while an outgoing one was being dialled: glare."""


@dataclass(frozen=True, slots=True)
class VoiceHeard:
    """The module's audio held 100 ms over -50 dBFS."""


@dataclass(frozen=True, slots=True)
class LegAnswered:
    """The controller took an incoming call."""


@dataclass(frozen=True, slots=True)
class LegGone:
    """CANCEL, BYE, or a failure of the SIP leg; no message can be sent on it any more."""

    cause: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Expired:
    """A timer ran out."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class ModuleLost:
    """The module vanished or hangs; `dialled` when it had been told to dial, so that the far end may ring."""

    text: str
    dialled: bool = False


@dataclass(frozen=True, slots=True)
class Ordered:
    """A person or the box itself ends the call; the other side hears `said`, where that differs."""

    cause: int
    text: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class OnHook:
    """The module has been hung up and holds no call."""


Event = (
    DialTaken | DialRefused | DialUnsure | Alerting | Answered | Held | Released | RingIn | VoiceHeard | LegAnswered | LegGone
    | Expired | ModuleLost | Ordered | OnHook
)  # fmt: skip


# --- actions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Show:
    """Move the channel."""

    state: ChannelState


@dataclass(frozen=True, slots=True)
class Listen:
    """Join module audio and RTP, towards the module's side at least."""


@dataclass(frozen=True, slots=True)
class OpenPath:
    """Send 183 with SDP: the sender hears the module from here on."""


@dataclass(frozen=True, slots=True)
class Ring:
    """Send 180 without SDP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Send 200 with SDP, with empty buffers."""


@dataclass(frozen=True, slots=True)
class TakeCall:
    """Send ATA."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Send a final failure on a leg that was not answered."""

    status: int
    cause: int
    text: str
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class EndLeg:
    """Release the leg at whatever stage: BYE, or CANCEL of our own INVITE."""

    cause: int
    text: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """Put the module on-hook, then tell `OnHook`."""

    cause: int


@dataclass(frozen=True, slots=True)
class AwaitDial:
    """Let an outstanding ATD come back, then tell `OnHook`; hang up only if the module took it."""


Action = Show | Listen | OpenPath | Ring | Answer | TakeCall | Refuse | EndLeg | HangUp | AwaitDial


@dataclass(frozen=True, slots=True)
class End:
    """Why the call ended, as the record will say; the other side hears `said`, where that differs."""

    cause: int
    text: str
    side: Side
    said: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """State of one call. `opened`: 183 was sent; `answered`: the network connected it."""

    direction: Literal["out", "in"] = "out"
    early_media: EarlyMedia = "auto"
    phase: Phase = Phase.BEGUN
    opened: bool = False
    rung: bool = False
    answered: bool = False
    on_hook: bool = False
    end: End | None = None


Step = tuple[Call, tuple[Action, ...]]
S = ChannelState


def step(call: Call, event: Event) -> Step:
    """What the call becomes and what is to be done, once `event` happened."""
    if call.phase is Phase.ENDED:
        return call, ()
    if call.phase is Phase.ENDING:
        return _ending(call, event)
    ended = _ways_out(call, event)
    if ended is not None:
        return ended
    return _outgoing(call, event) if call.direction == "out" else _incoming(call, event)


# --- the way forward --------------------------------------------------------------------------------------


def _outgoing(call: Call, event: Event) -> Step:
    match event:
        case DialTaken() if call.phase is Phase.BEGUN:
            call = replace(call, phase=Phase.TAKEN)
            heard: tuple[Action, ...] = (Listen(),) if call.early_media != "never" else ()
            return _open(call, heard) if call.early_media == "always" else (call, heard)
        case Alerting() if call.phase in (Phase.BEGUN, Phase.TAKEN):
            return _alerting(replace(call, phase=Phase.ALERTING))
        case VoiceHeard() if call.early_media == "auto" and call.phase is not Phase.ACTIVE:
            return _open(call, ())
        case Answered() if call.phase is not Phase.ACTIVE:
            call = replace(call, phase=Phase.ACTIVE, answered=True)
            return call, (Show(S.ACTIVE), Listen(), Answer())
        case Held(on=on) if call.phase is Phase.ACTIVE:
            return call, (Show(S.HELD if on else S.ACTIVE),)
        case _:
            return call, ()


def _alerting(call: Call) -> Step:
    shown = (Show(S.ALERTING),)
    if call.early_media == "never":
        return replace(call, rung=True), (*shown, Ring())
    return _open(call, (*shown, Listen()))


def _open(call: Call, before: tuple[Action, ...]) -> Step:
    if call.opened:
        return call, before
    return replace(call, opened=True), (*before, OpenPath())


def _incoming(call: Call, event: Event) -> Step:
    match event:
        case LegAnswered() if call.phase is Phase.BEGUN:
            return replace(call, phase=Phase.TAKEN), (TakeCall(),)
        case Answered() if call.phase is Phase.TAKEN:
            return replace(call, phase=Phase.ACTIVE, answered=True), (Show(S.ACTIVE), Listen())
        case Held(on=on) if call.phase is Phase.ACTIVE:
            return call, (Show(S.HELD if on else S.ACTIVE),)
        case _:
            return call, ()


# --- the ways out -----------------------------------------------------------------------------------------


def _ways_out(call: Call, event: Event) -> Step | None:
    match event:
        case Released(cause=cause, text=text):
            side: Side = "called" if call.direction == "out" else "calling"
            return _finish(call, End(cause or _unsaid(call), text, side), leg=True)
        case DialRefused(cause=Cause.CHANNEL_UNAVAILABLE) if call.direction == "out":
            # The driver found the module ringing at the moment of dialling.
            return _glare(call)
        case DialRefused(cause=cause, text=text):
            # A cause of the network's own came as the final result of ATD (BUSY); 41 is the module's "ERROR".
            blame: Side = "rack" if cause == Cause.TEMPORARY_FAILURE else "called"
            # The module's own words hold its dial command.
            return _leave(call, End(cause, text, blame, causes.name(cause)), leg=True)
        case DialUnsure(text=text):
            return _leave(call, End(Cause.TEMPORARY_FAILURE, text, "rack", "dial unsure"), leg=True, refusal=UNSURE)
        case LegGone(cause=cause, text=text):
            who: Side = "calling" if call.direction == "out" else "called"
            return _leave(call, End(cause, text, who), leg=False)
        case Expired(timer=timer):
            return _leave(call, _expired(call, timer), leg=True)
        case Ordered(cause=cause, text=text, said=said):
            return _leave(call, End(cause, text, "rack", said), leg=True)
        case ModuleLost(text=text, dialled=dialled):
            # The reason names ports and files of this box, which are no sender's business.
            end = End(Cause.TEMPORARY_FAILURE, text, "rack", "module lost")
            return _finish(call, end, leg=True, refusal=UNSURE if dialled else "")
        case RingIn() if call.direction == "out" and call.phase in (Phase.BEGUN, Phase.TAKEN):
            return _glare(call)
    return None


def _unsaid(call: Call) -> int:
    """The cause of a release that nobody explained (RFC 3398: no word is "normal, unspecified")."""
    return Cause.NORMAL if call.answered else Cause.NORMAL_UNSPECIFIED


def _expired(call: Call, timer: Timer) -> End:
    match timer:
        case Timer.RING if call.phase is Phase.ALERTING:
            return End(Cause.NO_ANSWER, "maximum ring time", "rack")
        case Timer.RING:
            return End(Cause.TIMER_EXPIRED, "no progress within the maximum ring time", "rack")
        case Timer.CALL:
            return End(Cause.NORMAL, "maximum call time", "rack")
        case Timer.MEDIA:
            return End(Cause.TEMPORARY_FAILURE, "no media", "rack")
        case Timer.ALONE:
            return End(Cause.TEMPORARY_FAILURE, "no controller", "rack")


def _leg_action(call: Call, end: End, refusal: str = "") -> Action:
    said = end.said or end.text
    if call.direction == "in" or call.answered:
        return EndLeg(end.cause, said)
    return Refuse(causes.sip_of(end.cause), end.cause, said, refusal)


def _leave(call: Call, end: End, *, leg: bool, refusal: str = "") -> Step:
    """End a call whose module may still hold it."""
    actions: list[Action] = [Show(S.RELEASING)]
    if leg:
        actions.append(_leg_action(call, end, refusal))
    actions.append(HangUp(_to_module(call, end)))
    return replace(call, phase=Phase.ENDING, end=end), tuple(actions)


def _finish(call: Call, end: End, *, leg: bool, refusal: str = "") -> Step:
    """End a call whose module has none any more."""
    actions: tuple[Action, ...] = (Show(S.RELEASING),)
    if leg:
        actions = (*actions, _leg_action(call, end, refusal))
    return replace(call, phase=Phase.ENDED, end=end, on_hook=True), actions


def _glare(call: Call) -> Step:
    # ATH or +CHUP would end the incoming call too (at-dialects 4.1), so the module is left alone.
    end = End(Cause.CHANNEL_UNAVAILABLE, "an incoming call came first", "rack")
    return replace(call, phase=Phase.ENDING, end=end), (_leg_action(call, end, "taken"), AwaitDial())


def _to_module(call: Call, end: End) -> int:
    if call.direction == "in" and not call.answered:
        return Cause.BUSY if end.cause == Cause.BUSY else Cause.REJECTED
    return Cause.NORMAL


def _ending(call: Call, event: Event) -> Step:
    match event:
        case OnHook() | Released() | ModuleLost():
            return replace(call, phase=Phase.ENDED, on_hook=True), ()
        case Answered() if not call.answered:
            return replace(call, answered=True), ()
        case _:
            return call, ()


# --- what the controller asks for -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallRequest:
    """The controller's INVITE in our words. `hide` None leaves CLIR to the subscription."""

    call: str
    attempt: str
    channel: int
    iccid: str
    number: str
    hide: bool | None
    early_media: EarlyMedia
    max_ring_s: int
    max_call_s: int
    run: str = ""  # the controller's boot id, so that a box knows whose call it carries


def read_request(invite: Invite, *, max_ring_s: int, max_call_s: int) -> CallRequest:
    """Read the X-Simrack-* headers; limits are the box's own, lowered by the controller's.

    Raises:
        BadRequest: a header is missing or senseless (400), or the number can't be dialled (484).
    """
    headers = invite.headers
    channel = _required(headers.get("x-simrack-channel", ""), "X-Simrack-Channel")
    if not channel.isascii() or not channel.isdigit():
        raise BadRequest("X-Simrack-Channel is no number", 400, Cause.INTERWORKING)
    if not _DIALLABLE.fullmatch(invite.called):
        raise BadRequest("number can't be dialled", 484, Cause.INVALID_NUMBER)
    return CallRequest(
        call=_required(headers.get("x-simrack-call", ""), "X-Simrack-Call"),
        attempt=_required(headers.get("x-simrack-attempt", ""), "X-Simrack-Attempt"),
        channel=int(channel),
        iccid=_required(headers.get("x-simrack-iccid", ""), "X-Simrack-ICCID"),
        number=invite.called,
        hide=_clir(headers.get("x-simrack-clir", "")),
        early_media=_early(headers.get("x-simrack-early-media", "")),
        max_ring_s=_limit(headers.get("x-simrack-max-ring", ""), max_ring_s),
        max_call_s=_limit(headers.get("x-simrack-max-call", ""), max_call_s),
        run=headers.get("x-simrack-run", "")[:64],
    )


def _required(value: str, name: str) -> str:
    if not value or len(value) > 128:
        raise BadRequest(f"{name} is missing or too long", 400, Cause.INTERWORKING)
    return value


def _clir(value: str) -> bool | None:
    match value:
        case "":
            return None
        case "hide" | "show":
            return value == "hide"
    raise BadRequest("X-Simrack-Clir is neither hide nor show", 400, Cause.INTERWORKING)


def _early(value: str) -> EarlyMedia:
    match value:
        case "" | "auto":
            return "auto"
        case "always" | "never":
            return value
    raise BadRequest("X-Simrack-Early-Media is none of auto, always, never", 400, Cause.INTERWORKING)


def _limit(value: str, own: int) -> int:
    if not value:
        return own
    if not value.isascii() or not value.isdigit() or not 0 < int(value) < 10**6:
        raise BadRequest("a time limit is no number of seconds", 400, Cause.INTERWORKING)
    return min(int(value), own)


def dtmf_of_info(content_type: str, body: bytes) -> str:
    """The digit in a SIP INFO (`application/dtmf-relay` with Signal=, or `application/dtmf`), or ""."""
    kind = content_type.partition(";")[0].strip().lower()
    text = body.decode("ascii", "replace").strip()
    if kind == "application/dtmf-relay":
        found = re.search(r"^\s*Signal\s*=\s*(\S+)", text, re.IGNORECASE | re.MULTILINE)
        text = found.group(1) if found else ""
    elif kind != "application/dtmf":
        return ""
    names = {"10": "*", "11": "#", "12": "A", "13": "B", "14": "C", "15": "D"}
    digit = names.get(text, text.upper())
    return digit if digit in _DIGITS else ""
