"""The library's transactions, with their faults mended; what each is stands in tests/sip/test_faults.py."""

from collections.abc import Sequence
from typing import Any

import structlog
from sippy import SipTransactionManager as manager_module
from sippy.SipHeader import SipHeader
from sippy.SipRequest import SipRequest
from sippy.SipTransactionManager import RINGING, SipTransaction, SipTransactionManager

log = structlog.get_logger(__name__)

T2_S = 4.0  # RFC 3261 17.1.2.2: longest interval between retransmissions


class Transactions(SipTransactionManager):
    """Client and server transactions over UDP."""

    def newTransaction(self, msg: SipRequest, *args: Any, **kwargs: Any) -> SipTransaction:
        """Everything goes by UDP, whatever the peer's URI says in whichever case (faults 2 and 9)."""
        msg.setTarget((msg.getTarget()[0], "udp"))
        return super().newTransaction(msg, *args, **kwargs)

    def cancelTransaction(
        self, t: SipTransaction, extra_headers: Sequence[SipHeader] | None = None
    ) -> None:
        """The library forgets a CANCEL's headers when it must wait for the first provisional response."""
        if t.cancel is None:
            return
        if extra_headers and t.state is not RINGING:
            t.cancel.appendHeaders(extra_headers)
            extra_headers = None
        super().cancelTransaction(t, extra_headers)

    def timerA(self, t: SipTransaction) -> None:
        """Fault 7: the library doubles without end; only a client's INVITE may (RFC 3261 17.1.1.2, 13.3.1.4)."""
        super().timerA(t)
        if t.tout > T2_S and not (t.method == "INVITE" and t.tid in self.tclient):
            t.teA.cancel()
            t.tout = T2_S
            t.teA = manager_module.Timeout(self.timerA, T2_S, 1, t)

    def timerD(self, t: SipTransaction) -> None:
        """A second INVITE with the first one's CSeq and tags takes its place in the library's table (fault 10)."""
        other = self.tserver.get(t.tid)
        self.tserver[t.tid] = t
        super().timerD(t)
        if other is not None and other is not t:
            self.tserver[other.tid] = other

    def timerG(self, t: SipTransaction) -> None:
        t.teG = None
        log.error("an answer with an offer was never acknowledged by us", tid=t.tid)
