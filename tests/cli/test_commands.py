"""The command as its user meets it: help, wrong input, JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_parts import Here
from hypothesis import given
from hypothesis import strategies as st

from simrack.cli.toml_text import toml_text


def simrack(*argv: str) -> subprocess.CompletedProcess[str]:
    """The whole way, from its interpreter's start; what differs in words only runs `here`."""
    command = [sys.executable, "-P", "-m", "simrack.cli", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_help_lists_every_command() -> None:
    shown = simrack("--help").stdout
    for name in ("box", "broker", "call", "cdr", "controller", "demo", "doctor", "lab", "rack", "route", "up", "web"):
        assert f"\n  {name} " in shown, name


@pytest.mark.parametrize("argv", [["cdr"], ["rack"], ["call", "+882100000001"], ["route", "explain", "1", "--sender", "x"]])
def test_nothing_runs_here_is_said_with_what_to_do(argv: list[str], tmp_path: Path, here: Here) -> None:
    result = here(*argv, "--state", str(tmp_path / "none.json"))
    assert result.returncode == 2
    assert "simrack up" in result.stderr
    assert "Traceback" not in result.stderr


def test_error_in_json_where_json_was_asked(tmp_path: Path, here: Here) -> None:
    result = here("cdr", "--json", "--state", str(tmp_path / "none.json"))
    assert result.returncode == 2
    assert json.loads(result.stdout)["error"]["todo"]


def test_state_file_of_another_version(tmp_path: Path, here: Here) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"version": 99}')
    result = here("rack", "--state", str(state))
    assert result.returncode == 2
    assert "version 99" in result.stderr


def dead_state(folder: Path) -> Path:
    """The state file of an installation that was killed: nobody holds its lock."""
    (folder / "simrack.lock").touch()
    state = folder / "state.json"
    facts = {"version": 1, "data": str(folder), "sip": "127.0.0.1:9", "web": "http://127.0.0.1:9", "mqtt": "mqtt://a:b@127.0.0.1:9"}
    state.write_text(json.dumps({**facts, "database": f"sqlite:///{folder}/simrack.db"}))
    return state


@pytest.mark.parametrize("argv", [["rack"], ["call", "+882100000001"], ["route", "explain", "1", "--sender", "x"], ["doctor"]])
def test_a_killed_installation_is_named_as_such(argv: list[str], tmp_path: Path, here: Here) -> None:
    """After kill -9 the state file stays; a person must read that, not a time-out of some connection."""
    result = here(*argv, "--state", str(dead_state(tmp_path)))
    said = result.stdout + result.stderr
    assert "no longer runs" in said
    assert f"simrack up --data {tmp_path}" in said
    assert "Traceback" not in said


def test_state_file_of_a_lab_alone(tmp_path: Path, here: Here) -> None:
    state = tmp_path / "lab.json"
    state.write_text('{"version": 1, "boxes": [], "numbers": {}}')
    result = here("rack", "--state", str(state))
    assert result.returncode == 2
    assert "lab alone" in result.stderr


def test_version(here: Here) -> None:
    assert here("--version").stdout.startswith("simrack ")


def test_call_with_json_says_nothing_else_and_names_a_silent_address() -> None:
    result = simrack("call", "--json", "--sip", "127.0.0.1:9", "+882100000001")
    assert json.loads(result.stdout)["status"] == 408
    assert result.returncode == 1
    assert "simrack doctor" in simrack("call", "--sip", "127.0.0.1:9", "+882100000001").stdout


def test_tables_in_a_pipe_are_whole_and_literal(capsys: pytest.CaptureFixture[str]) -> None:
    """Markup or a missing width must not eat parts of an id or an address."""
    from simrack.cli.output import table

    table("t", ("Address", "Call"), [("[rtp] of its file", "x" * 150)], "")
    shown = capsys.readouterr().out
    assert "[rtp] of its file" in shown
    assert "x" * 150 in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--box", "controller"], "taken by simrack itself"),
        (["--mqtt", "0.0.0.0:1883"], "loopback only"),
        (["--config", "none.toml"], "routing file does not exist"),
        (["--state", "/proc/none/state.json"], "state file can't be written"),
    ],
)
def test_up_finds_mistakes_before_it_starts_anything(options: list[str], words: str, tmp_path: Path, here: Here) -> None:
    result = here("up", "--data", str(tmp_path / "d"), "--sip", "127.0.0.1:0", "--web", "127.0.0.1:0", *options)
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "d" / "logs").exists()


def test_doctor_reports_without_an_installation(tmp_path: Path, here: Here) -> None:
    result = here("doctor", "--json", "--data", str(tmp_path), "--state", str(tmp_path / "none.json"))
    subjects = {finding["subject"] for finding in json.loads(result.stdout)["findings"]}
    assert {"Python", "Opus", "Data folder", "Installation"} <= subjects


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--sip", "nonsense", "no address"), ("--boxes", "0", "greater than or equal to 1"), ("--web", "127.0.0.1:99999", "no address")],
)
def test_up_refuses_wrong_options(option: str, value: str, words: str, tmp_path: Path, here: Here) -> None:
    result = here("up", "--data", str(tmp_path), option, value)
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_up_says_when_a_port_is_taken(tmp_path: Path, here: Here) -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        result = here("up", "--data", str(tmp_path), "--sip", f"127.0.0.1:{port}")
    assert result.returncode == 2
    assert str(port) in result.stderr
    assert "choose another" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    # Named, not guessed from the parent processes, which differ from runner to runner.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    shown = here("--show-completion", shell)
    assert "complete" in shown.stdout.lower() or "compdef" in shown.stdout.lower()


scalars = st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(codec="utf-8", exclude_characters="\x7f"))
tables = st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), scalars | st.lists(scalars, max_size=3), max_size=4)


@given(tables, tables, st.lists(tables.filter(bool), min_size=1, max_size=3))
def test_settings_survive_their_file(plain: dict[str, object], inner: dict[str, object], rows: list[dict[str, object]]) -> None:
    import tomllib

    document = {**plain, "inner_table": inner, "row_tables": rows}
    assert tomllib.loads(toml_text(document)) == document
