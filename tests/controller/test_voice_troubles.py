"""Calls without voice: what the record, the alarms and the figures say."""

import asyncio
from datetime import timedelta

import pytest
from controller_sim import ANSWER, Stage, candidate, stage, until

from simrack.controller.alarms.catalogue import CATALOGUE
from simrack.controller.alarms.voice import ONE_WAY_CALLS
from simrack.controller.models import RecordRow
from simrack.sip.legs import Connected, DialogIds, Disconnected
from simrack.wire.messages import FlowFigures, MediaFigures


async def talked(on: Stage, trouble: str) -> RecordRow:
    """One answered call whose box tells this trouble."""
    dialled, stored, answers = len(on.boxes.legs), len(on.store.finished), on.journal.count("sender:200")
    # Another channel for each: the last one is free when its box says so.
    on.router.candidates = (candidate(dialled + 1),)
    call, sender = on.call()
    task = asyncio.ensure_future(call.run())
    await until(lambda: len(on.boxes.legs) > dialled, "dialled")
    on.boxes.legs[-1].say(Connected(ANSWER, DialogIds("box-dialog", "l", "r")))
    await until(lambda: on.journal.count("sender:200") > answers, "answered")
    media = MediaFigures(codec="PCMU", mos=3.1, trouble=trouble, to_network=FlowFigures(packets=3))
    call.take_part(on.part(dialled, media=media), timedelta())
    sender.say(Disconnected(16))
    await asyncio.wait_for(task, 5)
    return on.store.finished[stored].record


@pytest.mark.parametrize(("trouble", "mark"), [("no-media", "no-media"), ("one-way:silent-rtp", "one-way"), ("", "")])
async def test_the_record_is_marked_and_counted(trouble: str, mark: str) -> None:
    """Breaks: a customer complains of silence, and his record looks like any other."""
    on = stage(candidate(1))
    row = await talked(on, trouble)
    assert row.mos == 3.1
    assert [word for word in row.marks if word in ("no-media", "one-way")] == ([mark] if mark else [])
    counted = on.services.metrics.registry.get_sample_value("simrack_voice_troubles_total", {"trouble": mark})
    assert counted == (1.0 if mark else None)


async def test_no_media_is_one_alarm_for_box_and_plan() -> None:
    """Breaks: nobody learns that a module's audio port is dead, or a hundred alarms say it."""
    on = stage(candidate(1))
    for _ in range(3):
        await talked(on, "no-media")
    assert on.alarms.open == {"no-media:box-1, plan lab"}


async def test_one_way_calls_in_a_row_are_an_alarm_and_one_alone_is_not() -> None:
    """Breaks: a mute key wakes the night shift, or a firewall that eats RTP wakes nobody."""
    on = stage(candidate(1))
    for trouble in ["one-way:no-rtp"] * (ONE_WAY_CALLS - 1) + ["", "one-way:silent-pcm"]:
        await talked(on, trouble)
    assert not on.alarms.open
    for _ in range(ONE_WAY_CALLS - 1):
        await talked(on, "one-way:no-rtp")
    assert on.alarms.open == {"one-way:box-1, plan lab"}


def test_the_alarms_say_what_to_do() -> None:
    """Breaks: an alarm that nobody knows what to do about."""
    for kind in ("no-media", "one-way"):
        assert "story" in CATALOGUE[kind].advice
