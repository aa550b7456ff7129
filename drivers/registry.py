"""Which families there are, which one a module belongs to, and the way from a port to a driver.

A family is one folder and one row: here in `ROWS`, or in another package by `register` or by an entry point of
the group `simrack.modems` that names its `Family`.
"""

import asyncio
import functools
import importlib
from dataclasses import dataclass, field
from importlib.metadata import entry_points

from simrack.drivers.at.chat import Chat
from simrack.drivers.at.command import AtCommand
from simrack.drivers.at.errors import AtError, AtRefused
from simrack.drivers.at.fields import value_of
from simrack.drivers.at.port import ByteStream, open_port
from simrack.drivers.modems.base import ModemDriver, ModemError, ModemSilent, Sheet
from simrack.drivers.modems.family import Family
from simrack.wire.ports import Clock, SystemClock

#: One row per family that ships.
ROWS = (
    "simrack.drivers.modems.generic:FAMILY",
    "simrack.drivers.modems.quectel:FAMILY",
)
GROUP = "simrack.modems"
#: The family that takes what no other recognises.
FALLBACK = "generic"

_registered: dict[str, Family] = {}


class NoSuchFamily(ModemError):
    """A family is named that no row knows; the text lists those there are."""


def register(family: Family) -> None:
    """Add a family from outside; a name that exists already raises ModemError."""
    if family.sheet.name in families():
        raise ModemError(f"a module family named {family.sheet.name!r} is there already")
    _registered[family.sheet.name] = family


def unregister(name: str) -> None:
    """Take a family out again that `register` added."""
    _registered.pop(name, None)


def families() -> dict[str, Family]:
    """All families by name: those that ship, those of other packages, those registered by hand."""
    return _installed() | _registered


@functools.cache
def _installed() -> dict[str, Family]:
    found = [_load(row) for row in ROWS]
    found += [entry.load() for entry in entry_points(group=GROUP)]
    return {family.sheet.name: family for family in found}


def _load(row: str) -> Family:
    module, _, name = row.partition(":")
    family = getattr(importlib.import_module(module), name)
    assert isinstance(family, Family), row
    return family


def named(name: str) -> Family:
    """The family of that name; NoSuchFamily otherwise."""
    known = families()
    if name not in known:
        raise NoSuchFamily(f"no module family {name!r}; there are {', '.join(sorted(known))}")
    return known[name]


def recognised(model: str) -> Family:
    """The family whose prefix of the +CGMM answer fits best."""
    fitting = [
        (len(prefix), name)
        for name, family in families().items()
        for prefix in family.sheet.recognise
        if model.upper().startswith(prefix.upper())
    ]
    return named(max(fitting)[1] if fitting else FALLBACK)


def by_usb(vendor: int, product: int) -> tuple[Sheet, ...]:
    """Sheets of the families that may hide behind a USB identity, for discovery."""
    return tuple(
        family.sheet
        for family in families().values()
        if any((usb.vendor, usb.product) == (vendor, product) for usb in family.sheet.usb)
    )


async def probe(stream: ByteStream, *, clock: Clock, family: str = "") -> ModemDriver:
    """Ask the module behind an open stream what it is, and make its driver; `family` skips the asking.

    Raises:
        ModemSilent: nothing answers at this port; it may be one of the module's other ports.
        NoSuchFamily: `family` is unknown.
    """
    # The first look reads sheets and package metadata from disk: not in the loop.
    await asyncio.to_thread(families)
    chosen = named(family) if family else None
    chat = Chat(stream, clock=clock)
    try:
        await chat.synchronise()
        if chosen is None:
            chosen = recognised(await _model(chat))
    except AtError as error:
        raise ModemSilent(f"no module answers: {error}") from error
    return chosen.make(chat, chosen.sheet, clock)


async def _model(chat: Chat) -> str:
    try:
        answer = await chat.run(AtCommand("AT+CGMM", ("+CGMM:",), bare=True))
    except AtRefused:
        return ""
    return value_of(answer.first)


async def open_module(at_path: str, *, clock: Clock, family: str = "") -> ModemDriver:
    """Open an AT port, bring it into step, and return the driver that fits; call `start()` on it next.

    Raises:
        ModemError: the port cannot be opened (the text says why), or nothing answers.
        NoSuchFamily: `family` is unknown.
    """
    try:
        stream = await open_port(at_path)
    except AtError as error:
        raise ModemError(str(error)) from error
    try:
        return await probe(stream, clock=clock, family=family)
    except BaseException:
        await stream.close()
        raise


@dataclass(frozen=True, slots=True)
class Identity:
    """What `simrack module probe` shows of a port."""

    at_path: str
    family: str
    manufacturer: str = ""
    model: str = ""
    firmware: str = ""
    imei: str = ""
    checks: dict[str, str] = field(default_factory=dict)


# Self-check: command -> what it tells a person; each is safe at any time.
_CHECKS = (("AT+CPIN?", "card"), ("AT+CREG?", "registration"), ("AT+CSQ", "signal"), ("AT+CLCC", "calls"))


async def identify(at_path: str, *, clock: Clock | None = None) -> Identity:
    """Look at a module without putting it in service; raises as `open_module` does."""
    clock = clock or SystemClock()
    await asyncio.to_thread(families)
    try:
        stream = await open_port(at_path)
    except AtError as error:
        raise ModemError(str(error)) from error
    chat = Chat(stream, clock=clock)
    try:
        await chat.synchronise()
        await chat.run("ATE0")
        return await _identity(chat, at_path)
    except AtError as error:
        raise ModemSilent(f"{at_path}: {error}") from error
    finally:
        await chat.close()


async def _identity(chat: Chat, at_path: str) -> Identity:
    read = {}
    for name, text in (("manufacturer", "+CGMI"), ("firmware", "+CGMR"), ("imei", "+CGSN")):
        read[name] = await _shown(chat, AtCommand(f"AT{text}", (f"{text}:",), bare=True))
    model = await _model(chat)
    checks = {
        label: await _shown(chat, AtCommand(text, (f"{text.removeprefix('AT').rstrip('?')}:",)))
        for text, label in _CHECKS
    }
    return Identity(at_path, recognised(model).sheet.name, model=model, **read, checks=checks)


async def _shown(chat: Chat, command: AtCommand) -> str:
    try:
        return "; ".join(value_of(text) for text in (await chat.run(command)).texts) or "OK"
    except AtRefused as error:
        return error.final.text
