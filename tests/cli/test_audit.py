"""`simrack audit` as an auditor meets it: exit codes, words, files; with nothing running."""

import asyncio
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from production_parts import SqliteDatabase
from typer.testing import CliRunner, Result

from simrack.cli.audit import app
from simrack.controller.audit.chain import Fact
from simrack.controller.store.writer import Writer
from simrack.wire.errors import UserError
from simrack.wire.ports import SystemClock

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SIM = "8988210000000000017"


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = SqliteDatabase(tmp_path / "simrack.db").url
    asyncio.run(_fill(url))
    return url


async def _fill(url: str) -> None:
    async with Writer(url, SystemClock(), run="r") as writer:
        await writer.audit([Fact(NOW + timedelta(hours=n), "user:Ada", "hang-up", f"call-{n}", {"n": n}) for n in range(8)])
        await writer.audit([Fact(NOW + timedelta(days=3), "cli:root", "entry-apply", SIM, {"note": "lost"})])


def audit(*argv: str) -> Result:
    return CliRunner().invoke(app, argv)


def tamper(url: str, statement: str) -> None:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
        database.execute(statement)
    database.close()


def test_a_whole_log_verifies_with_status_0_and_tells_its_head(url: str) -> None:
    """A script that runs nightly can rely on the status; a person is given what to keep."""
    result = audit("verify", "--database", url)
    assert result.exit_code == 0
    head = audit("head", "--database", url).stdout.strip()
    assert head.startswith("10:")
    assert head in result.stdout
    assert json.loads(audit("verify", "--database", url, "--head", head, "--json").stdout)["ok"] is True


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE audit SET actor = 'user:Eve' WHERE seq = 5", "entry 5 was changed"),
        ("DELETE FROM audit WHERE seq = 5", "entry 5 is missing"),
        ("DELETE FROM audit WHERE seq > 5", "entries 6 to 10 are cut off"),
    ],
)
def test_a_touched_log_ends_with_status_1_and_names_the_entry(url: str, statement: str, words: str) -> None:
    """The first entry that can't be trusted, in words that an auditor can copy."""
    tamper(url, statement)
    result = audit("verify", "--database", url)
    assert result.exit_code == 1
    assert words in result.stderr
    told = json.loads(audit("verify", "--database", url, "--json").stdout)
    assert told["ok"] is False
    assert words in told["fault"]["text"]


def test_a_head_kept_elsewhere_finds_what_the_database_alone_does_not(url: str) -> None:
    """Cut off together with its head record: only the printed one knows."""
    head = audit("head", "--database", url).stdout.strip()
    tamper(url, "DELETE FROM audit WHERE seq > 5")
    tamper(url, "UPDATE audit_head SET seq = 5, hash = (SELECT hash FROM audit WHERE seq = 5)")
    assert audit("verify", "--database", url).exit_code == 0
    assert audit("verify", "--database", url, "--head", head).exit_code == 1


def test_an_export_verifies_by_itself_and_a_touched_one_does_not(url: str, tmp_path: Path) -> None:
    """A regulator who was handed a file checks it without the rack."""
    out = tmp_path / "log.jsonl"
    assert audit("export", "--database", url, "--out", str(out)).exit_code == 0
    assert out.stat().st_mode & 0o077 == 0
    assert audit("verify", "--file", str(out)).exit_code == 0
    lines = out.read_text(encoding="utf-8").splitlines(keepends=True)
    for touched in (
        [line.replace("call-3", "call-4") for line in lines], lines[:4] + lines[5:], lines[:-1],
        [*lines[:4], lines[5], lines[4], *lines[6:]],
    ):  # fmt: skip
        out.write_text("".join(touched), encoding="utf-8")
        assert audit("verify", "--file", str(out)).exit_code == 1


def test_an_export_of_one_card_and_one_week_has_just_these_entries(url: str, tmp_path: Path) -> None:
    """An operator who asks about one SIM is not handed everybody's acts; each entry can still be checked."""
    out = tmp_path / "sim.jsonl"
    argv = ("export", "--database", url, "--sim", SIM, "--since", "2026-11-20", "--until", "2026-11-30", "--out", str(out))
    assert audit(*argv).exit_code == 0
    opening, entry = (json.loads(line) for line in out.read_text(encoding="utf-8").splitlines())
    assert opening["selection"]["sim"] == SIM
    assert (entry["subject"], entry["seq"]) == (SIM, 10)
    assert audit("verify", "--file", str(out)).exit_code == 0
    out.write_text(out.read_text(encoding="utf-8").replace("lost", "found"), encoding="utf-8")
    assert audit("verify", "--file", str(out)).exit_code == 1


def test_the_list_shows_who_did_what_newest_first(url: str) -> None:
    """The night shift looks up what happened an hour ago."""
    shown = audit("list", "--database", url, "--limit", "3").stdout
    assert shown.index(SIM) < shown.index("call-7") < shown.index("call-6")
    assert "call-5" not in shown
    assert "Ada" in shown
    document = json.loads(audit("list", "call-2", "--database", url, "--json").stdout)
    assert [entry["detail"] for entry in document["entries"]] == [{"n": 2}]
    assert "matches" in audit("list", "--actor", "user:Bo", "--database", url).stdout


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["verify", "--head", "12:abc"], "NUMBER:HASH"),
        (["verify", "--file", "/nothing/here"], "can't be read"),
        (["verify", "--database", "sqlite:////nothing/here.db"], "can't be read"),
        (["verify", "--database", "mongodb://x"], "can't be read"),
    ],
)
def test_mistakes_are_told_with_what_to_do(argv: list[str], words: str) -> None:
    """A mistyped head or path must not look like a broken log."""
    result = audit(*argv)
    assert isinstance(result.exception, UserError)
    assert words in str(result.exception)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format":"other"}', "\n\n", '{"format":"simrack-audit-1","head":""}\n{"seq":1}'])
def test_a_file_that_is_no_export_is_told_by_its_line(tmp_path: Path, text: str) -> None:
    """Handed the wrong file, an auditor is not told that somebody tampered with it."""
    path = tmp_path / "x"
    path.write_text(text, encoding="utf-8")
    result = audit("verify", "--file", str(path))
    assert isinstance(result.exception, UserError)
    assert "line " in str(result.exception)


def test_a_database_of_the_first_hour_says_that_there_is_no_log_yet(tmp_path: Path) -> None:
    """Nothing to check is not the same as everything in order."""
    url = SqliteDatabase(tmp_path / "fresh.db").url
    assert audit("verify", "--database", url).exit_code == 1
    assert isinstance(audit("head", "--database", url).exception, UserError)
