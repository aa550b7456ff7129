"""`simrack web` as people and `simrack up` start it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from production_parts import SqliteDatabase
from support import StartProcess
from web_helpers import database

from simrack.cli.main import main
from simrack.wire import logs

START_S = 20.0


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings over an empty database; no broker answers, which must not matter for the door."""
    SqliteDatabase(tmp_path / "web.db")
    path = tmp_path / "web.toml"
    path.write_text(
        f'database = "{database(tmp_path)}"\nlisten = "127.0.0.1:0"\nstreams = 4\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n'
    )
    return path


def simrack(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "simrack.cli", *words], capture_output=True, text=True, timeout=START_S, check=False
    )


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """The same without another interpreter, whose start takes seconds: exit status and all that was said."""

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["simrack", *words])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        said = capsys.readouterr()
        return status, said.out + said.err

    # The log form is the whole run's; its stream would be this test's, which ends.
    monkeypatch.setattr(logs, "configure", lambda *_given, **_named: None)
    return run


@pytest.mark.system
def test_readiness_line_has_the_page_and_a_link_that_opens(
    config: Path, start_process: StartProcess, here: Callable[..., tuple[int, str]]
) -> None:
    """`simrack up` would wait for ever, or the newcomer would have no way in."""
    process = start_process("web", "--config", str(config))
    ready = process.ready
    assert ready["setup_link"].startswith(ready["web"] + "/setup/")
    with urllib.request.urlopen(ready["setup_link"], timeout=5) as answer:
        assert "First administrator" in answer.read().decode()
    with urllib.request.urlopen(ready["web"] + "/healthz", timeout=5) as answer:
        assert json.load(answer) == {"ok": True, "broker": False}
    status, link = here("web", "--config", str(config), "--new-link")
    assert (status, "/setup/" in link) == (0, True)
    with pytest.raises(urllib.error.HTTPError) as spent:
        urllib.request.urlopen(ready["setup_link"], timeout=5)
    assert spent.value.code == 410
    spent.value.close()
    assert process.stop() == 0


@pytest.mark.system
def test_a_taken_port_is_said_with_what_to_do(config: Path) -> None:
    """A stack trace would be all that is shown."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        os.environ["SIMRACK_WEB_LISTEN"] = f"127.0.0.1:{taken.getsockname()[1]}"
        try:
            begun = time.monotonic()
            failed = simrack("web", "--config", str(config))
        finally:
            del os.environ["SIMRACK_WEB_LISTEN"]
    assert failed.returncode != 0
    assert "can't listen on" in failed.stderr + failed.stdout
    assert "Traceback" not in failed.stderr
    assert time.monotonic() - begun < START_S


@pytest.mark.system
@pytest.mark.parametrize("words", [(), ("--new-link",), ("--new-token", "x")])
def test_a_database_without_tables_is_said_with_what_to_do(
    tmp_path: Path, words: tuple[str, ...], here: Callable[..., tuple[int, str]]
) -> None:
    """People who start the control room first would get a stack trace."""
    path = tmp_path / "web.toml"
    path.write_text(f'database = "{database(tmp_path)}"\nlisten = "127.0.0.1:0"\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n')
    status, said = here("web", "--config", str(path), *words)
    assert status != 0
    assert "simrack controller" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("line", "words"),
    [('listen = "8080"', "host:port"), ('time_zone = "Vienna"', "IANA zone"), ('lissten = "x"', "listen"), ("streams = 0", "1")],
)
def test_mistakes_in_the_settings_name_file_and_line(tmp_path: Path, line: str, words: str) -> None:
    """People would have to guess which setting is wrong."""
    from simrack.web.settings import WebSettings
    from simrack.wire.errors import UserError
    from simrack.wire.tomlfile import load

    path = tmp_path / "web.toml"
    path.write_text(f'database = "sqlite:///x.db"\n{line}\n[mqtt]\nurl = "mqtt://h"\n')
    with pytest.raises(UserError) as error:
        load(WebSettings, path)
    assert error.value.where == "web.toml:2"
    assert words in str(error.value)


def test_every_setting_has_its_line_in_the_docs() -> None:
    """A setting would be known to its author only."""
    from simrack.web.settings import WebSettings

    page = (Path(__file__).parents[2] / "docs/web.md").read_text()
    words = {"mqtt": "mqtt.url", "metrics": "metrics.listen", "test_calls": "test_calls.…"}
    for name in WebSettings.model_fields:
        assert f"| `{words.get(name, name)}` |" in page, name
