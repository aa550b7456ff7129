"""Simulated senders: they place calls over the wire, keep their own books, and misbehave as callers do."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from simrack.lab.simulate.loop import Incarnation, VirtualLoop
from simrack.lab.simulate.sip import SimDialog, SimEngine
from simrack.lab.simulate.wire import Address, Message, SipWire
from simrack.sip.screen import Packet, Refusal
from simrack.wire.ports import Ids

OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
)
HOLD = OFFER.replace(b"sendrecv", b"sendonly").replace(b"- 1 1", b"- 1 2")
#: Whoever hears nothing but ringing gives up.
PATIENCE_S = 150.0
#: The rest of a call after its BYE: the box's leg, its part, the record.
RELEASING_S = 0.3


@dataclass(frozen=True, slots=True)
class Manner:
    """How a caller behaves; seconds, None = never. `talk_s` counts from its 200."""

    talk_s: float = 20.0
    cancel_s: float | None = None
    vanish_s: float | None = None
    hold_s: float | None = None
    info_s: float | None = None


class SenderCall:
    """One call in the sender's books (a `sip.ports.Sink`)."""

    def __init__(self, host: "SimSender", number: str, manner: Manner) -> None:
        self._host, self.number, self.manner = host, number, manner
        self._loop = host.loop
        self.invited = self._loop.time()
        self.tried: float | None = None  # first response of any kind but a final one
        self.early: str = ""  # "", "180" or "183"
        self.answered_at: float | None = None
        self.ended_at: float | None = None
        self.status = 0
        self.by = ""  # sender, rack, nobody
        self.releasing = self.vanished = self.cancelled = False
        self.phrase = ""
        self.retry_after = False
        self._timers: list[asyncio.TimerHandle] = []
        self.dialog: SimDialog = host.engine.dial(self, host.to, "", "")
        self.dialog.dial(host.ids.token(8), host.user, number, "", OFFER, ())
        self._at(manner.cancel_s, self._cancel)
        self._at(manner.vanish_s, self._vanish)
        self._at(PATIENCE_S, self._cancel)

    @property
    def call_id(self) -> str:
        return self.dialog.call_id

    @property
    def phase(self) -> str:
        """For the histogram of kills."""
        if self.ended_at is not None:
            return "releasing" if self._loop.time() - self.ended_at < RELEASING_S else "over"
        if self.releasing:
            return "releasing"
        if self.answered_at is not None:
            return "talking"
        if self.tried is None:
            return "before-100"
        return "early-media" if self.early == "183" else "ringing"

    def _at(self, seconds: float | None, work: Callable[[], None]) -> None:
        if seconds is not None:
            self._timers.append(self._loop.call_later(seconds, work, context=self._host.owner.context))

    def _over(self, by: str) -> None:
        if self.ended_at is None:
            self.ended_at, self.by = self._loop.time(), by
            self._host.over(self)
            for timer in self._timers:
                timer.cancel()

    # --- what the caller does -----------------------------------------------------------------------------

    def _cancel(self) -> None:
        if self.ended_at is None and self.answered_at is None and not self.vanished:
            self.cancelled = self.releasing = True
            self.dialog.release(())
            # Without any response there is nothing to wait for (RFC 3261 9.1).
            self._at(40.0, lambda: self._over("sender"))

    def _hang_up(self) -> None:
        if self.ended_at is None and not self.vanished:
            self.releasing = True
            self.dialog.release(())
            self._over("sender")

    def _vanish(self) -> None:
        if self.ended_at is None:
            self.vanished = True
            self._host.story(self._host.name, self.number, "the caller vanishes")
            self._host.silent.add(self.call_id)
            self._host.engine.mute(self.call_id)
            self._over("nobody")

    def _hold(self) -> None:
        if self.ended_at is None and not self.vanished:
            self.dialog.offer(HOLD)

    def _info(self) -> None:
        if self.ended_at is None and not self.vanished:
            self.dialog.send_info("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n")

    # --- Sink ---------------------------------------------------------------------------------------------

    def provisional(self, status: int, sdp: bytes | None) -> None:
        if self.tried is None:
            self.tried = self._loop.time()
        if status > 100 and not self.early:
            self.early = "183" if sdp is not None else "180"

    def answered(self, sdp: bytes | None, *, crossed: bool) -> None:
        del sdp
        self.answered_at, self.status = self._loop.time(), 200
        if crossed:
            self._loop.call_soon(self._hang_up)
            return
        self._at(self.manner.talk_s, self._hang_up)
        self._at(self.manner.hold_s, self._hold)
        self._at(self.manner.info_s, self._info)

    def refused(self, status: int, words: str, packet: Packet | None) -> None:
        self.status, self.phrase = status if packet is not None else 0, words
        self.retry_after = packet is not None and bool(packet.first("retry-after"))
        self._over("sender" if self.cancelled else "rack")

    def released(self, packet: Packet | None) -> None:
        del packet
        self._over("rack")

    def lost(self) -> None:
        """Only of calls that come to us."""

    def offered(self, sdp: bytes | None) -> None:
        self.dialog.accept_offer(sdp or OFFER)

    def offer_answered(self, sdp: bytes | None, status: int) -> None:
        """Held or not, the caller goes on."""

    def info_received(self, content_type: str, body: bytes) -> None:
        """A digit."""

    def acknowledged(self) -> None:
        """Only of calls that come to us."""

    def repeat(self) -> bool:
        return False


class SimSender:
    """One traffic sender's host (a `sip.ports.Front`)."""

    def __init__(
        self, loop: VirtualLoop, wire: SipWire, name: str, address: Address, to: Address, ids: Ids,
        rng: random.Random,
    ) -> None:  # fmt: skip
        self.loop, self.name, self.address, self.to, self.ids, self.rng = loop, name, address, to, ids, rng
        self.user = "+882109000000"
        self.owner = Incarnation(loop, name)
        self.engine = SimEngine(wire, self.owner, address, self, ids)
        self.engine.open()
        self.calls: dict[str, SenderCall] = {}
        self.silent: set[str] = set()
        #: Hears of each call that is over for its sender.
        self.over: Callable[[SenderCall], None] = lambda _call: None
        self.story: Callable[[str, str, str], None] = lambda _who, _call, _what: None

    def call(self, number: str, manner: Manner) -> None:
        """Place a call soon."""
        self.owner.soon(self._place, number, manner)

    def _place(self, number: str, manner: Manner) -> None:
        self.calls[number] = SenderCall(self, number, manner)

    def hears(self, source: Address) -> bool:
        return source == self.to

    def trusted(self, source: Address) -> bool:
        return source == self.to

    def arrived(self, inbound: object) -> None:
        """Nobody calls a sender here."""

    def judge(self, packet: Packet, source: Address) -> Refusal | None:
        del packet, source
        return Refusal(481, "Call/Transaction Does Not Exist", "")

    def outside(self, packet: Packet, source: Address) -> Refusal:
        del packet, source
        return Refusal(481, "Call/Transaction Does Not Exist", "")

    def answers(self, source: Address) -> bool:
        return source == self.to

    def lag(self, late_s: float) -> None:
        """Nothing depends on it."""

    def suspect(self, source: Address, problem: str) -> None:
        """Nobody sends garbage here."""


def is_invite(message: Message) -> bool:
    """Whether this begins a dialog."""
    return message.method == "INVITE" and not message.status and not message.to_tag
