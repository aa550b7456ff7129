"""The ledger's ears: tests trust their verdict on tones, levels and keys."""

import asyncio
import itertools
import random
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simrack.lab.emulator import tones
from simrack.lab.emulator.ledger import KEEP_VOICES, Ledger
from simrack.lab.emulator.listen import DtmfEar, judge
from simrack.lab.emulator.rack import luhn
from simrack.wire.ports import SystemClock


@settings(max_examples=25, deadline=None)
@given(st.integers(200, 3600), st.integers(500, 16000))
def test_any_tone_is_named_within_a_hertz(hz: int, peak: int) -> None:
    assert judge(tones.tone_second(hz, peak)[:8000]).hz == pytest.approx(hz, abs=1)


def test_a_tone_in_noise_is_found_and_noise_is_no_tone() -> None:
    dice = random.Random(3)
    noise = array("h", (dice.randint(-3000, 3000) for _ in range(8000)))
    mixed = array("h", (a + b for a, b in zip(noise, array("h", tones.tone_second(1410)), strict=True)))
    assert judge(mixed.tobytes()).hz == pytest.approx(1410, abs=2)
    assert judge(noise.tobytes()).hz is None


def test_silence_has_no_level() -> None:
    assert judge(bytes(16000)).dbfs is None
    assert judge(b"").hz is None


def test_speech_is_no_tone_and_no_key() -> None:
    """Talk-off: keys heard in a voice would dial for the caller."""
    ear = DtmfEar()
    speech = tones.speech()
    assert [key for _ in range(200) if (key := ear.hear(next(speech)))] == []


@given(st.text(alphabet="0123456789ABCD*#", min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)
def test_every_key_is_heard_once(keys: str) -> None:
    ear, sent = DtmfEar(), tones.dtmf(keys)
    frames = 30 + 10 * len(keys)
    assert "".join(ear.hear(next(sent)) for _ in range(frames)) == keys


def test_test_tones_stay_away_from_signalling_tones() -> None:
    dice = random.Random(1)
    chosen = {tones.random_hz(dice) for _ in range(200)}
    taken = (*tones.DTMF_ROWS, *tones.DTMF_COLUMNS, *tones.SIT_HZ, tones.RINGBACK_HZ)
    assert min(abs(hz - other) for hz in chosen for other in taken) > 25


def test_waves_loop_without_a_click() -> None:
    for hz in (425, 1230, 2990):
        wave = array("h", tones.tone_second(hz))
        steps = [abs(b - a) for a, b in itertools.pairwise(wave)]
        assert abs(wave[0] - wave[-1]) <= max(steps)


def test_check_digit() -> None:
    assert luhn("7992739871") == "79927398713"


async def test_old_voices_are_dropped_after_a_last_look(run_tasks: Callable[..., asyncio.Task[Any]]) -> None:
    """A lab that runs for days must not keep every call's voice, nor forget what it heard."""
    ledger = Ledger(SystemClock())
    run_tasks(ledger.run())
    for _ in range(KEEP_VOICES + 1):
        row = ledger.open("", "", "", "out")
        row.to_mobile.add(tones.tone_second(1230)[:8000])
        ledger.close(row, 16, "calling")
    first = ledger.rows[0]
    async with asyncio.timeout(5):
        while ledger.aged(first.number) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not first.to_mobile.early
    aged = ledger.aged(first.number)
    assert aged is not None
    assert aged["heard"]["to_mobile_hz"] == pytest.approx(1230, abs=1)
    assert ledger.rows[-1].to_mobile.early
    rows = ledger.newest(0, 1000)
    assert [row["id"] if isinstance(row, dict) else row.number for row in rows] == list(range(1, KEEP_VOICES + 2))
