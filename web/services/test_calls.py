"""Test calls: who may be called as, what stands in the way, placing one, and how it goes.

A test call is a call of a sender whose `use` is `test`: it comes in at the controller like anybody's, is identified,
checked, routed, limited and recorded like anybody's. The control room knows the hashes of that sender's password and
nothing else of it.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import structlog
from flask import current_app

from simrack.controller.config.models import Sender
from simrack.controller.config.networks import parse_range
from simrack.controller.config.secrets import secret_text
from simrack.controller.models import Explanation, Story
from simrack.controller.routing.decision import Over
from simrack.controller.routing.table import RoutingTable
from simrack.controller.store.errors import StoreDown
from simrack.sip.rtp import Address
from simrack.web.accounts.base import Who
from simrack.web.app import Room, me, own, room, who
from simrack.web.errors import BadForm
from simrack.web.phone import TONE_HZ, NotPlaced, Order, Phone, PhoneCall, State
from simrack.web.services import configuration
from simrack.web.services.live import which_way
from simrack.web.text import number_text
from simrack.wire.sections import parse_address

log = structlog.get_logger(__name__)

USE, EMERGENCY = "test", "emergency"
CONTROLLER = "127.0.0.1:5060"
PLACED, ENDED = "test-call", "test-call-end"
#: What a person sends: their voice, a tone, or nothing.
VOICES: Mapping[str, str] = {"microphone": "my microphone", "tone": f"a tone of {TONE_HZ:.0f} Hz", "silence": "silence"}
STATES: Mapping[State, str] = {
    "connecting": "connecting your browser", "calling": "calling", "trying": "the controller has it", "ringing": "ringing",
    "early": "voice before the answer", "answered": "answered", "over": "over",
}  # fmt: skip
_NUMBER = re.compile(r"\+?[0-9*]{1,32}")
_VISUAL = re.compile(r"[ \u00a0\u202f().\-/]+")
# The controller's clock and ours may differ; a Call-ID is one call's anyway, and this only keeps the search short.
_EARLIER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Caller:
    """A sender that test calls may be placed as. `local`: the address that they come from; `problem`: why none can be."""

    name: str
    title: str
    calling: str
    local: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is left of today's calls."""

    at_a_time: int
    seconds: int
    a_day: int
    today: int


def phone() -> Phone:
    """The phone of the application that serves this request."""
    return cast(Phone, current_app.extensions["phone"])


def controller() -> Address:
    """Where the controller takes calls, as numbers; its name where that leads nowhere."""
    host, port = parse_address(room().settings.controller_sip or CONTROLLER)
    try:
        return str(socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4][0]), port
    except OSError:
        return host, port


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def test_senders(table: RoutingTable) -> frozenset[str]:
    """Senders whose calls are tests: pages mark them so."""
    return frozenset(name for name, sender in table.senders.items() if sender.use == USE)


def marked() -> frozenset[str]:
    """The same of the version in force; none while it can't be read, since a mark is only a word beside a row."""
    try:
        return test_senders(configuration.table())
    except StoreDown:
        return frozenset()


def callers(table: RoutingTable) -> tuple[Caller, ...]:
    """Enabled senders for tests; those that can call from this machine come first."""
    return callers_of(table, own_address(controller()))


def callers_of(table: RoutingTable, way: str) -> tuple[Caller, ...]:
    """The same for a machine with this address on the way to the controller."""
    found = [_caller(sender, way) for sender in table.senders.values() if sender.use == USE and sender.enabled]
    return tuple(sorted(found, key=lambda one: (bool(one.problem), one.title.casefold())))


def _caller(sender: Sender, way: str) -> Caller:
    local = local_of(sender, way)
    problem = "" if local else f"its calls come from {', '.join(sender.addresses[:3])}; the control room's machine has no such address"
    return Caller(sender.name, sender.title or sender.name, calling_of(sender), local, problem)


def calling_of(sender: Sender) -> str:
    """A number that the sender may present."""
    if sender.default_number:
        return sender.default_number
    exact = [number for number in sender.numbers if number[1:].isdecimal()]
    first = (exact or [*sender.numbers, ""])[0]
    return first.partition("-")[0].rstrip("*")


def local_of(sender: Sender, way: str) -> str:
    """The address of this machine that the sender's calls may come from; "" when it has none of them."""
    if not sender.addresses:
        return way
    ranges = [parse_range(text) for text in sender.addresses]
    mine = ipaddress.ip_address(way)
    if any(one.port is None and mine in one.network for one in ranges):
        return way
    single = [str(one.network.network_address) for one in ranges if one.port is None and one.network.num_addresses == 1]
    return next((address for address in single if _is_here(address)), "")


def own_address(to: Address) -> str:
    """This machine's address on the way to the controller; loopback where there is no way."""
    family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(to)
            return str(probe.getsockname()[0])
    except OSError:
        return "::1" if family is socket.AF_INET6 else "127.0.0.1"


def _is_here(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def missing(table: RoutingTable) -> tuple[str, str, str] | None:
    """What must be configured first: (what, why, where); None when test calls can be placed."""
    allowed = [one.name for one in table.agreements.values() if USE in one.uses]
    if not allowed:
        why = "Calls of a sender for tests go only over SIMs whose operator permits tests. Add the use “test” to an agreement that does."
        return "No agreement permits test calls", why, "/agreements"
    if not any(plan.agreement in allowed for plan in table.plans.values()):
        return "No plan is under an agreement that permits test calls", f"These permit them: {', '.join(allowed[:3])}.", "/plans/plan"
    return None


def first_sender(table: RoutingTable, contact: str) -> dict[str, Any]:
    """What the form of a sender for test calls begins with; its numbers are for a person to say."""
    return {
        "title": "Test calls", "legal_name": table.installation.owner, "contact": contact, "country": table.installation.country,
        "purpose": "test calls from the control room", "use": USE, "digest": {"user": "test-calls"}, "max_calls": 5,
    }  # fmt: skip


def limits() -> Limits:
    """What is set, and how many calls people have placed since midnight (UTC)."""
    here, set_ = room(), room().settings.test_calls
    midnight = here.clock.utc().replace(hour=0, minute=0, second=0, microsecond=0)
    return Limits(set_.at_a_time, set_.seconds, set_.a_day, here.accounts.acts_since(PLACED, midnight))


def read_number(text: str) -> str:
    """A number as it is dialled. Raises `BadForm`."""
    if len(text) > 100:
        raise BadForm("number", "That is longer than any number.")
    number = _VISUAL.sub("", text)
    if not number:
        raise BadForm("number", "Which number is called?")
    if not _NUMBER.fullmatch(number):
        raise BadForm("number", "Digits, perhaps + in front: +43 1 234567.")
    return number


@dataclass(frozen=True, slots=True)
class Wish:
    """A call that somebody wants to place. `seconds` 0: as long as the installation allows."""

    number: str
    sender: str
    voice: str = "silence"
    seconds: int = 0
    offer: str = ""
    over: Over | None = None  # None: as routing chooses


def order_of(wish: Wish) -> Order:
    """The order for the phone. Raises `BadForm`, `NotPlaced`."""
    number = read_number(wish.number)
    table = configuration.table()
    caller = next((one for one in callers(table) if one.name == wish.sender), None)
    if caller is None:
        raise BadForm("sender", "There is no sender for test calls of this name.")
    if caller.problem:
        raise BadForm("sender", f"It can't call from here: {caller.problem}.")
    if wish.voice not in VOICES:
        raise BadForm("voice", "Microphone, tone or silence.")
    lacking, left = missing(table), limits()
    if not left.at_a_time:
        raise NotPlaced("test calls are switched off in the control room's settings")
    if lacking is not None:
        raise NotPlaced(lacking[0])
    if left.today >= left.a_day:
        raise NotPlaced(f"{left.a_day} test calls were placed today, which is the most a day; they begin anew at 00:00 UTC")
    digest, to = table.senders[caller.name].digest, controller()
    if not _is_number(to[0]):
        raise NotPlaced(f"the controller's name {to[0]} (controller_sip) leads to no address")
    return Order(
        number, caller.name, caller.calling, to, caller.local, digest.user if digest else "",
        secret_text(digest) if digest else "", min(wish.seconds or left.seconds, left.seconds),
        TONE_HZ if wish.voice == "tone" else 0.0, str(wish.over or ""),
    )  # fmt: skip


def way_of(number: str, caller: Caller, over: Over | None = None) -> tuple[Explanation | None, str]:
    """Which way a call would go, from the controller; or why there is no telling."""
    return which_way({"sender": caller.name, "called": number, "calling": caller.calling, **({"over": str(over)} if over else {})})


def _check_number(order: Order) -> None:
    """An emergency number is nothing to test. Where the controller can't say so now, it refuses the call itself."""
    told_, _ = way_of(order.number, Caller(order.sender, "", order.calling, ""))
    if told_ is not None and told_.refusal is not None and told_.refusal.reason == EMERGENCY:
        raise BadForm("number", "Emergency numbers are not called for a test.")


def place(wish: Wish) -> tuple[PhoneCall, str]:
    """Place it; also the answer to the browser's offer. Raises `BadForm`, `NotPlaced`."""
    order = order_of(wish)
    _check_number(order)
    call, answer = phone().place(
        order, me().user_id, _ended(room(), who()), offer=wish.offer, microphone=wish.voice == "microphone" and bool(wish.offer)
    )
    room().accounts.note(who(), PLACED, order.number, sender=order.sender, calling=order.calling, test=call.id)
    return call, answer


def _ended(on: Room, whose: Who) -> Callable[[PhoneCall], None]:
    """What is done when a test call is over: how it went is written down."""

    def over(call: PhoneCall) -> None:
        if "calling" not in call.times:
            result = "not dialled"
        else:
            result = "answered" if call.answered else "not answered"
        on.accounts.note(
            whose, ENDED, call.order.number, sender=call.order.sender, test=call.id, result=result, cause=call.cause,
            sip=call.status, talk_ms=call.talk_ms, sip_call_id=call.call_id,
        )  # fmt: skip

    return over


# --- how it goes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """A test call that is over, with what the record says of it. `call` is its id; "" until the record is there."""

    call: str = ""
    mos: float | None = None
    lost: int | None = None  # packets, both directions
    late: int | None = None
    story: Story | None = None


def record_of(call: PhoneCall) -> str:
    """The recorded call that this one became; "" while there is none."""
    if not call.call_id:
        return ""
    return room().desk.queries.call_of(call.order.sender, call.call_id, call.begun - _EARLIER)


def outcome_of(call: PhoneCall) -> Outcome:
    """What the record says of a call."""
    found = record_of(call)
    story = room().desk.queries.story(found, own()) if found else None
    if story is None:
        return Outcome()
    record = story.record
    media = story.attempts[-1].media if story.attempts else None
    if media is None:
        return Outcome(found, record.mos, story=story)
    lost = media.to_network.lost + media.from_network.lost
    late = media.to_network.late + media.from_network.late
    return Outcome(found, record.mos if record.mos is not None else media.mos, lost, late, story)


def pdd_ms(call: PhoneCall) -> int | None:
    """From the INVITE to the first sign of the far end; None: there was none."""
    return min((call.times[state] for state in ("ringing", "early", "answered") if state in call.times), default=None)


def told(call: PhoneCall) -> dict[str, Any]:
    """How it goes, for the page's script."""
    return {
        "id": call.id, "state": call.state, "words": STATES[call.state], "times": call.times, "over": call.is_over, "cause": call.cause,
        "why": call.why, "number": number_text(call.order.number), "received": call.received, "sent": call.sent,
    }  # fmt: skip
