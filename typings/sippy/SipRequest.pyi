from collections.abc import Sequence
from typing import Any

from sippy.SipMsg import SipMsg
from sippy.SipResponse import SipResponse
from sippy.SipURL import SipURL

class SipRequest(SipMsg):
    def __init__(
        self,
        buf: str | None = None,
        method: str | None = None,
        ruri: SipURL | None = None,
        *,
        to: Any = None,
        fr0m: Any = None,
        cseq: int | None = None,
        callid: Any = None,
        routes: Sequence[Any] = (),
        target: tuple[tuple[str, int], str] | None = None,
        user_agent: str | None = None,
    ) -> None: ...
    def getMethod(self) -> str: ...
    def getRURI(self) -> SipURL: ...
    def genResponse(self, scode: int, reason: str, body: Any = None, server: str | None = None) -> SipResponse: ...
