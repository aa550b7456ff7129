"""The one file that touches the internals of sippy 2.5.0: its transactions, dialogs and timers on asyncio.

Theory. sippy brings RFC 3261 transactions (`SipTransactionManager`), dialogs (`UA`) and client digest, but runs
them by its own dispatcher with threads around the socket, which reorder messages (reference: fault 1). Here one
socket is read by the event loop, the dispatcher's timers are run by a tick, and nothing else of the dispatcher
is used. `Manager` replaces the library's front door: each packet passes `screen` first and reaches the library
in plain form only. `Agent` is one dialog, and speaks to its owner (`Sink`) in neutral terms. Nothing from the
library leaves this file.

The faults of the library that are guarded here have a test each in tests/sip/test_faults.py; the functions
that this file leans on are pinned by fingerprint in tests/sip/test_engine.py.
"""

import asyncio
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from heapq import heapify
from importlib import metadata
from threading import get_ident
from typing import Any, ClassVar

import structlog
from sippy import SipTransactionManager as manager_module
from sippy.CCEvents import (
    CCEventConnect,
    CCEventDisconnect,
    CCEventFail,
    CCEventGeneric,
    CCEventPreConnect,
    CCEventRedirect,
    CCEventRing,
)
from sippy.Core import EventDispatcher as dispatcher_module
from sippy.Core.EventDispatcher import ED2
from sippy.MsgBody import MsgBody
from sippy.Network_server import Remote_address
from sippy.SipAddress import SipAddress
from sippy.SipCallId import SipCallId
from sippy.SipConf import SipConf
from sippy.SipContact import SipContact
from sippy.SipHeader import SipHeader
from sippy.SipRequest import SipRequest
from sippy.SipResponse import SipResponse
from sippy.SipTransactionManager import (
    TERMINATED,
    SipTMRetransmitO,
    SipTransaction,
)
from sippy.SipURL import SipURL
from sippy.Time.MonoTime import MonoTime
from sippy.UA import UA
from sippy.UacStateCancelling import UacStateCancelling
from sippy.UacStateTrying import UacStateTrying
from sippy.UacStateUpdating import UacStateUpdating
from sippy.UasStateUpdating import UasStateUpdating
from sippy.UaStateConnected import UaStateConnected
from sippy.UaStateDisconnected import UaStateDisconnected
from sippy.UaStateFailed import UaStateFailed
from sippy.Udp_server import Udp_server_opts

from simrack.sip import quick
from simrack.sip.errors import AlreadyOpen, LibraryChanged, NotOpen
from simrack.sip.forms import (
    CSEQ_MARGIN,
    Incoming,
    Order,
    Outcome,
    Stored,
    body_of,
    from_ids,
    headers_of,
    in_dialog,
    reachable,
)
from simrack.sip.legs import DialogIds, Headers
from simrack.sip.ports import Address, Front, Sink
from simrack.sip.replies import MAX_REPLY, Replies
from simrack.sip.screen import ALLOW, Packet, Refusal, reply, screen, tag_of
from simrack.sip.trace import Tapes
from simrack.sip.transactions import Transactions
from simrack.sip.udp import AioUdp, OneSocket, Quiet
from simrack.wire.ports import Ids

log = structlog.get_logger(__name__)

LIBRARY_VERSION = "2.5.0"
INSTALLED_VERSION = metadata.version("sippy")
TICK_S = 0.02  # the library's shortest timer is T1 = 0.5 s: 4 % of it
TURNS_TO_PASS_ON = 6  # of the loop; the owner of a leg needs three to pass its end on to the other side

class Manager(Transactions):
    """Transactions of the library behind a front door of our own."""

    model_udp_server = (AioUdp, Udp_server_opts)
    l4r: OneSocket

    def __init__(self, config: dict[str, Any], front: Front, ids: Ids) -> None:
        self._front, self._ids = front, ids
        self._tapes: Tapes | None = config.get("_tapes")
        self._replies = Replies(ids.token(16))
        manager_module.local4remote = OneSocket
        super().__init__(config, self._request)

    @property
    def server(self) -> AioUdp:
        return self.l4r.server

    def handleIncoming(self, data_in: bytes, ra: Remote_address, server: AioUdp, rtime: MonoTime) -> None:
        """Screen one packet and pass it on; retransmissions are answered from the cache first."""
        if not self._front.hears(ra.address):
            return
        if self._tapes is not None:
            self._tapes.note(data_in, ra.address, sent=False)
        checksum = hashlib.md5(data_in, usedforsecurity=False).digest()
        if self._repeated(checksum):
            return
        screened = screen(data_in, trusted=self._front.trusted(ra.address))
        packet = screened.packet
        try:
            if screened.refusal or packet is None:
                self._refuse(packet, screened.refusal, ra.address, checksum)
            elif packet.method and not self._ends_here(packet, ra.address, checksum):
                self._take_request(packet, ra, server, rtime, checksum)
            elif not packet.method:
                self._take_response(packet, ra, rtime, checksum)
        except Exception as error:
            # What one packet makes the library raise must not end the socket's reader.
            log.exception("sip packet raised", source=ra.address, call_id=packet and packet.first("call-id"))
            if packet and packet.method not in ("", "ACK"):
                problem = Refusal(500, "Server Internal Error", type(error).__name__)
                self._refuse(packet, problem, ra.address, checksum)

    def _repeated(self, checksum: bytes) -> bool:
        answered = self._replies.again(checksum)
        if answered is not None:
            self.server.send_to(*answered)
            return True
        known = self.l1rcache.get(checksum) or self.l2rcache.get(checksum)
        if known is not None and known.data is not None:
            self.transmitData(known.userv, known.data, known.address)
        return known is not None

    def _refuse(
        self, packet: Packet | None, refusal: Refusal | None, source: Address, checksum: bytes
    ) -> None:
        if refusal is None or (packet is None and refusal.problem == "keep-alive"):
            return
        self._front.suspect(source, refusal.problem)
        if packet is not None and self._front.answers(source):
            self._say(packet, refusal, source, checksum)

    def _say(self, packet: Packet, refusal: Refusal, source: Address, checksum: bytes) -> None:
        """Answer without a transaction; status 0 is silence."""
        if not refusal.status:
            return
        data, address = reply(packet, source, refusal, self._replies.tag(packet))
        if len(data) > MAX_REPLY:
            return
        self.server.send_to(data, address)
        self._replies.keep(checksum, data, address)

    def _ends_here(self, packet: Packet, source: Address, checksum: bytes) -> bool:
        """Whether a request needs no transaction: what is refused, and what asks for no more than one answer."""
        if packet.method == "ACK":
            return self._replies.made(packet.to_tag)
        if packet.to_tag:
            return False
        if packet.method in ("INVITE", "CANCEL") and any(a.repeated(packet) for a in self._agents(packet.first("call-id"))):
            # The sender has missed the answer, which was sent again, and which no CANCEL can take back (9.2).
            if packet.method == "CANCEL":
                self._say(packet, Refusal(200, "OK", ""), source, checksum)
            return True
        if packet.method == "CANCEL":
            return False
        refusal = self._front.judge(packet, source)
        if refusal is None:
            return False
        self._say(packet, refusal, source, checksum)
        return True

    def rCachePurge(self) -> None:
        super().rCachePurge()
        self._replies.turn()

    def _take_request(
        self, packet: Packet, ra: Remote_address, server: AioUdp, rtime: MonoTime, checksum: bytes
    ) -> None:
        try:
            request = Incoming(packet.text())
            tids = request.getTIds()
            request.getHFBody("from").getTag(), request.getHFBody("to").getTag(), request.getRURI()
            reachable(request, ra.address)
        except Exception as error:  # noqa: BLE001 - the parser raises whatever it stumbles on
            # The screen should have caught it; what it let through is a bad request all the same.
            log.debug("sip request unreadable", source=ra.address, error=repr(error))
            refusal = Refusal(400, "Bad Request", "parser") if packet.method != "ACK" else None
            self._refuse(packet, refusal, ra.address, checksum)
            return
        request.packet, request.rtime = packet, rtime
        via = request.getHFBody("via")
        if via.getAddr()[0] != ra.address[0] or "rport" in via.params:
            via.params["received"] = ra.address[0]
        if "rport" in via.params:
            via.params["rport"] = str(ra.address[1])
        request.setSource(ra)
        if packet.method == "ACK":
            for agent in self._agents(packet.first("call-id")):
                agent.note_ack(request)
        self.incomingRequest(request, checksum, tids, server)

    def _agents(self, call_id: str) -> list["Agent"]:
        """Our dialogs with this Call-ID."""
        return [found.cobj for found in self.req_consumers.get(call_id, ()) if found.cobj is not None]

    def _take_response(self, packet: Packet, ra: Remote_address, rtime: MonoTime, checksum: bytes) -> None:
        try:
            response = Outcome(packet.text())
            tid = response.getTId(True, True)
            # The library reads addresses when they are first asked for, which must not be later than here.
            for name in ("from", "to"):
                response.getHFBody(name).getTag()
            reachable(response, ra.address)
        except Exception as error:  # noqa: BLE001 - as above
            log.debug("sip response unreadable", source=ra.address, error=repr(error))
            self._front.suspect(ra.address, "parser")
            return
        response.packet, response.rtime = packet, rtime
        response.setSource(ra)
        known = self.tclient.get(tid)
        if known is not None and known.state is not TERMINATED:
            self.incomingResponse(response, known, checksum)
        elif 200 <= packet.status < 300 and response.getHFBody("cseq").getCSeqMethod() == "INVITE":
            self._stray_answer(response, checksum)

    def _stray_answer(self, response: SipResponse, checksum: bytes) -> None:
        """Fault 7: a 2xx whose transaction is over. Ours comes again: ACK; a second branch: ACK and BYE."""
        call_id, local_tag = str(response.getHFBody("call-id")), response.getHFBody("from").getTag()
        remote_tag = response.getHFBody("to").getTag()
        agent = next((agent for agent in self._agents(call_id) if agent.lTag == local_tag), None)
        if agent is None and not self._front.trusted(response.getSource()):
            return
        user_agent, number = self.global_config["user_agent"], response.getHFBody("cseq").getCSeqNum()
        ack = in_dialog("ACK", response, number, user_agent)
        self.transmitMsg(self.server, ack, ack.getTarget()[0], checksum)
        if agent is None or agent.rUri is None or agent.rUri.getTag() != remote_tag:
            # The second branch of a fork; or a box answers what a dead run of ours had asked for.
            log.info("answer of a call that nobody waits for ended", call_id=call_id, remote_tag=remote_tag)
            self.newTransaction(in_dialog("BYE", response, number + 1, user_agent))

    def _request(self, request: Incoming, transaction: SipTransaction) -> None:
        """A request that belongs to no dialog of ours (the library's request callback)."""
        if request.packet.method == "INVITE" and not request.packet.to_tag:
            self._front.arrived(Inbound(self, request, transaction))
            return
        self.answer(request, transaction, Refusal(481, "Call/Transaction Does Not Exist", ""))

    def answer(self, request: SipRequest, transaction: SipTransaction, refusal: Refusal) -> None:
        response = request.genResponse(refusal.status, refusal.phrase, server=self.global_config["user_agent"])
        response.appendHeaders(headers_of(refusal.extra))
        self.sendResponse(response, transaction)


class Inbound:
    """A new INVITE in the hands of the application; nothing has been sent (fault 8)."""

    def __init__(self, manager: Manager, request: Incoming, transaction: SipTransaction) -> None:
        self._manager, self._request, self._transaction = manager, request, transaction
        self._sink: Sink | None = None
        self.tag = manager._ids.token(8)
        transaction.cancel_cb = self._cancelled
        # All responses of one UAS to one request carry the same tag (RFC 3261 8.2.6.2).
        transaction.r487.getHFBody("to").setTag(self.tag)

    @property
    def packet(self) -> Packet:
        return self._request.packet

    @property
    def source(self) -> Address:
        return self._request.getSource()

    def listen(self, sink: Sink) -> None:
        self._sink = sink

    def accept(self, sink: Sink) -> "Agent":
        """Hand the request to a dialog, which sends 100."""
        agent = Agent(self._manager, sink, self.tag)
        agent.recvRequest(self._request, self._transaction)
        self._transaction.cancel_cb, self._transaction.noack_cb = agent.cancelled, agent.disconnect
        return agent

    def refuse(self, refusal: Refusal) -> None:
        """Send a final failure without making a dialog."""
        response = self._request.genResponse(
            refusal.status, refusal.phrase, server=self._manager.global_config["user_agent"]
        )
        response.getHFBody("to").setTag(self.tag)
        response.appendHeaders(headers_of(refusal.extra))
        self._manager.sendResponse(response, self._transaction)

    def drop(self) -> None:
        """Never answer; retransmissions are absorbed. Only inside `Front.arrived`."""
        self._transaction.teE.cancel()
        self._transaction.teE = None  # the manager forgets a transaction without timers by itself
        self._manager.l1rcache[self._transaction.checksum] = SipTMRetransmitO()

    def _cancelled(self, _rtime: MonoTime, request: Incoming | None) -> None:
        if self._sink is not None:
            self._sink.released(request.packet if request is not None else None)


class Agent(UA):
    """One dialog of the library, with its faults 3, 6 and 7 mended, telling its sink in neutral terms."""

    godead_timeout = 32.0  # 64 * T1: answers retransmitted BYEs and second 200s that long

    def __init__(
        self, manager: Manager, sink: Sink, tag: str, to: Address | None = None,
        username: str = "", password: str = "",
    ) -> None:  # fmt: skip
        super().__init__(
            manager.global_config, event_cb=self._heard, nh_address=to, ltag=tag,
            username=username or None, password=password or None,
        )  # fmt: skip
        self.local_ua = manager.global_config["user_agent"]
        self.lContact = SipContact(address=SipAddress(url=SipURL()))
        self._manager, self._sink = manager, sink
        self._last: Packet | None = None
        self._unacked: SipTransaction | None = None
        self._established = self._answering_offer = self._adopted = self._parting = False
        self._bye_later: Sequence[SipHeader] | None = None
        self._offered: MsgBody | None = None

    # Commands of the owner

    def adopt(self, dialog: DialogIds) -> None:
        """Be the dialog that an earlier run has left; ValueError: its identifiers are not complete."""
        stored = Stored.of(dialog)
        self.cId, self.lTag = SipCallId(dialog.call_id), dialog.local_tag
        self.lUri, self.rUri, self.rTarget = stored.local, stored.remote, stored.target
        self.routes, self.rAddr = stored.routes, (stored.address, "udp")
        self.lCSeq, self.rCSeq = dialog.local_cseq + CSEQ_MARGIN, dialog.remote_cseq or None
        self._established = self._adopted = True
        self.changeState((UaStateConnected,))
        self._manager.regConsumer(self, dialog.call_id)

    def answer_text(self, sdp: bytes, headers: Headers) -> str:
        """The 200 that `answer` will send, so that a later run can repeat it."""
        if self.uasResp is None:
            return ""
        answer = self.uasResp.getCopy()
        answer.setSCode(200, "OK")
        answer.setBody(body_of(sdp))
        answer.appendHeader(SipHeader(name="contact", body=self.lContact))
        answer.appendHeaders(headers_of([("Allow", ALLOW), *headers]))
        return answer.localStr(self._manager.server.getSIPaddr())

    def dial(
        self, call_id: str, calling: str, called: str, display: str, sdp: bytes | None, headers: Headers
    ) -> None:
        """Send the INVITE."""
        data = (SipCallId(call_id), calling or None, called, body_of(sdp), None, display or None)
        event = Order(data)
        event.extra_headers = headers_of([("Allow", ALLOW), *headers])
        self.recvEvent(event)

    def ring(self) -> None:
        self.recvEvent(CCEventRing((180, "Ringing", None)))

    def progress(self, sdp: bytes) -> None:
        self.recvEvent(CCEventRing((183, "Session Progress", body_of(sdp))))

    def answer(self, sdp: bytes, headers: Headers) -> None:
        """Send 200; the dialog stands from now on."""
        event = CCEventPreConnect((200, "OK", body_of(sdp)))
        event.extra_headers = headers_of([("Allow", ALLOW), *headers])
        self._established = True
        self.recvEvent(event)

    def fail(self, status: int, phrase: str, headers: Headers) -> None:
        """Send a final failure."""
        event = CCEventFail((status, phrase))
        event.extra_headers = headers_of(headers)
        self.recvEvent(event)

    def release(self, headers: Headers) -> None:
        """CANCEL or BYE, whichever the stage asks for. A BYE waits for the ACK (RFC 3261 15)."""
        if self._unacked is not None and isinstance(self.state, UaStateConnected):
            self._bye_later = headers_of(headers)
            return
        event = CCEventDisconnect()
        event.extra_headers = headers_of(headers)
        self.recvEvent(event)

    def give_up(self, headers: Headers) -> None:
        """Cancel towards a silent host: no more INVITEs, but a late answer is still acknowledged and ended."""
        self.release(headers)
        if self.tr is None:
            return
        if self.tr.teA is not None:
            self.tr.teA.cancel()
            self.tr.teA = None
        if self.tr.cancelPending and self.tr.cancel is not None:
            # RFC 3261 9.1 waits for a 1xx, but a host that stalls would find the INVITE alone when it wakes, and
            # dial it beside the next candidate. The CANCEL lies behind it; a second one follows the 1xx.
            self._manager.transmitMsg(self.tr.userv, self.tr.cancel, self.tr.address, None)

    def offer(self, sdp: bytes) -> bool:
        """Send a re-INVITE; False when another exchange is on (RFC 3261 14.1)."""
        if not isinstance(self.state, UaStateConnected) or self._unacked is not None:
            return False
        request = self.genRequest("INVITE", body_of(sdp))
        self.lSDP = body_of(sdp)
        self.newUacTransaction(request)
        self.changeState((UacStateUpdating,))
        return True

    def accept_offer(self, sdp: bytes | None) -> bool:
        """Answer a re-INVITE 200, or acknowledge an answer that carried an offer; False: nothing waits."""
        if self.pending_tr is not None:
            self.recvEvent(CCEventConnect((200, "OK", body_of(sdp))))
            return True
        if not isinstance(self.state, UasStateUpdating):
            return False
        self.lSDP, self.rSDP = body_of(sdp), self._offered
        self.sendUasResponse(200, "OK", body_of(sdp), (self.lContact,), ack_wait=True)
        self.changeState((UaStateConnected,))
        return True

    def refuse_offer(self, status: int, phrase: str) -> bool:
        """Answer a re-INVITE with a failure; the session stays as it was."""
        if not isinstance(self.state, UasStateUpdating):
            return False
        self.sendUasResponse(status, phrase)
        self._unacked = None  # the transaction sees to the ACK of a failure
        self.changeState((UaStateConnected,))
        return True

    def send_info(self, content_type: str, body: bytes) -> None:
        if self.isConnected():
            self.newTransaction(self.genRequest("INFO", body_of(body, content_type)))

    def probe(self, heard: Callable[[int], None]) -> None:
        """Ask by OPTIONS whether the far end knows the dialog; `heard` gets the final status."""
        if self.isConnected():
            self.newTransaction(self.genRequest("OPTIONS"), resp_cb=lambda answer: heard(answer.getSCode()[0]))

    def dialog(self) -> DialogIds:
        """The identifiers as they are now (RFC 3261 12.1)."""
        local = self._manager.server.getSIPaddr()
        if self.lUri is None or self.rUri is None:
            return DialogIds("")
        return DialogIds(
            call_id=str(self.cId),
            local_tag=self.lTag,
            remote_tag=self.rUri.getTag() or "",
            local_uri=self.lUri.getUrl().localStr(local),
            remote_uri=self.rUri.getUrl().localStr(local),
            remote_target=self.rTarget.localStr(local),
            route_set=tuple(route.localStr(local) for route in self.routes),
            local_cseq=int(self.lCSeq),
            remote_address="{}:{}".format(*self.rAddr[0]),
            remote_cseq=self.rCSeq or 0,
        )

    # What the network says

    def isYours(
        self, req: SipRequest | None = None, call_id: str | None = None, from_tag: str | None = None,
        to_tag: str | None = None,
    ) -> UA | None:  # fmt: skip
        """The library ties an early dialog to the INVITE's branch; a dialog is its Call-ID and tags alone."""
        branch, self.branch = self.branch, None
        try:
            return super().isYours(req, call_id, from_tag, to_tag)
        finally:
            self.branch = branch

    def recvRequest(self, req: Incoming, sip_t: SipTransaction) -> Any:
        """Fault 3: the library leaves several requests unanswered; each gets an answer here."""
        self._last = req.packet
        method = req.getMethod()
        if self.state is None:
            self._unacked, self._answering_offer = sip_t, req.packet.sdp is None
            return super().recvRequest(req, sip_t)
        if method == "BYE" and self._parting:
            return None  # its repeat, read before the answer went out
        if not self._fresh(req):
            return self._response(req, 500, "Server Internal Error", (("Retry-After", "1"),)), None, None
        if method == "INVITE" and self.isConnected():
            return self._reinvite(req, sip_t)
        if method == "BYE" and isinstance(self.state, UaStateConnected):
            return self._bye(req, sip_t.checksum)
        if method == "BYE" and (self.isConnected() or method in self.state.recv_request_handlers):
            self._stop_answering()
            return super().recvRequest(req, sip_t)
        return self._plain(req), None, None

    def note_ack(self, req: Incoming) -> None:
        """An ACK of any INVITE; that of an earlier run's answer belongs to no transaction of ours."""
        if self._adopted and self.isYours(req):
            self._sink.acknowledged()

    def repeated(self, packet: Packet) -> bool:
        """Whether a dialog-forming INVITE is the one that an earlier run has answered, and the ACK is missing."""
        return self._adopted and self.rUri.getTag() == tag_of(packet.first("from")) and self._sink.repeat()

    def recvACK(self, req: Incoming) -> None:
        """The ACK of a 2xx; it may carry the answer to a late offer."""
        self._unacked = None
        self._sink.acknowledged()
        late, self._answering_offer = self._answering_offer, False
        if self._bye_later is not None and self.isConnected():
            event = CCEventDisconnect()
            event.extra_headers = self._bye_later
            self.recvEvent(event)
        elif late:
            self.rSDP = req.getBody()
            self._sink.offer_answered(req.packet.sdp, 200)

    def recvResponse(self, resp: SipResponse, tr: SipTransaction) -> None:
        """Keep the packet for the sink, and see the CANCEL that crosses a 200 through."""
        self._last = resp.packet if isinstance(resp, Outcome) else None
        status, phrase = resp.getSCode()
        cancelling = isinstance(self.state, UacStateCancelling)
        if isinstance(self.state, UacStateUpdating) and self._last is None:
            # Our re-INVITE was never answered. The library would end the call that goes on as it was.
            self.changeState((UaStateConnected,))
            self._sink.offer_answered(None, status)
            return
        if cancelling:
            self.username = None  # the library would answer a challenge with a new INVITE, which nobody cancels
        try:
            if cancelling and 200 <= status < 300:
                self._crossed(resp)
                return
            super().recvResponse(resp, tr)
        except Exception:
            # A challenge that the library can't read, for instance: the call fails with its status.
            log.exception("sip response raised", call_id=str(self.cId), status=status)
            self.changeState((UaStateFailed,))
            self._sink.refused(status, phrase, self._last)
            return
        if cancelling and status >= 300:
            self._sink.refused(status, phrase, self._last)

    def cancelled(self, rtime: MonoTime, req: Incoming | None) -> None:
        """CANCEL of the first INVITE, or (without request) its Expires."""
        self._last = req.packet if req is not None else None
        self.state.cancel(rtime, req)

    def disconnect(self, rtime: MonoTime | None = None, origin: str | None = None) -> None:
        """The library calls this when the ACK never came."""
        self._unacked = None
        if self.isConnected():
            event = CCEventDisconnect()
            event.extra_headers = self._bye_later or ()
            self.recvEvent(event)
        self._sink.lost()

    def _fresh(self, req: SipRequest) -> bool:
        number = req.getHFBody("cseq").getCSeqNum()
        return self.rCSeq is None or number > self.rCSeq

    def _bye(self, req: Incoming, checksum: bytes) -> None:
        """Pass a BYE on before it is answered: who dies in between is asked again, and the other side not forgotten."""
        self._stop_answering()
        self.rCSeq = req.getHFBody("cseq").getCSeqNum()
        self.changeState((UaStateDisconnected,))
        self._sink.released(req.packet)
        self._parting = True
        self._say_goodbye(self._response(req, 200, "OK"), checksum, TURNS_TO_PASS_ON)

    def _say_goodbye(self, answer: SipResponse, checksum: bytes, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._say_goodbye, answer, checksum, turns - 1)
            return
        self._parting = False
        if self._manager.l1rcache is not None:
            self._manager.transmitMsg(self._manager.server, answer, answer.getHFBody("via").getTAddr(), checksum)

    def _plain(self, req: Incoming) -> SipResponse:
        method = req.getMethod()
        self.rCSeq = req.getHFBody("cseq").getCSeqNum()
        if isinstance(self.state, UaStateDisconnected | UaStateFailed) or self.isDead():
            status = 200 if method == "BYE" and isinstance(self.state, UaStateDisconnected) else 481
            return self._response(req, status, "OK" if status == 200 else "Call/Transaction Does Not Exist")
        if method == "INVITE":
            # RFC 3261 14.2: the first INVITE has no final response yet.
            return self._response(req, 500, "Server Internal Error", (("Retry-After", "5"),))
        if method == "INFO":
            self._sink.info_received(req.packet.first("content-type"), req.packet.body)
        if method in ("INFO", "OPTIONS") or (method == "UPDATE" and not req.packet.body):
            return self._response(req, 200, "OK", (("Allow", ALLOW),))
        return self._response(req, 405, "Method Not Allowed", (("Allow", ALLOW),))

    def _reinvite(self, req: Incoming, sip_t: SipTransaction) -> Any:
        """Fault 6: the owner is told of each one, and `accept_offer` or `refuse_offer` answers it."""
        if not isinstance(self.state, UaStateConnected) or self._unacked is not None:
            return self._response(req, 491, "Request Pending"), None, None
        self.rCSeq = req.getHFBody("cseq").getCSeqNum()
        body = req.getBody()
        self.uasResp = req.genResponse(100, "Trying", server=self.local_ua)
        self._manager.sendResponse(self.uasResp, sip_t)
        self._retarget(req)
        self._unacked = sip_t
        sip_t.cancel_cb, sip_t.noack_cb = self._offer_cancelled, self.disconnect
        if body is not None and self.rSDP is not None and str(body) == str(self.rSDP) and self.lSDP is not None:
            # A session refresh (RFC 4028 from the other side): nothing changes, nobody need be asked.
            self.sendUasResponse(200, "OK", self.lSDP, (self.lContact,), ack_wait=True)
            return None, self._offer_cancelled, self.disconnect
        self._offered, self._answering_offer = body, body is None
        self.changeState((UasStateUpdating,))
        self._sink.offered(req.packet.sdp)
        return None, self._offer_cancelled, self.disconnect

    def _retarget(self, req: SipRequest) -> None:
        """A re-INVITE may move the other side (target refresh, RFC 3261 12.2.2)."""
        self.rTarget = req.getHFBody("contact").getUrl().getCopy()
        if not self.routes:
            self.rAddr = self.rTarget.getTAddr()

    def _offer_cancelled(self, _rtime: MonoTime, _req: SipRequest | None) -> None:
        """CANCEL of a re-INVITE ends the exchange only; the library would end the call."""
        self._unacked = None
        if isinstance(self.state, UasStateUpdating):
            self.changeState((UaStateConnected,))

    def _stop_answering(self) -> None:
        """BYE came before the ACK: no more 200s, and no complaint about the ACK."""
        transaction, self._unacked = self._unacked, None
        if transaction is not None and transaction.teA is not None and transaction.teD is not None:
            transaction.teA.cancel()
            transaction.teA, transaction.noack_cb = None, None

    def _crossed(self, resp: SipResponse) -> None:
        """CANCEL crossed the 200: the call is answered; the ACK goes out first, then the BYE."""
        state = self.state
        if state.te is not None:
            state.te.cancel()
            state.te = None
        UacStateTrying(self).updateRoutes(resp)
        self.rUri.setTag(resp.getHFBody("to").getTag())
        self.changeState((UaStateConnected,))
        self._established = True
        self._sink.answered(self._last.sdp if self._last else None, crossed=True)

    def _response(
        self, req: SipRequest, status: int, phrase: str, extra: tuple[tuple[str, str], ...] = ()
    ) -> SipResponse:
        response = req.genResponse(status, phrase, server=self.local_ua)
        response.appendHeaders(headers_of(extra))
        return response

    def _heard(self, event: CCEventGeneric, _ua: UA) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(self, event)

    def _heard_ring(self, event: CCEventGeneric) -> None:
        self._sink.provisional(event.getData()[0], self._last.sdp if self._last else None)

    def _heard_connect(self, _event: CCEventGeneric) -> None:
        sdp = self._last.sdp if self._last else None
        if self._established:
            self._sink.offer_answered(sdp, 200)
            return
        self._established = True
        self._sink.answered(sdp, crossed=False)

    def _heard_fail(self, event: CCEventGeneric) -> None:
        data = event.getData()
        if self._established:
            self._sink.offer_answered(None, data[0])
            return
        self._sink.refused(data[0], data[1], self._last)

    def _heard_disconnect(self, _event: CCEventGeneric) -> None:
        self._sink.released(self._last if self._last and self._last.method else None)

    _handlers: ClassVar[Mapping[type[CCEventGeneric], Callable[["Agent", CCEventGeneric], None]]] = {
        CCEventRing: _heard_ring,
        CCEventConnect: _heard_connect,
        CCEventPreConnect: _heard_connect,
        CCEventFail: _heard_fail,
        CCEventRedirect: _heard_fail,
        CCEventDisconnect: _heard_disconnect,
    }


class Engine:
    """The library, opened once per process: socket, transactions and timers on the running loop."""

    _running: ClassVar["Engine | None"] = None

    def __init__(
        self, listen: Address, front: Front, ids: Ids, user_agent: str, read_for_s: float, tapes: Tapes | None = None
    ) -> None:
        self._listen, self._front, self._ids, self._user_agent = listen, front, ids, user_agent
        self._read_for_s, self._tapes = read_for_s, tapes
        self._manager: Manager | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    @property
    def manager(self) -> Manager:
        if self._manager is None:
            raise NotOpen("the SIP stack is not running")
        return self._manager

    @property
    def address(self) -> Address:
        return self.manager.server.getSIPaddr()[0]

    def open(self) -> None:
        """Bind and start; OSError when the port is taken, AlreadyOpen, LibraryChanged."""
        if Engine._running is not None:
            raise AlreadyOpen("one SIP stack per process")
        if INSTALLED_VERSION != LIBRARY_VERSION:
            raise LibraryChanged(f"sippy is {INSTALLED_VERSION}, written for {LIBRARY_VERSION}")
        loop = asyncio.get_running_loop()
        quick.install()
        SipConf.autoconvert_tel_url = True  # else a From with a tel: URI could not be parsed
        ED2.my_ident = get_ident()
        ED2.callFromThread = lambda callback, *args: loop.call_soon_threadsafe(
            ED2.dispatchThreadCallback, callback, args
        )
        # The library prints tracebacks to stdout, where our processes print their readiness line.
        manager_module.dump_exception = dispatcher_module.dump_exception = _log_exception
        config = {
            "_sip_address": self._listen[0], "_sip_port": self._listen[1], "_sip_logger": Quiet(),
            "user_agent": self._user_agent, "_read_for_s": self._read_for_s,
            "_tapes": self._tapes,
        }  # fmt: skip
        self._manager = config["_sip_tm"] = Manager(config, self._front, self._ids)
        Engine._running = self
        self._due = loop.time()
        self._tick()

    def close(self) -> None:
        """Free socket, timers and dialogs, so that another engine can open; nothing more is sent."""
        if self._manager is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._manager.shutdown()
        for listener in ED2.tlisteners:
            listener.cleanup()
        ED2.tlisteners, ED2.twasted = [], 0
        del ED2.callFromThread
        self._manager = None
        Engine._running = None

    def dial(self, sink: Sink, to: Address, username: str, password: str) -> Agent:
        """A dialog for a call that we place; `Agent.dial` sends the INVITE."""
        return Agent(self.manager, sink, self._ids.token(8), to, username, password)

    def adopt(self, sink: Sink, dialog: DialogIds) -> Agent:
        """The dialog of an earlier run; ValueError: its identifiers are not complete."""
        agent = Agent(self.manager, sink, dialog.local_tag)
        agent.adopt(dialog)
        return agent

    def send(self, text: str, to: Address) -> None:
        """Send a message as it stands."""
        self.manager.server.send_to(text, to)

    def bye(self, dialog: DialogIds, headers: Headers) -> None:
        """End a dialog that the library has no object for (RFC 3261 12.2.1.1)."""
        request = from_ids("BYE", dialog, self._user_agent)
        request.appendHeaders(headers_of(headers))
        self.manager.newTransaction(request)

    def _tick(self) -> None:
        ED2.last_ts = MonoTime()
        ED2.dispatchTimers()
        if ED2.twasted * 2 > len(ED2.tlisteners):
            # Cancelled timers stay in the heap until somebody sweeps; the dispatcher's own loop would.
            ED2.tlisteners = [listener for listener in ED2.tlisteners if listener.cb_func is not None]
            heapify(ED2.tlisteners)
            ED2.twasted = 0
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._front.lag(now - self._due)
        self._due = now + TICK_S
        self._timer = loop.call_at(self._due, self._tick)


def _log_exception(message: str, _file: object = None, extra: object = None) -> None:
    log.error("sip library raised", message=message, extra=extra, exc_info=sys.exc_info())
