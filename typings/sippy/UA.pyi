from collections.abc import Callable, Sequence
from typing import Any

from sippy.CCEvents import CCEventGeneric
from sippy.MsgBody import MsgBody
from sippy.SipContact import SipContact
from sippy.SipHeader import SipHeader
from sippy.SipRequest import SipRequest
from sippy.SipResponse import SipResponse
from sippy.SipTransactionManager import SipTransaction
from sippy.SipURL import SipURL
from sippy.Time.MonoTime import MonoTime

class UA:
    global_config: dict[str, Any]
    state: Any
    godead_timeout: float
    local_ua: str
    branch: str | None
    tr: SipTransaction | None
    pending_tr: SipTransaction | None
    lTag: str
    lUri: Any
    rUri: Any
    cId: Any
    lCSeq: int
    rCSeq: int | None
    lContact: SipContact
    rAddr: tuple[tuple[str, int], str]
    rTarget: SipURL
    routes: list[Any]
    lSDP: MsgBody | None
    rSDP: MsgBody | None
    uasResp: SipResponse | None
    def __init__(
        self,
        global_config: dict[str, Any],
        event_cb: Callable[[CCEventGeneric, UA], None] | None = None,
        username: str | None = None,
        password: str | None = None,
        nh_address: tuple[str, int] | None = None,
        *,
        ltag: str | None = None,
    ) -> None: ...
    def recvRequest(self, req: Any, sip_t: SipTransaction) -> Any: ...
    def recvResponse(self, resp: SipResponse, tr: SipTransaction) -> None: ...
    def recvEvent(self, event: CCEventGeneric) -> None: ...
    def recvACK(self, req: Any) -> None: ...
    def disconnect(self, rtime: MonoTime | None = None, origin: str | None = None) -> None: ...
    def changeState(self, newstate: tuple[Any, ...]) -> None: ...
    def genRequest(self, method: str, body: MsgBody | None = None, cqop: Any = None, extra_headers: Sequence[SipHeader] | None = None) -> SipRequest: ...
    def newTransaction(self, req: SipRequest, *, resp_cb: Callable[[SipResponse], None] | None = None) -> SipTransaction: ...
    def newUacTransaction(self, req: SipRequest) -> None: ...
    def sendUasResponse(
        self, scode: int, reason: str, body: MsgBody | None = None, contacts: Sequence[SipContact] | None = None,
        extra_headers: Sequence[SipHeader] | None = None, ack_wait: bool = False,
    ) -> None: ...
    def isYours(
        self, req: SipRequest | None = None, call_id: str | None = None, from_tag: str | None = None, to_tag: str | None = None
    ) -> UA | None: ...
    def isConnected(self) -> bool: ...
    def isDead(self) -> bool: ...
