"""Two people speak: what a slow far end, a set clock, a restarted or doubled box does to their call."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from controller_sim import ANSWER, SimLeg, Stage, candidate, stage, until
from hypothesis import given
from hypothesis import strategies as st

from simrack.controller.calls import reconcile
from simrack.controller.calls.conversation import BoxGone, Conversation, Order
from simrack.controller.calls.ports import Dialogs, LeftCall
from simrack.controller.calls.reconcile import HEARD_WITHIN_S, SETTLE_S, Verdict, elapsed_ms, judge
from simrack.controller.calls.resumed import ResumedCall, resumable
from simrack.controller.fleet.boxes import Seen
from simrack.controller.models import RecordRow
from simrack.sip.legs import Connected, DialogIds, Disconnected, Info, Ringing, Update


class Talk:
    """A call that speaks, and its two legs."""

    def __init__(self, on: Stage, call: Conversation, sender: SimLeg, box: SimLeg) -> None:
        self.on, self.call, self.sender, self.box = on, call, sender, box
        self.task = asyncio.ensure_future(call.run())

    async def journal(self, line: str) -> None:
        await until(lambda: line in self.on.journal, f"{line} in {self.on.journal}")

    async def record(self) -> RecordRow:
        await asyncio.wait_for(self.task, 5)
        assert len(self.on.store.finished) == 1
        assert not self.on.store.open
        return self.on.store.finished[0].record

    async def ends(self) -> RecordRow:
        self.sender.say(Disconnected(16))
        return await self.record()


async def talking(on: Stage) -> Talk:
    call, sender = on.call()
    talk = Talk(on, call, sender, SimLeg([], "none"))
    await until(lambda: on.boxes.legs, "the attempt")
    talk.box = on.boxes.legs[0]
    talk.box.say(Ringing())
    talk.box.say(Connected(ANSWER, talk.box.ids))
    await talk.journal("sender:200")
    return talk


class Adopted:
    """Legs from what was stored; the first is the sender's."""

    def __init__(self, on: Stage) -> None:
        self.on, self.legs, self.answers = on, [], []

    legs: list[SimLeg]
    answers: list[str]

    def adopt(self, dialog: DialogIds, answer: str = "") -> SimLeg:
        name = "box1" if self.legs else "sender"
        leg = SimLeg(self.on.journal, name)
        leg.connected, leg.knows = True, None
        self.legs.append(leg)
        self.answers.append(answer)
        return leg


def stored(talk: Talk) -> LeftCall:
    """What the disk knows of a call."""
    (opened,) = talk.on.store.open.values()
    return LeftCall(opened, whole(talk.on.store.dialogs[opened.call]))


def whole(dialogs: Dialogs) -> Dialogs:
    ids = DialogIds("c", "l", "r", "sip:a@b", "sip:c@d", "sip:c@127.0.0.1", (), 1, "127.0.0.1:5060")
    return replace(dialogs, sender_leg=ids, box_leg=ids)


async def after_a_death(talk: Talk, away_s: float = 3.0) -> tuple[Talk, Adopted]:
    """The same call in the next run; nothing of the run before is left but the disk."""
    left = stored(talk)
    talk.task.cancel()
    await asyncio.gather(talk.task, return_exceptions=True)
    on = stage(candidate(), offer_s=0.05, probe_s=0.05)
    on.store.open[left.open.call] = left.open
    on.clock.mono, on.clock.now = talk.on.clock.mono + away_s, talk.on.clock.now + timedelta(seconds=away_s)
    legs = Adopted(on)
    call = ResumedCall(on.services, left, legs)
    return Talk(on, call, legs.legs[0], legs.legs[1]), legs


async def test_reinvite_that_the_other_side_never_answers() -> None:
    """Hold pressed towards a dead ear: 504 to who pressed, and both still speak as before."""
    talk = await talking(stage(candidate()))
    talk.sender.say(Update(b"hold"))
    await talk.journal("box1:offer")
    talk.box.say(Update(None, answers=True, status=408))
    await talk.journal("sender:refuse-update 504")
    talk.sender.say(Info("a/b", b"1"))
    await talk.journal("box1:info 1")
    assert (await talk.ends()).cause == 16


async def test_reinvite_that_is_answered_100_and_nothing_more() -> None:
    """A 100 stretches SIP's own patience to minutes; ours ends before, and a late answer changes nothing."""
    talk = await talking(stage(candidate(), offer_s=0.05))
    talk.box.say(Update(b"hold"))
    await talk.journal("sender:offer")
    await talk.journal("box1:refuse-update 504")
    talk.sender.say(Update(b"held", answers=True))
    talk.box.say(Update(b"again"))
    await until(lambda: talk.on.journal.count("sender:offer") == 2, "the next one")
    assert "box1:accept-update" not in talk.on.journal
    await talk.ends()


@pytest.mark.parametrize(("said", "told"), [(488, 488), (491, 491), (481, 488), (401, 488), (500, 500), (408, 504)])
async def test_refusal_of_a_reinvite_is_told_as_it_was_meant(said: int, told: int) -> None:
    """491 makes the phone try again by itself; 481 and 408 would make it end the call."""
    talk = await talking(stage(candidate()))
    talk.sender.say(Update(b"hold"))
    await talk.journal("box1:offer")
    talk.box.say(Update(None, answers=True, status=said))
    await talk.journal(f"sender:refuse-update {told}")
    await talk.ends()


@pytest.mark.parametrize("jump_h", [-1, 1])
async def test_clock_that_is_set_in_a_call(jump_h: int) -> None:
    """Nobody pays for a jump, and no call ends before it began."""
    on = stage(candidate())
    talk = await talking(on)
    on.clock.mono += 7
    on.clock.now += timedelta(hours=jump_h, seconds=7)
    row = await talk.ends()
    assert row.talk_sender_ms == 7000
    assert row.answered is not None
    assert row.ended >= row.answered


@pytest.mark.parametrize(("knows", "lost"), [(True, False), (False, True), (None, True)])
async def test_box_that_is_born_again_is_asked_for_the_call(knows: bool | None, lost: bool) -> None:
    """A second box under one name must not end the calls of the first; a restarted one ends its own."""
    talk = await talking(stage(candidate(), probe_s=0.05))
    talk.box.knows = knows
    talk.call.box_gone(BoxGone("box-1", dead=True))
    await talk.journal("box1:probe")
    if lost:
        row = await talk.record()
        assert (row.cause, row.side, "box-lost" in row.marks) == (41, "rack", True)
    else:
        talk.sender.say(Info("a/b", b"1"))
        await talk.journal("box1:info 1")
        assert (await talk.ends()).marks == ()


async def test_end_of_another_run_of_the_box_is_no_news() -> None:
    on = stage(candidate())
    talk = await talking(on)
    assert talk.call._stored is not None
    talk.call._stored = replace(talk.call._stored, box_boot="b2")
    talk.call.box_gone(BoxGone("box-1", dead=True, boot="b1"))
    talk.sender.say(Info("a/b", b"1"))
    await talk.journal("box1:info 1")
    assert "box1:probe" not in on.journal
    await talk.ends()


async def test_part_of_a_restarted_box_is_a_guess() -> None:
    """Its journal knows when the call began; the record says that the end is estimated."""
    on = stage(candidate())
    talk = await talking(on)
    part = on.part(talk_ms=5000)
    talk.call.take_part(part.model_copy(update={"estimated": True}), timedelta())
    row = await talk.ends()
    assert (row.estimated, row.talk_network_ms) == (True, 5000)


async def test_side_that_moves_is_found_after_a_restart() -> None:
    """A re-INVITE from another address: what is on disk leads there."""
    on = stage(candidate())
    talk = await talking(on)
    saved = on.journal.count("store:dialogs")
    talk.sender.say(Update(b"same place"))
    await talk.journal("box1:offer")
    talk.box.say(Update(b"ok", answers=True))
    await talk.journal("sender:accept-update")
    assert on.journal.count("store:dialogs") == saved, "nothing has moved"
    moved = DialogIds("id-sender", "l", "r", remote_target="sip:me@192.0.2.9", remote_address="192.0.2.9:5060")
    talk.sender.ids_now = moved
    talk.sender.say(Update(b"elsewhere"))
    await until(lambda: on.journal.count("box1:offer") == 2)
    talk.box.say(Update(b"ok", answers=True))
    await until(lambda: on.journal.count("store:dialogs") == saved + 1, "the new place on disk")
    (dialogs,) = on.store.dialogs.values()
    assert dialogs.sender_leg == moved
    assert dialogs.kept is not None
    assert dialogs.kept.sender_sdp == "elsewhere"
    await talk.ends()


# --- after a death ------------------------------------------------------------------------------------------


async def test_resumed_call_keeps_time_and_story() -> None:
    """Talk, set-up and ringing time are those of one call; the outage counts, because both sides went on."""
    on = stage(candidate())
    first = await talking(on)
    on.clock.forward(10)
    talk, legs = await after_a_death(first, away_s=3)
    await talk.journal("store:taken-over")
    assert legs.answers[0].startswith("SIP/2.0 200"), "13 s after the answer an ACK may be missing"
    talk.on.clock.forward(4)
    row = await talk.ends()
    assert row.talk_sender_ms == 17_000
    assert row.marks == ("resumed",)
    ladder = talk.on.store.finished[0].ladder
    assert all(a.ms <= b.ms for a, b in pairwise(ladder))
    assert ladder[-1].ms >= 17_000


async def test_old_answer_is_not_repeated() -> None:
    """After 32 s nobody waits for it any more (RFC 3261 13.3.1.4)."""
    talk, legs = await after_a_death(await talking(stage(candidate())), away_s=33)
    assert legs.answers == ["", ""]
    await talk.ends()


@pytest.mark.parametrize("jump_h", [-1, 1])
async def test_clock_that_is_set_while_the_controller_is_away(jump_h: int) -> None:
    """The record says that its clocks disagreed, and bills the shorter time."""
    on = stage(candidate())
    first = await talking(on)
    on.clock.forward(10)
    on.clock.now += timedelta(hours=jump_h)
    talk, _ = await after_a_death(first, away_s=3)
    row = await talk.ends()
    assert row.talk_sender_ms == 13_000
    assert set(row.marks) == {"resumed", "clock-suspect"}
    assert row.answered is not None
    assert row.ended >= row.answered


async def test_box_that_answers_for_the_call_needs_no_report() -> None:
    """The broker is gone: OPTIONS inside the call tells what the reports can't."""
    talk, _ = await after_a_death(await talking(stage(candidate())))
    await talk.journal("box1:probe")
    talk.box.knows = True
    talk.box.probe()
    await until(lambda: isinstance(talk.call, ResumedCall) and talk.call._known, "the word of the box")
    assert (await talk.ends()).cause == 16


async def test_box_that_does_not_know_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its part tells the true end when it comes in time; else the call is lost."""
    monkeypatch.setattr(reconcile, "SETTLE_S", 0.0)
    talk, _ = await after_a_death(await talking(stage(candidate())))
    talk.box.knows = False
    talk.box.probe()
    row = await talk.record()
    assert (row.cause, row.side, row.estimated) == (41, "rack", True)
    assert "sender:hang-up 41" in talk.on.journal


async def test_reinvite_crossing_after_a_restart() -> None:
    talk, _ = await after_a_death(await talking(stage(candidate())))
    await talk.journal("store:taken-over")
    talk.sender.say(Update(b"hold"))
    await talk.journal("box1:offer")
    talk.box.say(Update(b"hold too"))
    await talk.journal("box1:refuse-update 491")
    talk.box.say(Update(b"held", answers=True))
    await talk.journal("sender:accept-update")
    await talk.ends()


async def test_row_without_what_is_needed_is_not_resumed() -> None:
    talk = await talking(stage(candidate()))
    left = stored(talk)
    assert resumable(left)
    for broken in (LeftCall(left.open), LeftCall(left.open, talk.on.store.dialogs[left.open.call])):
        with pytest.raises(ValueError, match=left.open.call):
            resumable(broken)
    await talk.ends()


@pytest.mark.parametrize("who", ["person", "stop"])
async def test_resumed_call_obeys(who: str) -> None:
    talk, _ = await after_a_death(await talking(stage(candidate())))
    await talk.journal("store:taken-over")
    talk.call.hang_up(Order("hung up by ann", mark="hung-up", cause=16) if who == "person" else Order("controller stops"))
    row = await talk.record()
    assert row.side == "rack"
    assert {f"sender:hang-up {row.cause}", f"box1:hang-up {row.cause}"} <= set(talk.on.journal)


# --- the rules ----------------------------------------------------------------------------------------------

UP = Seen(online=True, carries=True)
DOWN = Seen(online=False)


@pytest.mark.parametrize(
    ("seen", "known", "waited", "missed", "verdict"),
    [
        (UP, None, 0, 0, Verdict.HELD),
        (UP, False, 0, 0, Verdict.WAIT),
        (UP, False, 2, SETTLE_S, Verdict.GONE),
        (DOWN, True, 0, 0, Verdict.HELD),
        (DOWN, None, HEARD_WITHIN_S - 1, 0, Verdict.WAIT),
        (DOWN, None, HEARD_WITHIN_S, 0, Verdict.UNHEARD),
        (Seen(online=True), None, 5, 0, Verdict.WAIT),
        (Seen(online=True), None, HEARD_WITHIN_S, 0, Verdict.UNHEARD),
        (Seen(online=True, carries=False), None, 1, 1, Verdict.WAIT),
        (Seen(online=True, carries=False), None, 3, SETTLE_S, Verdict.GONE),
        (Seen(online=True, other_run=True), None, 3, SETTLE_S, Verdict.GONE),
        (Seen(online=True, other_run=True, carries=True), None, 3, SETTLE_S, Verdict.GONE),
    ],
)
def test_what_the_box_says_decides(
    seen: Seen, known: bool | None, waited: float, missed: float, verdict: Verdict
) -> None:
    """A wrong verdict ends a call that two people are in, or keeps one that nobody is in."""
    assert judge(seen, known, waited, missed) is verdict


@given(
    st.timedeltas(timedelta(days=-2), timedelta(days=2)),
    st.one_of(st.none(), st.floats(-1e6, 1e6)),
    st.floats(-1e6, 1e6),
)
def test_time_over_a_restart_is_never_negative_and_never_the_longer_one(
    span: timedelta, before: float | None, now: float
) -> None:
    """Whatever the clocks did, nobody is billed for more than the shorter of both."""
    on = stage()
    answered = on.clock.utc()
    ms, suspect = elapsed_ms(answered, answered + span, before, now)
    assert ms >= 0
    wall = span.total_seconds() * 1000
    steady = wall if before is None else (now - before) * 1000
    if not suspect:
        assert abs(ms - wall) <= 2001
    elif wall >= 0 and steady >= 0:
        assert ms <= min(wall, steady) + 1
