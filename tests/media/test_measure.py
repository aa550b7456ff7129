"""Figures of a call: levels, drift, MOS, and the pace of the module's port."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simrack.gateway.voice.measure import MOST_LEVELS, Drift, Levels, mos
from simrack.gateway.voice.pacer import Pacer
from simrack.gateway.voice.playout import Playout
from simrack.sip import codecs, g711
from simrack.wire.messages import FlowFigures

percent = st.floats(0, 100)


@given(st.sampled_from(list(codecs.ROWS.values())), st.floats(0, 2000), percent, percent)
def test_more_loss_is_never_better(row: codecs.CodecRow, delay: float, one: float, other: float) -> None:
    """Breaks: the record calls a broken call better than a good one."""
    less, more = sorted((one, other))
    assert 1.0 <= mos(row, delay, more) <= mos(row, delay, less) <= 4.5


def test_a_clean_call_scores_as_g107_says() -> None:
    """Breaks: MOS is off the scale that people know (G.711 without delay: 4.4)."""
    assert mos(codecs.row("PCMA"), 0, 0) == pytest.approx(4.41, abs=0.02)
    assert mos(codecs.row("PCMA"), 150, 0) > 4.2
    assert mos(codecs.row("PCMA"), 150, 10) < 3.3


def test_levels_stop_at_the_message_limit() -> None:
    """Breaks: a call of hours makes a record that no message may carry."""
    levels = Levels()
    assert levels.mean is None
    for _ in range((MOST_LEVELS + 50) * 50):
        levels.add(3277)
    assert levels.each == [-20] * MOST_LEVELS
    assert levels.mean == pytest.approx(-20, abs=0.1)
    assert FlowFigures(levels=tuple(levels.each)).levels


@pytest.mark.parametrize("ppm", [-250, 0, 40])
def test_drift_is_measured_through_jitter(ppm: int) -> None:
    """Breaks: a module with a bad crystal is not found."""
    drift = Drift()
    for k in range(3000):
        late = (k * 7919 % 20) / 1000
        drift.add(5000 + k * 0.02 + late, 77 + k * 0.02 * (1 + ppm * 1e-6))
    assert drift.ppm == pytest.approx(ppm, abs=10)


def test_drift_is_not_guessed_early() -> None:
    """Breaks: short calls show wild figures."""
    drift = Drift()
    for k in range(100):
        drift.add(k * 0.02, k * 0.02)
    assert drift.ppm is None


def test_the_pacer_keeps_the_hosts_clock_for_a_mute_module() -> None:
    """Breaks: a module that sends no voice gets none either."""
    pacer = Pacer(160)
    assert [pacer.frames(160) for _ in range(200)] == [1] * 200
    assert [pacer.frames(0) for _ in range(500)] == [1] * 500


def test_the_pacer_follows_the_module() -> None:
    """Breaks: the module's buffer fills up or runs dry."""
    pacer = Pacer(160)
    written = sum(pacer.frames(162) for _ in range(1000))
    assert written == pytest.approx(1000 * 162 / 160, abs=2)


def test_comfort_noise_has_the_level_that_was_sent() -> None:
    """Breaks: pauses of a sender with silence suppression sound dead or too loud (RFC 3389)."""
    playout = Playout(codecs.make("PCMU", 8000), 8000, 8000)
    quiet = g711.level_dbfs(b"".join(playout.pull(160) for _ in range(50))[-8000:])
    playout.pause_noise(55)
    loud = g711.level_dbfs(b"".join(playout.pull(160) for _ in range(50))[-8000:])
    assert quiet == pytest.approx(-75, abs=2)
    assert loud == pytest.approx(-55, abs=1)
