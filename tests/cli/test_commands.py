"""The command as its user meets it: help, wrong input, JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simrack.cli.toml_text import toml_text


def simrack(*argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "simrack.cli", *argv],
        capture_output=True, text=True, timeout=50, check=False, env={**os.environ, **(env or {})},
    )  # fmt: skip


def test_help_lists_every_command() -> None:
    shown = simrack("--help").stdout
    for name in ("box", "broker", "call", "cdr", "controller", "demo", "doctor", "lab", "rack", "route", "up", "web"):
        assert f"\n  {name} " in shown, name


@pytest.mark.parametrize("argv", [["cdr"], ["rack"], ["call", "+882100000001"], ["route", "explain", "1", "--sender", "x"]])
def test_nothing_runs_here_is_said_with_what_to_do(argv: list[str], tmp_path: Path) -> None:
    result = simrack(*argv, "--state", str(tmp_path / "none.json"))
    assert result.returncode == 2
    assert "simrack up" in result.stderr
    assert "Traceback" not in result.stderr


def test_error_in_json_where_json_was_asked(tmp_path: Path) -> None:
    result = simrack("cdr", "--json", "--state", str(tmp_path / "none.json"))
    assert result.returncode == 2
    assert json.loads(result.stdout)["error"]["todo"]


def test_state_file_of_another_version(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"version": 99}')
    result = simrack("rack", "--state", str(state))
    assert result.returncode == 2
    assert "version 99" in result.stderr


def test_doctor_reports_without_an_installation(tmp_path: Path) -> None:
    result = simrack("doctor", "--json", "--data", str(tmp_path), "--state", str(tmp_path / "none.json"))
    subjects = {finding["subject"] for finding in json.loads(result.stdout)["findings"]}
    assert {"Python", "Opus", "Data folder", "Installation"} <= subjects


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--sip", "nonsense", "no address"), ("--boxes", "0", "greater than or equal to 1"), ("--web", "127.0.0.1:99999", "no address")],
)
def test_up_refuses_wrong_options(option: str, value: str, words: str, tmp_path: Path) -> None:
    result = simrack("up", "--data", str(tmp_path), option, value)
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_up_says_when_a_port_is_taken(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        result = simrack("up", "--data", str(tmp_path), "--sip", f"127.0.0.1:{port}")
    assert result.returncode == 2
    assert str(port) in result.stderr
    assert "choose another" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str) -> None:
    result = simrack("--show-completion", env={"SHELL": f"/bin/{shell}", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    shown = result if result.returncode == 0 else simrack("--show-completion", shell)
    assert "complete" in shown.stdout.lower() or "compdef" in shown.stdout.lower()


scalars = st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(codec="utf-8", exclude_characters="\x7f"))
tables = st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), scalars | st.lists(scalars, max_size=3), max_size=4)


@given(tables, tables, st.lists(tables.filter(bool), min_size=1, max_size=3))
def test_settings_survive_their_file(plain: dict[str, object], inner: dict[str, object], rows: list[dict[str, object]]) -> None:
    import tomllib

    document = {**plain, "inner_table": inner, "row_tables": rows}
    assert tomllib.loads(toml_text(document)) == document
