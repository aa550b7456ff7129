"""Whether a call goes on to its next candidate."""

import pytest

from simrack.controller.calls.outcome import try_next
from simrack.sip.legs import Failed


@pytest.mark.parametrize(
    ("refusal", "goes_on"), [("", True), ("taken", True), ("not-ready", True), ("unsure", False)]
)
def test_a_dial_of_unknown_fate_is_not_tried_elsewhere(refusal: str, goes_on: bool) -> None:
    """Else the called party is rung by two SIMs at once, and both calls may be billed."""
    failed = Failed(503, 41, headers={"x-simrack-refusal": refusal})
    assert try_next(failed, early_media=False) is goes_on
