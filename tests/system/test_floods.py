"""Floods against real processes: whatever one address sends, the calls of the others pass.

The check is on the known sender's calls and on what is kept, never on how long something took: the machine that runs
this may be busy with other things.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import processes
from system.rack import Rack, until
from system.rawsip import Call, Client, Message, digest, new_branch
from typer.testing import CliRunner

from simrack.cli.bans import app

TRUNK, DIGEST, STRANGER = "127.0.0.2", "127.0.0.1", "127.0.0.66"
NOWHERE = "+4930123456"  # no pattern leads there: identified, admitted, recorded, 404
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory, up_options: Callable[[], Sequence[str]]) -> Iterator[Rack]:
    """A rack of this module's own, because its controller remembers who flooded it."""
    folder = tmp_path_factory.mktemp("floods")
    with processes(folder) as begin, Rack(folder, begin, boxes=2, channels=4, options=up_options()) as made:
        yield made


@contextmanager
def flood(rack: Rack, source: str, per_second: int, seconds: int, kind: str, number: str = "") -> Iterator[dict[str, Any]]:
    """A flood beside the block; its books are filled when the block has ended."""
    argv = [sys.executable, str(Path(__file__).parent / "flood.py"), rack.sip, source, str(per_second), str(seconds), kind]
    child = subprocess.Popen([*argv, *([number] if number else [])], stdout=subprocess.PIPE, text=True)
    books: dict[str, Any] = {}
    try:
        yield books
        text, _ = child.communicate(timeout=seconds + 60)
        books.update(json.loads(text))
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def persist(call: Call, method: str, data: bytes) -> Message:
    """Send a request as RFC 3261 17.1 says, again until something comes, for UDP may lose it; its final response."""
    interval, end, waiting = 0.5, time.monotonic() + 60, True
    call.client.send(data)
    while time.monotonic() < end:
        message = call.client.receive(call.call_id, interval, f"tag={call.tag}")
        if message is None:
            interval = min(2 * interval, 4.0)
            if waiting:
                call.client.send(data)
            continue
        current = message["cseq"] == f"{call.cseq} {method}"
        waiting = waiting and not current
        if message.status >= 200 and current:
            call._learn(message)
            return message
        if message.status >= 200 and method == "BYE":
            call.client.send(call.write("ACK", cseq=call.cseq - 1, branch=new_branch(), uri=call.target))
    raise AssertionError(f"{method} was never answered")


def one_call(rack: Rack, host: str, number: str) -> None:
    """A whole call: answered by the network, ended by its caller."""
    client = Client(rack.sip, host)
    try:
        call = client.call(number)
        answer = persist(call, "INVITE", call.write("INVITE", body=call.sdp))
        if host == DIGEST:
            challenge = answer
            assert challenge.status == 401, challenge.start
            client.send(call.write("ACK"))
            caller = rack.state["callers"]["digest"]
            call.cseq, call.to_tag, call.branch = 2, "", call.branch + "2"
            offers = challenge.all("www-authenticate")
            credentials = digest(offers[0], caller["user"], caller["password"], call.uri)
            answer = persist(call, "INVITE", call.write("INVITE", body=call.sdp, extra=[credentials]))
        assert answer.status == 200, (answer.start, answer["reason"])
        call.ack()
        call.cseq += 1
        bye = persist(call, "BYE", call.write("BYE", branch=new_branch(), uri=call.target))
        assert bye.status == 200, bye.start
    finally:
        client.close()


def many_calls(rack: Rack, host: str, count: int, at_once: int, number: str) -> None:
    """`count` calls, some of them at a time; raises what the first bad one raised."""
    troubles: list[Exception] = []
    left = iter(range(count))
    lock = threading.Lock()

    def work() -> None:
        while not troubles:
            with lock:
                if next(left, None) is None:
                    return
            try:
                one_call(rack, host, number)
            except Exception as error:  # noqa: BLE001 - it is raised again in the test's own thread
                troubles.append(error)

    workers = [threading.Thread(target=work) for _ in range(at_once)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if troubles:
        raise troubles[0]


def memory_kb(rack: Rack) -> int:
    """Resident memory of the controller."""
    pid = int(json.loads(rack.state_file.read_text())["pids"]["controller"])
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def bans(rack: Rack) -> dict[str, str]:
    """Who is banned and why, as a person asks."""
    result = CliRunner().invoke(app, ["--state", str(rack.state_file), "--json"], catch_exceptions=False)
    return {ban["address"]: ban["reason"] for ban in json.loads(result.output)["bans"]}


def test_calls_pass_beside_five_thousand_packets_a_second_of_a_stranger(rack: Rack) -> None:
    """Somebody scans or floods the port: every call of a known sender is set up, answered and ended as always."""
    number = rack.number("tone", tone_hz=1000, answer_after_s=0.1)
    many_calls(rack, TRUNK, 4, 2, number)
    before = memory_kb(rack)
    with flood(rack, STRANGER, 5000, 10, "garbage") as books:
        many_calls(rack, TRUNK, 40, 4, number)
    assert books["sent"] > 10_000, "the flood itself must have come through to prove anything"
    assert sum(books["answers"].values()) < books["sent"] / 20, "what is answered is little"
    assert STRANGER in bans(rack)
    assert TRUNK not in bans(rack)
    assert len(rack.ended(number, 44)) == 44
    assert len(rack.records(number, 44)) == 44
    assert memory_kb(rack) - before < 60_000, "a flood must not stay in memory"


@pytest.mark.parametrize("times", [2, 5])
def test_overload_of_one_sender_is_refused_at_once_and_the_other_sender_calls_on(rack: Rack, times: int) -> None:
    """A customer's dialler gone mad: its surplus gets 503 with Retry-After, once each; the other customer's calls pass."""
    number = rack.number("tone", tone_hz=1000, answer_after_s=0.1)
    with flood(rack, TRUNK, 80 * times, 6, "calls", NOWHERE) as books:
        many_calls(rack, DIGEST, 8, 2, number)
    assert set(books["answers"]) <= {"404", "503"}, books
    assert books["answers"].get("503", 0) > 0, books
    assert books["mute"] == 0, "each 503 says when to come back"
    assert books["twice"] == 0, "what is refused is never repeated by us"
    # The flood sends once; on a machine that is busy with other things the kernel drops some of it.
    assert books["calls"] >= books["sent"] / 2, books
    assert len(rack.ended(number, 8)) == 8
    until(lambda: not rack.queries.open_calls(), "no call is open")


def test_half_open_calls_cancel_storms_and_silence_leave_the_rack_whole(rack: Rack) -> None:
    """A sender that never acknowledges, cancels a hundred times and leaves calls ringing: the next call passes."""
    trunk = Client(rack.sip, TRUNK)
    ringing = rack.number("no_answer", ring_s=60.0)
    calls = [trunk.call(ringing).invite() for _ in range(60)]
    for _ in range(5):
        for call in calls:
            trunk.send(call.write("CANCEL", to_tag=""))
            trunk.send(call.write("CANCEL", branch=f"z9hG4bKother{call.tag}", to_tag=""))
    for call in calls:
        trunk.send(call.write("CANCEL", to_tag=""))
    until(lambda: not rack.queries.open_calls(), "every half-open call has its record", 60)
    number = rack.number("tone", tone_hz=1000, answer_after_s=0.1)
    until(lambda: rack.ready_channels() == rack.channels, "all channels are ready", 60)
    one_call(rack, TRUNK, number)
    trunk.close()


def test_no_log_has_a_traceback(rack: Rack) -> None:
    """After all of this."""
    for log in (rack.folder / "data" / "logs").glob("*.log"):
        assert "Traceback" not in log.read_text(errors="replace"), log
