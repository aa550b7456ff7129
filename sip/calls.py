"""Legs over SIP dialogs: what the engine hears becomes the neutral events of `sip.legs`, in order.

A leg has one table of stages. Its last event is always `Failed` or `Disconnected`; what comes after (a late
200 of an abandoned call, the 487 after a CANCEL that crossed) is logged and settled on the wire only.
"""

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum
from http import HTTPStatus
from types import MappingProxyType

import structlog

from simrack.sip.errors import WrongStage
from simrack.sip.legs import (
    Connected,
    Dial,
    DialogIds,
    Disconnected,
    Event,
    Failed,
    Headers,
    Info,
    Invite,
    Probed,
    Progress,
    Ringing,
    Side,
    Trying,
    Update,
)
from simrack.sip.ports import Arrival, Dialog, Line
from simrack.sip.screen import Packet, Refusal, tag_of, uri_of, user_of
from simrack.wire.causes import Cause, cause_of, parse_reason, reason_header, sip_of
from simrack.wire.ports import Ids

log = structlog.get_logger(__name__)

# RFC 3261 9.1: after 64 * T1 without a final response a cancelled call is taken as cancelled.
CANCEL_WAIT_S = 32.0
#: A timer this late tells that the process itself stood still: what came meanwhile lies unread in the socket.
STOOD_STILL_S = 0.2
#: So long what came meanwhile may take to be read.
CATCH_UP_S = 0.5
_PHRASES: Mapping[int, str] = {
    100: "Trying", 180: "Ringing", 183: "Session Progress", 420: "Bad Extension", 480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete",
    486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 491: "Request Pending",
    503: "Service Unavailable", 504: "Server Time-out", 600: "Busy Everywhere", 603: "Decline",
    604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}  # fmt: skip


class Stage(Enum):
    """How far a call is."""

    NEW = "new"  # nothing sent, nothing heard
    PROCEEDING = "proceeding"  # 100
    EARLY = "early"  # 180 or 183
    ENDING = "ending"  # we asked to cancel and wait for the other side's last word
    CONNECTED = "connected"  # 2xx
    ENDED = "ended"  # the last event is out


MOVES: Mapping[Stage, frozenset[Stage]] = MappingProxyType(
    {
        Stage.NEW: frozenset(Stage) - {Stage.NEW},
        Stage.PROCEEDING: frozenset({Stage.EARLY, Stage.ENDING, Stage.CONNECTED, Stage.ENDED}),
        Stage.EARLY: frozenset({Stage.ENDING, Stage.CONNECTED, Stage.ENDED}),
        Stage.ENDING: frozenset({Stage.CONNECTED, Stage.ENDED}),
        Stage.CONNECTED: frozenset({Stage.ENDED}),
        Stage.ENDED: frozenset(),
    }
)


def phrase(status: int) -> str:
    """The reason phrase of a status (RFC 3261 21)."""
    if status in _PHRASES:
        return _PHRASES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Failure"


def invite_of(packet: Packet, source: tuple[str, int]) -> Invite:
    """The neutral view of a screened INVITE."""
    headers: dict[str, str] = {}
    for name, value in packet.headers:
        headers.setdefault(name, value)
    caller = packet.first("from")
    return Invite(
        source=source,
        method_uri=packet.uri,
        called=user_of(packet.uri),
        calling=user_of(uri_of(caller)),
        call_id=packet.first("call-id"),
        from_tag=tag_of(caller),
        sdp=packet.sdp,
        headers=MappingProxyType(headers),
        authorization=headers.get("authorization", ""),
        more_authorizations=tuple(packet.all("authorization")[1:]),
    )


class SipLeg:
    """What both directions share; the `Sink` of a dialog."""

    def __init__(self, ended: Callable[["SipLeg"], None], call_id: str) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.stage = Stage.NEW
        self._ended, self._agent = ended, None
        self._ids = DialogIds(call_id)
        self.log = log.bind(call_id=call_id)

    _agent: Dialog | None

    @property
    def ids(self) -> DialogIds:
        if self._agent is not None and self.stage is not Stage.ENDED:
            self._ids = self._agent.dialog()
        return self._ids

    @property
    def call_id(self) -> str:
        return self._ids.call_id

    def hang_up(self, cause: int, text: str = "") -> None:
        raise NotImplementedError

    def give_up(self, cause: int, text: str = "") -> None:
        self.hang_up(cause, text)

    def accept_update(self, sdp: bytes | None) -> None:
        if self._agent is not None and self.stage is Stage.CONNECTED:
            self._agent.accept_offer(sdp)

    def refuse_update(self, status: int) -> None:
        if self._agent is not None and self.stage is Stage.CONNECTED:
            self._agent.refuse_offer(status, phrase(status))

    def offer(self, sdp: bytes) -> None:
        """Send a re-INVITE; WrongStage before the call is answered. Refused ones come as `Update(None)`."""
        if self._agent is None or self.stage is not Stage.CONNECTED:
            raise WrongStage("a new session can be offered in an answered call only")
        if not self._agent.offer(sdp):
            self._emit(Update(None, answers=True, status=491))

    def info(self, content_type: str, body: bytes) -> None:
        if self._agent is not None and self.stage is Stage.CONNECTED:
            self._agent.send_info(content_type, body)

    def probe(self) -> None:
        if self._agent is not None and self.stage is Stage.CONNECTED:
            self._agent.probe(self._probed)

    def _probed(self, status: int) -> None:
        if status >= 200 and status != 408 and self.stage is Stage.CONNECTED:
            # RFC 3261 12.2.2: 481 for a dialog that is not there; any other answer comes from somebody who has it.
            self._emit(Probed(alive=status != 481))

    def abandon(self) -> None:
        """End the leg without a word on the wire: the stack is closing."""
        if self.stage is Stage.CONNECTED:
            self._disconnected(Cause.TEMPORARY_FAILURE, "stack stopped", "local")
        else:
            self._failed(503, Cause.TEMPORARY_FAILURE, "stack stopped", "local")

    # Sink

    def provisional(self, status: int, sdp: bytes | None) -> None:
        """Only a call that we place hears these."""

    def answered(self, sdp: bytes | None, *, crossed: bool) -> None:
        """Only a call that we place hears this."""

    def refused(self, status: int, words: str, packet: Packet | None) -> None:
        """Only a call that we place hears this."""

    def released(self, packet: Packet | None) -> None:
        cause, text = _reason(packet) or (int(Cause.NORMAL), "")
        if self.stage is Stage.CONNECTED and packet is None:
            self._disconnected(Cause.TEMPORARY_FAILURE, "dialog lost", "remote")
        elif self.stage is Stage.CONNECTED:
            self._disconnected(cause, text, "remote")
        elif packet is None:
            self._failed(487, Cause.TIMER_EXPIRED, "request expired", "remote")
        else:
            self._failed(487, cause, text or "cancelled", "remote")

    def lost(self) -> None:
        if self.stage is Stage.CONNECTED:
            self._disconnected(Cause.TIMER_EXPIRED, "no ACK", "remote")

    def offered(self, sdp: bytes | None) -> None:
        self._emit(Update(sdp))

    def offer_answered(self, sdp: bytes | None, status: int) -> None:
        self._emit(Update(sdp, answers=True, status=0 if sdp is not None else status))

    def info_received(self, content_type: str, body: bytes) -> None:
        self._emit(Info(content_type, body))

    def acknowledged(self) -> None:
        """Only an adopted call's leg acts upon it: the engine repeats its own answers."""

    def repeat(self) -> bool:
        return False

    # Inside

    def _enter(self, stage: Stage) -> bool:
        """Move on; False (and a log line) for a move that the table does not have."""
        if stage is self.stage:
            return True
        if stage not in MOVES[self.stage]:
            self.log.info("sip leg stage refused", was=self.stage.value, wanted=stage.value)
            return False
        self.stage = stage
        return True

    def _emit(self, event: Event) -> None:
        if self.stage is Stage.ENDED:
            self.log.info("sip event after the end", sip_event=type(event).__name__)
            return
        self.events.put_nowait(event)

    def _failed(
        self, status: int, cause: int, text: str, side: Side, packet: Packet | None = None, *,
        no_response: bool = False,
    ) -> None:  # fmt: skip
        headers = {} if packet is None else dict(reversed(packet.headers))
        self._end(Failed(status, int(cause), text, side, MappingProxyType(headers), no_response))

    def _disconnected(self, cause: int, text: str, side: Side) -> None:
        self._end(Disconnected(int(cause), text, side))

    def _end(self, event: Failed | Disconnected) -> None:
        if self.stage is Stage.ENDED:
            return
        self._ids = self.ids
        self._emit(event)
        self._enter(Stage.ENDED)
        self._ended(self)


class SipIncomingLeg(SipLeg):
    """A call that came to us."""

    def __init__(self, inbound: Arrival, ended: Callable[[SipLeg], None]) -> None:
        packet = inbound.packet
        super().__init__(ended, packet.first("call-id"))
        self._inbound = inbound
        self._request = invite_of(packet, inbound.source)
        self._ids = DialogIds(
            call_id=packet.first("call-id"), local_tag=inbound.tag, remote_tag=self._request.from_tag,
            local_uri=uri_of(packet.first("to")), remote_uri=uri_of(packet.first("from")),
            remote_target=uri_of(packet.first("contact")), route_set=tuple(packet.all("record-route")),
            remote_address="{}:{}".format(*inbound.source),
        )  # fmt: skip
        inbound.listen(self)

    @property
    def request(self) -> Invite:
        return self._request

    def trying(self) -> None:
        self._dialog()

    def ring(self) -> None:
        agent = self._dialog()
        if agent is not None and self._enter(Stage.EARLY):
            agent.ring()

    def progress(self, sdp: bytes) -> None:
        agent = self._dialog()
        if agent is not None and self._enter(Stage.EARLY):
            agent.progress(sdp)

    def answer_text(self, sdp: bytes) -> str:
        return self._agent.answer_text(sdp, ()) if self._agent is not None else ""

    def answer(self, sdp: bytes, headers: Headers = ()) -> None:
        agent = self._dialog()
        if agent is not None and self._enter(Stage.CONNECTED):
            agent.answer(sdp, headers)
            self._emit(Connected(None, self.ids))

    def reject(self, status: int, cause: int, text: str = "", headers: Headers = ()) -> None:
        if self.stage in (Stage.ENDED, Stage.CONNECTED):
            self.log.info("sip reject too late", was=self.stage.value, status=status)
            return
        extra = (("Reason", reason_header(cause, text)), *headers)
        if self._agent is None:
            self._inbound.refuse(Refusal(status, phrase(status), "", extra))
        else:
            self._agent.fail(status, phrase(status), extra)
        self._failed(status, cause, text, "local")

    def hang_up(self, cause: int, text: str = "") -> None:
        if self.stage is not Stage.CONNECTED:
            self.reject(sip_of(cause), cause, text)
        elif self._agent is not None:
            self._agent.release((("Reason", reason_header(cause, text)),))
            self._disconnected(cause, text, "local")

    def _dialog(self) -> Dialog | None:
        """The dialog, made (and 100 sent) at the first use; None after the end."""
        if self.stage in (Stage.ENDED, Stage.CONNECTED):
            self.log.info("sip response too late", was=self.stage.value)
            return None
        if self._agent is None:
            self._agent = self._inbound.accept(self)
            self._enter(Stage.PROCEEDING)
        return self._agent


class SipOutgoingLeg(SipLeg):
    """A call that we place."""

    def __init__(
        self, line: Line, dial: Dial, ids: Ids, ended: Callable[[SipLeg], None], call_id: str = ""
    ) -> None:
        call_id = call_id or f"{ids.token(16)}@{line.address[0]}"
        super().__init__(ended, call_id)
        loop = asyncio.get_running_loop()
        self._asked: tuple[int, str] | None = None  # cause and text with which we asked to cancel
        self._agent = line.dial(self, dial.address, dial.username, dial.password)
        headers = tuple(dial.headers.items())
        self._agent.dial(call_id, dial.calling, dial.called, dial.display, dial.sdp, headers)
        self._silence = loop.call_later(dial.no_response_s, self._no_response)
        self._patience = loop.call_later(dial.ring_s, self._no_answer)
        self._farewell: asyncio.TimerHandle | None = None

    def hang_up(self, cause: int, text: str = "") -> None:
        assert self._agent is not None, "an outgoing leg has its dialog from the start"
        reason = (("Reason", reason_header(cause, text)),)
        if self.stage is Stage.CONNECTED:
            self._agent.release(reason)
            self._disconnected(cause, text, "local")
        elif self.stage not in (Stage.ENDING, Stage.ENDED):
            self._asked = (cause, text)
            heard = self.stage is not Stage.NEW
            self._enter(Stage.ENDING)
            self._agent.release(reason)
            if heard:
                self._start_farewell()

    def give_up(self, cause: int, text: str = "") -> None:
        # An INVITE that goes on being repeated would reach the host's next run, whose channels are others' by then.
        if self.stage is Stage.NEW or (self.stage is Stage.ENDING and self._farewell is None):
            self._abandon(487, *(self._asked or (cause, text)))
        else:
            self.hang_up(cause, text)

    def provisional(self, status: int, sdp: bytes | None) -> None:
        self._silence.cancel()
        if self.stage is Stage.ENDING:
            self._start_farewell()
            return
        if status == 100:
            if self._enter(Stage.PROCEEDING):
                self._emit(Trying())
        elif self._enter(Stage.EARLY):
            self._emit_early(status, sdp)

    def answered(self, sdp: bytes | None, *, crossed: bool) -> None:
        self._stop_timers()
        if not self._enter(Stage.CONNECTED):
            self.log.info("late answer of an abandoned call ended")
        else:
            self._emit(Connected(sdp, self.ids))
        if crossed:
            # The engine acknowledges after this call-back returns, and the BYE must follow the ACK.
            asyncio.get_running_loop().call_soon(self._end_crossed)

    def refused(self, status: int, words: str, packet: Packet | None) -> None:
        self._stop_timers()
        # Time that ran out after a first response is ours, but tells nothing against the host.
        silent = packet is None and self.stage is Stage.NEW
        cause, text = self._asked or _reason(packet) or (cause_of(status), words)
        side: Side = "local" if self._asked or packet is None else "remote"
        self._failed(status, cause, text or words, side, packet, no_response=silent)

    def _end(self, event: Failed | Disconnected) -> None:
        self._stop_timers()
        super()._end(event)

    def _emit_early(self, status: int, sdp: bytes | None) -> None:
        if sdp is not None:
            self._emit(Progress(sdp))
        elif status == 180:
            self._emit(Ringing())

    def _end_crossed(self) -> None:
        cause, text = self._asked or (int(Cause.NORMAL), "abandoned")
        assert self._agent is not None, "an outgoing leg has its dialog from the start"
        self._agent.release((("Reason", reason_header(cause, text)),))
        self._disconnected(cause, text, "local")

    def _no_response(self) -> None:
        """Not even 100 came: the host counts as unreachable (routing)."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._silence.when() > STOOD_STILL_S:
            # Another host would be asked while this one dials: its 100 is only not read yet.
            self._silence = loop.call_later(CATCH_UP_S, self._no_response)
            return
        if self._asked is None:
            self._abandon(408, int(Cause.NETWORK_OUT_OF_ORDER), "no response", Cause.TIMER_EXPIRED)
        else:
            self._abandon(487, *self._asked)

    def _abandon(self, status: int, cause: int, text: str, shown: int | None = None) -> None:
        """End with nothing heard and repeat nothing; `shown` is the cause in the CANCEL, if it is another one."""
        assert self._agent is not None, "an outgoing leg has its dialog from the start"
        # Asked to cancel before, the CANCEL has its Reason already.
        reason = (("Reason", reason_header(cause if shown is None else shown, text)),) if self._asked is None else ()
        self._agent.give_up(reason)
        self._failed(status, cause, text, "local", no_response=True)

    def _no_answer(self) -> None:
        self.hang_up(Cause.NO_ANSWER, "no answer")

    def _start_farewell(self) -> None:
        if self._farewell is None:
            loop = asyncio.get_running_loop()
            self._farewell = loop.call_later(CANCEL_WAIT_S, self._no_farewell)

    def _no_farewell(self) -> None:
        cause, text = self._asked or (int(Cause.NORMAL), "")
        self._failed(487, cause, text, "local")

    def _stop_timers(self) -> None:
        for timer in (self._silence, self._patience, self._farewell):
            if timer is not None:
                timer.cancel()


def _reason(packet: Packet | None) -> tuple[int, str] | None:
    """The Q.850 cause of a message's Reason headers (RFC 3326)."""
    values = packet.all("reason") if packet is not None else []
    return next((found for found in map(parse_reason, values) if found), None)
