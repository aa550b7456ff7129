"""A dead channel or a dead box costs a call a moment, not the call; a full rack says so cleanly."""

import itertools
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support import processes
from system import sipp as s
from system.rack import Rack, until
from system.sipp import Sipp

CALLER = "+882109000999"


def answered(number: str) -> str:
    """A call that is answered and ended by the far end."""
    scenario = s.invite(number, CALLER) + s.PROVISIONAL + '<recv response="200" rrs="true"></recv>'
    return scenario + s.ack(number, CALLER) + s.AWAIT_BYE


@pytest.fixture
def small_rack(tmp_path: Path, up_options: Callable[[], Sequence[str]]) -> Iterator[Rack]:
    """2 boxes x 1 channel, so that the next candidate is always in the other box."""
    with processes(tmp_path) as begin, Rack(tmp_path, begin, boxes=2, channels=1, options=up_options()) as made:
        yield made


@pytest.mark.stack
def test_next_channel_takes_the_call_of_a_dead_one(rack: Rack, sipp: Sipp) -> None:
    """Modules that refuse to dial are skipped within the same call."""
    for channel in range(1, 5):
        rack.ask("/faults", {"box": "lab-01", "channel": channel, "fault": "dial_error"})
    # Five dead of eight: one less than the attempts that a call may make (limits.max_attempts).
    rack.ask("/faults", {"box": "lab-02", "channel": 1, "fault": "dial_error"})
    try:
        number = rack.number("answer", answer_after_s=0.3, hang_up_after_s=0.5)
        result = sipp.run(answered(number))
        assert result.ok, result.messages[-3000:] + result.errors
        story = rack.story(number)
    finally:
        rack.ask("/faults", method="DELETE")
    assert story.record.outcome == "answered"
    assert len(rack.ended(number)) == 1
    assert all(attempt.outcome != "answered" for attempt in story.attempts[:-1])
    assert "rerouted" in story.record.marks or story.record.attempts == 1


@pytest.mark.stack
def test_other_box_takes_the_call_of_a_frozen_one(small_rack: Rack, tmp_path: Path) -> None:
    """A box that gives no response within 1.5 s is unreachable; its channel's call goes to the next."""
    rack = small_rack
    pid = rack.state["pids"]["box-lab-01"]
    os.kill(pid, signal.SIGSTOP)
    try:
        boxes = set()
        for turn in range(2):
            number = rack.number("answer", answer_after_s=0.3, hang_up_after_s=0.3)
            result = Sipp(tmp_path / f"turn{turn}", rack.sip, "127.0.0.2").run(answered(number))
            assert result.ok, result.messages[-3000:] + result.errors
            record = rack.records(number)[0]
            assert record.outcome == "answered"
            boxes.add(record.box)
            assert len(rack.ended(number)) == 1
        assert boxes == {"lab-02"}
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.stack
def test_dead_box_is_unreachable_and_comes_back(small_rack: Rack, tmp_path: Path) -> None:
    """kill -9 of a box: calls go elsewhere at once, `simrack up` starts it again, its channels return."""
    rack = small_rack
    os.kill(rack.state["pids"]["box-lab-02"], signal.SIGKILL)
    number = rack.number("answer", answer_after_s=0.2, hang_up_after_s=0.2)
    result = Sipp(tmp_path, rack.sip, "127.0.0.2").run(answered(number))
    assert result.ok, result.messages[-3000:] + result.errors
    assert rack.records(number)[0].box == "lab-01"
    rack.wait_ready()


@pytest.mark.stack
def test_hundred_calls_at_ten_per_second_over_eight_channels(rack: Rack, sipp: Sipp) -> None:
    """What fits is carried, what does not is refused with 503 and cause 34, and the books agree call by call."""
    number = rack.number("answer", answer_after_s=0.2, hang_up_after_s=1.0)
    refused = s.TO_REQUEST_URI.format(method="ACK", number=number, caller=CALLER, to_tag="[peer_tag_param]")
    scenario = (
        s.invite(number, CALLER)
        + '<recv response="100" optional="true"></recv><recv response="183" optional="true"></recv>'
        + '<recv response="503" optional="true" next="1"></recv><recv response="200" rrs="true"></recv>'
        + s.ack(number, CALLER)
        + s.AWAIT_BYE.replace("]]></send>", "]]></send>\n<nop next=\"2\"/>")
        + f'<label id="1"/>\n<send><![CDATA[{refused}]]></send>\n<label id="2"/>\n'
    )
    result = sipp.run(scenario, "-m", "100", "-r", "10", "-l", "100")
    assert result.ok, result.errors or result.messages[-3000:]
    records = rack.records(number, 100)
    assert len(records) == 100
    outcomes = Counter(record.outcome for record in records)
    carried = [record for record in records if record.outcome == "answered"]
    calls = rack.ended(number, len(carried))
    assert len(calls) == len(carried) >= 8
    assert outcomes["answered"] + outcomes["refused"] + outcomes["failed"] == 100
    for record in records:
        if record.outcome != "answered":
            assert (record.sip_status, record.cause) == (503, 34), record
    never_two_calls_on_a_channel(records)
    talk = sorted(record.talk_network_ms for record in carried)
    for mine, theirs in zip(talk, sorted(call["talk_ms"] for call in calls), strict=True):
        assert abs(mine - theirs) <= 100
    until(lambda: rack.ready_channels() == 8, "all channels ready again")


def never_two_calls_on_a_channel(records: object) -> None:
    """No two answered calls of one channel overlap in time."""
    by_channel: dict[tuple[str, int | None], list[tuple[float, float]]] = {}
    for record in records:  # type: ignore[attr-defined]
        if record.answered:
            span = (record.answered.timestamp(), record.answered.timestamp() + record.talk_network_ms / 1000)
            by_channel.setdefault((record.box, record.channel), []).append(span)
    for spans in by_channel.values():
        spans.sort()
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))
