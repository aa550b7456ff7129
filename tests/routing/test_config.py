"""Routing files: mistakes are told by line, good files are imported, bad ones change nothing."""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import pytest
from production_parts import SqliteDatabase
from pydantic import BaseModel
from routing.fleets import EXAMPLE, a_call, a_fleet, a_table
from store.values import FixedClock

from simrack.controller.config.checks import RULES
from simrack.controller.config.files import Configuration, import_file, read_file
from simrack.controller.config.models import RoutingFile
from simrack.controller.config.rows import EMPTY
from simrack.controller.models import Names
from simrack.controller.routing.criteria import CRITERIA
from simrack.controller.routing.decide import decide
from simrack.controller.store import writer as writer_module
from simrack.controller.store.queries import Queries
from simrack.controller.store.writer import Writer
from simrack.wire.errors import UserError

GOOD = EXAMPLE.read_text(encoding="utf-8")
SECOND = """
[[sender]]
name = "second"
legal_name = "Example Laboratory"
contact = "noc@example.org"
country = "DE"
purpose = "tests"
use = "test"
numbers = ["+88210*"]
"""


def _replaced(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def _line(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


ONE_SIM = _replaced("imsi_prefixes", 'sims = ["8900100000000000001"]\nimsi_prefixes')

# (text, the part on whose line the mistake stands, words of the message)
MISTAKES = {
    "unknown-key": (_replaced('title = "Laboratory"', 'tittle = "Laboratory"'), "tittle =", "Did you mean 'title'"),
    "unknown-table": (f"{GOOD}\n[[patern]]\n", "[[patern]]", "Did you mean 'pattern'"),
    "missing-key": (_replaced('operator = "Lab network 001 01"\n', ""), "[[agreement]]", "'agreement.operator' is missing"),
    "wrong-type": (_replaced("max_ring_s = 60", 'max_ring_s = "long"'), "max_ring_s", "(it is 'long')"),
    "wrong-choice": (_replaced('class = "test-lab"', 'class = "lab"'), 'class = "lab"', "'own-use'"),
    "not-toml": (_replaced('owner = "Example Laboratory"', "owner = Example"), "owner = Example", "this is not TOML"),
    "country": (_replaced('country = "001"', 'country = "Germany"'), 'country = "Germany"', "ISO 3166"),
    "time-zone": (_replaced("Europe/Berlin", "Europe/Belin"), "Europe/Belin", "no time zone"),
    "address": (_replaced('"127.0.0.2"', '"127.0.0.2.4"'), "127.0.0.2.4", "192.0.2.0/24"),
    "port": (_replaced('"127.0.0.2"', '"127.0.0.2:99999"'), ":99999", "1 to 65535"),
    "prefix": (_replaced('prefixes = ["+88210"]', 'prefixes = ["+88210", "49*"]'), "49*", "pattern.prefixes"),
    "number": (_replaced('"+4930123*"]', '"+4930123*", "030"]'), '"030"', "sender.numbers"),
    "range": (_replaced('"+4930123*"]', '"+4930-+49301"]'), "+4930-", "same length"),
    "no-identity": (_replaced('addresses = ["127.0.0.2"]\n', ""), "[[sender]]", "addresses or digest"),
    "half-sender": (_replaced('contact = "noc@example.org"\n', ""), "[[sender]]", "needs contact"),
    "default-not-own": (_replaced("+88210000000", "+4917000000"), "[[sender]]", "none of numbers"),
    "replace-by-nothing": (_replaced('default_number = "+88210000000"\n', ""), "[[sender]]", "needs default_number"),
    "no-target": (_replaced("targets = [{ plan", "#"), "[[pattern]]", "needs targets"),
    "two-passwords": (_replaced('"only-for-tests" }', f'"x", ha1_md5 = "{"0" * 32}" }}'), "digest =", "either password"),
    "dates": (_replaced("2099-12-31", "2019-12-31"), "[[agreement]]", "before valid_from"),
    "licence": (_replaced('class = "test-lab"', 'class = "multiple-customers"'), "[installation]", "licence"),
    # between entries
    "second-name": (f"{GOOD}{SECOND.replace('second', 'trunk')}addresses = ['10.0.0.1']\n", "\n[[sender]]\nname = \"trunk\"\nlegal", "a second sender"),
    "plan-without-agreement": (_replaced('agreement = "lab-network"', 'agreement = "lab-netwrk"'), "lab-netwrk", "Did you mean 'lab-network'"),
    "unknown-plan": (_replaced('plan = "lab", priority', 'plan = "lba", priority'), "lba", "no plan called 'lba'"),
    "unknown-site": (_replaced('sites = ["lab"]', 'sites = ["lab", "attic"]'), "attic", "no site called"),
    "unknown-sender": (_replaced("\nprefixes = [", '\nsenders = ["nobody"]\nprefixes = ['), "nobody", "no sender called"),
    "same-address": (f"{GOOD}{SECOND}addresses = ['127.0.0.0/30']\n", "127.0.0.0/30", "sender 'trunk'"),
    "address-and-digest": (f"{GOOD}{SECOND}addresses = ['127.0.0.2:5060']\ndigest = {{ user = 'u', password = 'p' }}\n", "127.0.0.2:5060", "sender 'trunk'"),
    "same-user": (f"{GOOD}{SECOND}digest = {{ user = 'phone', password = 'p' }}\n", "user = 'phone'", "is sender 'phone'"),
    "real-sim-in-a-lab": (_replaced('["00101"]', '["00101", "26201"]'), "26201", "MCC 001 and 999"),
    "real-agreement-in-a-lab": (_replaced("lab = true\n", ""), "[[agreement]]", "lab agreements only"),
    "two-plans-one-sim": (f'{GOOD}\n[[plan]]\nname = "b"\nagreement = "lab-network"\ncountry = "001"\nimsi_prefixes = [\n"00102",\n"00101" ]\n', '"00101" ]', "belongs to plan 'lab'"),
    "sim-elsewhere": (f'{ONE_SIM}\n[[plan]]\nname = "b"\nagreement = "lab-network"\ncountry = "001"\nimsi_prefixes = ["00102"]\n[[sim]]\niccid = "8900100000000000001"\nplan = "b"\n', 'plan = "b"', "belongs to plan 'lab'"),
    "plan-without-cards": (_replaced('imsi_prefixes = ["00101"]\n', ""), "[[plan]]", "no cards"),
    "use": (_replaced('use = "test"', 'use = "licensed-termination"'), "licensed-termination", "does not fit class"),
    "order": (_replaced("max_attempts = 4", 'order = ["signal", "price"]'), "order", "no criterion 'price'"),
    "order-twice": (_replaced("max_attempts = 4", 'order = ["signal", "signal"]'), "order", "stands twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, name: str) -> None:
    """Whoever edits the file learns where to look and what is allowed there."""
    text, part, words = MISTAKES[name]
    path = tmp_path / "routing.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        read_file(path)
    assert words in str(refused.value)
    start = _line(text, part) + part.startswith("\n")
    assert refused.value.where == f"routing.toml:{start}"


@pytest.mark.parametrize(
    ("installation", "legal_name", "words"),
    [
        ("own-use", "Somebody Else", "carries traffic of 'Example Laboratory' only"),
        ("own-use", "example  laboratory", ""),
        ("single-customer", "Somebody Else", "carries traffic of 'Example Laboratory' only"),
        ("operator", "Somebody Else", ""),
    ],
)
def test_one_legal_entity_where_the_class_says_so(
    tmp_path: Path, installation: str, legal_name: str, words: str
) -> None:
    """Own use and single customer refuse a second customer's traffic (lawful use)."""
    text = GOOD.replace('class = "test-lab"', f'class = "{installation}"').replace('country = "001"', 'country = "DE"')
    head, _, tail = text.rpartition('legal_name = "Example Laboratory"')
    path = tmp_path / "routing.toml"
    path.write_text(f'{head}legal_name = "{legal_name}"{tail}', encoding="utf-8")
    if not words:
        assert read_file(path).installation.class_ == installation
        return
    with pytest.raises(UserError, match=re.escape(words)) as refused:
        read_file(path)
    assert refused.value.where == f"routing.toml:{_line(path.read_text(encoding='utf-8'), legal_name)}"


def test_a_file_that_is_not_there_or_not_text_is_said(tmp_path: Path) -> None:
    """The path is in the message, and what to do."""
    with pytest.raises(UserError, match="does not exist"):
        read_file(tmp_path / "none.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        read_file(binary)


def test_every_rule_is_documented_and_has_a_mistake_above() -> None:
    """A rule whose sentence is missing can't be explained to whoever broke it."""
    assert all(rule.__doc__ for rule in RULES)
    assert len(MISTAKES) > len(RULES)


# --- documentation -----------------------------------------------------------------------------------------


def _keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = _model(field.annotation)
        found |= {key} if inner is None else _keys(inner, f"{key}.")
    return found


def _model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    parts = get_args(annotation) if not isinstance(annotation, UnionType) else annotation.__args__
    return next((model for part in parts if (model := _model(part))), None)


def test_every_key_has_its_line_in_the_documentation() -> None:
    """An operator finds each key of the file in docs/configuration.md, and no key that is gone."""
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([a-z0-9_.]+)` \|", text, re.MULTILINE))
    assert documented == _keys(RoutingFile)


def test_every_criterion_and_check_has_its_line_in_the_documentation() -> None:
    """The order of candidates and the checks are documented one by one."""
    from simrack.controller.routing.checks import CHECKS

    text = (Path(__file__).parents[2] / "docs" / "routing.md").read_text(encoding="utf-8")
    for name in [*(row.name for row in CRITERIA), *(row.name for row in CHECKS)]:
        assert f"`{name}`" in text


# --- import ------------------------------------------------------------------------------------------------


@pytest.fixture
def url(tmp_path: Path) -> str:
    return SqliteDatabase(tmp_path / "simrack.db").url


@pytest.fixture
async def store(url: str) -> AsyncIterator[Writer]:
    async with Writer(url, FixedClock(), "run") as writer:
        yield writer


Import = Callable[[str], Any]


@pytest.fixture
def configuration(url: str) -> Configuration:
    return Configuration(url)


@pytest.fixture
def bring_in(tmp_path: Path, store: Writer, configuration: Configuration) -> Import:
    def bring(text: str) -> Any:
        path = tmp_path / "routing.toml"
        path.write_text(text, encoding="utf-8")
        return import_file(path, store, configuration, realm="simrack")

    return bring


async def test_an_imported_file_routes_as_the_file_says(
    bring_in: Import, configuration: Configuration
) -> None:
    """Through the database and back, the table decides exactly as the file read directly."""
    await bring_in(GOOD)
    table = await asyncio.to_thread(configuration.in_force)
    direct = decide(a_call(), a_table(), a_fleet())
    stored = decide(a_call(), table, a_fleet())
    assert stored.candidates == direct.candidates
    assert stored.explanation.model_copy(update={"config_version": 7}) == direct.explanation
    assert (table.installation, table.limits, table.plans) == (a_table().installation, a_table().limits, a_table().plans)


async def test_a_file_is_imported_when_it_changed(bring_in: Import, configuration: Configuration) -> None:
    """A restart makes no new version; a change does, and takes effect."""
    first, again = await bring_in(GOOD), await bring_in(GOOD)
    assert (first.changed, again.changed, again.version) == (True, False, first.version)
    changed = await bring_in(GOOD.replace("max_attempts = 4", "max_attempts = 2"))
    assert (changed.changed, changed.version) == (True, first.version + 1)
    table = await asyncio.to_thread(configuration.in_force)
    assert (table.version, table.limits.max_attempts) == (changed.version, 2)
    old = await asyncio.to_thread(configuration.version, first.version)
    assert old.limits.max_attempts == 4


async def test_a_bad_file_never_replaces_a_good_one(bring_in: Import, configuration: Configuration) -> None:
    """Calls go on under the version before; the mistake is told."""
    good = await bring_in(GOOD)
    for text, _, _ in MISTAKES.values():
        with pytest.raises(UserError):
            await bring_in(text)
    assert (await asyncio.to_thread(configuration.in_force)).version == good.version


async def test_a_half_written_version_is_never_in_force(
    bring_in: Import, configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import that dies between its batches leaves the version before in force, and can be repeated."""
    good = await bring_in(GOOD)
    many = "prefixes = [" + ", ".join(f'"+88210{n}"' for n in range(30)) + "]"
    bigger = GOOD.replace('prefixes = ["+88210"]', many)
    monkeypatch.setattr(writer_module, "IMPORT_BATCH", 10)
    batches = iter(range(100))

    def die(*args: Any, **rows: Any) -> None:
        # The writer does a job that failed once more, apart from its neighbours.
        if next(batches) >= 8:
            raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr("simrack.controller.store.jobs.config_rows", die)
        with pytest.raises(ZeroDivisionError):
            await bring_in(bigger)
    assert (await asyncio.to_thread(configuration.in_force)).version == good.version
    again = await bring_in(bigger)
    table = await asyncio.to_thread(configuration.in_force)
    assert table.version == again.version
    assert len(table.prefixes) == 30


async def test_no_configuration_refuses_everybody(configuration: Configuration) -> None:
    """Before the first import the rack is closed, not open."""
    table = await asyncio.to_thread(configuration.in_force)
    assert table == EMPTY
    assert not table.may_challenge(("127.0.0.1", 5060))
    assert decide(a_call(), table, a_fleet()).candidates == ()


async def test_passwords_are_not_in_the_database(bring_in: Import, url: str, store: Writer) -> None:
    """A copied database lets nobody in by password; the hash is bound to user and realm."""
    await bring_in(GOOD)
    await store.stop()

    def dump() -> str:
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        text = "\n".join(connection.iterdump())
        connection.close()
        return text

    text = await asyncio.to_thread(dump)
    assert "only-for-tests" not in text
    assert "ha1_sha256" in text


async def test_another_realm_makes_new_hashes(tmp_path: Path, store: Writer, configuration: Configuration) -> None:
    """Changing the realm in the controller's settings doesn't lock digest senders out."""
    path = tmp_path / "routing.toml"
    path.write_text(GOOD, encoding="utf-8")
    secrets = []
    for realm in ("one", "two"):
        done = await import_file(path, store, configuration, realm=realm)
        assert done.changed
        secrets.append((await asyncio.to_thread(configuration.in_force)).secret_of("phone", ("10.0.0.1", 1)))
    assert secrets[0] != secrets[1]


async def test_names_on_pages_come_from_the_version_in_force(bring_in: Import, url: str) -> None:
    """Pages show titles, and find a SIM's plan by its card or its IMSI."""
    text = GOOD.replace("imsi_prefixes", 'sims = ["8900100000000000777"]\nimsi_prefixes')
    await bring_in(text)
    names: Names = await asyncio.to_thread(Queries(url).names)
    assert names.senders == {"trunk": "Test trunk", "phone": "phone"}
    assert names.sites == {"lab": "Laboratory"}
    assert names.plan_of("8900100000000000777", "") == "lab"
    assert names.plan_of("x", "001010000000009") == "lab"
    assert names.plan_of("x", "26201") == ""


async def test_tens_of_thousands_of_prefixes_are_imported_in_batches(
    bring_in: Import, configuration: Configuration
) -> None:
    """A carrier's price list of prefixes fits; the way back shares one pattern among all of them."""
    prefixes = json.dumps([f"+88210{n:05}" for n in range(20_000)])
    await bring_in(GOOD.replace('prefixes = ["+88210"]', f"prefixes = {prefixes}"))
    table = await asyncio.to_thread(configuration.in_force)
    assert len(table.prefixes) == 20_000
    assert len({id(pattern) for listed in table.prefixes.values() for pattern in listed}) == 1
