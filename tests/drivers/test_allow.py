"""Free AT commands: the allow-list, and what no list may name."""

from collections.abc import Callable

import pytest
from drivers_bench import Begin
from hypothesis import given
from hypothesis import strategies as st

from simrack.drivers.at.allow import FORBIDDEN, allows, checked, forbidden
from simrack.drivers.modems.base import NotAllowed
from simrack.drivers.registry import families

WRITES_IDENTITY_OR_FIRMWARE = [
    'AT+EGMR=1,7,"860000000000015"',
    "AT+EGMR=0,7",
    "AT+SIMEI=860000000000015",
    "AT^PHYNUM=IMEI,860000000000015",
    "AT+QPRTPARA=1",
    'AT+QFOTADL="http://example.org/x"',
    'AT+QNVFW="/nv/item_files/x",00',
    "AT^NVWR=550,1",
    "AT+CGSN=860000000000015",
    'AT+QMBNCFG="Select","X"',
]
SPELLINGS: list[Callable[[str], str]] = [
    str.lower,
    lambda text: text.replace("AT", "AT "),
    lambda text: f"  {text}  ",
    lambda text: text.replace("=", " = "),
    lambda text: f"AT+CSQ;{text.removeprefix('AT')}",
    lambda text: f"AT+CSQ\r{text}",
]


@pytest.mark.parametrize("text", WRITES_IDENTITY_OR_FIRMWARE)
def test_identity_and_firmware_commands_pass_no_family(text: str) -> None:
    """Else the product could change an IMEI."""
    for family in families().values():
        assert not allows(family.sheet.allowed, text)
        for spell in SPELLINGS:
            assert not allows(family.sheet.allowed, spell(text))


def test_a_sheet_that_names_one_is_refused() -> None:
    """Else a family from outside could open the door."""
    for entry in (
        form for head in FORBIDDEN for form in (head, head + "=*", head.lower(), f"{head[:1]} {head[1:]}")
    ):
        with pytest.raises(ValueError, match="may be on no list"):
            checked([entry])


@given(st.text(max_size=60))
def test_strange_text_passes_only_in_its_listed_form(text: str) -> None:
    """Else a control character or a joined command would slip through."""
    for family in families().values():
        if allows(family.sheet.allowed, "AT" + text):
            assert not forbidden(text)
            assert ";" not in text
            assert text.strip().isprintable()


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("AT+CSQ", True),
        ("at+csq", True),
        ("AT+CSQ=?", True),
        ("AT+CSQ=1", False),
        ("AT+CFUN?", True),
        ("AT+CFUN=1,1", False),
        ("AT+CFUN", False),
        ("ATI", True),
        ('AT+QENG="servingcell"', True),
        ('AT+QENG="other"', False),
        ("ATD112;", False),
        ("AT+CMGS=24", False),
        ("AT+CUSD=1", False),
        ("ATZ", False),
        ("", False),
        ("CSQ", False),
    ],
)
def test_forms_of_the_list(text: str, passes: bool) -> None:
    """An entry without a form means asking; setting must be named."""
    assert allows(families()["quectel"].sheet.allowed, text) is passes


async def test_driver_refuses_and_answers(bench: Begin) -> None:
    """Else a person's console would reach the module unchecked."""
    module = await bench("ec25_answered")
    with pytest.raises(NotAllowed, match="EGMR"):
        await module.driver.command('AT+EGMR=1,7,"860000000000015"')
    assert not module.module.matching("*EGMR*")
    assert await module.driver.command("at+csq") == ("+CSQ: 28,99",)
    assert await module.driver.command("AT+CGMM") == ("EC25",)
