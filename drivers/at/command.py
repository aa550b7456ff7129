"""An AT command as data: text, what its answer looks like, and how long it may take."""

import re
from dataclasses import dataclass
from enum import IntEnum

# Limits in seconds. Vendors allow 300 ms for reads; a loaded USB hub and a module that is busy with the
# network were seen to need seconds, and 5 s is what field drivers settled on (at-dialects, 1.1).
SHORT_S = 5.0
# +CFUN, +CLIR, +CCWA, +COLP talk to the network or the card: 15 s in the vendors' manuals.
NETWORK_S = 15.0
# ATD, ATA, ATH, +CHUP: up to 90 s by manual; field drivers give up after 40 s.
CALL_S = 40.0


class Priority(IntEnum):
    """Who goes next when several wait for the port; the smaller first."""

    WATCHDOG = 0
    URGENT = 1
    NORMAL = 2
    IDLE = 3


@dataclass(frozen=True, slots=True)
class AtCommand:
    """One command.

    `expect` holds the prefixes of its information lines; everything else that comes meanwhile is unsolicited.
    `shape` narrows that where answer and unsolicited line share a prefix (+CREG). `bare` commands answer
    with plain lines. `dial` commands may end with NO CARRIER, BUSY and their kin. `body` is sent after the
    prompt. All times in seconds.
    """

    text: str
    expect: tuple[str, ...] = ()
    timeout_s: float = SHORT_S
    shape: re.Pattern[str] | None = None
    bare: bool = False
    dial: bool = False
    body: bytes = b""

    def owns(self, line: str) -> bool:
        """Tell whether `line` belongs to this command's answer."""
        if self.bare and not _unsolicited_look(line):
            return True
        return line.startswith(self.expect) and (self.shape is None or bool(self.shape.match(line)))


_URC_WORDS = (
    "RING", "NO CARRIER", "BUSY", "NO ANSWER", "NO DIALTONE", "RDY", "POWERED DOWN", "NORMAL POWER DOWN",
    "VOICE CALL", "MISSED_CALL", "Call Ready", "SMS Ready", "SMS DONE", "PB DONE", "REMOTE CALL END",
)  # fmt: skip


def _unsolicited_look(line: str) -> bool:
    return line.startswith(("+", "^", "*")) or line.startswith(_URC_WORDS)


# PIN, PUK, passwords and facility locks; the heads stay readable, the values never reach a log.
_SECRET = re.compile(r'(\+CPIN=|\+CPWD=|\+QPIN=|\^CPIN=|\+CLCK="[A-Z0-9]+",\d,)([^;]*)', re.IGNORECASE)


def masked(text: str) -> str:
    """`text` as it may be logged and stored."""
    return _SECRET.sub(r"\1****", text)
