"""Switchable quirks and faults of a module: what real ones do wrong, one name each."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Quirk(StrEnum):
    """A habit that a module keeps until it is switched off."""

    NO_CCINFO = "no-ccinfo"  # +QINDCFG="ccinfo" unknown, as on EP06: ^DSCI only
    NO_ALERTING = "no-alerting"  # goes from dialling straight to active
    URC_INSIDE = "urc-inside"  # an unsolicited line before the OK of an answer
    LATE = "late"  # answers after 0.2 to 0.8 s
    DRIP = "drip"  # puts out one octet at a time
    DOUBLED_CR = "doubled-cr"  # lines end in CR CR LF
    NO_NO_CARRIER = "no-no-carrier"  # the end of a call is told by ccinfo/DSCI only
    PLAIN_NO_CARRIER = "plain-no-carrier"  # NO CARRIER also where BUSY or NO ANSWER is due
    NO_DATA_ROW = "no-data-row"  # +CLCC without the LTE bearer's row
    ICCID_PAD = "iccid-pad"  # +QCCID ends in F
    NO_NUMBER = "no-number"  # the card has no own number (+CNUM)
    ECHO_OFF_LOST = "echo-off-lost"  # ATZ switches the echo on again
    VOLTE_ONLY = "volte-only"  # +CREG says 0 while +CEREG says 1
    CEER_NUMBERS = "ceer-numbers"  # +CEER in the form "+CEER: 0,17"


FaultName = Literal[
    "hang", "garbage", "storm", "flood", "drop", "reset", "dial_error", "dial_silent", "answer_lost", "late_answer", "one_way",
    "denied", "no_service", "sim_removed", "sim_pin", "call_drop", "babble",
]  # fmt: skip


class Fault(BaseModel):
    """One fault to begin now at one module. Which fields count depends on the fault (`docs/lab.md`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    box: str
    channel: int = Field(ge=1)
    fault: FaultName
    duration_s: float | None = Field(default=None, gt=0)  # None: until DELETE /faults (drop: 5 s)
    count: int = Field(default=1, ge=1)  # dial_error, dial_silent, answer_lost, late_answer: how many times
    direction: Literal["from_mobile", "to_mobile", "none"] = "from_mobile"  # one_way: what still works
    delay_s: float = Field(default=6.0, gt=0)  # late_answer
    code: int | None = None  # dial_error: a +CME code instead of ERROR; call_drop: the cause
    rate: float = Field(default=200.0, gt=0, le=5000)  # flood: lines per second
    #: hang: the weakest act that ends it; "any" is whatever lets the ports vanish. drop: "power" keeps it away.
    cure: Literal["any", "reset", "usb", "power"] = "any"
    octets: int = Field(default=200, ge=1, le=2_000_000)  # garbage: how many; babble: how many a second
