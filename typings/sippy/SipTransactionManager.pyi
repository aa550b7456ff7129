from collections.abc import Callable, Sequence
from typing import Any

from sippy.Network_server import Remote_address
from sippy.SipHeader import SipHeader
from sippy.SipRequest import SipRequest
from sippy.SipResponse import SipResponse
from sippy.Time.MonoTime import MonoTime
from sippy.UA import UA

dump_exception: Callable[..., None]

def Timeout(timeout_cb: Callable[..., object], ival: float, nticks: int = 1, *cb_params: object) -> Any: ...

class RINGING: ...
class TERMINATED: ...

class SipTransactionConsumer:
    cobj: Any

class SipTransaction:
    tid: tuple[Any, ...]
    method: str
    tout: float
    state: type
    cancel: SipRequest | None
    cancelPending: bool
    userv: Any
    address: Any
    checksum: bytes
    r487: SipResponse
    cancel_cb: Callable[..., object] | None
    noack_cb: Callable[..., object] | None
    teA: Any
    teD: Any
    teE: Any
    teG: Any

class SipTMRetransmitO:
    data: Any
    userv: Any
    address: Any
    def __init__(self, userv: Any = None, data: Any = None, address: Any = None) -> None: ...

local4remote: type

class SipTransactionManager:
    model_udp_server: tuple[type, type]
    global_config: dict[str, Any]
    l4r: Any
    l1rcache: dict[bytes, SipTMRetransmitO]
    l2rcache: dict[bytes, SipTMRetransmitO]
    tclient: dict[tuple[Any, ...], SipTransaction]
    tserver: dict[tuple[Any, ...], SipTransaction]
    req_consumers: dict[str, list[SipTransactionConsumer]]
    def rCachePurge(self) -> None: ...
    def __init__(self, global_config: dict[str, Any], req_cb: Callable[..., object] | None = None) -> None: ...
    def handleIncoming(self, data_in: bytes, ra: Remote_address, server: Any, rtime: MonoTime) -> None: ...
    def incomingRequest(self, msg: SipRequest, checksum: bytes, tids: tuple[tuple[Any, ...], ...], server: Any) -> None: ...
    def incomingResponse(self, msg: SipResponse, t: SipTransaction, checksum: bytes) -> None: ...
    def newTransaction(self, msg: SipRequest, *args: Any, **kwargs: Any) -> SipTransaction: ...
    def cancelTransaction(self, t: SipTransaction, extra_headers: Sequence[SipHeader] | None = None) -> None: ...
    def sendResponse(self, resp: SipResponse, t: SipTransaction | None = None) -> None: ...
    def transmitMsg(self, userv: Any, msg: Any, address: tuple[str, int], cachesum: bytes | None) -> None: ...
    def transmitData(self, userv: Any, data: Any, address: tuple[str, int], cachesum: bytes | None = None) -> None: ...
    def timerA(self, t: SipTransaction) -> None: ...
    def timerD(self, t: SipTransaction) -> None: ...
    def timerG(self, t: SipTransaction) -> None: ...
    def regConsumer(self, consumer: UA, call_id: str, compact: bool = False) -> None: ...
    def shutdown(self) -> None: ...
