"""Causes: what a sender hears must be what the network said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simrack.wire import causes


@pytest.mark.parametrize(
    ("cause", "status"),
    [(1, 404), (17, 486), (18, 408), (19, 480), (21, 403), (22, 410), (27, 502), (28, 484), (34, 503), (38, 503),
     (41, 503), (42, 503), (44, 503), (88, 503), (102, 504), (127, 500)],
)  # fmt: skip
def test_sender_hears_the_response_of_rfc_3398(cause: int, status: int) -> None:
    assert causes.sip_of(cause) == status


@pytest.mark.parametrize(
    ("text", "cause"),
    [("User busy", 17), ('"16 Normal call clearing"', 16), ("No user responding", 18), ("Call rejected", 21),
     ("Unassigned (unallocated) number", 1), ("Cause:34", 34), ("31 Normal unspecified", 31),
     ("Switching equipment congestion", 42), ("8", 21), ("68", 21)],
)  # fmt: skip
def test_module_words_become_causes(text: str, cause: int) -> None:
    assert causes.from_text(text) == cause


@pytest.mark.parametrize("text", ["", "0,-1", "0 Unknown", "gibberish", "999"])
def test_words_without_a_cause_are_not_guessed(text: str) -> None:
    assert causes.from_text(text) is None


def test_called_party_is_never_rung_twice() -> None:
    for cause in (1, 16, 17, 18, 19, 21, 22, 28):
        assert not causes.rerouteable(cause)
    for cause in (27, 31, 34, 38, 41, 42, 44, 47):
        assert causes.rerouteable(cause)


@given(st.sampled_from(sorted(causes.ROWS)), st.text(max_size=60))
def test_reason_header_round_trip(cause: int, text: str) -> None:
    value = causes.reason_header(cause, text)
    assert "\n" not in value
    assert "\r" not in value
    parsed = causes.parse_reason(value)
    assert parsed is not None
    assert parsed[0] == cause


def test_reason_among_others() -> None:
    value = 'SIP;cause=200;text="Call completed elsewhere", Q.850;cause=17;text="busy, really"'
    assert causes.parse_reason(value) == (17, "busy, really")
    assert causes.parse_reason("SIP ;cause=480") is None


def test_every_sip_code_leads_to_a_known_cause() -> None:
    assert {causes.cause_of(status) for status in range(300, 700)} <= set(causes.ROWS)
