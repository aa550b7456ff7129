"""Release causes: 24.008, Q.850 and SIP in one table, both ways, with the clause beside each row.

GSM numbers are those of 3GPP TS 24.008 10.5.4.11 and annex H, Q.850 numbers those of ITU-T Q.850 2.2.7. Most are
the same; where GSM has one that Q.850 lacks or uses otherwise, `GSM_ONLY` says what it becomes. The record
keeps the original beside the mapped one. SIP mappings are RFC 3398 7.2.4.1 (to SIP) and 8.2.6.1 (from SIP).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Blame = Literal["called", "network", "rack", "normal"]


class Cause(IntEnum):
    """Q.850 causes that the code names."""

    UNALLOCATED = 1
    NO_ROUTE = 3
    NORMAL = 16
    BUSY = 17
    NO_RESPONSE = 18
    NO_ANSWER = 19
    ABSENT = 20
    REJECTED = 21
    NUMBER_CHANGED = 22
    OUT_OF_ORDER = 27
    INVALID_NUMBER = 28
    FACILITY_REJECTED = 29
    NORMAL_UNSPECIFIED = 31
    NO_CIRCUIT = 34
    NETWORK_OUT_OF_ORDER = 38
    TEMPORARY_FAILURE = 41
    CONGESTION = 42
    CHANNEL_UNAVAILABLE = 44
    RESOURCES = 47
    BEARER_NOT_IMPLEMENTED = 65
    INCOMPATIBLE = 88
    TIMER_EXPIRED = 102
    INTERWORKING = 127


@dataclass(frozen=True, slots=True)
class Row:
    """One cause.

    `sip` is the final response that tells it to a sender (clause in `sip_clause`; "ours" where RFC 3398 is
    silent). `blame` says whose failure it is: only `network` and `rack` may be tried on the next candidate.
    """

    q850: int
    name: str
    clause: str
    gsm_clause: str
    sip: int
    sip_clause: str
    blame: Blame


def _row(q850: int, name: str, sip: int, blame: Blame, *, gsm: bool = True, rfc: bool = True) -> Row:
    return Row(
        q850, name, f"Q.850 2.2.7 #{q850}", f"24.008 H #{q850}" if gsm else "", sip,
        "RFC 3398 7.2.4.1" if rfc else "ours", blame,
    )  # fmt: skip


_ROWS = (
    # Class 000 and 001, normal events.
    _row(1, "Unallocated (unassigned) number", 404, "called"),
    _row(2, "No route to specified transit network", 404, "network", gsm=False),
    _row(3, "No route to destination", 404, "network"),
    _row(6, "Channel unacceptable", 503, "network", rfc=False),
    # RFC 3398 maps 16 to BYE or CANCEL; as a refusal before answer it can only be "not now".
    _row(16, "Normal call clearing", 480, "normal", rfc=False),
    _row(17, "User busy", 486, "called"),
    _row(18, "No user responding", 408, "called"),
    _row(19, "No answer from user (user alerted)", 480, "called"),
    _row(20, "Subscriber absent", 480, "called", gsm=False),
    _row(21, "Call rejected", 403, "called"),
    _row(22, "Number changed", 410, "called"),
    _row(23, "Redirection to new destination", 410, "called", gsm=False),
    _row(25, "Exchange routing error", 483, "network", rfc=False),
    _row(26, "Non-selected user clearing", 404, "called"),
    _row(27, "Destination out of order", 502, "network"),
    _row(28, "Invalid number format (address incomplete)", 484, "called"),
    _row(29, "Facility rejected", 501, "network"),
    _row(30, "Response to STATUS ENQUIRY", 500, "network", rfc=False),
    _row(31, "Normal, unspecified", 480, "network"),
    # Class 010, resource unavailable.
    _row(34, "No circuit or channel available", 503, "network"),
    _row(38, "Network out of order", 503, "network"),
    _row(41, "Temporary failure", 503, "network"),
    _row(42, "Switching equipment congestion", 503, "network"),
    _row(43, "Access information discarded", 503, "network", rfc=False),
    _row(44, "Requested circuit or channel not available", 503, "rack", rfc=False),
    _row(47, "Resource unavailable, unspecified", 503, "network"),
    # Class 011, service or option not available.
    _row(49, "Quality of service not available", 503, "network", rfc=False),
    _row(50, "Requested facility not subscribed", 503, "network", rfc=False),
    _row(55, "Incoming calls barred within CUG", 403, "network"),
    _row(57, "Bearer capability not authorised", 403, "network"),
    _row(58, "Bearer capability not presently available", 503, "network"),
    _row(63, "Service or option not available", 503, "network", rfc=False),
    # Class 100, service or option not implemented.
    _row(65, "Bearer capability not implemented", 488, "network"),
    _row(69, "Requested facility not implemented", 501, "network", rfc=False),
    _row(70, "Only restricted digital information bearer is available", 488, "network"),
    _row(79, "Service or option not implemented", 501, "network"),
    # Class 101, invalid message.
    _row(81, "Invalid call reference value", 500, "network", rfc=False),
    _row(87, "User not member of CUG", 403, "network"),
    _row(88, "Incompatible destination", 503, "network"),
    _row(91, "Invalid transit network selection", 404, "network", rfc=False),
    _row(95, "Invalid message, unspecified", 500, "network", rfc=False),
    # Class 110 and 111, protocol error and interworking.
    _row(96, "Mandatory information element is missing", 500, "network", rfc=False),
    _row(97, "Message type non-existent or not implemented", 500, "network", rfc=False),
    _row(98, "Message not compatible with call state", 500, "network", rfc=False),
    _row(99, "Information element non-existent or not implemented", 500, "network", rfc=False),
    _row(100, "Invalid information element contents", 500, "network", rfc=False),
    _row(101, "Message not compatible with call state", 500, "network", rfc=False),
    _row(102, "Recovery on timer expiry", 504, "network"),
    _row(111, "Protocol error, unspecified", 500, "network"),
    _row(127, "Interworking, unspecified", 500, "network"),
)
ROWS: Mapping[int, Row] = {row.q850: row for row in _ROWS}

GSM_ONLY: Mapping[int, int] = {
    8: 21,  # operator determined barring; Q.850 #8 is preemption, another thing
    68: 21,  # ACM equal to or greater than ACMmax: the SIM's own charge limit
}

# RFC 3398 8.2.6.1; 488 and 606 carry their reason in a Warning, which senders rarely write.
FROM_SIP: Mapping[int, int] = {
    400: 41, 401: 21, 402: 21, 403: 21, 404: 1, 405: 63, 406: 79, 407: 21, 408: 102, 410: 22, 413: 127,
    414: 127, 415: 79, 416: 127, 420: 127, 421: 127, 423: 127, 480: 18, 481: 41, 482: 25, 483: 25, 484: 28,
    485: 1, 486: 17, 487: 16, 488: 65, 500: 41, 501: 79, 502: 38, 503: 41, 504: 102, 505: 127, 513: 127,
    600: 17, 603: 21, 604: 1, 606: 65,
}  # fmt: skip

# What modules say in +CEER (at-dialects 4.6), lower case; longer texts come first in the search.
_WORDS: Mapping[str, int] = {
    "unassigned": 1, "unallocated": 1, "no route": 3, "operator determined barring": 21,
    "normal call clearing": 16, "client ended call": 16, "network ended call": 16, "user busy": 17,
    "no user responding": 18, "user alerting, no answer": 19, "no answer from user": 19, "no answer": 19,
    "call rejected": 21, "number changed": 22, "destination out of order": 27, "invalid number format": 28,
    "facility rejected": 29, "normal unspecified": 31, "normal, unspecified": 31, "no circuit": 34,
    "network out of order": 38, "no service available": 38, "temporary failure": 41,
    "switching equipment congestion": 42, "requested circuit": 44, "resources unavailable": 47,
    "resource unavailable": 47, "bearer capability not authorized": 57, "incompatible destination": 88,
    "recovery on timer expir": 102, "interworking": 127,
}  # fmt: skip
_LONGEST_FIRST = sorted(_WORDS, key=len, reverse=True)
_REASON = re.compile(r'^\s*Q\.850\s*;.*?\bcause\s*=\s*(\d{1,3})(?:.*?\btext\s*=\s*"([^"]*)")?', re.IGNORECASE)


def name(cause: int) -> str:
    """The cause in words; an unknown number names itself."""
    row = ROWS.get(cause)
    return row.name if row else f"Cause {cause}"


def sip_of(cause: int) -> int:
    """The final response for a call that failed with `cause`; 500 for a number that nobody defined."""
    row = ROWS.get(cause)
    return row.sip if row else 500


def cause_of(status: int) -> int:
    """The Q.850 cause of a SIP final response without a Reason header (RFC 3398 8.2.6.1)."""
    if status in FROM_SIP:
        return FROM_SIP[status]
    return 16 if status < 300 else 127


def from_gsm(cause: int) -> int:
    """The Q.850 cause of a 24.008 one."""
    return GSM_ONLY.get(cause, cause)


def from_text(text: str) -> int | None:
    """The Q.850 cause in a module's words, or in a number that they start with; None when nothing fits."""
    words = text.strip().strip('"').lower()
    for phrase in _LONGEST_FIRST:
        if phrase in words:
            return _WORDS[phrase]
    number = re.match(r"(?:cause:\s*)?(\d{1,3})\b", words)
    cause = from_gsm(int(number.group(1))) if number else 0
    return cause if cause in ROWS else None


def rerouteable(cause: int) -> bool:
    """Tell whether the next candidate may be tried: never when the called party is the reason."""
    row = ROWS.get(cause)
    return row is None or row.blame in ("network", "rack")


def reason_header(cause: int, text: str = "") -> str:
    """A Reason header's value (RFC 3326), for instance `Q.850;cause=17;text="User busy"`."""
    words = re.sub(r'[\x00-\x1f"\\\x7f]', " ", text or name(cause)).strip()
    return f'Q.850;cause={cause};text="{words}"'


def parse_reason(value: str) -> tuple[int, str] | None:
    """The Q.850 cause and text of a Reason header; None when it holds none (values may be joined by commas)."""
    for part in re.split(r",(?=\s*[A-Za-z0-9.]+\s*;)", value):
        match = _REASON.match(part)
        if match:
            return int(match.group(1)), match.group(2) or ""
    return None
