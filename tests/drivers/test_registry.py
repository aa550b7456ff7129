"""Families: which there are, which one fits, and how one is added from outside."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers_transcript import Transcript

from simrack.drivers import registry
from simrack.drivers.at.port import open_port
from simrack.drivers.modems.base import ModemError, ModemSilent
from simrack.drivers.modems.family import Family
from simrack.drivers.modems.generic.driver import GenericDriver
from simrack.drivers.modems.sheet import BadSheet, load_sheet, render
from simrack.wire.ports import SystemClock

DOCS = Path(__file__).parents[2] / "docs" / "modules.md"
TOY = """
name = "toy"
title = "A toy family from outside"
recognise = ["ACME", "X1"]
usb = ["1209:0001"]
answer_signal = "+CLCC state 0"
allowed = ["+CSQ"]

[ports]
at = 0

[audio]
rate = 16000
frame_ms = 20
"""


class ToyDriver(GenericDriver):
    """One difference to the standard."""

    def _dtmf_command(self, digit: str) -> str:
        return f"AT+TOY={digit}"


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Family]:
    """One folder and one row: all that a new family needs."""
    (tmp_path / "sheet.toml").write_text(TOY)
    family = Family(load_sheet(tmp_path), ToyDriver)
    registry.register(family)
    yield family
    registry.unregister("toy")


async def test_family_from_outside_is_probed_and_drives(toy: Family) -> None:
    """Else adding a module family would need changes in shared code."""
    async with Transcript.named("generic_start") as module:
        driver = await registry.open_module(module.path, clock=SystemClock())
        try:
            info = await driver.start()
            assert (info.driver, info.answer_safe, driver.sheet) == ("toy", True, toy.sheet)
            assert (await driver.audio_on()).rate == 16000
        finally:
            await driver.close()
    assert registry.by_usb(0x1209, 0x0001) == (toy.sheet,)


def test_a_name_is_given_once(toy: Family) -> None:
    """Else a package could replace a shipped driver unseen."""
    with pytest.raises(ModemError, match="already"):
        registry.register(toy)


@pytest.mark.parametrize(
    ("model", "family"),
    [("EC25", "quectel"), ("EC25EFA", "quectel"), ("EP06-E", "quectel"), ("eg25", "quectel"), ("X9", "generic")],
)
def test_model_names_its_family(model: str, family: str) -> None:
    """Else a module would be driven in the wrong dialect."""
    assert registry.recognised(model).sheet.name == family


def test_unknown_family_lists_the_known() -> None:
    """Else a typing mistake in the box's file would be a riddle."""
    with pytest.raises(registry.NoSuchFamily, match=r"generic, quectel"):
        registry.named("quektel")


async def test_named_family_skips_the_asking() -> None:
    """Else a module that does not tell its model could not be used."""
    async with Transcript.named("generic_start") as module:
        driver = await registry.open_module(module.path, clock=SystemClock(), family="quectel")
        await driver.close()
    assert "AT+CGMM" not in module.sent


async def test_identify_shows_module_and_self_check() -> None:
    """`simrack module probe` names family, identity and checks without touching a setting."""
    async with Transcript.named("ec25_answered") as module:
        found = await registry.identify(module.path)
    assert (found.family, found.model, found.imei) == ("quectel", "EC25", "860000000000015")
    assert found.checks == {"card": "READY", "registration": "2,1,\"1A2B\",\"01C3D4E5\",7", "signal": "28,99",
                            "calls": '1,1,0,1,0,"",128'}  # fmt: skip
    assert not [text for text in module.sent if "=" in text]


async def test_port_that_is_no_module_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else discovery would hang on the NMEA port of a module."""
    monkeypatch.setattr("simrack.drivers.at.chat.RESYNC_ANSWER_S", 0.01)
    async with Transcript("source: none\n") as module:
        module.deaf = True
        with pytest.raises(ModemSilent, match="no module answers"):
            await registry.open_module(module.path, clock=SystemClock())
        with pytest.raises(ModemSilent):
            await registry.identify(module.path)
        # The port was given back both times.
        await (await open_port(module.path)).close()
    with pytest.raises(ModemError, match="no such port"):
        await registry.open_module(str(tmp_path / "ttyUSB9"), clock=SystemClock())
    with pytest.raises(ModemError, match="no such port"):
        await registry.identify(str(tmp_path / "ttyUSB9"))


async def test_one_port_one_owner() -> None:
    """Else two processes would take each other's answers (wdoekes#110)."""
    async with Transcript.named("ec25_answered") as module:
        stream = await open_port(module.path)
        with pytest.raises(ModemError, match="another process holds it"):
            await registry.open_module(module.path, clock=SystemClock())
        await stream.close()
        await asyncio.sleep(0)
        driver = await registry.open_module(module.path, clock=SystemClock())
        await driver.close()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('title = "A toy family from outside"', "", "title"),
        ('"1209:0001"', '"toy"', "2c7c:0125"),
        ("at = 0", "voice = 0", "voice"),
        ('"+CSQ"', '"+EGMR"', "may be on no list"),
        ("rate = 16000", "rate = [", "sheet.toml"),
    ],
)
def test_wrong_sheet_names_file_and_field(tmp_path: Path, old: str, new: str, told: str) -> None:
    """Else the author of a family would search for the mistake."""
    (tmp_path / "sheet.toml").write_text(TOY.replace(old, new))
    with pytest.raises(BadSheet, match=told):
        load_sheet(tmp_path)


def test_modules_page_is_current() -> None:
    """docs/modules.md is what the sheets say; `python -m simrack.drivers` prints it anew."""
    shipped = [family.sheet for family in registry.families().values()]
    assert DOCS.read_text(encoding="utf-8") == render(shipped)
