"""What refuses a call before any candidate is looked at: numbers, emergency, the sender's rights and limits.

Each step is a small function over one `Draft`; the first refusal ends the list (`STEPS`). A step may also
fill in what later steps need: the number in E.164, the number that may be presented.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from simrack.controller.config.models import Sender, presents
from simrack.controller.fleet.view import FleetView
from simrack.controller.models import Refusal
from simrack.controller.routing.decision import CallFacts
from simrack.controller.routing.numbers import Number, clean, emergency, normalise
from simrack.controller.routing.table import RoutingTable
from simrack.wire.causes import Cause


@dataclass(slots=True)
class Draft:
    """A call on its way through admission."""

    facts: CallFacts
    table: RoutingTable
    fleet: FleetView
    sender: Sender | None = None
    cleaned: str = ""
    number: Number | None = None
    calling: str = ""
    calling_country: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def known_sender(self) -> Sender:
        assert self.sender is not None, "sender_known stands first"
        return self.sender

    @property
    def known_number(self) -> Number:
        assert self.number is not None, "number_dialable stands before"
        return self.number


def admit(draft: Draft) -> Refusal | None:
    """Run every step; the first refusal, or None with the draft complete."""
    return next((refusal for step in STEPS if (refusal := step(draft)) is not None), None)


def sender_known(draft: Draft) -> Refusal | None:
    sender = draft.table.senders.get(draft.facts.sender)
    if sender is None:
        return _refuse("sender-unknown", 403, Cause.REJECTED, "The sender is not configured.")
    draft.sender = sender
    if not sender.enabled:
        return _refuse("sender-disabled", 403, Cause.REJECTED, "The sender is disabled.")
    return None


def number_clean(draft: Draft) -> Refusal | None:
    cleaned = clean(draft.facts.called)
    if cleaned is None:
        return _undialable(draft)
    draft.cleaned = cleaned
    return None


def not_emergency(draft: Draft) -> Refusal | None:
    """Lawful use: never to a shared SIM. 503, so that the sender's switch tries its other ways at once."""
    countries = draft.table.countries | {draft.known_sender.country}
    if not emergency(draft.cleaned, countries):
        return None
    text = "Emergency numbers never go to a shared SIM; no emergency line is set up here."
    return _refuse("emergency", 503, Cause.NO_ROUTE, text)


def number_dialable(draft: Draft) -> Refusal | None:
    sender = draft.known_sender
    draft.number = normalise(draft.cleaned, sender.country, sender.area_code)
    if draft.number is None:
        return _undialable(draft)
    if not draft.number.valid:
        draft.notes.append("The number is possible, but in no range known to be in use.")
    return None


def calling_verified(draft: Draft) -> Refusal | None:
    """Lawful use: a sender presents its verified numbers only; others are replaced or refused, never forged."""
    sender = draft.known_sender
    number = _calling(draft)
    if number is not None:
        draft.calling_country = number.country
        if presents(sender, number.text):
            draft.calling = number.text
            return None
    if sender.other_numbers == "replace" and sender.default_number is not None:
        draft.calling = sender.default_number
        draft.notes.append(f"The calling number is not the sender's; replaced by {sender.default_number}.")
        return None
    return _refuse("calling-number", 403, Cause.REJECTED, "The sender may not present this calling number.")


def _calling(draft: Draft) -> Number | None:
    cleaned = clean(draft.facts.calling)
    sender = draft.known_sender
    return normalise(cleaned, sender.country, sender.area_code) if cleaned is not None else None


def not_itself(draft: Draft) -> Refusal | None:
    if draft.calling != draft.known_number.text:
        return None
    return _refuse("calls-itself", 403, Cause.REJECTED, "The caller calls its own number.")


def prefix_open(draft: Draft) -> Refusal | None:
    sender, number = draft.known_sender, draft.known_number.text
    if sender.allowed_prefixes and not number.startswith(sender.allowed_prefixes):
        return _refuse("prefix-not-allowed", 403, Cause.REJECTED, "The sender may not call this prefix.")
    if sender.blocked_prefixes and number.startswith(sender.blocked_prefixes):
        return _refuse("prefix-blocked", 403, Cause.REJECTED, "This prefix is blocked for the sender.")
    return None


def below_concurrency(draft: Draft) -> Refusal | None:
    """The fleet's counts do not hold the call that is being decided."""
    limit, calls = draft.known_sender.max_calls, draft.fleet.sender_calls.get(draft.facts.sender, 0)
    if limit is None or calls < limit:
        return None
    return _refuse(
        "sender-concurrency", 503, Cause.NO_CIRCUIT, f"The sender has its {limit} calls in progress."
    )


def below_rate(draft: Draft) -> Refusal | None:
    limit, begun = draft.known_sender.max_rate, draft.fleet.sender_rate.get(draft.facts.sender, 0)
    if limit is None or begun < limit:
        return None
    return _refuse(
        "sender-rate", 503, Cause.CONGESTION, f"The sender began its {limit} calls of this second."
    )


STEPS: tuple[Callable[[Draft], Refusal | None], ...] = (
    sender_known, number_clean, not_emergency, number_dialable, calling_verified, not_itself, prefix_open,
    below_concurrency, below_rate,
)  # fmt: skip


def _undialable(draft: Draft) -> Refusal:
    shown = draft.facts.called[:40]
    return _refuse("number-not-dialable", 484, Cause.INVALID_NUMBER, f"{shown!r} can't be dialled.")


def _refuse(reason: str, sip: int, cause: int, text: str) -> Refusal:
    return Refusal(reason=reason, sip=sip, cause=int(cause), text=text)
