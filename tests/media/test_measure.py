"""Figures of a call: levels, drift, MOS, and the pace of the module's port."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simrack.gateway.voice.measure import MOST_LEVELS, DeadAir, Drift, Gaps, Levels
from simrack.gateway.voice.mos import delay_impairment, loss_impairment, mos, mos_of_r
from simrack.gateway.voice.pacer import Pacer
from simrack.gateway.voice.playout import Playout
from simrack.gateway.voice.verdict import Way, verdict
from simrack.sip import codecs, g711
from simrack.wire.messages import FlowFigures

percent = st.floats(0, 100)


@given(st.sampled_from(list(codecs.ROWS.values())), st.floats(0, 2000), percent, percent, st.floats(0, 50))
def test_more_loss_is_never_better(row: codecs.CodecRow, delay: float, one: float, other: float, burst: float) -> None:
    """Breaks: the record calls a broken call better than a good one."""
    less, more = sorted((one, other))
    assert 1.0 <= mos(row, delay, more) <= mos(row, delay, less) <= 4.5
    assert mos(row, delay, more, burst) <= mos(row, delay, more)


#: ITU-T G.107 annex B, table B.1 (the same in G.109): R against MOS-CQE.
PUBLISHED_R = [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58)]
#: ITU-T G.113 (2001) appendix I, table I.3: Ie of G.711 with concealment (G.711 appendix I) against random loss in percent.
PUBLISHED_LOSS = [(0, 0), (1, 5), (2, 7), (3, 10), (5, 15), (7, 20), (10, 25), (15, 35), (20, 45)]
#: Cole and Rosenbluth, "Voice over IP performance monitoring" (2001): Id of G.107's default connection, fitted by
#: 0.024 d + 0.11 (d - 177.3) beyond 177.3 ms.
PUBLISHED_DELAY = [(50, 1.2), (100, 2.4), (150, 3.6), (177, 4.2), (250, 14.0), (300, 20.7)]


@pytest.mark.parametrize(("r", "score"), PUBLISHED_R)
def test_r_becomes_the_mos_of_the_published_table(r: float, score: float) -> None:
    """Breaks: our MOS can't be compared with anybody else's."""
    assert mos_of_r(r) == pytest.approx(score, abs=0.01)


@pytest.mark.parametrize(("percent_lost", "ie"), PUBLISHED_LOSS)
def test_loss_costs_what_the_published_table_says(percent_lost: float, ie: float) -> None:
    """Breaks: the MOS is far off for lossy links; the table's own steps are 5 points."""
    assert loss_impairment(codecs.row("PCMA"), percent_lost) == pytest.approx(ie, abs=3)


@pytest.mark.parametrize(("ms", "impairment"), PUBLISHED_DELAY)
def test_delay_costs_what_others_found(ms: float, impairment: float) -> None:
    """Breaks: calls over satellite get a good MOS, or near ones a bad one."""
    assert delay_impairment(ms) == pytest.approx(impairment, abs=3)


def test_the_same_loss_in_bursts_is_worse() -> None:
    """Breaks: half a second that is missing in one piece counts like single packets."""
    row = codecs.row("PCMA")
    assert mos(row, 50, 2, mean_burst=1.02) == mos(row, 50, 2)
    assert mos(row, 50, 10, mean_burst=10) < mos(row, 50, 10) - 0.3


def test_a_clean_call_scores_as_g107_says() -> None:
    """Breaks: MOS is off the scale that people know (G.711 without delay: 4.4)."""
    assert mos(codecs.row("PCMA"), 0, 0) == pytest.approx(4.41, abs=0.02)
    assert mos(codecs.row("PCMA"), 150, 0) > 4.2
    assert mos(codecs.row("PCMA"), 150, 10) < 3.3


def test_gaps_are_counted_however_they_are_made_up() -> None:
    """Breaks: one gap of 60 ms shows as many, and the loss pattern in the record is wrong."""
    gaps = Gaps()
    gaps.end()
    for pieces in ((160,), (100, 60, 320), (5, 5)):
        for piece in pieces:
            gaps.add(piece)
        gaps.end()
    assert (gaps.count, gaps.longest, gaps.total) == (3, 480, 650)
    assert gaps.mean(160) == pytest.approx(650 / 160 / 3)


def test_dead_air_is_what_lasts() -> None:
    """Breaks: pauses between words count as dead air, or ten dead seconds do not."""
    dead = DeadAir()
    for _ in range(20):
        for rms in [3000] * 50 + [0] * 99:
            dead.add(rms)
    assert dead.share == 0.0
    for _ in range(2980):
        dead.add(50)
    assert dead.share == pytest.approx(0.5, abs=0.02)


def way(seconds: float, pieces: int, loudest: int) -> Way:
    return Way(seconds, pieces, loudest)


@pytest.mark.parametrize(
    ("to_network", "from_network", "said"),
    [
        (way(60, 3000, 5000), way(60, 3000, 5000), ""),
        (way(60, 0, 0), way(60, 3000, 5000), "one-way:no-rtp"),
        (way(60, 3000, 5000), way(60, 0, 0), "one-way:no-pcm"),
        (way(60, 3000, 8), way(60, 3000, 5000), "one-way:silent-rtp"),
        (way(60, 3000, 5000), way(60, 3000, 0), "one-way:silent-pcm"),
        (way(60, 0, 0), way(60, 3000, 0), "one-way:no-rtp"),
        (way(60, 0, 0), way(60, 0, 0), "no-media"),
        (way(60, 3000, 0), way(60, 3000, 0), ""),
        (way(9, 0, 0), way(9, 3000, 5000), ""),
        (way(3, 0, 0), way(60, 3000, 5000), ""),
    ],
)
def test_a_dead_way_is_named(to_network: Way, from_network: Way, said: str) -> None:
    """Breaks: people who could not hear each other find a good call in the records."""
    assert verdict(to_network, from_network) == said


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


@pytest.mark.parametrize("ppm", [100, -100, 250, -250])
def test_the_module_never_holds_two_frames_too_few_or_too_many(ppm: int) -> None:
    """Breaks: after some minutes the called person hears holes, because the module's 40 ms ran out before we noticed."""
    pacer, written, levels, dice = Pacer(160), 0, [], random.Random(1)
    before = 0
    for tick in range(20 * 60 * 50):
        now = tick * 0.02 + dice.random() * 0.002
        played = now * 8000 * (1 + ppm * 1e-6)
        delivered = int(played) // 160 * 160
        written += pacer.frames(delivered - before)
        before = delivered
        levels.append(written * 160 - played)
    start = levels[100]
    assert max(abs(level - start) for level in levels[100:]) < 1.5 * 160


def test_comfort_noise_has_the_level_that_was_sent() -> None:
    """Breaks: pauses of a sender with silence suppression sound dead or too loud (RFC 3389)."""
    playout = Playout(codecs.make("PCMU", 8000), 8000, 8000)
    quiet = g711.level_dbfs(b"".join(playout.pull(160) for _ in range(50))[-8000:])
    playout.pause_noise(55)
    loud = g711.level_dbfs(b"".join(playout.pull(160) for _ in range(50))[-8000:])
    assert quiet == pytest.approx(-75, abs=2)
    assert loud == pytest.approx(-55, abs=1)
