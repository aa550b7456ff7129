"""What the controller itself checks of a session description; voice flows between sender and box."""

from simrack.sip import codecs, sdp
from simrack.sip.sdp import SdpError


def sdp_problem(offer: bytes | None) -> str:
    """Why no box could take this offer, or "".

    Without an offer ours would go out in the 200, and early media would have no place.
    """
    if offer is None:
        return "the INVITE has no session description"
    try:
        sdp.negotiate(sdp.parse(offer), tuple(codecs.ROWS))
    except SdpError as error:
        return str(error)
    return ""


def wants_privacy(header: str) -> bool:
    """Whether a Privacy header asks to hide the caller (RFC 3323 4.2, RFC 3325 9.3)."""
    words = {word.strip().lower() for word in header.replace(",", ";").split(";")}
    return bool(words & {"id", "user", "header", "full"})
