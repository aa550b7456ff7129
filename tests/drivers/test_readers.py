"""Readers of answers: real lines give real values, nonsense gives none and never breaks."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simrack.drivers.at.command import AtCommand, masked
from simrack.drivers.at.fields import number, split_fields, value_of
from simrack.drivers.at.result import Final, Kind, parse_final
from simrack.drivers.modems.base import CardState, Progress
from simrack.drivers.modems.generic import replies
from simrack.drivers.modems.generic.calls import Over, Row
from simrack.drivers.modems.quectel import replies as quectel

HEADS = ["+CLCC", "+CREG", "+CEREG", "+CSQ", "+COPS", "+CNUM", "+CPIN", "+CEER", "+CLIP", "+QIND", "^DSCI",
         "+QTONEDET", "+QNWINFO", "+QCFG"]  # fmt: skip
field_text = st.text(st.characters(codec="latin-1", exclude_characters='"'), max_size=12)
lines = st.builds(
    lambda head, fields, gap: f"{head}:{gap}" + ",".join(fields),
    st.sampled_from(HEADS),
    st.lists(
        st.integers(-2, 300).map(str)
        | field_text.map(lambda text: f'"{text}"')
        | st.sampled_from(["", '"', '"ccinfo"', "-", "--1", "\u00b2", "1e9", "9" * 40]),
        max_size=9,
    ),
    st.sampled_from(["", " "]),
)
READERS: list[Callable[[str], object]] = [
    replies.call_row, replies.registration, replies.signal_dbm, replies.operator, replies.card_state, replies.iccid,
    replies.imsi, replies.release_cause, replies.calling_number, quectel.ccinfo, quectel.dsci, quectel.tone,
    quectel.technology, quectel.ims_voice, parse_final, value_of, masked, lambda line: replies.own_number([line]),
]  # fmt: skip


@given(lines | st.text(max_size=60))
def test_no_line_breaks_a_reader(line: str) -> None:
    """Else one strange firmware would take the channel out of service."""
    for reader in READERS:
        reader(line)


@given(st.lists(field_text, min_size=1, max_size=8))
def test_quoted_fields_come_back(fields: list[str]) -> None:
    """Else a comma in an operator's name would shift every field behind it."""
    line = "+X: " + ",".join(f'"{field}"' for field in fields)
    assert split_fields(line) == tuple(fields)


def test_a_line_end_inside_a_field_is_text() -> None:
    """Else a USSD menu would send the reader round for ever, and the box with it."""
    assert split_fields('+CUSD: 1,"a\nb",15') == ("1", "a\nb", "15")
    assert split_fields("1,2\n") == ("1", "2\n")
    assert split_fields("+CNUM: ,\"1\",") == ("", "1", "")
    assert split_fields("") == ("",)


@given(st.integers(-999_999_999, 999_999_999))
def test_numbers_come_back(value: int) -> None:
    """Else a state or index would be misread."""
    assert number(str(value)) == value


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ('+CLCC: 2,0,3,0,0,"+882",145', Row(2, True, Progress.ALERTING, "+882")),
        ('+CLCC: 1,1,4,0,0,"0171",129,"",,0', Row(1, False, Progress.INCOMING, "0171")),
        ("+CLCC: 1,0,0,0,0", Row(1, True, Progress.ACTIVE, "")),
        ('+CLCC: 1,1,0,1,0,"",128', None),
        ("+CLCC: (0-1)", None),
        ('+CLCC: 1,0,6,0,0,"+882",145', None),
    ],
)
def test_call_list(line: str, row: Row | None) -> None:
    """The data bearer of LTE modules is no call."""
    assert replies.call_row(line) == row


@pytest.mark.parametrize(
    ("line", "stat", "cell", "access"),
    [
        ('+CREG: 2,1,"1A2B","01C3D4E5",7', 1, "1A2B-01C3D4E5", "LTE"),
        ('+CREG: 5,"1A2B","01C3D4E5",2', 5, "1A2B-01C3D4E5", "UMTS"),
        ("+CREG: 1", 1, "", ""),
        ("+CREG: 0,3", 3, "", ""),
        ("+CEREG: 2,1,00FF,01C3,7", 1, "00FF-01C3", "LTE"),
        ("+CREG: 1,1A2B,01C3,0", 1, "1A2B-01C3", "GSM"),
    ],
)
def test_registration_as_answer_and_as_news(line: str, stat: int, cell: str, access: str) -> None:
    """Else "n" would be taken for the state, and a channel without network would be offered calls."""
    found = replies.registration(line)
    assert found is not None
    assert (found.stat, found.cell, found.access) == (stat, cell, access)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("+CEER: Normal call clearing", 16),
        ("+CEER: User busy", 17),
        ("+CEER: No user responding", 18),
        ("+CEER: Call rejected", 21),
        ('+CEER: "16 Normal call clearing"', 16),
        ("+CEER: Cause:34", 34),
        ("+CEER: 0,17", 17),
        ("+CEER: 0,-1", 0),
        ("+CEER: ", 0),
        ('+CEER: "0 Unknown"', 0),
    ],
)
def test_release_causes(line: str, cause: int) -> None:
    """Else the record would not say why the call ended."""
    assert replies.release_cause(line)[0] == cause


def test_dialects_of_quectel() -> None:
    """ccinfo and DSCI number their states differently; both must mean the same call."""
    assert quectel.ccinfo('+QIND: "ccinfo",2,0,0,0,0,"+882",129') == Row(2, True, Progress.ACTIVE, "+882")
    assert quectel.ccinfo('+QIND: "ccinfo",2,0,-1,0,0,"+882",129') == Over(2, "+882")
    assert quectel.ccinfo('+QIND: "ccinfo",1,0,0,1,0,"",128') is None
    assert quectel.ccinfo('+QIND: "csq",28,99') is None
    assert quectel.dsci("^DSCI: 1,0,3,0,10086,129,0") == Row(1, True, Progress.ACTIVE, "10086")
    assert quectel.dsci("^DSCI: 2,1,4,0,+48123,145") == Row(2, False, Progress.INCOMING, "+48123")
    assert quectel.dsci("^DSCI: 1,0,6,0,10086,129,0") == Over(1, "10086")
    assert quectel.dsci("^DSCI: 1,0,3,0,0,0,0,0,0,0,0,0") is None
    assert quectel.tone("+QTONEDET: 56") == "8"
    assert quectel.tone("+QTONEDET: 42") == "*"
    assert quectel.tone("+QTONEDET: 10") == ""
    assert quectel.technology('+QNWINFO: "FDD LTE",46001,"LTE BAND 3",1650') == "LTE"
    assert quectel.technology("+QNWINFO: No Service") == ""
    assert [quectel.qhup_cause(cause) for cause in (16, 17, 19, 41)] == [16, 17, 18, 16]


def test_card_states() -> None:
    """Else a PIN would be tried on a card that needs none, or a card in start-up be called faulty."""
    assert replies.card_state("+CPIN: READY") is CardState.READY
    assert replies.card_state("+CPIN: SIM PUK") is CardState.PUK
    assert replies.card_state("+CPIN: PH-NET PIN") is CardState.FAILURE
    assert replies.card_error(10) is CardState.ABSENT
    assert replies.card_error(14) is CardState.BUSY
    assert replies.iccid("+QCCID: 8988211000000000017F") == "8988211000000000017"


def test_final_results() -> None:
    """Else a command would wait for an end that has come."""
    assert parse_final("+CME ERROR: 30") == Final(Kind.CME, "+CME ERROR: 30", 30)
    assert parse_final("+CMS ERROR: SIM failure") == Final(Kind.CMS, "+CMS ERROR: SIM failure", None)
    assert parse_final("COMMAND NOT SUPPORT") is not None
    assert parse_final("OKAY") is None
    assert parse_final("+CME ERROR: \u00b2") == Final(Kind.CME, "+CME ERROR: \u00b2", None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('AT+CPIN="1234"', "AT+CPIN=****"),
        ('AT+CLCK="SC",1,"1234"', 'AT+CLCK="SC",1,****'),
        ('at+cpwd="SC","1","2"', "at+cpwd=****"),
        ("+CPIN: READY", "+CPIN: READY"),
    ],
)
def test_secrets_never_reach_a_log(text: str, shown: str) -> None:
    """Else a PIN could be read in a call's story."""
    assert masked(text) == shown


def test_identity_lines_are_told_from_news() -> None:
    """Else RING would be read as the IMEI."""
    command = AtCommand("AT+CGSN", ("+CGSN:",), bare=True)
    assert command.owns("860000000000015")
    assert command.owns("+CGSN: 860000000000015")
    assert not any(command.owns(line) for line in ("RING", "+CREG: 1", "NO CARRIER", "^DSCI: 1"))
