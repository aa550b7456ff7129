"""The twin of `sip.engine`: RFC 3261 transactions and dialogs over the simulated wire, without the SIP library.

`sip.stack` and the legs above it are the real ones. Here are timers A, B, E, F, G and H with their figures, the
rules about CANCEL (9.1), the ACK of each 2xx, BYE that waits for the ACK (15), and glare of re-INVITEs (14).
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from simrack.lab.simulate.loop import Incarnation
from simrack.lab.simulate.wire import Address, Message, SipWire
from simrack.sip.calls import phrase
from simrack.sip.legs import DialogIds, Headers
from simrack.sip.ports import Front, Sink
from simrack.sip.screen import Refusal
from simrack.sip.stack import SipStack
from simrack.wire.ports import Ids

T1_S = 0.5
T2_S = 4.0
TIMEOUT_S = 64 * T1_S  # timers B, F, H
#: What a stored dialog's next request adds to its CSeq (the rule of `sip.forms`).
CSEQ_GAP = 1000
Heard = Callable[[Message], None]


class Retransmission:
    """Sends a message again and again until it is stopped or its time is over."""

    def __init__(self, send: Callable[[], None], over: Callable[[], None], *, doubling_to: float) -> None:
        self._send, self._over, self._most = send, over, doubling_to
        self._loop = asyncio.get_running_loop()
        self._interval = T1_S
        self._end = self._loop.time() + TIMEOUT_S
        send()
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(T1_S, self._again)

    def _again(self) -> None:
        if self._loop.time() >= self._end:
            self._timer = None
            self._over()
            return
        self._send()
        self._interval = min(2 * self._interval, self._most)
        self._timer = self._loop.call_later(min(self._interval, self._end - self._loop.time()), self._again)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _nothing() -> None:
    return


@dataclass
class _Client:
    """A request of ours on its way, and who hears of the answer."""

    message: Message
    to: Address
    heard: Heard
    again: Retransmission | None = None


class SimEngine:
    """See the module; one per incarnation of a process."""

    def __init__(
        self, wire: SipWire, owner: Incarnation, listen: Address, front: Front, ids: Ids
    ) -> None:
        self._wire, self._owner, self._listen = wire, owner, listen
        self._front, self.ids = front, ids
        self._clients: dict[tuple[str, str], _Client] = {}
        self._servers: dict[str, SimArrival] = {}
        self._answers: dict[tuple[str, str], tuple[Message, Address]] = {}
        self.dialogs: dict[tuple[str, str], SimDialog] = {}
        self._open = False
        self._muted: set[str] = set()
        owner.ports.append(self.close)

    def mute(self, call_id: str) -> None:
        """The phone of this call has lost its network: nothing of it is sent or heard any more."""
        self._muted.add(call_id)

    # --- life ---------------------------------------------------------------------------------------------

    @property
    def address(self) -> Address:
        return self._listen

    def open(self) -> None:
        self._wire.open(self._listen, self._owner, self.receive)
        self._open = True

    def close(self) -> None:
        """Free the address; nothing is sent or heard any more."""
        if self._open:
            self._open = False
            self._wire.close(self._listen)
        for client in self._clients.values():
            if client.again is not None:
                client.again.stop()

    def dial(self, sink: Sink, to: Address, username: str, password: str) -> "SimDialog":
        """A dialog for a call that we place."""
        del username, password  # no host of the simulation challenges
        return SimDialog(self, sink, to)

    def bye(self, dialog: DialogIds, headers: Headers) -> None:
        """End a dialog of an earlier run. ValueError: the identifiers are not complete."""
        SimDialog.stored(self, DEAF, dialog).send_bye(headers)

    def adopt(self, sink: Sink, dialog: DialogIds) -> "SimDialog":
        """A dialog of an earlier run that goes on. ValueError: the identifiers are not complete."""
        adopted = SimDialog.stored(self, sink, dialog)
        adopted.adopted = True
        adopted.join()
        return adopted

    def send(self, text: str, to: Address) -> None:
        """Send what `SimDialog.answer_text` wrote."""
        fields = json.loads(text.partition("\r\n")[2])
        fields["body"] = fields["body"].encode()
        fields["headers"] = tuple((name, value) for name, value in fields["headers"])
        self.put(to, Message(**fields))

    # --- messages -----------------------------------------------------------------------------------------

    def put(self, to: Address, message: Message) -> None:
        if self._open and message.call_id not in self._muted:
            self._wire.send(self._listen, to, message)

    def request(self, to: Address, message: Message, heard: Heard, over: Callable[[], None] = _nothing) -> _Client:
        """A client transaction; `heard` gets each response, `over` the end of patience."""
        key = (message.branch, message.method)
        client = self._clients[key] = _Client(message, to, heard)

        def ended() -> None:
            self._clients.pop(key, None)
            over()

        invite = message.method == "INVITE"
        client.again = Retransmission(
            lambda: self.put(to, message), ended, doubling_to=TIMEOUT_S if invite else T2_S
        )
        return client

    def receive(self, message: Message, source: Address) -> None:
        """A packet came."""
        if not self._open or message.call_id in self._muted or not self._front.hears(source):
            return
        if message.status:
            self._response(message, source)
        elif message.method == "ACK":
            self._acknowledged(message)
        elif message.method == "CANCEL":
            self._cancel(message, source)
        elif message.to_tag:
            self._in_dialog(message, source)
        elif message.method == "INVITE":
            self._invite(message, source)
        else:
            self._stateless(message, source, self._front.judge(message.packet(source), source))

    def answer(
        self, request: Message, to: Address, status: int, tag: str = "", headers: Headers = (), body: bytes = b""
    ) -> Message:
        """Respond once; a repeated request gets the same again."""
        response = Message(
            request.method, status, request.call_id, request.from_tag, request.to_tag or tag, request.branch,
            request.cseq, request.called, request.calling, body, "application/sdp" if body else "", phrase(status),
            tuple(headers),
        )  # fmt: skip
        if request.method != "INVITE":
            self._answers[request.branch, request.method] = (response, to)
            asyncio.get_running_loop().call_later(
                TIMEOUT_S, self._answers.pop, (request.branch, request.method), None
            )
        self.put(to, response)
        return response

    def _response(self, message: Message, source: Address) -> None:
        if (message.branch, message.method) not in self._clients:
            self._stray_answer(message, source)
        client = self._clients.get((message.branch, message.method))
        if client is not None:
            if client.again is not None and (message.status >= 200 or message.method == "INVITE"):
                client.again.stop()
            if message.status >= 200 and message.method != "INVITE":
                del self._clients[message.branch, message.method]
            client.heard(message)

    def _stray_answer(self, message: Message, source: Address) -> None:
        """A 2xx that nobody waits for: of an earlier run of ours, or of a dialog that acknowledges it again."""
        if message.method != "INVITE" or not 200 <= message.status < 300:
            return
        known = self.dialogs.get((message.call_id, message.from_tag))
        if known is not None:
            known.again(message)
        elif self._front.trusted(source):
            stray = SimDialog(self, DEAF, source)
            stray.call_id, stray.local_tag, stray.remote_tag = message.call_id, message.from_tag, message.to_tag
            stray.called, stray.calling, stray.cseq = message.called, message.calling, message.cseq
            stray.acknowledge()
            stray.send_bye(())

    def forget(self, branch: str, method: str) -> None:
        client = self._clients.pop((branch, method), None)
        if client is not None and client.again is not None:
            client.again.stop()

    def _invite(self, message: Message, source: Address) -> None:
        known = self._servers.get(message.branch)
        if known is not None:
            known.repeat()
            return
        if (message.branch, "INVITE") in self._answers:
            response, to = self._answers[message.branch, "INVITE"]
            self.put(to, response)
            return
        mine = [dialog for (call_id, _tag), dialog in self.dialogs.items() if call_id == message.call_id]
        if any(d.adopted and d.remote_tag == message.from_tag and d.sink.repeat() for d in mine):
            return
        packet = message.packet(source, trusted=self._front.trusted(source))
        refusal = self._front.judge(packet, source)
        if refusal is not None:
            self._stateless(message, source, refusal)
            return
        arrival = SimArrival(self, message, source, trusted=self._front.trusted(source))
        self._servers[message.branch] = arrival
        self._front.arrived(arrival)

    def _stateless(self, message: Message, source: Address, refusal: Refusal | None) -> None:
        """Answer without a transaction; a repeated request gets the same."""
        if refusal is None or not refusal.status:
            return
        response = self.answer(message, source, refusal.status, self.ids.token(8), refusal.extra)
        if message.method == "INVITE":
            key = (message.branch, "INVITE")
            self._answers[key] = (response, source)
            asyncio.get_running_loop().call_later(TIMEOUT_S, self._answers.pop, key, None)

    def _cancel(self, message: Message, source: Address) -> None:
        arrival = self._servers.get(message.branch)
        if arrival is None:
            self.answer(message, source, 481)
            return
        self.answer(message, source, 200, arrival.tag)
        arrival.cancelled(message)

    def _acknowledged(self, message: Message) -> None:
        arrival = self._servers.get(message.branch)
        if arrival is not None and arrival.final is not None and arrival.final.status >= 300:
            arrival.acknowledged()
            return
        dialog = self.dialogs.get((message.call_id, message.to_tag))
        if dialog is not None:
            dialog.acknowledged(message)

    def _in_dialog(self, message: Message, source: Address) -> None:
        known = self._answers.get((message.branch, message.method))
        if known is not None:
            self.put(known[1], known[0])
            return
        dialog = self.dialogs.get((message.call_id, message.to_tag))
        if dialog is None:
            self.answer(message, source, 481)
        else:
            dialog.take(message, source)

    def end_server(self, branch: str) -> None:
        """A transaction is over; its last retransmissions may still come for a while."""
        asyncio.get_running_loop().call_later(TIMEOUT_S, self._servers.pop, branch, None)

    def end_dialog(self, dialog: "SimDialog") -> None:
        asyncio.get_running_loop().call_later(
            TIMEOUT_S, self.dialogs.pop, (dialog.call_id, dialog.local_tag), None
        )


class SimArrival:
    """A new INVITE in the hands of the application (`sip.ports.Arrival`)."""

    def __init__(self, engine: SimEngine, message: Message, source: Address, *, trusted: bool) -> None:
        self._engine, self.message, self.source = engine, message, source
        self.tag = engine.ids.token(8)
        self.packet = message.packet(source, trusted=trusted)
        self._sink: Sink | None = None
        self._dialog: SimDialog | None = None
        self._last: Message | None = None
        self.final: Message | None = None
        self._again: Retransmission | None = None

    def listen(self, sink: Sink) -> None:
        self._sink = sink

    def accept(self, sink: Sink) -> "SimDialog":
        self._sink = sink
        dialog = SimDialog(self._engine, sink, self.source)
        dialog.call_id, dialog.local_tag, dialog.remote_tag = self.message.call_id, self.tag, self.message.from_tag
        dialog.called, dialog.calling = self.message.calling, self.message.called
        dialog.remote_cseq = self.message.cseq
        dialog.arrival = self
        self._dialog = dialog
        dialog.join()
        self.provisional(100)
        return dialog

    def refuse(self, refusal: Refusal) -> None:
        self.end(refusal.status, refusal.extra)

    def drop(self) -> None:
        self._engine.end_server(self.message.branch)

    def repeat(self) -> None:
        """The INVITE came again."""
        if self._last is not None:
            self._engine.put(self.source, self._last)

    def provisional(self, status: int, sdp: bytes = b"") -> None:
        if self.final is None:
            tag = "" if status == 100 else self.tag
            self._last = self._engine.answer(self.message, self.source, status, tag, (), sdp)

    def end(self, status: int, headers: Headers = (), sdp: bytes = b"") -> None:
        """The final answer, repeated until its ACK."""
        if self.final is not None:
            return
        engine, request = self._engine, self.message
        self.final = self._last = Message(
            "INVITE", status, request.call_id, request.from_tag, self.tag, request.branch, request.cseq,
            request.called, request.calling, sdp, "application/sdp" if sdp else "", phrase(status), tuple(headers),
        )  # fmt: skip
        final = self.final
        self._again = Retransmission(lambda: engine.put(self.source, final), self._unheard, doubling_to=T2_S)
        engine.end_server(request.branch)

    def _unheard(self) -> None:
        if self.final is not None and self.final.status < 300 and self._dialog is not None:
            self._dialog.unacknowledged()

    def acknowledged(self) -> None:
        if self._again is not None:
            self._again.stop()

    def cancelled(self, message: Message) -> None:
        if self.final is not None:
            return
        self.end(487)
        if self._dialog is not None:
            self._dialog.over()
        if self._sink is not None:
            self._sink.released(message.packet(self.source))


class _Deaf:
    """Hears nothing: the sink of a dialog that only says goodbye."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_args, **_more: None


DEAF: Any = _Deaf()


class SimDialog:
    """One dialog (`sip.ports.Dialog`), in either direction."""

    def __init__(self, engine: SimEngine, sink: Sink, to: Address) -> None:
        self._engine, self.sink, self.to = engine, sink, to
        self.call_id = self.remote_tag = self.called = self.calling = ""
        self.local_tag = engine.ids.token(8)
        self.cseq, self.remote_cseq = 1, 0
        self.arrival: SimArrival | None = None
        self.connected = self.ended = self.adopted = False
        self._branch = ""
        self._heard = self._cancelling = self._final = False
        self._cancel_headers: Headers = ()
        self._waits_ack = False
        self._bye_later: Headers | None = None
        self._ack: Message | None = None
        self._offer: tuple[Message, Address] | None = None  # a re-INVITE that waits for our answer
        self._offer_again: Retransmission | None = None
        self._offering = ""

    @classmethod
    def stored(cls, engine: SimEngine, sink: Sink, ids: DialogIds) -> "SimDialog":
        """From what is on disk of it."""
        host, _, port = ids.remote_address.rpartition(":")
        if not (ids.local_tag and ids.remote_tag and host and port.isdigit()):
            raise ValueError(f"dialog {ids.call_id!r} has no complete identifiers")
        dialog = cls(engine, sink, (host, int(port)))
        dialog.call_id, dialog.local_tag, dialog.remote_tag = ids.call_id, ids.local_tag, ids.remote_tag
        dialog.cseq, dialog.remote_cseq = ids.local_cseq + CSEQ_GAP, ids.remote_cseq
        dialog.called, dialog.calling = "peer", "rack"
        dialog.connected = dialog._final = dialog._heard = True
        return dialog

    def join(self) -> None:
        self._engine.dialogs[self.call_id, self.local_tag] = self

    def dialog(self) -> DialogIds:
        host, port = self._engine.address
        return DialogIds(
            call_id=self.call_id, local_tag=self.local_tag, remote_tag=self.remote_tag,
            local_uri=f"sip:{self.calling}@{host}:{port}", remote_uri=f"sip:{self.called}@{self.to[0]}",
            remote_target=f"sip:peer@{self.to[0]}:{self.to[1]}", local_cseq=self.cseq,
            remote_address=f"{self.to[0]}:{self.to[1]}", remote_cseq=self.remote_cseq,
        )  # fmt: skip

    # --- calls that we place ------------------------------------------------------------------------------

    def dial(
        self, call_id: str, calling: str, called: str, display: str, sdp: bytes | None, headers: Headers
    ) -> None:
        del display
        self.call_id, self.calling, self.called = call_id, calling, called
        self._branch = self._engine.ids.token(6)
        self.join()
        invite = self._message("INVITE", self._branch, sdp or b"", tuple(headers))
        self._invite = self._engine.request(self.to, invite, self._responded, self._timed_out)

    def _responded(self, response: Message) -> None:
        if response.status < 200:
            self._heard = True
            if self._cancelling and self._cancel_headers is not None:
                self._send_cancel()
            if not self._final:
                self.sink.provisional(response.status, response.sdp)
            return
        if self._final:
            self.again(response)
            return
        self._final = True
        self.remote_tag = response.to_tag
        if response.status >= 300:
            self.acknowledge(self._branch)
            self.over()
            self.sink.refused(response.status, response.phrase, response.packet(self.to))
            return
        self.connected = True
        self.acknowledge()
        self.sink.answered(response.sdp, crossed=self._cancelling)

    def again(self, response: Message) -> None:
        """A final answer came again: so does the ACK."""
        if response.status >= 300:
            self.acknowledge(self._branch)
        elif self._ack is not None:
            self._engine.put(self.to, self._ack)

    def _timed_out(self) -> None:
        if not self._final:
            self._final = True
            self.over()
            self.sink.refused(408, "Request Timeout", None)

    def acknowledge(self, branch: str = "") -> None:
        ack = self._message("ACK", branch or self._engine.ids.token(6), b"", ())
        if not branch:
            self._ack = ack
        self._engine.put(self.to, ack)

    def _send_cancel(self, *, once: bool = False) -> None:
        cancel = self._message("CANCEL", self._branch, b"", tuple(self._cancel_headers))
        if once:
            self._engine.put(self.to, cancel)
            return
        self._cancel_headers = ()
        if (self._branch, "CANCEL") not in self._engine._clients:
            self._engine.request(self.to, cancel, lambda _response: None)

    # --- calls that come ----------------------------------------------------------------------------------

    def ring(self) -> None:
        if self.arrival is not None:
            self.arrival.provisional(180)

    def progress(self, sdp: bytes) -> None:
        if self.arrival is not None:
            self.arrival.provisional(183, sdp)

    def answer(self, sdp: bytes, headers: Headers) -> None:
        if self.arrival is not None and self.arrival.final is None:
            self.connected = self._waits_ack = True
            self.arrival.end(200, headers, sdp)

    def answer_text(self, sdp: bytes, headers: Headers) -> str:
        """The 200 that `answer` will send, under the Via line from which an adopting leg reads where it goes."""
        if self.arrival is None:
            return ""
        request = self.arrival.message
        fields = {
            "method": "INVITE", "status": 200, "call_id": request.call_id, "from_tag": request.from_tag,
            "to_tag": self.local_tag, "branch": request.branch, "cseq": request.cseq, "called": request.called,
            "calling": request.calling, "body": sdp.decode(), "content_type": "application/sdp", "phrase": "OK",
            "headers": list(headers),
        }  # fmt: skip
        return f"Via: SIP/2.0/UDP {self.to[0]}:{self.to[1]}\r\n" + json.dumps(fields)

    def fail(self, status: int, phrase: str, headers: Headers) -> None:
        del phrase
        if self.arrival is not None:
            self.arrival.end(status, headers)
            self.over()

    def acknowledged(self, _message: Message) -> None:
        """The ACK of a 2xx, of the first INVITE or of a later one."""
        self.sink.acknowledged()
        if self._offer_again is not None:
            self._offer_again.stop()
            self._offer_again = None
        if not self._waits_ack:
            return
        self._waits_ack = False
        if self.arrival is not None:
            self.arrival.acknowledged()
        if self._bye_later is not None:
            self.send_bye(self._bye_later)

    def unacknowledged(self) -> None:
        self._waits_ack = False
        if not self.ended:
            self.send_bye(self._bye_later or ())
            self.sink.lost()

    # --- the end ------------------------------------------------------------------------------------------

    def release(self, headers: Headers) -> None:
        if self.ended:
            return
        if self.connected:
            if self._waits_ack:
                self._bye_later = headers
            else:
                self.send_bye(headers)
        elif self.arrival is not None:
            self.fail(480, "", headers)
        elif not self._cancelling:
            self._cancelling, self._cancel_headers = True, headers
            if self._heard:
                self._send_cancel()

    def give_up(self, headers: Headers) -> None:
        self.release(headers)
        if self.connected or self.ended:
            return
        if self._invite.again is not None:
            self._invite.again.stop()
        if not self._heard:
            self._send_cancel(once=True)

    def send_bye(self, headers: Headers) -> None:
        """End the dialog with BYE."""
        self.over()
        self.cseq += 1
        bye = self._message("BYE", self._engine.ids.token(6), b"", tuple(headers))
        self._engine.request(self.to, bye, lambda _response: None)

    def over(self) -> None:
        """Nothing more is done with it; its end is answered for a while."""
        if not self.ended:
            self.ended = True
            self.connected = False
            self._engine.end_dialog(self)
            if self._offer_again is not None:
                self._offer_again.stop()
            if self.arrival is not None and self.arrival.final is not None and self.arrival.final.status < 300:
                self.arrival.acknowledged()

    # --- inside the dialog --------------------------------------------------------------------------------

    def take(self, message: Message, source: Address) -> None:
        """A request inside the dialog."""
        engine = self._engine
        if self.ended:
            engine.answer(message, source, 200 if message.method == "BYE" else 481)
        elif message.cseq <= self.remote_cseq:
            engine.answer(message, source, 500)
        elif message.method == "INVITE":
            self._reinvited(message, source)
        else:
            self.remote_cseq = message.cseq
            engine.answer(message, source, 200)
            if message.method == "BYE":
                self.over()
                self.sink.released(message.packet(source))
            elif message.method == "INFO":
                self.sink.info_received(message.content_type, message.body)

    def _reinvited(self, message: Message, source: Address) -> None:
        if self._offer is not None and self._offer[0].branch == message.branch:
            return
        if not self.connected or self._waits_ack or self._offer is not None or self._offering or self._offer_again:
            self._engine.answer(message, source, 491)
            return
        self.remote_cseq = message.cseq
        self._engine.answer(message, source, 100)
        self._offer = (message, source)
        self.sink.offered(message.sdp)

    def accept_offer(self, sdp: bytes | None) -> bool:
        if self._offer is None:
            return False
        (request, source), self._offer = self._offer, None
        engine = self._engine

        def send() -> None:
            engine.answer(request, source, 200, self.local_tag, (), sdp or b"")

        self._offer_again = Retransmission(send, self._offer_unheard, doubling_to=T2_S)
        return True

    def _offer_unheard(self) -> None:
        self._offer_again = None

    def refuse_offer(self, status: int, phrase: str) -> bool:
        del phrase
        if self._offer is None:
            return False
        (request, source), self._offer = self._offer, None
        self._engine.answer(request, source, status, self.local_tag)
        return True

    def offer(self, sdp: bytes) -> bool:
        if not self.connected or self._waits_ack or self._offering or self._offer is not None:
            return False
        self.cseq += 1
        self._offering = self._engine.ids.token(6)
        message = self._message("INVITE", self._offering, sdp, ())
        self._engine.request(self.to, message, self._offer_answered, lambda: self._offer_over(None, 408))
        return True

    def _offer_answered(self, response: Message) -> None:
        if response.status < 200:
            return
        ack = self._message("ACK", response.branch if response.status >= 300 else self._engine.ids.token(6), b"", ())
        self._engine.put(self.to, ack)
        if self._offering == response.branch:
            self._offer_over(response.sdp if response.status < 300 else None, response.status)

    def _offer_over(self, sdp: bytes | None, status: int) -> None:
        self._offering = ""
        if not self.ended:
            self.sink.offer_answered(sdp, status)

    def probe(self, heard: Callable[[int], None]) -> None:
        if self.connected:
            self.cseq += 1
            options = self._message("OPTIONS", self._engine.ids.token(6), b"", ())
            self._engine.request(self.to, options, lambda answer: heard(answer.status), lambda: heard(408))

    def send_info(self, content_type: str, body: bytes) -> None:
        if self.connected:
            self.cseq += 1
            message = Message(
                "INFO", 0, self.call_id, self.local_tag, self.remote_tag, self._engine.ids.token(6), self.cseq,
                self.called, self.calling, body, content_type,
            )  # fmt: skip
            self._engine.request(self.to, message, lambda _response: None)

    def _message(self, method: str, branch: str, body: bytes, headers: Sequence[tuple[str, str]]) -> Message:
        tag = self.remote_tag if method != "CANCEL" else ""
        return Message(
            method, 0, self.call_id, self.local_tag, tag, branch, self.cseq, self.called, self.calling, body,
            "application/sdp" if body else "", "", tuple(headers),
        )  # fmt: skip


class SimStack(SipStack):
    """The real stack over the twin of its engine."""

    def __init__(self, wire: SipWire, owner: Incarnation, **settings: Any) -> None:
        super().__init__(**settings)
        engine = SimEngine(wire, owner, settings["listen"], self, settings["ids"])
        self._engine = engine  # type: ignore[assignment]  # the twin has what the stack and its legs call
