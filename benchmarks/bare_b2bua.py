"""The SIP library's own minimal B2BUA: what the library costs when nothing else is done. Reference of S1.

Two `UA` objects a call, events passed from one to the other, the library's own dispatcher. No screen, no digest,
no routing, no disk. Usage: bare_b2bua.py <listen port> <target port>; prints a ready line.
"""

import sys
from typing import Any

from sippy.CCEvents import CCEventTry
from sippy.Core.EventDispatcher import ED2
from sippy.SipAddress import SipAddress
from sippy.SipContact import SipContact
from sippy.SipTransactionManager import SipTransactionManager
from sippy.SipURL import SipURL
from sippy.UA import UA
from sippy.Udp_server import Udp_server_opts

HOST = "127.0.0.1"


class Quiet:
    """The library's message log, switched off."""

    def write(self, *_: object, **__: object) -> None:
        return


def plain(agent: UA) -> UA:
    """A Contact without a display name: SIPp takes that for a part of the URI."""
    agent.lContact = SipContact(address=SipAddress(url=SipURL()))
    return agent


class Manager(SipTransactionManager):
    """The library's own, but for a fault: it takes `;transport=UDP` in capitals for another transport."""

    def newTransaction(self, msg: Any, *args: Any, **kwargs: Any) -> Any:
        msg.setTarget((msg.getTarget()[0], "udp"))
        return super().newTransaction(msg, *args, **kwargs)


class Bridge:
    """One call: what one side says is said to the other."""

    def __init__(self, config: dict[str, Any], target: tuple[str, int]) -> None:
        self._config, self._target = config, target
        self.caller = plain(UA(config, self._from_caller))
        self.called: UA | None = None

    def _from_caller(self, event: Any, _ua: UA) -> None:
        if self.called is None:
            if not isinstance(event, CCEventTry):
                return
            self.called = plain(UA(self._config, self._from_called, nh_address=self._target))
        self.called.recvEvent(event)

    def _from_called(self, event: Any, _ua: UA) -> None:
        self.caller.recvEvent(event)


def main(port: int, target: int) -> None:
    """Serve until killed."""
    config: dict[str, Any] = {
        "_sip_address": HOST, "_sip_port": port, "_sip_logger": Quiet(), "nh_addr": (HOST, target),
        "user_agent": "bare",
    }  # fmt: skip

    def request(req: Any, transaction: Any) -> Any:
        if req.getMethod() != "INVITE" or req.getHFBody("to").getTag() is not None:
            return req.genResponse(481, "Call/Transaction Does Not Exist"), None, None
        return Bridge(config, (HOST, target)).caller.recvRequest(req, transaction)

    Udp_server_opts.nworkers = 1  # with more its threads put messages in another order
    config["_sip_tm"] = Manager(config, request)
    print('{"ready": true}', flush=True)
    ED2.loop()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
