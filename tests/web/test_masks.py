"""What somebody may read of a row: numbers masked, groups of fields left out, other people's rows unseen."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simrack.controller.models import (
    AttemptRow,
    CheckStep,
    Dropped,
    Explanation,
    LadderLine,
    Names,
    Own,
    RecordRow,
    Story,
)
from simrack.web import masks
from simrack.web.masks import DOT, Mask
from simrack.wire.messages import AtLine, LiveCall

NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
RECORD = RecordRow(
    call="c0ffee", direction="out", sender="acme", calling_received="+436641234567", calling="+436641234567",
    called_received="00491701112233", called="+491701112233", dialled="+491701112233", started=NOW, alerting=None,
    answered=None, ended=NOW, setup_ms=0, ring_ms=0, talk_network_ms=0, talk_sender_ms=0, outcome="failed", cause=16,
    cause_original="", side="rack", sip_status=480, refusal="", box="lab-01", channel=3, iccid="8943010000000000001",
    imsi="001010000000001", plan="blue", pattern="+49", ingress="192.0.2.1:5060", egress="192.0.2.9:5062", codec="PCMA",
    mos=None, attempts=2, estimated=False,
)  # fmt: skip


def _attempt(number: int, iccid: str) -> AttemptRow:
    line = AtLine(ms=1, way=">", text="ATD+491701112233;")
    return AttemptRow(
        attempt=f"a{number}", number=number, box="lab-01", channel=number, iccid=iccid, started=NOW, at_log=(line,)
    )


STORY = Story(
    RECORD,
    Explanation(
        config_version=1, sender="acme", called_received="+491701112233", called="+491701112233",
        steps=(CheckStep(check="x", title="x", went_in=2, left=1, note="to +491701112233",
                         dropped=(Dropped(candidate="lab-02 / 1", reason="+491701112233 is blocked"),)),),
    ),
    (
        LadderLine(ms=0, source="sender", target="controller", label="INVITE +491701112233"),
        LadderLine(ms=5, source="box", target="module", label="ATD +491701112233", attempt=1),
        LadderLine(ms=9, source="box", target="module", label="ATD +491701112233", attempt=2),
    ),
    (_attempt(1, "8943010000000000077"), _attempt(2, "8943010000000000001")),
)  # fmt: skip
NAMES = Names(sim_plans={"8943010000000000077": "green", "8943010000000000001": "blue"})


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("+436641234567", f"+43664123{DOT * 4}"),
        ("00491701112233", f"0049170111{DOT * 4}"),
        ("112", "112"),
        ("11833", "11833"),
        ("123456", f"12{DOT * 4}"),
        ("", ""),
        ("anonymous", "anonymous"),
    ],
)
def test_last_digits_of_a_number_are_dots(given: str, seen: str) -> None:
    """A role without need would read who called whom."""
    assert masks.number(given) == seen


@given(st.from_regex(r"\+?[0-9]{6,18}", fullmatch=True), st.sampled_from(["ATD{};", '+CLIP: "{}",145', "to {} failed", "sip:{}@x"]))
def test_no_number_survives_in_free_text(number: str, frame: str) -> None:
    """A module's line or a sentence would tell what the column hides."""
    assert number not in masks.numbers_in(frame.format(number))


def test_a_masked_story_has_no_number_anywhere() -> None:
    """One field of the story would show the number that all others mask."""
    masked = Mask(whole=False).story(STORY, Own(), NAMES)
    assert "1112233" not in repr(masked)
    assert "1234567" not in repr(masked)
    assert "+49170111" in repr(masked)


def test_hidden_sim_leaves_no_trace_of_box_or_card() -> None:
    """A partner who is kept from the SIMs would read them in the attempts or the explanation."""
    shown = repr(Mask(hidden=frozenset({"sim"})).story(STORY, Own(), NAMES))
    for word in ("lab-01", "lab-02", "89430", "00101", "192.0.2.9", "ATD+"):
        assert word not in shown


def test_hidden_sender_is_neither_a_field_nor_a_filter() -> None:
    """Counting rows by a filter would tell what the column hides."""
    mask = Mask(hidden=frozenset({"sender"}))
    assert mask.hides("sender")
    assert not mask.hides("box")
    shown = repr(mask.story(STORY, Own(), NAMES))
    assert "acme" not in shown
    assert "192.0.2.1:" not in shown


def test_an_owner_sees_no_attempt_over_other_plans() -> None:
    """A call that was tried over two owners' SIMs would show each the other's card."""
    story = Mask(why=False).story(STORY, Own(plans=frozenset({"blue"})), NAMES)
    assert [attempt.number for attempt in story.attempts] == [2]
    assert {line.attempt for line in story.ladder} == {0, 2}
    assert story.explanation is None


def test_whoever_may_not_know_the_way_reads_neither_plan_nor_card() -> None:
    """A sender would learn over whose SIMs its calls go."""
    row = Mask(way=False).record(RECORD)
    assert (row.plan, row.pattern, row.iccid, row.imsi) == ("", "", "", "")
    call = LiveCall(boot="b", seq=1, at=NOW, call="c", state="trying", sender="acme", started=NOW, plan="blue")
    assert Mask(way=False).live(call).plan == ""


def test_staff_reads_rows_as_they_are() -> None:
    """Masks would cost the NOC what it works with."""
    assert Mask().record(RECORD) is RECORD
    assert Mask().story(STORY, Own(), NAMES) is STORY


@given(st.frozensets(st.sampled_from("abc")), st.frozensets(st.sampled_from("xyz")), st.sampled_from("abc"), st.sampled_from("xyz"))
def test_a_row_is_seen_by_its_own_only(senders: frozenset[str], owners: frozenset[str], sender: str, plan: str) -> None:
    """Somebody's row would be seen by another, or by an account that was given nothing."""
    plans = {"x": "o1", "y": "o2", "z": ""}
    assert Own.of("sender", senders, plans).sees(sender, plan) == (sender in senders)
    assert Own.of("owner", {"o1"}, plans).sees(sender, plan) == (plan == "x")
    assert not Own.of("owner", {""}, plans).sees(sender, "z")
    assert Own.of("noc", (), plans).everything
    assert not Own.of("sender", senders, plans).sees_plan(plan)
    assert replace(Own(), plans=owners).sees("q", plan) == (plan in owners)
