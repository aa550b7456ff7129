"""How a kill is counted in the long proof."""

import argparse
from collections import Counter

import pytest
from proof import kills
from proof.common import Slice
from system.judge import Findings
from system.kills import WANTED, Kill, Result

STRICT = argparse.Namespace(busy=False)


def a_result(wrong: list[tuple[str, str]], late_ms: int) -> Result:
    met: Counter[str] = Counter(dict.fromkeys(map(str, WANTED), kills.EACH))
    return Result(Kill("box", 0), met, Findings(wrong), calls=50, legs=50, estimated=0, back_s=2.0, worst_ms=140, late_ms=late_ms)


@pytest.mark.parametrize(
    ("wrong", "late_ms", "counted", "held"),
    [
        ([], 300, 1, True),
        ([("talk", "140 ms off")], 18, 1, False),
        ([("talk", "140 ms off")], 300, 0, True),
        ([("talk", "140 ms off"), ("double", "two legs")], 300, 1, False),
    ],
)  # fmt: skip
def test_only_a_machine_that_stood_still_excuses_a_talk_time(
    wrong: list[tuple[str, str]], late_ms: int, counted: int, held: bool
) -> None:
    """The proof would fail on the host's pauses, or a real fault would hide behind them."""
    made = Slice(Counter())
    kills.note(made, a_result(wrong, late_ms), STRICT)
    assert (made.counts["kills"], not made.wrong) == (counted, held)
    assert made.counts[kills.UNJUDGED] == 1 - counted
