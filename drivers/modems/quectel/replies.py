"""Readers of Quectel's own lines (EC2x, EG9x, EG2x, EP06): text in, objects out."""

from simrack.drivers.at.fields import number, split_fields
from simrack.drivers.modems.base import Progress
from simrack.drivers.modems.generic.calls import Over, Row
from simrack.drivers.modems.generic.replies import CLCC_STATES

#: `stat` of ^DSCI; the numbers are not those of +CLCC (at-dialects 4.3).
DSCI_STATES = {
    1: Progress.HELD,
    2: Progress.DIALLING,
    3: Progress.ACTIVE,
    4: Progress.INCOMING,
    5: Progress.WAITING,
    7: Progress.ALERTING,
}
_DSCI_END = 6
_CCINFO_END = -1


def ccinfo(line: str) -> Row | Over | None:
    """`+QIND: "ccinfo",idx,dir,state,mode,mpty,"num",type`: a call, the end of one, or None."""
    fields = split_fields(line)
    if len(fields) < 5 or fields[0] != "ccinfo" or number(fields[4]) != 0:
        return None
    return _row(fields[1], fields[2], fields[3], fields[6] if len(fields) > 6 else "", CLCC_STATES, _CCINFO_END)


def dsci(line: str) -> Row | Over | None:
    """`^DSCI: id,dir,stat,type,num,num_type[,tone]`: a call, the end of one, or None.

    Other chip families print twelve fields under the same name, with other meanings: those are not read.
    """
    fields = split_fields(line)
    if not 6 <= len(fields) <= 7 or number(fields[3]) != 0:
        return None
    return _row(fields[0], fields[1], fields[2], fields[4], DSCI_STATES, _DSCI_END)


def _row(
    index: str, direction: str, state: str, calling: str, states: dict[int, Progress], end: int
) -> Row | Over | None:
    at, told = number(index), number(state, default=-99)
    if at < 0 or direction not in ("0", "1"):
        return None
    if told == end:
        return Over(at, calling)
    progress = states.get(told)
    return Row(at, direction == "0", progress, calling) if progress is not None else None


def tone(line: str) -> str:
    """`+QTONEDET: 56` -> "8" (the code is decimal ASCII); "" when it is no DTMF digit."""
    digit = chr(max(0, number(split_fields(line)[0], 0)) % 128)
    return digit if digit in "0123456789ABCD*#" else ""


def audio_flow(line: str) -> bool | None:
    """`+QPCMV: 0,0` -> False (buffer full), `+QPCMV: 1,0` -> True (go on); None for any other form."""
    match split_fields(line):
        case [("0" | "1") as go, "0"]:
            return go == "1"
    return None


def technology(line: str) -> str:
    """+QNWINFO: the access technology as people say it, "" without service."""
    access = split_fields(line)[0].upper()
    for name, plain in (("LTE", "LTE"), ("WCDMA", "UMTS"), ("HS", "UMTS"), ("EDGE", "GSM"), ("GPRS", "GSM")):
        if name in access:
            return plain
    return "GSM" if "GSM" in access else ""


def ims_voice(line: str) -> bool:
    """`+QCFG: "ims",conf,cap`: voice over LTE is really registered."""
    fields = split_fields(line)
    return len(fields) > 2 and fields[2] == "1"


#: Causes that +QHUP takes (at-dialects 4.1).
_QHUP = frozenset({1, 16, 17, 18, 21, 27, 31, 88})


def qhup_cause(cause: int) -> int:
    """The nearest cause that the module can send; "no answer" becomes "no user responding"."""
    if cause in _QHUP:
        return cause
    return 18 if cause == 19 else 16
