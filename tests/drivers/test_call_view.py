"""The one call of a module: every sequence of lines gives a sane story."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simrack.drivers.modems.base import Progress
from simrack.drivers.modems.generic.calls import CallView, Ended, Ghost, Moved, Over, Row, Second, Step

rows = st.builds(
    Row,
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([state for state in Progress if state is not Progress.RELEASED]),
    st.sampled_from(["", "+88210123456", "+88210999"]),
)
acts = st.lists(
    st.one_of(
        st.tuples(st.just("asked"), st.just(None)),
        st.tuples(st.just("taken"), st.just(None)),
        st.tuples(st.just("failed"), st.just(None)),
        st.tuples(st.just("ended"), st.just(None)),
        st.tuples(st.just("row"), rows),
        st.tuples(st.just("gone"), st.integers(1, 3)),
        st.tuples(st.just("listing"), st.lists(rows, max_size=2)),
        st.tuples(st.just("ringing"), st.just(None)),
    ),
    max_size=40,
)


def do(view: CallView, act: str, value: object) -> tuple[Step, ...]:
    match act, value:
        case "row", Row():
            return view.row(value)
        case "gone", int():
            return view.gone(Over(value))
        case "listing", list():
            return view.listing(value)
        case "ringing", _:
            return view.ringing("+882")
        case "taken", _:
            return view.taken()
        case "ended", _:
            return view.ended()
        case "asked", _ if not view.busy:
            view.asked("+88210123456")
        case "failed", _:
            view.failed()
    return ()


@given(acts)
def test_each_call_moves_forward_and_ends_once(story: list[tuple[str, object]]) -> None:
    """Else a record would have two ends, or a state after its end."""
    view = CallView()
    shown: Progress | None = None
    rank = {Progress.DIALLING: 1, Progress.INCOMING: 2, Progress.ALERTING: 2, Progress.ACTIVE: 3, Progress.HELD: 3}
    for act, value in story:
        if act == "failed" or (act == "asked" and not view.busy):
            shown = None
        for step in do(view, act, value):
            if isinstance(step, Moved):
                assert step.state is not shown
                assert shown is None or rank[step.state] >= rank[shown]
                shown = step.state
            elif isinstance(step, Ended):
                assert shown is not None
                shown = None
        assert view.state is shown


def view_in(state: Progress) -> CallView:
    view = CallView()
    view.asked("+882")
    view.taken()
    view.row(Row(2, True, state, "+882"))
    return view


def test_one_empty_list_proves_nothing_and_two_do() -> None:
    """Else a busy port would end a running call, or a zombie would live for ever."""
    view = view_in(Progress.ACTIVE)
    assert view.listing([]) == ()
    assert view.listing([Row(2, True, Progress.ACTIVE)]) == ()
    assert view.listing([]) == ()
    assert view.listing([]) == (Ended("+882"),)


def test_late_states_do_not_turn_back() -> None:
    """Else an answered call would ring again."""
    view = view_in(Progress.ACTIVE)
    assert view.row(Row(2, True, Progress.ALERTING)) == ()
    assert view.row(Row(2, True, Progress.HELD)) == (Moved(Progress.HELD, "+882"),)
    assert view.row(Row(2, True, Progress.ACTIVE)) == (Moved(Progress.ACTIVE, "+882"),)


def test_second_caller_is_told_once() -> None:
    """Else each +CLCC would refuse the same caller again."""
    view = view_in(Progress.ACTIVE)
    waiting = Row(3, False, Progress.WAITING, "+1")
    assert view.row(waiting) == (Second(3, "+1"),)
    assert view.row(waiting) == ()
    assert view.listing([Row(2, True, Progress.ACTIVE)]) == ()
    assert view.row(waiting) == (Second(3, "+1"),)


@pytest.mark.parametrize("index", [1, 3])
def test_a_call_that_nobody_asked_for_is_a_ghost(index: int) -> None:
    """Else a dial given up too early would live on unseen."""
    view = CallView()
    assert view.row(Row(index, True, Progress.DIALLING)) == (Ghost(index),)
    assert view.row(Row(index, False, Progress.INCOMING, "+1")) == (Moved(Progress.INCOMING, "+1"),)
