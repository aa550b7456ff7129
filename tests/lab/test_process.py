"""`simrack lab up` as users and other processes meet it; gammu as the third-party witness."""

import json
import os
import shutil
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import StartProcess

GAMMU_S = 20


@pytest.mark.system
def test_lab_up_writes_its_state_and_cleans_up(start_process: StartProcess, tmp_path: Path) -> None:
    """Without the state file nobody finds the ports; left-over files would point at other people's terminals."""
    state = tmp_path / "lab" / "state.json"
    process = start_process("lab", "up", "--boxes", "2", "--channels", "2", "--state", str(state))
    document = json.loads(state.read_text())
    assert process.ready["ledger"] == document["ledger"]
    assert [box["box"] for box in document["boxes"]] == ["lab-01", "lab-02"]
    modules = [module for box in document["boxes"] for module in box["modules"]]
    for key in ("imei", "iccid", "imsi", "msisdn", "at", "audio"):
        assert len({module[key] for module in modules}) == 4
    assert all(Path(module[port]).is_char_device() for module in modules for port in ("at", "audio"))
    assert _get(document["ledger"] + "/ledger/calls") == []
    assert process.stop() == 0
    assert list(state.parent.iterdir()) == []


@pytest.mark.system
def test_gammu_identifies_every_module(start_process: StartProcess, tmp_path: Path) -> None:
    """The standing proof that a tool we did not write takes the ports for modules."""
    gammu = shutil.which("gammu")
    assert gammu, "gammu is missing: apt-get install gammu"
    state = tmp_path / "state.json"
    start_process("lab", "up", "--boxes", "1", "--channels", "2", "--state", str(state))
    modules = json.loads(state.read_text())["boxes"][0]["modules"]
    # Each takes 4 s, nearly all of it waiting: they ask side by side.
    with ThreadPoolExecutor() as pool:
        told = list(pool.map(lambda module: _identify(gammu, module["at"], tmp_path), modules))
    for module, text in zip(modules, told, strict=True):
        assert "Manufacturer         : Quectel" in text
        assert module["imei"] in text
        assert module["imsi"] in text


def _identify(gammu: str, port: str, folder: Path) -> str:
    settings = folder / f"gammurc-{Path(port).name}"
    settings.write_text(f"[gammu]\ndevice={port}\nconnection=at115200\nuse_locking=no\n")
    result = subprocess.run(
        [gammu, "-c", str(settings), "--identify"],
        capture_output=True, text=True, timeout=GAMMU_S, check=True, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    return result.stdout


@pytest.mark.system
def test_unknown_quirk_names_the_known_ones(tmp_path: Path) -> None:
    import sys

    result = subprocess.run(
        [sys.executable, "-P", "-m", "simrack.cli", "lab", "up", "--state", str(tmp_path / "s"), "--quirks", "x"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "no-ccinfo" in result.stderr


def _get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=5) as answer:
        return json.load(answer)
