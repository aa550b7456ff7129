"""The SIP stack of a process: listens, admits, and turns messages into neutral legs.

Callers see the types of `sip.legs` only. One stack per process (the library is a singleton); after `stop`
another may start.
"""

from collections.abc import Callable
from enum import Enum

import structlog

from simrack.sip.adopted import AdoptedLeg
from simrack.sip.calls import SipIncomingLeg, SipLeg, SipOutgoingLeg, invite_of, phrase
from simrack.sip.engine import Engine
from simrack.sip.legs import Dial, DialogIds, IncomingLeg, Leg, OutgoingLeg
from simrack.sip.ports import Address, Arrival, Door, OpenDoor
from simrack.sip.screen import ACCEPT, ALLOW, Packet, Refusal, tag_of
from simrack.sip.trace import Tapes
from simrack.sip.udp import READ_FOR_S
from simrack.wire.causes import reason_header
from simrack.wire.errors import UserError
from simrack.wire.ports import Clock, Ids

log = structlog.get_logger(__name__)

# Long enough that a sender's retry finds the burst over, short enough that it comes back at all.
RETRY_AFTER_S = 5


class Admission(Enum):
    """What becomes of a new INVITE before anybody looks at it."""

    ACCEPT = "accept"
    OVERLOAD = "overload"  # 503 with Retry-After
    DROP = "drop"  # never answered: banned sources


class SipStack:
    """SIP over one UDP socket.

    `on_invite` gets each new, valid INVITE; nothing has been sent for it, not even 100, and a CANCEL in between
    ends the leg by itself. `trusted` says whose `X-Simrack-*` headers count; `admit` is asked once per new
    INVITE; `suspect` hears of packets that could not be used (source, problem), for the firewall's count.
    Sources that `hears` does not name get no answer to anything, and cost nothing but the reading. `door` judges
    what may come in before the stack makes anything of it, and hears how late the loop runs. The socket is read for at
    most `read_for_s` at each turn of the loop. `tapes` gets every message as it goes over the wire.
    """

    def __init__(
        self, *, listen: Address, on_invite: Callable[[IncomingLeg], None], clock: Clock, ids: Ids,
        trusted: Callable[[Address], bool], admit: Callable[[Address], Admission], user_agent: str = "simrack",
        suspect: Callable[[Address, str], None] | None = None,
        hears: Callable[[Address], bool] = lambda _source: True, door: Door | None = None,
        read_for_s: float = READ_FOR_S, tapes: Tapes | None = None,
    ) -> None:  # fmt: skip
        self._listen, self._on_invite, self._clock, self._ids = listen, on_invite, clock, ids
        self._trusted, self._admit, self._suspect, self._hears = trusted, admit, suspect, hears
        self._door = door or OpenDoor()
        self._engine = Engine(listen, self, ids, user_agent, read_for_s, tapes)
        self._legs: set[SipLeg] = set()
        self._taken: dict[tuple[str, str], SipIncomingLeg] = {}  # Call-ID and From tag of calls that came to us
        self._placed: set[str] = set()  # Call-IDs of calls that we place
        self._suspects: dict[str, int] = {}  # problem -> packets so far; the screen has some 30 problems

    async def start(self) -> None:
        """Bind and serve. UserError: the address can't be used; AlreadyOpen: one stack per process."""
        host, port = self._listen
        if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            raise UserError(
                "SIP needs one address of this machine, which goes into Via and Contact", f"sip.listen {host}:{port}",
                "Name the address that callers reach, for instance 127.0.0.1:5060",
            )  # fmt: skip
        try:
            self._engine.open()
        except OSError as error:
            raise UserError(
                f"can't listen for SIP: {error.strerror or error}", f"sip.listen {host}:{port}",
                "End the program that has this port, or choose another",
            ) from error  # fmt: skip
        log.info("sip listens", address="{}:{}".format(*self.address))

    @property
    def address(self) -> Address:
        """Where it listens; NotOpen before `start`."""
        return self._engine.address

    @property
    def legs(self) -> int:
        """How many legs have not had their last event."""
        return len(self._legs)

    def dial(self, dial: Dial) -> OutgoingLeg:
        """Place a call; never waits. ValueError: a header value with a line break."""
        leg = SipOutgoingLeg(self._engine, dial, self._ids, self._gone)
        self._legs.add(leg)
        self._placed.add(leg.call_id)
        return leg

    def adopt(self, dialog: DialogIds, answer: str = "") -> Leg:
        """A connected leg from the identifiers that an earlier run has stored of it.

        Our own requests on it start a thousand CSeq numbers higher. With `answer` (`IncomingLeg.answer_text`) the
        200 is repeated until the ACK comes. ValueError: the identifiers are not complete.
        """
        leg = AdoptedLeg(self._engine, dialog, self._gone, answer)
        self._legs.add(leg)
        return leg

    def release(self, dialog: DialogIds, cause: int, text: str = "") -> None:
        """Send a BYE for an answered call of an earlier run, from the identifiers that were stored of it.

        Nothing is reported: the far end may have ended it long ago. ValueError: the identifiers are not complete.
        """
        self._engine.bye(dialog, (("Reason", reason_header(cause, text)),))

    async def stop(self) -> None:
        """Close at once. Nothing is sent: who wants calls ended hangs them up first. Legs get a last event."""
        for leg in tuple(self._legs):
            leg.abandon()
        self._engine.close()

    def _gone(self, leg: SipLeg) -> None:
        self._legs.discard(leg)
        self._placed.discard(leg.call_id)
        if isinstance(leg, SipIncomingLeg):
            key = (leg.request.call_id, leg.request.from_tag)
            if self._taken.get(key) is leg:
                del self._taken[key]

    # Front of the engine

    def hears(self, source: Address) -> bool:
        if self._hears(source):
            return True
        self._count(source, "stranger")
        return False

    def trusted(self, source: Address) -> bool:
        return self._trusted(source)

    def suspect(self, source: Address, problem: str) -> None:
        self._count(source, problem)
        if self._suspect is not None:
            self._suspect(source, problem)

    def _count(self, source: Address, problem: str) -> None:
        count = self._suspects[problem] = self._suspects.get(problem, 0) + 1
        if count & (count - 1) == 0:
            # A flood must not fill the disk: the 1st, 2nd, 4th, 8th ... of each kind is written.
            log.info("sip packet refused", source="{}:{}".format(*source), problem=problem, count=count)

    def arrived(self, inbound: Arrival) -> None:
        admission = self._admit(inbound.source)
        if admission is Admission.DROP:
            inbound.drop()
            return
        if admission is Admission.OVERLOAD:
            extra = (("Retry-After", str(RETRY_AFTER_S)), ("Reason", 'Q.850;cause=42;text="Overload"'))
            inbound.refuse(Refusal(503, "Service Unavailable", "overload", extra))
            return
        leg = SipIncomingLeg(inbound, self._gone)
        self._legs.add(leg)
        self._taken[leg.request.call_id, leg.request.from_tag] = leg
        self._on_invite(leg)

    def answers(self, source: Address) -> bool:
        return self._trusted(source) or self._door.answers(source)

    def lag(self, late_s: float) -> None:
        self._door.lag(late_s)

    def judge(self, packet: Packet, source: Address) -> Refusal | None:
        if packet.method == "INVITE":
            return self._judge_invite(packet, source)
        return self.outside(packet, source)

    def outside(self, packet: Packet, source: Address) -> Refusal:
        if not self.answers(source):
            return Refusal(0, "", "budget")
        if packet.method == "OPTIONS":
            return Refusal(200, "OK", "", (("Allow", ALLOW), ("Accept", ACCEPT)))
        if packet.method in ("BYE", "INFO"):
            return Refusal(481, "Call/Transaction Does Not Exist", "")
        return Refusal(405, "Method Not Allowed", "method", (("Allow", ALLOW),))

    def _judge_invite(self, packet: Packet, source: Address) -> Refusal | None:
        call_id = packet.first("call-id")
        if call_id in self._placed:
            # A proxy led our own call back to us.
            return Refusal(482, phrase(482), "loop")
        same = self._taken.get((call_id, tag_of(packet.first("from"))))
        if same is not None:
            # The library absorbs what repeats its transaction; the rest came by two ways (RFC 3261 8.2.2.2).
            repeated = same.request.headers.get("via") == packet.first("via")
            return None if repeated else Refusal(482, phrase(482), "merged")
        rejection = self._door.judge(invite_of(packet, source))
        if rejection is None:
            return None
        reason = ("Reason", reason_header(rejection.cause, rejection.text))
        words = phrase(rejection.status) if rejection.status else ""
        return Refusal(rejection.status, words, "", (reason, *rejection.headers))
