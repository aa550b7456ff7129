"""`simrack box` as a process: its readiness line, its end, and what is left after a kill."""

import contextlib
import json
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway_lab import Lab
from gateway_sip import Controller, Dialog, sdp_of
from gateway_support import until
from support import Process, StartProcess

from simrack.wire.messages import BoxEvent, CallPart

pytestmark = pytest.mark.system


@pytest.fixture
async def controller() -> AsyncIterator[Controller]:
    made = await Controller.open()
    yield made
    made.close()


def written(lab: Lab, folder: Path, controller: Controller) -> str:
    modules = "".join(
        f"[[module]]\nchannel = {m['channel']}\nat = {json.dumps(m['at'])}\naudio = {json.dumps(m['audio'])}\n"
        for m in lab.modules
    )
    file = folder / "box.toml"
    file.write_text(
        f'box = "lab-01"\ndata = {json.dumps(str(folder / "data"))}\n[mqtt]\nurl = "mqtt://127.0.0.1:9"\n'
        f'[sip]\ncontroller = "127.0.0.1:{controller.port}"\n[rtp]\nfirst = 40000\nlast = 44999\n{modules}'
    )
    return str(file)


def rows(folder: Path, table: str) -> list[str]:
    """What the box keeps in one table of its file, read beside it."""
    with contextlib.closing(sqlite3.connect(f"file:{folder}/data/box.db?mode=ro", uri=True)) as file:
        return [str(body) for (body,) in file.execute(f"SELECT body FROM {table} ORDER BY id")]


def opened(folder: Path, moment: str) -> bool:
    """Whether the file has an open attempt that has reached `moment`."""
    return any(json.loads(body).get(moment or "call") for body in rows(folder, "journal"))


def parts(folder: Path) -> list[CallPart]:
    """The parts that wait for the controller."""
    events = [BoxEvent.decode(body) for body in rows(folder, "events")]
    return [event.body for event in events if isinstance(event.body, CallPart)]


async def answered(lab: Lab, box: Process, controller: Controller, attempt: str, **more: Any) -> Dialog:
    """Call until the channel, which starts with the box, takes it."""
    number = await lab.number(behaviour="tone", tone_hz=700, **more)
    host, port = box.ready["sip"].split(":")
    tries: list[Dialog] = []

    def again() -> bool:
        if not tries or (tries[-1].final and tries[-1].final.status == 503):
            headers = {
                "X-Simrack-Call": "c", "X-Simrack-Attempt": f"{attempt}{len(tries)}", "X-Simrack-Channel": "1",
                "X-Simrack-ICCID": lab.modules[0]["iccid"],
            }  # fmt: skip
            tries.append(controller.invite((host, int(port)), number, sdp_of(("127.0.0.1", 4000)), headers))
        final = tries[-1].final
        return final is not None and final.status == 200

    await until(again, "answer", 15)
    return tries[-1]


async def test_after_kill_9_the_next_start_leaves_no_call_in_the_network(
    lab: Lab, tmp_path: Path, controller: Controller, start_process: StartProcess
) -> None:
    """5 s after a kill the network holds no leg that no record claims (quality.md, 1)."""
    file = written(lab, tmp_path, controller)
    first = start_process("box", "--config", file)
    await answered(lab, first, controller, "a")
    await until(lambda: opened(tmp_path, "connected"), "moment of connect on disk")
    first.popen.send_signal(signal.SIGKILL)
    first.popen.wait()
    assert (await lab.last_call())["released_at"] is None
    start_process("box", "--config", file)
    await lab.on_hook()
    await until(lambda: parts(tmp_path), "the call's part", 10)
    (part,) = parts(tmp_path)
    row = await lab.last_call()
    assert (part.number, part.cause, part.side, part.estimated) == (row["called"], 41, "rack", False)
    assert abs(part.talk_ms - row["talk_ms"]) < 100
    assert part.iccid == lab.modules[0]["iccid"]
    assert not opened(tmp_path, "")


async def test_a_call_that_ends_while_the_box_is_dead_is_recorded_as_a_guess(
    lab: Lab, tmp_path: Path, controller: Controller, start_process: StartProcess
) -> None:
    """Nobody saw its end: the record exists, says so, and is never shorter than the network's."""
    file = written(lab, tmp_path, controller)
    first = start_process("box", "--config", file)
    await answered(lab, first, controller, "g", hang_up_after_s=1.0)
    await until(lambda: opened(tmp_path, "connected"), "moment of connect on disk")
    first.popen.send_signal(signal.SIGKILL)
    first.popen.wait()
    await lab.on_hook()
    start_process("box", "--config", file)
    await until(lambda: parts(tmp_path), "the call's part", 20)
    (part,) = parts(tmp_path)
    assert part.estimated
    assert part.talk_ms > (await lab.last_call())["talk_ms"] - 100


async def test_bye_for_a_dialog_of_an_earlier_run_is_answered_481(
    lab: Lab, tmp_path: Path, controller: Controller, start_process: StartProcess
) -> None:
    """Silence would make the controller repeat it for half a minute."""
    file = written(lab, tmp_path, controller)
    first = start_process("box", "--config", file)
    dialog = await answered(lab, first, controller, "y")
    first.popen.send_signal(signal.SIGKILL)
    first.popen.wait()
    second = start_process("box", "--config", file)
    host, port = second.ready["sip"].split(":")
    dialog.remote = (host, int(port))
    dialog.again("BYE")
    await until(lambda: dialog.answer_to("BYE"), "answer to BYE")
    answer = dialog.answer_to("BYE")
    assert answer
    assert answer.status == 481
    await lab.on_hook()


async def test_sigterm_ends_calls_on_both_sides_and_the_process_in_order(
    lab: Lab, tmp_path: Path, controller: Controller, start_process: StartProcess
) -> None:
    box = start_process("box", "--config", written(lab, tmp_path, controller))
    assert box.ready["box"] == "lab-01"
    dialog = await answered(lab, box, controller, "b")
    box.popen.send_signal(signal.SIGTERM)
    await until(lambda: dialog.request("BYE"), "BYE", 10)
    bye = dialog.request("BYE")
    assert bye
    assert bye.cause == 41
    await lab.on_hook()
    assert box.popen.wait(10) == 0


async def test_a_full_disk_refuses_new_calls_keeps_those_in_progress_and_heals_by_itself(
    lab: Lab, tmp_path: Path, controller: Controller, start_process: StartProcess
) -> None:
    """Nothing is dialled that a kill would leave without a record, and nobody has to restart the box afterwards."""
    box = start_process("box", "--config", written(lab, tmp_path, controller))
    first = await answered(lab, box, controller, "d")
    # Writes beyond the size that the file has now fail, as on a disk without room.
    _, hard = resource.prlimit(box.popen.pid, resource.RLIMIT_FSIZE)
    size = (tmp_path / "data" / "box.db-wal").stat().st_size
    resource.prlimit(box.popen.pid, resource.RLIMIT_FSIZE, (size, hard))
    host, port = box.ready["sip"].split(":")
    number = await lab.number(behaviour="tone", tone_hz=700)

    async def refused(attempt: str) -> Dialog:
        headers = {
            "X-Simrack-Call": attempt, "X-Simrack-Attempt": attempt, "X-Simrack-Channel": "2",
            "X-Simrack-ICCID": lab.modules[1]["iccid"],
        }  # fmt: skip
        dialog = controller.invite((host, int(port)), number, sdp_of(("127.0.0.1", 4000)), headers)
        await until(lambda: dialog.final, "final answer", 15)
        return dialog

    dialog = await refused("full1")
    assert dialog.final
    assert (dialog.final.status, dialog.final.cause) == (503, 41)
    assert dialog.final.headers["x-simrack-refusal"] == "no-store"
    assert [row["called"] for row in await lab.ask("GET", "/ledger/calls")][-1] != number
    first.again("BYE")
    await until(lambda: first.answer_to("BYE"), "answer to BYE")
    await lab.on_hook()
    assert parts(tmp_path) == [], "nothing half-written"
    resource.prlimit(box.popen.pid, resource.RLIMIT_FSIZE, (hard, hard))
    await until(lambda: parts(tmp_path), "the part, by itself", 20)
    assert not opened(tmp_path, ""), "its row went with it"
    again = await refused("full2")
    assert again.final
    assert again.final.status == 200
    again.again("BYE")
    await lab.on_hook()


def test_a_mistake_in_the_file_ends_the_start_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "box.toml"
    file.write_text('box = "lab-01"\ndata = "x"\nsite = 5\n')
    command = [sys.executable, "-P", "-m", "simrack.cli", "box", "--config", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert "box.toml:3: site" in ended.stderr
