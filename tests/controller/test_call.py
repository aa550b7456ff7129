"""One call over simulated legs: what the sender hears, what the box is asked, what the record says."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from controller_sim import (
    ANSWER,
    OFFER,
    SimLeg,
    SimSender,
    Stage,
    candidate,
    invite,
    stage,
    until,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from simrack.controller.calls.call import Call
from simrack.controller.calls.conversation import BoxGone, Order
from simrack.controller.fleet.view import FleetView
from simrack.controller.models import RecordRow, Refusal
from simrack.controller.routing.decision import CallFacts, Decision, Over
from simrack.sip.legs import (
    Connected,
    Dial,
    DialogIds,
    Disconnected,
    Event,
    Failed,
    Info,
    Progress,
    Ringing,
    Trying,
    Update,
)
from simrack.wire.causes import sip_of

IDS = DialogIds("box-dialog", "l", "r")
SILENT = Failed(408, 38, "no response", "local", no_response=True)


def connected() -> Connected:
    return Connected(ANSWER, IDS)


class Running:
    """A call in progress and its parts."""

    def __init__(self, on: Stage) -> None:
        self.on = on
        self.call, self.sender = on.call()
        self.task = asyncio.ensure_future(self.call.run())

    async def dialled(self, count: int = 1) -> SimLeg:
        await until(lambda: len(self.on.boxes.legs) >= count, f"attempt {count}")
        return self.on.boxes.legs[count - 1]

    async def journal(self, line: str) -> None:
        await until(lambda: line in self.on.journal, f"{line} in {self.on.journal}")

    async def answered(self) -> SimLeg:
        leg = await self.dialled()
        leg.say(Ringing())
        leg.say(connected())
        await self.journal("sender:200")
        return leg

    async def answered_unwritten(self) -> None:
        """The network answers while the database is down, and the sender hears it all the same."""
        leg = await self.dialled()
        self.on.store.down = True
        leg.say(connected())
        await self.journal("sender:200")
        assert not self.on.store.dialogs
        self.on.store.down = False

    async def record(self) -> RecordRow:
        await asyncio.wait_for(self.task, 5)
        assert len(self.on.store.finished) == 1, "exactly one record"
        assert not self.on.store.open, "the open row is gone"
        return self.on.store.finished[0].record


async def test_answered_call_is_on_disk_before_each_word_to_the_sender() -> None:
    """A crash at any moment leaves a row that tells of the call."""
    on = stage(candidate())
    run = Running(on)
    leg = await run.answered()
    await asyncio.sleep(0)
    on.clock.forward(5)
    run.call.take_part(on.part(talk_ms=5004, ring_ms=2000, cause_text="CEER: normal"), timedelta())
    run.sender.say(Disconnected(16, "bye"))
    row = await run.record()
    assert on.journal == [
        "store:open", "sender:100", "box1:invite", "sender:180", "store:dialogs", "sender:200",
        "box1:hang-up 16", "store:cdr",
    ]  # fmt: skip
    assert (row.outcome, row.cause, row.side, row.sip_status) == ("answered", 16, "calling", 200)
    assert (row.talk_sender_ms, row.talk_network_ms, row.ring_ms) == (5000, 5004, 2000)
    assert not row.estimated
    assert row.marks == ()
    assert leg.ended


async def test_invite_to_the_box_names_channel_card_call_and_attempt() -> None:
    """Without these headers a box can't check that channel and SIM are the ones that were meant."""
    on = stage(candidate(3))
    run = Running(on)
    await run.dialled()
    dial = on.boxes.dials[0]
    assert dial.headers["X-Simrack-Channel"] == "3"
    assert dial.headers["X-Simrack-ICCID"] == candidate(3).iccid
    assert dial.headers["X-Simrack-Call"] == run.call.id
    assert (dial.called, dial.calling, dial.sdp) == ("+8825550001", "+88200", OFFER)
    run.sender.cancel()
    await run.record()


async def test_network_releases_first() -> None:
    """The record blames the called side and the sender's BYE carries the network's cause."""
    on = stage(candidate())
    run = Running(on)
    leg = await run.answered()
    leg.say(Disconnected(31, "network"))
    run.call.take_part(on.part(talk_ms=10, cause=31), timedelta())
    row = await run.record()
    assert "sender:hang-up 31" in on.journal
    assert (row.outcome, row.cause, row.side) == ("answered", 31, "called")


async def test_both_sides_hang_up_at_once() -> None:
    """Crossing BYEs make one record and leave no leg."""
    on = stage(candidate())
    run = Running(on)
    leg = await run.answered()
    run.sender.say(Disconnected(16))
    leg.say(Disconnected(16))
    row = await run.record()
    assert row.outcome == "answered"
    assert row.side == "calling"


@pytest.mark.parametrize(
    ("cause", "status", "side"),
    [(17, 486, "called"), (19, 480, "called"), (21, 403, "called"), (1, 404, "called")],
)
async def test_called_party_failures_are_final(cause: int, status: int, side: str) -> None:
    """Busy, no answer, rejected and unallocated end the call: a second SIM would ring the same person again."""
    on = stage(candidate(1), candidate(2))
    run = Running(on)
    leg = await run.dialled()
    leg.say(Failed(sip_of(cause), cause, "as the network said"))
    run.call.take_part(on.part(cause=cause), timedelta())
    row = await run.record()
    assert len(on.boxes.dials) == 1
    assert f"sender:{status}/{cause}" in on.journal
    assert (row.outcome, row.cause, row.side, row.sip_status) == ("failed", cause, side, status)
    assert row.cause_original == "as the network said"


@pytest.mark.parametrize(
    "failure",
    [
        Failed(503, 44, "taken", headers={"x-simrack-refusal": "taken"}),
        Failed(503, 41, "module answered ERROR"),
        Failed(503, 38, "network"),
        Failed(503, 42, "congestion"),
        SILENT,
    ],
    ids=["taken", "module-error", "network", "congestion", "silent-box"],
)
async def test_failover_goes_to_the_next_candidate_within_the_call(failure: Failed) -> None:
    """A dead channel or box costs the caller nothing but time."""
    on = stage(candidate(1), candidate(2, "box-2"))
    run = Running(on)
    (await run.dialled()).say(failure)
    second = await run.dialled(2)
    assert on.boxes.attempt(0) != on.boxes.attempt(1)
    second.say(Ringing())
    second.say(connected())
    await run.journal("sender:200")
    run.call.take_part(on.part(1, talk_ms=1), timedelta())
    run.sender.say(Disconnected(16))
    row = await run.record()
    assert (row.outcome, row.attempts, row.box, row.channel) == ("answered", 2, "box-2", 2)
    assert "rerouted" in row.marks
    first, last = on.store.finished[0].attempts
    assert (first.number, first.cause) == (1, failure.cause)
    assert last.outcome == "answered"
    explanation = on.store.finished[0].explanation
    assert explanation is not None
    assert explanation.order[1].outcome == "answered"


async def test_after_early_media_no_other_candidate_is_tried() -> None:
    """A second 183 with another SDP would break the sender's media (RFC 6337 3.1)."""
    on = stage(candidate(1), candidate(2))
    run = Running(on)
    leg = await run.dialled()
    leg.say(Progress(ANSWER))
    leg.say(Failed(503, 41, "network"))
    row = await run.record()
    assert len(on.boxes.dials) == 1
    assert "sender:183" in on.journal
    assert "sender:503/41" in on.journal
    assert row.cause == 41


async def test_all_candidates_fail() -> None:
    """The sender hears the last failure; a taken channel is "all lines busy" to it."""
    on = stage(candidate(1), candidate(2))
    run = Running(on)
    (await run.dialled()).say(SILENT)
    (await run.dialled(2)).say(Failed(503, 44, "taken"))
    row = await run.record()
    assert "sender:503/34" in on.journal
    assert (row.cause, row.side, row.attempts) == (34, "rack", 2)


async def test_channel_that_went_out_of_service_is_no_busy_line() -> None:
    """Cause 34 makes the sender's switch try again for a free line, where a person must look."""
    on = stage(candidate(1))
    run = Running(on)
    (await run.dialled()).say(Failed(503, 44, "not ready", headers={"x-simrack-refusal": "not-ready"}))
    row = await run.record()
    assert (row.sip_status, row.cause, row.estimated) == (503, 41, False)


async def test_silent_boxes_alone() -> None:
    """Boxes unreachable is 503 with cause 41, and the record says that nobody knows what the network did."""
    on = stage(candidate(1))
    run = Running(on)
    (await run.dialled()).say(SILENT)
    row = await run.record()
    assert "sender:503/41" in on.journal
    assert row.estimated


async def test_attempts_are_limited() -> None:
    """A caller does not wait through a whole dead fleet."""
    on = stage(*(candidate(n) for n in range(1, 9)), attempts=3)
    on.boxes.on_dial = lambda leg, _dial: leg.say(Failed(503, 41, "no"))
    row = await Running(on).record()
    assert row.attempts == 3


async def test_candidate_that_another_call_took_is_skipped() -> None:
    """Never two calls on a channel or card."""
    on = stage(candidate(1), candidate(2))
    assert on.fleet.reserve("other", "box-1", 1, candidate(1).iccid)
    run = Running(on)
    await run.dialled()
    assert on.boxes.dials[0].headers["X-Simrack-Channel"] == "2"
    run.sender.cancel()
    await run.record()


async def test_nothing_comes_between_decision_and_reservation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of one burst chose the same channels, and the last of them heard 503 in a rack with free lines."""
    on, seen = stage(candidate(1)), list[str]()
    decide, reserve = on.router.decide, on.fleet.reserve

    def decided(facts: CallFacts, fleet: FleetView) -> Decision:
        asyncio.get_running_loop().call_soon(seen.append, "another call's turn")
        return decide(facts, fleet)

    def reserved(*what: Any) -> bool:
        seen.append("reserved")
        return reserve(*what)

    monkeypatch.setattr(on.router, "decide", decided)
    monkeypatch.setattr(on.fleet, "reserve", reserved)
    run = Running(on)
    await run.dialled()
    assert seen[0] == "reserved"
    run.sender.cancel()
    await run.record()


async def test_all_candidates_taken_is_all_lines_busy() -> None:
    on = stage(candidate(1))
    on.fleet.reserve("other", "box-9", 9, candidate(1).iccid)
    row = await Running(on).record()
    assert (row.sip_status, row.cause) == (503, 34)


async def _after(run: Running, *events: Trying | Ringing | Progress) -> None:
    leg = await run.dialled()
    for event in events:
        leg.say(event)
    await until(leg.events.empty)
    run.sender.cancel()


@pytest.mark.parametrize("events", [(), (Trying(),), (Ringing(),), (Progress(ANSWER),)])
async def test_cancel_before_answer(events: tuple[Trying, ...]) -> None:
    """The box is cancelled and the record says that the caller gave up."""
    on = stage(candidate(1), candidate(2))
    run = Running(on)
    await _after(run, *events)
    row = await run.record()
    assert on.journal.count("box1:hang-up 16") == 1
    assert len(on.boxes.dials) == 1
    assert (row.outcome, row.cause, row.side, row.sip_status) == ("cancelled", 16, "calling", 487)
    assert row.talk_sender_ms == 0


async def test_cancel_before_anything_was_done() -> None:
    """A caller who gives up at once disturbs no channel."""
    on = stage(candidate(1))
    call, sender = on.call()
    sender.cancel()
    await call.run()
    assert not on.boxes.dials
    assert on.store.finished[0].record.outcome == "cancelled"


async def test_cancel_between_two_candidates() -> None:
    """No candidate is tried for a caller who has gone."""
    on = stage(candidate(1), candidate(2))
    run = Running(on)
    leg = await run.dialled()
    run.sender.cancel()
    leg.say(Failed(503, 41, "no"))
    row = await run.record()
    assert len(on.boxes.dials) == 1
    assert row.outcome == "cancelled"


async def test_cancel_that_crosses_the_answer_is_an_answered_call() -> None:
    """The network counts it as answered, so the record must, with the true duration and a mark."""
    on = stage(candidate(1))
    run = Running(on)
    leg = await run.dialled()
    leg.cancel_works = False  # the 200 is on its way already
    leg.say(Ringing())
    run.sender.cancel()
    await run.journal("box1:hang-up 16")
    leg.say(connected())
    now = on.clock.utc()
    run.call.take_part(on.part(connected=now, talk_ms=40, side="calling"), timedelta())
    row = await run.record()
    assert on.journal.count("box1:hang-up 16") == 2
    assert "cancel-crossed" in row.marks
    assert (row.outcome, row.talk_network_ms, row.talk_sender_ms) == ("answered", 40, 0)
    assert row.answered == now
    assert "sender:200" not in on.journal


async def test_cancel_while_the_dialogs_are_being_stored() -> None:
    """The moment between the network's connect and our 200 is a crossing too."""
    on = stage(candidate(1))
    run = Running(on)
    leg = await run.dialled()
    real = on.store.connected

    async def slow(call: str, dialogs: object) -> None:
        run.sender.cancel()
        await real(call, dialogs)  # type: ignore[arg-type]

    on.store.connected = slow  # type: ignore[method-assign]
    leg.say(connected())
    row = await run.record()
    assert "sender:200" not in on.journal
    assert row.outcome == "answered"
    assert "cancel-crossed" in row.marks


async def test_stop_of_the_controller_that_crosses_the_answer_is_an_answered_call() -> None:
    """The sender was told 503, and the network charges all the same: the record must not say "failed"."""
    on = stage(candidate(1))
    run = Running(on)
    leg = await run.dialled()
    leg.cancel_works = False
    leg.say(Ringing())
    run.call.hang_up(Order("controller stops", mark="controller-stopped"))
    await run.journal("box1:hang-up 41")
    leg.say(connected())
    run.call.take_part(on.part(connected=on.clock.utc(), talk_ms=25, side="rack"), timedelta())
    row = await run.record()
    assert (row.outcome, row.cause, row.side, row.sip_status) == ("answered", 41, "rack", 503)
    assert (row.talk_network_ms, row.talk_sender_ms, row.estimated) == (25, 0, False)
    assert {"cancel-crossed", "controller-stopped"} <= set(row.marks)


async def test_connect_that_the_box_saw_only_after_its_487_is_an_answered_call() -> None:
    """The CANCEL came to the box between the network's connect and the module's word of it."""
    on = stage(candidate(1))
    run = Running(on)
    leg = await run.dialled()
    leg.say(Ringing())
    now = on.clock.utc()
    run.call.hang_up(Order("hung up by NOC", mark="hung-up"))
    await run.journal("box1:hang-up 41")
    run.call.take_part(on.part(connected=now, talk_ms=30, side="rack"), timedelta())
    row = await run.record()
    assert (row.outcome, row.talk_network_ms) == ("answered", 30)
    assert row.answered == now


async def test_what_a_test_call_goes_over_reaches_routing() -> None:
    """The header is all that the control room can say."""
    on = stage(refusal=Refusal(reason="x", sip=404, cause=27, text="no"))
    call, _ = on.call(replace(invite(), headers={"x-test-over": "box=lab-01; channel=3"}))
    await call.run()
    assert on.router.asked[0].over == Over("lab-01", 3)
    call, _ = on.call(replace(invite(call_id="call-2"), headers={"x-test-over": "everything"}))
    await call.run()
    row = on.store.finished[1].record
    assert (row.outcome, row.refusal, row.sip_status) == ("refused", "test-call", 400)
    assert "x-test-over" in row.cause_original


async def test_cancel_before_the_boxes_first_word_waits_for_its_part() -> None:
    """The INVITE was on its way, the module dialled and was connected: a bill without a record."""
    on = stage(candidate(1), part_s=5.0)
    run = Running(on)
    await run.dialled()
    now = on.clock.utc()
    run.call.hang_up(Order("controller stops", mark="controller-stopped"))
    await run.journal("box1:hang-up 41")
    run.call.take_part(on.part(connected=now, talk_ms=90, side="calling"), timedelta())
    row = await run.record()
    assert (row.outcome, row.talk_network_ms, row.estimated) == ("answered", 90, False)
    assert {"cancel-crossed", "controller-stopped"} <= set(row.marks)


async def test_connect_at_a_box_that_stops_counts_although_others_were_tried() -> None:
    """A stopping box refuses a call in the moment in which its module connects; the next candidate refuses it too."""
    on = stage(candidate(1), candidate(2), part_s=5.0)
    run = Running(on)
    first = await run.dialled()
    first.say(Trying())
    first.say(Failed(503, 41, "the box stops"))
    second = await run.dialled(2)
    now = on.clock.utc()
    run.call.take_part(on.part(connected=now, talk_ms=43, side="rack"), timedelta())
    second.say(Failed(503, 41, "the box is stopping", headers={"x-simrack-refusal": "stopping"}))
    row = await run.record()
    assert (row.outcome, row.channel, row.talk_network_ms, row.talk_sender_ms) == ("answered", 1, 43, 0)
    assert (row.answered, row.estimated, row.sip_status) == (now, False, 503)
    assert {"cancel-crossed", "rerouted"} <= set(row.marks)


async def test_late_answer_of_an_abandoned_candidate_is_ended_and_recorded() -> None:
    """Two phones must not be connected to one caller, and the bill of the first must be explained."""
    on = stage(candidate(1), candidate(2))
    run = Running(on)
    first = await run.dialled()
    first.say(SILENT)
    second = await run.dialled(2)
    first.ended = False
    first.say(connected())
    await run.journal("box1:hang-up 16")
    second.say(connected())
    await run.journal("sender:200")
    run.sender.say(Disconnected(16))
    row = await run.record()
    assert "late-answer" in row.marks
    assert on.store.finished[0].attempts[0].outcome == "answered late and ended"
    assert row.channel == 2


async def test_box_that_never_tells_its_part_makes_an_estimated_record() -> None:
    """The record does not wait longer than its time, and says that its network figures are a guess."""
    on = stage(candidate(1))
    run = Running(on)
    await run.answered()
    on.clock.forward(3)
    run.sender.say(Disconnected(16))
    row = await run.record()
    assert row.estimated
    assert row.talk_network_ms == row.talk_sender_ms == 3000


async def test_leg_that_never_ends_does_not_keep_the_call_open() -> None:
    """A box that died after its CANCEL can't hold a record back."""
    on = stage(candidate(1))
    run = Running(on)
    leg = await run.dialled()
    leg.cancel_works = False
    leg.say(Ringing())
    await run.journal("sender:180")
    run.sender.cancel()
    row = await run.record()
    assert row.outcome == "cancelled"


async def test_talk_times_that_differ_are_marked() -> None:
    """A second between what the customer and the network talked is something to look at."""
    on = stage(candidate(1))
    run = Running(on)
    await run.answered()
    on.clock.forward(10)
    run.call.take_part(on.part(talk_ms=11_200), timedelta())
    run.sender.say(Disconnected(16))
    assert "talk-differs" in (await run.record()).marks


async def test_longest_duration_ends_both_legs() -> None:
    """No call outlives its limit."""
    short = candidate(1)
    on = stage(type(short)(**{**{f: getattr(short, f) for f in short.__slots__}, "max_call_s": 0}))
    run = Running(on)
    await run.answered()
    row = await run.record()
    assert {"sender:hang-up 16", "box1:hang-up 16"} <= set(on.journal)
    assert "max-duration" in row.marks
    assert row.side == "rack"


@pytest.mark.parametrize("answered", [True, False])
async def test_person_hangs_up(answered: bool) -> None:
    """A hang-up from the page ends a call at any stage, with its mark."""
    on = stage(candidate(1), candidate(2))
    run = Running(on)
    if answered:
        await run.answered()
    else:
        await run.dialled()
    run.call.hang_up(Order("hung up by ann", mark="hung-up", cause=16))
    row = await run.record()
    assert row.side == "rack"
    assert "hung-up" in row.marks
    assert row.outcome == ("answered" if answered else "failed")
    assert len(on.boxes.dials) == 1


async def test_box_restarts_in_a_call() -> None:
    """A call of a dead run ends at once instead of hanging for hours."""
    on = stage(candidate(1))
    run = Running(on)
    await run.answered()
    run.call.box_gone(BoxGone("box-1", dead=False))
    run.call.box_gone(BoxGone("box-2", dead=True))
    run.call.box_gone(BoxGone("box-1", dead=True))
    row = await run.record()
    assert "box-lost" in row.marks
    assert (row.cause, row.side) == (41, "rack")


async def test_box_lost_while_dialling_goes_to_the_next() -> None:
    """A last will saves the caller the SIP timers."""
    on = stage(candidate(1), candidate(2, "box-2"))
    run = Running(on)
    (await run.dialled()).say(Trying())
    run.call.box_gone(BoxGone("box-1", dead=False))
    (await run.dialled(2)).say(connected())
    await run.journal("sender:200")
    assert "box1:give-up" in on.journal, "repeated, its INVITE would reach the box's next run"
    run.sender.say(Disconnected(16))
    assert (await run.record()).box == "box-2"


async def test_ringing_goes_on_while_only_the_box_s_broker_link_is_down() -> None:
    """A broker that restarts must not end calls."""
    on = stage(candidate(1), candidate(2, "box-2"))
    run = Running(on)
    leg = await run.dialled()
    leg.say(Ringing())
    await run.journal("sender:180")
    run.call.box_gone(BoxGone("box-1", dead=False))
    leg.say(connected())
    await run.journal("sender:200")
    run.sender.say(Disconnected(16))
    assert (await run.record()).attempts == 1


async def test_hold_and_dtmf_pass_through() -> None:
    """Re-INVITE (hold) and INFO (digits) reach the other side, in both directions, and answers come back."""
    on = stage(candidate(1))
    run = Running(on)
    leg = await run.answered()
    run.sender.say(Update(b"hold"))
    await run.journal("box1:offer")
    run.sender.say(Update(b"again"))
    await run.journal("sender:refuse-update 491")
    leg.say(Update(b"held", answers=True))
    await run.journal("sender:accept-update")
    leg.say(Update(None))
    await run.journal("box1:accept-update")
    leg.say(Update(b"offer"))
    await run.journal("sender:offer")
    run.sender.say(Update(None, answers=True))
    await run.journal("box1:refuse-update 488")
    run.sender.say(Info("application/dtmf-relay", b"Signal=5"))
    await run.journal("box1:info Signal=5")
    leg.say(Info("application/dtmf-relay", b"Signal=6"))
    await run.journal("sender:info Signal=6")
    run.sender.say(Disconnected(16))
    await run.record()


async def test_refusal_of_routing_is_a_record() -> None:
    """A refused call is found in the records with its reason, and no box hears of it."""
    on = stage(refusal=Refusal(reason="no-pattern", sip=404, cause=27, text="no pattern"))
    row = await Running(on).record()
    assert "sender:404/27" in on.journal
    assert (row.outcome, row.refusal, row.sip_status, row.cause, row.side) == (
        "refused",
        "no-pattern",
        404,
        27,
        "rack",
    )
    assert not on.boxes.dials


async def test_refused_emergency_call_raises_an_alarm() -> None:
    on = stage(refusal=Refusal(reason="emergency-refused", sip=403, cause=21, text="no emergency line"))
    await Running(on).record()
    assert on.alarms.open == {"emergency-refused"}


async def test_offer_without_a_usable_codec_is_refused() -> None:
    """488 at once instead of a call without voice."""
    on = stage(candidate(1))
    asked = invite()
    asked = type(asked)(
        **{**{f: getattr(asked, f) for f in asked.__slots__}, "sdp": OFFER.replace(b" 8 0 101", b" 18")}
    )
    sender = SimSender(on.journal, asked)
    await Call(on.services, sender, "acme").run()
    assert on.store.finished[0].record.sip_status == 488
    assert not on.boxes.dials


async def test_invite_without_a_session_is_refused_before_any_box_hears_of_it() -> None:
    """One such INVITE kept six channels from everybody for ten seconds."""
    on = stage(candidate(1))
    asked = invite()
    asked = type(asked)(**{**{f: getattr(asked, f) for f in asked.__slots__}, "sdp": None})
    await Call(on.services, SimSender(on.journal, asked), "acme").run()
    record = on.store.finished[0].record
    assert (record.sip_status, record.refusal, record.estimated) == (488, "no-codec", False)
    assert not on.boxes.dials


async def test_channel_that_the_box_never_touched_is_free_at_once() -> None:
    """A box out of RTP ports says so; its channel is not kept from the next call, and no part is waited for."""
    on = stage(candidate(1))
    run = Running(on)
    (await run.dialled()).say(Failed(503, 47, "no RTP port", headers={"x-simrack-refusal": "no-port"}))
    row = await run.record()
    assert (row.outcome, row.estimated) == ("failed", False)
    assert on.fleet.reserve("x", "box-1", 1, "")


async def test_database_down_refuses_the_call() -> None:
    """No call is carried that could not be recorded; a person is told."""
    on = stage(candidate(1))
    on.store.down = True
    call, _ = on.call()
    await call.run()
    assert on.journal == ["sender:503/41"]
    assert on.alarms.open == {"store-down"}


async def test_database_down_at_the_end_loses_no_record() -> None:
    """The record is tried again until it is stored, and the alarm closes."""
    on = stage(candidate(1))
    run = Running(on)
    await run.answered()
    on.store.down = True
    run.sender.say(Disconnected(16))
    await until(lambda: "store-down" in on.alarms.open)
    on.store.down = False
    assert (await run.record()).outcome == "answered"
    assert not on.alarms.open


async def test_database_down_at_the_answer_does_not_end_the_call() -> None:
    on = stage(candidate(1))
    run = Running(on)
    await run.answered_unwritten()
    run.sender.say(Disconnected(16))
    assert (await run.record()).outcome == "answered"


async def test_identifiers_are_stored_when_the_database_is_back() -> None:
    """A controller that restarts an hour later must still find the call that was answered in the bad minute."""
    on = stage(candidate(1))
    run = Running(on)
    await run.answered_unwritten()
    await run.journal("store:dialogs")
    assert on.store.dialogs[run.call.id].box == "box-1"
    assert not on.alarms.open
    run.sender.say(Disconnected(16))
    await run.record()
    assert on.journal.count("store:dialogs") == 1


async def test_merged_request_makes_no_second_record() -> None:
    """The same INVITE over two ways is one call (RFC 3261 8.2.2.2)."""
    on = stage(candidate(1))
    run = Running(on)
    await run.dialled()
    twin, twin_sender = on.call()
    await twin.run()
    assert twin_sender.ended
    assert "sender:482/31" in on.journal
    run.sender.cancel()
    await run.record()


async def test_fault_inside_ends_the_call_with_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in one call is that call's end, with a record, not a call for ever."""
    on = stage(candidate(1))

    def broken(_dial: Dial) -> SimLeg:
        raise RuntimeError("bug")

    monkeypatch.setattr(on.boxes, "dial", broken)
    row = await Running(on).record()
    assert (row.outcome, row.cause, row.side) == ("failed", 41, "rack")


async def test_channel_and_card_are_held_through_the_call_and_freed_after_it() -> None:
    on = stage(candidate(1))
    run = Running(on)
    await run.answered()
    assert not on.fleet.reserve("x", "box-1", 1, "")
    run.sender.say(Disconnected(16))
    await run.record()
    assert not on.fleet.reserve("x", "box-1", 1, "")
    on.clock.forward(10)
    on.fleet.view(on.clock.utc())
    assert on.fleet.reserve("x", "box-1", 1, "")
    assert on.fleet.load.senders() == {}
    assert on.fleet.load.plans() == {}


BOX_EVENTS: st.SearchStrategy[Event] = st.sampled_from([
    Trying(), Ringing(), Progress(ANSWER), connected(), Failed(486, 17), Failed(503, 44), Failed(503, 41), SILENT,
    Disconnected(16), Update(b"x"), Info("a/b", b"1"),
])  # fmt: skip
SENDER_EVENTS: st.SearchStrategy[Event] = st.sampled_from(
    [Failed(487, 16), Disconnected(16), Update(b"y"), Update(None), Info("a/b", b"2")]
)
NEWS: st.SearchStrategy[Order | BoxGone] = st.sampled_from(
    [Order("stop"), BoxGone("box-1", dead=True), BoxGone("box-1", dead=False)]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("bsn"), st.data()), max_size=9))
def test_any_order_of_events_ends_in_exactly_one_record(steps: list[tuple[str, st.DataObject]]) -> None:
    """Whatever comes in whatever order, the call ends with one record, no open row, no held channel."""
    asyncio.run(_any_order(steps))


async def _any_order(steps: list[tuple[str, st.DataObject]]) -> None:
    on = stage(candidate(1), candidate(2), release_s=0.005, part_s=0.001)
    call, sender = on.call()
    task = asyncio.ensure_future(call.run())
    for who, data in steps:
        for _ in range(4):
            await asyncio.sleep(0)
        if who == "n":
            item = data.draw(NEWS)
            call.hang_up(item) if isinstance(item, Order) else call.box_gone(item)
        elif who == "s":
            if not sender.ended:
                sender.say(data.draw(SENDER_EVENTS))
        elif on.boxes.legs:
            leg = data.draw(st.sampled_from(on.boxes.legs))
            if not leg.ended:
                leg.say(data.draw(BOX_EVENTS))
    call.hang_up(Order("end of test"))
    await asyncio.wait_for(task, 5)
    assert len(on.store.finished) == 1
    assert not on.store.open
    assert on.fleet.load.senders() == {}
    assert on.fleet.load.plans() == {}
    assert sender.ended or on.store.finished[0].record.outcome == "answered"
