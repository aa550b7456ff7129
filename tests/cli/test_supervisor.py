"""`simrack up` as a parent: nothing is left behind, nothing dies in silence."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import READY_S

from simrack.cli.supervisor import Child, ChildGaveUp, Supervisor
from simrack.wire.ports import SystemClock

pytestmark = pytest.mark.system


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_within(pids: list[int], seconds: float) -> list[int]:
    """Those of `pids` that still live after `seconds`."""
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end:
        threading.Event().wait(0.05)
    return [pid for pid in pids if alive(pid)]


def begin_up(folder: Path) -> tuple["subprocess.Popen[bytes]", dict[str, int]]:
    state = folder / "state.json"
    argv = ["up", "--data", str(folder), "--state", str(state), "--sip", "127.0.0.1:0", "--web", "127.0.0.1:0", "--json"]
    process = subprocess.Popen([sys.executable, "-P", "-m", "simrack.cli", *argv], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["ready"] is True
    return process, json.loads(state.read_text())["pids"]


def test_children_end_with_a_killed_parent_and_a_new_one_starts(tmp_path: Path) -> None:
    """kill -9 of `simrack up` must not leave a controller behind that answers calls nobody sees."""
    process, pids = begin_up(tmp_path)
    process.kill()
    process.communicate()
    assert set(pids) == {"broker", "controller", "web"}
    assert gone_within(list(pids.values()), READY_S) == []
    again, pids = begin_up(tmp_path)
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=READY_S)
    assert again.returncode == 0
    assert gone_within(list(pids.values()), 1) == []
    assert not (tmp_path / "state.json").exists()


def test_second_up_on_one_data_folder_is_refused(tmp_path: Path) -> None:
    process, _pids = begin_up(tmp_path)
    try:
        second = subprocess.run(
            [sys.executable, "-P", "-m", "simrack.cli", "up", "--data", str(tmp_path), "--sip", "127.0.0.1:0"],
            capture_output=True, text=True, timeout=READY_S, check=False,
        )  # fmt: skip
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=READY_S)
    assert second.returncode == 2
    assert "another `simrack up` runs on this data folder" in second.stderr


async def test_child_that_never_serves_ends_all_with_its_last_lines(tmp_path: Path) -> None:
    """A mistake in a child's settings is read on the screen, not guessed from a restart loop."""
    supervisor = Supervisor(tmp_path / "logs", SystemClock())
    missing = str(tmp_path / "none.toml")
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            await supervisor.start(group, Child("box", ["box", "--config", missing]))
    await supervisor.stop()
    (gave_up,) = caught.value.exceptions
    assert isinstance(gave_up, ChildGaveUp)
    assert str(gave_up).startswith("box does not start. ")
    assert "none.toml: the file does not exist" in str(gave_up)
    assert "box.log" in gave_up.todo


async def test_child_that_dies_is_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "logs", SystemClock())
    users = tmp_path / "users"
    users.write_text("")
    config = tmp_path / "broker.toml"
    config.write_text(f'listen = "127.0.0.1:0"\nusers = "{users}"\n')
    child = Child("broker", ["broker", "--config", str(config)])
    began: list[int] = []
    twice = asyncio.Event()

    def note(_ready: dict[str, object]) -> None:
        assert child.process is not None
        began.append(child.process.pid)
        if len(began) == 2:
            twice.set()

    child.on_ready = note
    async with asyncio.timeout(READY_S), asyncio.TaskGroup() as group:
        await supervisor.start(group, child)
        os.kill(began[0], signal.SIGKILL)
        await twice.wait()
        await supervisor.stop()
    assert began[0] != began[1]
    assert not alive(began[1])
