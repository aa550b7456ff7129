"""The configuration as files: out and in again without a loss, and through the command line with the controller's desk."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from config.bench import Bench
from hypothesis import given, settings
from hypothesis import strategies as st
from routing.fleets import EXAMPLE
from typer.testing import CliRunner

from simrack.cli import config as command
from simrack.controller.config import fileset
from simrack.controller.config.changes import changes_between
from simrack.controller.config.kinds import Key, Setting
from simrack.controller.config.models import Entry, Pattern, Target
from simrack.controller.config.rows import entries_of
from simrack.wire.errors import UserError

EXAMPLE_ENTRIES = entries_of(fileset.read(EXAMPLE)[0], "simrack")


def again(entries: dict[Key, Entry], folder: Path) -> dict[Key, Entry]:
    """Written and read."""
    fileset.write(folder, fileset.texts(entries, 12))
    file, version = fileset.read(folder)
    assert version == 12
    return fileset.entries_of_files(file)


def test_an_export_reads_back_exactly(tmp_path: Path) -> None:
    """What is exported, kept in git and applied again changes nothing, in the same order."""
    extra: dict[Key, Entry] = {
        ("setting", "calls.per_second"): Setting(name="calls.per_second", value=20.5),
        ("setting", "bans.failures"): Setting(name="bans.failures", value=7),
        ("pattern", "many"): Pattern(name="many", prefixes=tuple(f"+49{n}" for n in range(100, 400)), targets=(Target(plan="lab"),)),
    }
    whole = {**EXAMPLE_ENTRIES, **extra}
    back = again(whole, tmp_path)
    assert changes_between(whole, back) == ()
    assert [key for key in back if key[0] == "pattern"] == [key for key in whole if key[0] == "pattern"]
    text = (tmp_path / "patterns.toml").read_text()
    assert '    "+49100",\n    "+49101",\n' in text
    assert (tmp_path / "senders.toml").stat().st_mode & 0o077 == 0
    assert "only-for-tests" not in (tmp_path / "senders.toml").read_text()


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=60).map(str.strip))
@settings(deadline=None)
def test_any_word_of_a_person_survives_the_files(title: str) -> None:
    """Quotes, backslashes, brackets and other scripts in a title come back as they were."""
    plan = EXAMPLE_ENTRIES["plan", "lab"].model_copy(update={"title": title})
    text = fileset.texts({**EXAMPLE_ENTRIES, ("plan", "lab"): plan}, 1)["plans.toml"]
    from simrack.wire import tomlfile

    part = tomlfile.parse(fileset.Part, text, "plans.toml")
    assert part.plan[0].title == title


def test_mistakes_in_a_folder_are_told_with_their_file(tmp_path: Path) -> None:
    """A slip in one of five files is found without reading them all."""
    again(EXAMPLE_ENTRIES, tmp_path)
    senders = tmp_path / "senders.toml"
    senders.write_text(senders.read_text().replace("max_calls = 100", 'max_calls = "many"'))
    with pytest.raises(UserError) as refused:
        fileset.read(tmp_path)
    assert refused.value.where.startswith("senders.toml:")
    (tmp_path / "installation.toml").unlink()
    senders.unlink()
    with pytest.raises(UserError, match="installation"):
        fileset.read(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"no \.toml files"):
        fileset.read(empty)


@pytest.fixture
async def simrack(bench: Bench, url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `simrack config ...` against the desk: the broker between them is left out."""
    loop = asyncio.get_running_loop()

    async def ask(_mqtt: str, action: str, args: dict[str, Any], actor: str, timeout_s: float) -> dict[str, Any]:
        assert actor.startswith("cli:")
        work = bench.ask(action, "cli:root", **json.loads(json.dumps(args)))
        told = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
        if "refused" in told:
            raise UserError(told["refused"], action)
        return told

    monkeypatch.setattr(command, "ask_controller", ask)
    monkeypatch.setattr(command, "read_state", lambda _state: {"database": url, "mqtt": "mqtt://nobody:1"})

    async def run(*words: str | Path, answer: str = "") -> str:
        result = await asyncio.to_thread(CliRunner().invoke, command.app, [str(word) for word in words], answer)
        if isinstance(result.exception, UserError):
            return f"{result.output}\n{result.exception}"
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.output

    return run


async def test_export_edit_diff_apply_and_the_way_back(simrack: Any, bench: Bench, tmp_path: Path) -> None:
    """The whole round of whoever keeps the configuration in git."""
    folder = tmp_path / "export"
    assert "Version 1:" in await simrack("export", folder)
    assert await simrack("diff", folder) == "No difference.\n"
    limits = folder / "installation.toml"
    text = await asyncio.to_thread(limits.read_text)
    await asyncio.to_thread(limits.write_text, text.replace("max_attempts = 4", "max_attempts = 2"))
    shown = await simrack("diff", folder)
    assert "~ limit limit\n    max_attempts: 4 -> 2\n" in shown
    assert "no recent calls" in shown
    assert "Nothing was changed" in await simrack("apply", folder, answer="n\n")
    assert bench.table.limits.max_attempts == 4
    assert "Version 2 is in force" in await simrack("apply", folder, "--note", "calmer", answer="y\n")
    assert bench.table.limits.max_attempts == 2
    told = await simrack("history")
    assert "calmer" in told
    assert "in force" in told
    assert "Version 1 is in force" in await simrack("activate", "1")
    assert bench.table.limits.max_attempts == 4
    assert "There" not in await simrack("options")


async def test_files_do_not_undo_what_somebody_changed_meanwhile(simrack: Any, bench: Bench, tmp_path: Path) -> None:
    """An old checkout is applied: other entries go on top, the same entry is refused with both versions."""
    folder = tmp_path / "export"
    await simrack("export", folder)
    await bench.apply(await bench.change("sender", "trunk", max_calls=7))
    path = folder / "senders.toml"
    text = await asyncio.to_thread(path.read_text)
    await asyncio.to_thread(path.write_text, text.replace('title = "Test trunk"', 'title = "Mine"'))
    shown = await simrack("apply", folder, "--yes")
    assert "was changed by somebody else" in shown
    assert "max_calls: 7 there, 100 in the files" in shown
    assert "nothing was changed" in shown
    assert bench.table.senders["trunk"].title == "Test trunk"
    await asyncio.to_thread(path.write_text, text)
    plans = folder / "plans.toml"
    text = await asyncio.to_thread(plans.read_text)
    await asyncio.to_thread(plans.write_text, text.replace("Lab SIMs", "All SIMs"))
    assert "is in force" in await simrack("apply", folder, "--yes")
    assert (bench.table.plans["lab"].title, bench.table.senders["trunk"].max_calls) == ("All SIMs", 7)
