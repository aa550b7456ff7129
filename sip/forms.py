"""Messages of the SIP library: made, and mended where the library would go wrong with them."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from sippy.CCEvents import CCEventTry
from sippy.MsgBody import MsgBody
from sippy.SipAddress import SipAddress
from sippy.SipCallId import SipCallId
from sippy.SipContentType import SipContentType
from sippy.SipFrom import SipFrom
from sippy.SipGenericHF import SipGenericHF
from sippy.SipHeader import SipHeader
from sippy.SipMsg import SipMsg
from sippy.SipRequest import SipRequest
from sippy.SipResponse import SipResponse
from sippy.SipRoute import SipRoute
from sippy.SipTo import SipTo
from sippy.SipURL import SipURL
from sippy.UA import UA

from simrack.sip.legs import DialogIds
from simrack.sip.ports import Address
from simrack.sip.screen import Packet

# Requests may have followed the answer, when the identifiers were stored; a gap in CSeq is allowed, a step back
# is not (RFC 3261 12.2.2).
CSEQ_MARGIN = 1000


class Order(CCEventTry):
    """The order to send an INVITE."""

    def onUacSetupComplete(self, uac: UA) -> None:
        # With the library's default transport the port 5060 is on the wire in the digest's URI only.
        uac.rTarget.transport = None


class Incoming(SipRequest):
    """A request of the library that remembers the packet it was made of."""

    packet: Packet


class Outcome(SipResponse):
    """A response of the library that remembers the packet it was made of."""

    packet: Packet


class Plain(SipGenericHF):
    """A header that goes out as it was given: the library's own classes rewrite or refuse some values."""

    def __init__(self, body: str, name: str) -> None:
        super().__init__(body, name)
        self.given, self.parsed = name, True

    def getCopy(self) -> Self:
        return type(self)(self.body, self.given)

    def getCanName(self, name: str, compact: bool = False) -> str:
        return self.given


def headers_of(pairs: Iterable[tuple[str, str]]) -> tuple[SipHeader, ...]:
    """Headers of the library; ValueError for a value that would start another line."""
    for name, value in pairs:
        if any(character in "\r\n\0" for character in name + value):
            raise ValueError(f"line break in SIP header {name!r}")
    return tuple(SipHeader(name=name, body=Plain(value, name)) for name, value in pairs)


def body_of(octets: bytes | None, kind: str = "application/sdp") -> MsgBody | None:
    """A body of the library, one character per octet, as `screen.encode` expects it."""
    if octets is None:
        return None
    return MsgBody(octets.decode("latin-1"), SipContentType(kind))


def reachable(message: SipMsg, source: Address) -> None:
    """Point the Contact of a direct peer behind NAT, or with a host name, at the observed address.

    The library would resolve a name by a blocking call; and an address of a foreign private network leads
    nowhere. Behind a Record-Route the proxy knows the way.
    """
    routes = message.getHFBodys("record-route")
    if routes:
        # The proxy next to us stands first in a request, last in a response (RFC 3261 12.1).
        nearest = routes[0 if isinstance(message, SipRequest) else -1].getUrl()
        if not is_address(nearest.host):
            nearest.host, nearest.port = source
        return
    if not message.countHFs("contact"):
        return
    contact = message.getHFBody("contact")
    if contact.asterisk:
        return
    url = contact.getUrl()
    direct = message.countHFs("via") == 1
    if not is_address(url.host) or (direct and ip_address(url.host).is_private and url.host != source[0]):
        url.host, url.port = source


def is_address(host: str) -> bool:
    """Whether `host` needs no resolving."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Stored:
    """Stored identifiers in the library's own types."""

    local: SipFrom
    remote: SipTo
    target: SipURL
    routes: list[SipRoute]
    address: Address

    @classmethod
    def of(cls, dialog: DialogIds) -> "Stored":
        """ValueError: identifiers are missing."""
        host, _, port = dialog.remote_address.rpartition(":")
        if not dialog.complete:
            raise ValueError(f"dialog {dialog.call_id!r} has no complete identifiers")
        local = SipFrom(address=SipAddress(url=SipURL(dialog.local_uri)))
        remote = SipTo(address=SipAddress(url=SipURL(dialog.remote_uri)))
        local.setTag(dialog.local_tag)
        remote.setTag(dialog.remote_tag)
        routes = [SipRoute(route) for route in dialog.route_set]
        for route in routes:
            route.parse()
        return cls(local, remote, SipURL(dialog.remote_target), routes, (host, int(port)))


def from_ids(method: str, dialog: DialogIds, user_agent: str) -> SipRequest:
    """A request inside a dialog of which only the stored identifiers are left."""
    stored = Stored.of(dialog)
    return SipRequest(
        method=method, ruri=stored.target, to=stored.remote, fr0m=stored.local,
        cseq=dialog.local_cseq + CSEQ_MARGIN, callid=SipCallId(dialog.call_id), routes=stored.routes,
        target=(stored.address, "udp"), user_agent=user_agent,
    )  # fmt: skip


def in_dialog(method: str, answer: SipResponse, number: int, user_agent: str) -> SipRequest:
    """A request inside the dialog that a 2xx made, for dialogs that the library has no object for."""
    url = answer.getHFBody("contact").getUrl().getCopy()
    routes = [route.getCopy() for route in reversed(answer.getHFBodys("record-route"))]
    return SipRequest(
        method=method, ruri=url, to=answer.getHFBCopy("to"), fr0m=answer.getHFBCopy("from"), cseq=number,
        callid=answer.getHFBCopy("call-id"), routes=routes,
        target=routes[0].getTAddr() if routes else url.getTAddr(), user_agent=user_agent,
    )  # fmt: skip
