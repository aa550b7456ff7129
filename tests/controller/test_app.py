"""The real controller between a raw UDP sender and a raw UDP box, with its database."""

import asyncio
import os
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from controller_sim import until
from controller_world import NUMBER, ROUTING, World, authorize, peer_at, place, settings_for, world
from gateway_sip import Dialog, sdp_of
from production_parts import url_at
from sqlalchemy import insert

from simrack.controller.app import Controller, one_at_a_time
from simrack.controller.app import _serve as serve
from simrack.controller.calls.call import Call
from simrack.controller.fleet.history import usage_from_records
from simrack.controller.models import RecordFilter
from simrack.controller.store.engine import write_engine
from simrack.controller.store.tables import open_call
from simrack.wire import topics
from simrack.wire.errors import UserError
from simrack.wire.messages import BoxStatus, ConfigChanged, ControllerStatus, LiveCall
from simrack.wire.mqtt import MemoryBroker
from simrack.wire.ports import SystemClock, SystemIds

ANSWER = sdp_of(("127.0.0.1", 20000), kinds="0 101")


async def answer(on: World, dialog: Dialog) -> None:
    """The box rings and answers."""
    assert dialog.invite is not None
    dialog.respond(dialog.invite, 180, "Ringing")
    dialog.respond(dialog.invite, 200, "OK", body=ANSWER)


@pytest.mark.stack
async def test_digest_sender_reaches_a_module_and_the_record_tells_it(tmp_path: Path) -> None:
    """The first whole way of a call: challenge, route, box, answer, BYE, box's part, record."""
    async with world(tmp_path) as on:
        call = on.invite(peer=on.sender)
        assert await on.final(call) == 401
        authorize(call, "only-for-tests")
        at_box = await on.box.invited()
        fields = at_box.invite.headers if at_box.invite else {}
        assert fields["x-simrack-channel"] in ("1", "2")
        assert f"{NUMBER}@" in (at_box.invite.start if at_box.invite else "")
        await answer(on, at_box)
        assert await on.final(call) == 200
        assert 180 in call.statuses
        call.again("BYE")
        await until(lambda: at_box.request("BYE"))
        await on.box.tell(at_box, talk_ms=5, cause_text="normal")
        row = await on.record()
        assert (row.outcome, row.sender, row.cause, row.side) == ("answered", "pbx", 16, "calling")
        assert (row.talk_network_ms, row.estimated, row.plan, row.box) == (5, False, "lab", "box-1")
        await until(lambda: on.box.acks)


@pytest.mark.stack
async def test_late_part_completes_an_estimated_record_exactly_once(tmp_path: Path) -> None:
    """A box that was cut off tells its part later: the record gets the network's figures, once."""
    async with world(tmp_path) as on:
        call = on.invite()
        at_box = await on.box.invited()
        await answer(on, at_box)
        assert await on.final(call) == 200
        call.again("BYE")
        first = await on.record()
        assert first.estimated
        event = await on.box.tell(at_box, talk_ms=1234, cause_text="late", cause=16)
        await until(lambda: len(on.box.acks) == 1)
        done = await on.record()
        assert (done.talk_network_ms, done.estimated, done.cause_original) == (1234, False, "late")
        await on.box.send(event)
        await on.box.tell(at_box, talk_ms=9999, cause_text="another")
        await until(lambda: len(on.box.acks) == 3)
        assert (await on.record()).talk_network_ms == 1234


@pytest.mark.stack
@pytest.mark.parametrize(
    ("number", "headers", "sdp", "status", "cause"),
    [
        ("12ab", "", b"", 484, 28),
        ("+4930123456", "", b"", 404, 27),
        (NUMBER, "", sdp_of(("127.0.0.1", 4000), kinds="18"), 488, 65),
        ("112", "", b"", 503, 3),
    ],
    ids=["not-dialable", "no-pattern", "no-codec", "emergency"],
)
async def test_refusals_of_identified_senders_are_answered_and_recorded(
    tmp_path: Path, number: str, headers: str, sdp: bytes, status: int, cause: int
) -> None:
    """Each bad call gets its own clear answer with the Q.850 reason, and is a record."""
    async with world(tmp_path) as on:
        call = on.invite(number, headers=headers, sdp=sdp)
        assert await on.final(call) == status
        assert call.final is not None
        assert call.final.cause == cause
        row = await on.record()
        assert (row.outcome, row.sip_status, row.cause, row.side) == ("refused", status, cause, "rack")
        assert row.refusal


@pytest.mark.stack
async def test_boxes_unreachable_then_all_channels_busy(tmp_path: Path) -> None:
    """503 with cause 41 when no box is there, with cause 34 when each channel has a call."""
    async with world(tmp_path) as on:
        gone = BoxStatus(boot=on.box.stamp.boot, seq=0, at=datetime.now(UTC), box="box-1", online=False)
        await on.web.publish(topics.box_status("box-1"), gone.encode(), retain=True)
        await on.alarm("box-unreachable:box-1")
        call = on.invite()
        assert await on.final(call) == 503
        assert call.final is not None
        assert call.final.cause == 41
        await on.box.publish()
        await on.alarm("box-unreachable:box-1", open_=False)
        first, second = on.invite(), on.invite()
        await on.box.invited()
        await on.box.invited()
        third = on.invite()
        assert await on.final(third) == 503
        assert third.final is not None
        assert third.final.cause == 34
        first.cancel()
        second.cancel()
        await until(lambda: first.final and second.final)


@pytest.mark.stack
async def test_malformed_invites(tmp_path: Path) -> None:
    """400 without Contact, 420 for 100rel, and no record of either."""
    async with world(tmp_path) as on:
        rel = on.invite(headers="Require: 100rel")
        assert await on.final(rel) == 420
        bare = bare_invite(on)
        assert await on.final(bare) == 400
        last = on.invite("+4930123456")
        await on.final(last)
        assert (await on.record()).sip_status == 404


def bare_invite(on: World, *, contact: bool = False) -> Dialog:
    """An INVITE of a fixed dialog, by hand, without Contact unless asked for."""
    more = f"Contact: <sip:a@127.0.0.2:{on.trunk.port}>\r\n" if contact else ""
    dialog = Dialog(
        on.trunk,
        "bare",
        on.sip,
        "<sip:a@127.0.0.2>;tag=1",
        f"<sip:b@{on.sip[0]}>",
        f"sip:b@{on.sip[0]}:{on.sip[1]}",
    )
    on.trunk.dialogs["bare"] = dialog
    on.trunk.transport.sendto(
        f"INVITE {dialog.target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:{on.trunk.port};branch=z9hG4bKbare\r\n"
        f"From: {dialog.local_uri}\r\nTo: {dialog.remote_uri}\r\nCall-ID: bare\r\nCSeq: 1 INVITE\r\n"
        f"{more}Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode(),
        on.sip,
    )
    return dialog


@pytest.mark.stack
async def test_who_may_call(tmp_path: Path) -> None:
    """Unknown address 403; digest address 401 first; wrong password 403; stale nonce 401 again; no records."""
    async with world(tmp_path) as on:
        stranger = await peer_at("127.0.0.3")
        unknown = on.invite(peer=stranger)
        assert await on.final(unknown) == 403
        wrong = on.invite(peer=on.sender)
        assert await on.final(wrong) == 401
        authorize(wrong, "guessed")
        assert await on.final(wrong) == 403
        stale = on.invite(peer=on.sender)
        assert await on.final(stale) == 401
        authorize(stale, "only-for-tests", nonce="0-0-0")
        assert await on.final(stale) == 401
        assert stale.final is not None
        assert "stale=true" in stale.final.headers["www-authenticate"]
        last = on.invite("+4930123456")
        await on.final(last)
        assert (await on.record()).sender == "trunk"
        page = await asyncio.to_thread(on.queries.records, RecordFilter())
        assert page.total == 1
        stranger.close()


@pytest.mark.stack
async def test_source_that_fails_too_often_is_not_answered(tmp_path: Path) -> None:
    """A guesser hears nothing any more until the ban ends or a person frees it."""
    async with world(tmp_path, failures=3) as on:
        stranger = await peer_at("127.0.0.3")
        for _ in range(3):
            assert await on.final(on.invite(peer=stranger)) == 403
        silent = on.invite(peer=stranger)
        probe = on.invite(peer=stranger, headers="Require: nothing")
        call = on.invite("+4930123456")
        assert await on.final(call) == 404
        assert not silent.got
        assert not probe.got, "not even what is wrong with a request"
        banned = (await on.command("banned")).result
        assert banned["addresses"] == ["127.0.0.3"]
        assert banned["bans"][0]["reason"] == "failures: sender-unknown"
        assert banned["bans"][0]["count"] >= 2
        assert (await on.command("free", address="127.0.0.3")).ok
        again = on.invite(peer=stranger)
        assert await on.final(again) == 403
        stranger.close()


@pytest.mark.stack
async def test_failing_sender_is_told_of_not_banned(tmp_path: Path) -> None:
    """A wrong password in a PBX raises an alarm; its neighbours at that address go on."""
    async with world(tmp_path, failures=3) as on:
        for _ in range(3):
            call = on.invite(peer=on.sender)
            assert await on.final(call) == 401
            authorize(call, "guessed")
            assert await on.final(call) == 403
        await on.alarm("sender-failures:127.0.0.1")
        assert await on.final(on.invite(peer=on.sender)) == 401


@pytest.mark.stack
async def test_overload_is_refused_cleanly(tmp_path: Path) -> None:
    """Beyond the admitted rate: 503 with Retry-After at once, and an alarm."""
    async with world(tmp_path, calls_per_second=2) as on:
        calls = [on.invite("+4930123456") for _ in range(4)]
        statuses = sorted([await on.final(call) for call in calls])
        assert statuses == [404, 404, 503, 503]
        refused = next(call.final for call in calls if call.final and call.final.status == 503)
        assert 5 <= int(refused.headers["retry-after"]) <= 10
        await on.alarm("overload")


@pytest.mark.stack
async def test_failover_from_a_silent_and_a_taken_channel(tmp_path: Path) -> None:
    """The caller of a rack with one dead channel hears ringing all the same."""
    async with world(tmp_path) as on:
        call = on.invite()
        first = await on.box.invited()
        assert first.invite is not None
        first.respond(
            first.invite, 503, "Service Unavailable",
            headers='Reason: Q.850;cause=44;text="taken"\r\nX-Simrack-Refusal: taken\r\n',
        )  # fmt: skip
        second = await on.box.invited()
        assert second.invite is not None
        assert second.invite.headers["x-simrack-attempt"] != first.invite.headers["x-simrack-attempt"]
        assert second.invite.headers["x-simrack-channel"] != first.invite.headers["x-simrack-channel"]
        await answer(on, second)
        assert await on.final(call) == 200
        second.again("BYE", headers='Reason: Q.850;cause=31;text="network"\r\n')
        await until(lambda: call.request("BYE"))
        bye = call.request("BYE")
        assert bye is not None
        assert bye.cause == 31
        await on.box.tell(second, talk_ms=7, cause=31, side="called")
        row = await on.record()
        assert (row.attempts, row.side, row.cause) == (2, "called", 31)
        story = await asyncio.to_thread(on.queries.story, row.call)
        assert story is not None
        assert [a.cause for a in story.attempts] == [44, 31]
        assert any(line.label.startswith("INVITE") and line.attempt == 2 for line in story.ladder)


@pytest.mark.stack
async def test_cancel_while_ringing(tmp_path: Path) -> None:
    async with world(tmp_path) as on:
        call = on.invite()
        at_box = await on.box.invited()
        assert at_box.invite is not None
        at_box.respond(at_box.invite, 180, "Ringing")
        await until(lambda: 180 in call.statuses)
        call.cancel()
        assert await on.final(call) == 487
        await until(lambda: at_box.request("CANCEL"))
        await on.box.tell(at_box, cause=16)
        row = await on.record()
        assert (row.outcome, row.side, row.sip_status) == ("cancelled", "calling", 487)


@pytest.mark.stack
async def test_ring_at_a_module_is_refused_and_recorded(tmp_path: Path) -> None:
    """A call to a SIM is told "no receiver" at once, and can be found."""
    async with world(tmp_path) as on:
        offered = place(
            on.box.peer,
            on.sip,
            "+882101000101",
            "X-Simrack-Box: box-1\nX-Simrack-Channel: 2\nX-Simrack-ICCID: 8988210000000000002\nX-Simrack-Attempt: in-1\n",
            sdp_of(("127.0.0.1", 20000)),
        )
        assert await on.final(offered) == 404
        assert offered.final is not None
        assert offered.final.cause == 27
        row = await on.record()
        assert (row.direction, row.outcome, row.refusal, row.box, row.channel) == (
            "in",
            "refused",
            "no-receiver",
            "box-1",
            2,
        )
        assert row.called == "+882101000101"


@pytest.mark.stack
async def test_person_ends_a_call_and_asks_for_routes(tmp_path: Path) -> None:
    """Commands of the page and the command line: hang up, explain, with clear refusals."""
    async with world(tmp_path) as on:
        live: list[LiveCall] = []
        on.web.subscribe(topics.ALL_CALLS, lambda _t, p: live.append(LiveCall.decode(p)))
        call = on.invite()
        await answer(on, await on.box.invited())
        await on.final(call)
        await until(lambda: live and live[-1].state == "speaking")
        assert (live[-1].called, live[-1].box, live[-1].sender) == (NUMBER, "box-1", "trunk")
        assert (await on.command("hang-up", call=live[-1].call)).ok
        await until(lambda: call.request("BYE"))
        row = await on.record()
        assert "hung-up" in row.marks
        assert not (await on.command("hang-up", call=live[-1].call)).ok
        both = await on.command("hang-up-group", calls=[live[-1].call, "nowhere"])
        assert both.result == {"ended": 0, "over": 2}
        told = (await on.command("explain", sender="trunk", called=NUMBER)).result["explanation"]
        assert [item["plan"] for item in told["order"]] == ["lab"], "the other channel is still held"
        assert "unknown action" in (await on.command("dance")).error
        await until(lambda: live[-1].state == "ended")


@pytest.mark.stack
async def test_bad_routing_file_stays_out_and_a_mended_one_comes_in(tmp_path: Path) -> None:
    """A mistake is told with its line; what was in force goes on; nothing restarts."""
    async with world(tmp_path) as on:
        path = tmp_path / "routing.toml"
        path.write_text(ROUTING.replace('targets = [{ plan = "lab"', 'targets = [{ plan = "labb"'))
        reply = await on.command("reload-config")
        assert not reply.ok
        assert "routing.toml:" in reply.error
        await on.alarm("config-rejected")
        call = on.invite("+4930123456")
        assert await on.final(call) == 404
        path.write_text(ROUTING.replace('name = "trunk"', 'name = "line"'))
        reply = await on.command("reload-config")
        assert reply.result == {"version": 2, "changed": True}
        await on.alarm("config-rejected", open_=False)
        assert ConfigChanged.decode(on.broker.retained[topics.controller_config()]).version == 2
        assert await on.final(on.invite("+4930123456")) == 404
        assert (await on.record(2)).sender == "line"


@pytest.mark.stack
async def test_restart_with_a_bad_file_keeps_the_version_before(tmp_path: Path) -> None:
    async with world(tmp_path):
        pass
    (tmp_path / "routing.toml").write_text("[installation]\nclass = 1\n")
    async with world(tmp_path) as on:
        await on.alarm("config-rejected")
        assert await on.final(on.invite("+4930123456")) == 404


@pytest.mark.stack
async def test_first_start_with_a_bad_file_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "routing.toml").write_text("[installation]\nclass = 1\n")
    with pytest.raises(BaseException) as caught:
        async with world(tmp_path):
            pass
    assert plain(caught.value).startswith("routing.toml:")


def plain(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = next(e for e in error.exceptions if not isinstance(e, asyncio.CancelledError))
    return str(error)


@pytest.mark.stack
async def test_stop_ends_calls_with_records(tmp_path: Path) -> None:
    """A controller that is stopped leaves neither legs nor open rows."""
    async with world(tmp_path) as on:
        call = on.invite()
        at_box = await on.box.invited()
        await answer(on, at_box)
        await on.final(call)
        on.app.stop()
        await until(lambda: call.request("BYE") and at_box.request("BYE"))
        row = await on.record()
        assert "controller-stopped" in row.marks
        assert not await asyncio.to_thread(on.queries.open_calls)
        born = ControllerStatus.decode(on.broker.retained[topics.controller_status()])
        await until(
            lambda: not ControllerStatus.decode(on.broker.retained[topics.controller_status()]).online
        )
        assert born.sip == f"{on.sip[0]}:{on.sip[1]}"


def _leave_open(url: str, row: dict[str, object]) -> None:
    engine = write_engine(url)
    with engine.begin() as connection:
        connection.execute(insert(open_call), row)
    engine.dispose()


@pytest.mark.stack
async def test_counters_and_left_over_calls_survive_a_restart(tmp_path: Path) -> None:
    """Minutes of today still count after a restart, and a call that a crash left open becomes a record."""
    async with world(tmp_path) as on:
        call = on.invite()
        at_box = await on.box.invited()
        await answer(on, at_box)
        await on.final(call)
        call.again("BYE")
        await until(lambda: at_box.request("BYE"))
        await on.box.tell(at_box, talk_ms=65_000)
        await on.record()
    url = url_at(tmp_path / "simrack.db")
    usage = await asyncio.to_thread(usage_from_records, url, datetime.now(UTC))
    assert [u.talk_ms_today for u in usage.values()] == [65_000]
    left = {
        "call": "x", "run": "old", "direction": "out", "sender": "trunk", "sip_call_id": "bare", "from_tag": "1",
        "started": datetime(2026, 11, 21, 10, tzinfo=UTC),
    }  # fmt: skip
    await asyncio.to_thread(_leave_open, url, left)
    async with world(tmp_path) as on:
        row = await on.record(2)
        story = await asyncio.to_thread(on.queries.story, "x")
        assert story is not None
        assert (story.record.cause, story.record.side) == (41, "rack")
        assert row.call
        again = bare_invite(on, contact=True)
        assert await on.final(again) == 503, "the same INVITE, repeated over the restart, is the same call"
        await on.final(on.invite("+4930123456"))
        await on.record(3)
        page = await asyncio.to_thread(on.queries.records, RecordFilter())
        assert page.total == 3


@pytest.mark.stack
async def test_fault_inside_leaves_no_sender_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks before the call is on disk, the sender hears so and tries its other ways."""

    async def broken(_call: Call) -> bool:
        raise RuntimeError("broken")

    async with world(tmp_path) as on:
        monkeypatch.setattr(Call, "_open", broken)
        assert await on.final(on.invite()) == 503
        monkeypatch.undo()
        call = on.invite()
        await answer(on, await on.box.invited())
        assert await on.final(call) == 200


@pytest.mark.stack
async def test_metrics_page_counts_refusals_by_reason(tmp_path: Path) -> None:
    """What Prometheus reads names each reason."""
    async with world(tmp_path) as on:
        await on.final(on.invite("+4930123456"))
        await on.record()
        async with aiohttp.ClientSession() as session, session.get(on.metrics) as page:
            text = await page.text()
        assert 'simrack_refusals_total{reason="no-pattern"} 1.0' in text
        assert 'simrack_calls_total{direction="out",outcome="refused"} 1.0' in text


async def test_damaged_database_is_told_by_an_alarm_until_the_next_start(tmp_path: Path) -> None:
    """Yesterday's records are gone from every page; a line in a log is no place to learn that."""
    (tmp_path / "simrack.db").write_bytes(b"no database at all" * 500)
    async with world(tmp_path) as on:
        await on.alarm("store-damaged")
        assert await on.final(on.invite("+4930123456")) == 404
    async with world(tmp_path) as on:
        await on.alarm("store-damaged", open_=False)


@pytest.mark.stack
def test_two_controllers_with_one_data_folder(tmp_path: Path) -> None:
    """The second says so instead of answering for the first one's calls."""
    with (
        one_at_a_time(tmp_path),
        pytest.raises(UserError, match="another controller"),
        one_at_a_time(tmp_path),
    ):
        pass


@pytest.mark.stack
async def test_port_in_use_is_said_plainly(tmp_path: Path) -> None:
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("127.0.0.1", 0))
    settings = settings_for(tmp_path, listen=f"127.0.0.1:{taken.getsockname()[1]}")
    broker = MemoryBroker()
    app = Controller(settings, SystemClock(), SystemIds(), lambda name, last: broker.bus(name, will=last))
    with pytest.raises(BaseException) as caught:
        await app.run(lambda _said: None)
    assert "can't listen for SIP" in plain(caught.value)
    taken.close()


@pytest.mark.parametrize(
    ("number", "on_stop", "handed_over"),
    [
        (signal.SIGTERM, "end", False), (signal.SIGTERM, "hand-over", True),
        (signal.SIGUSR1, "end", True), (signal.SIGINT, "hand-over", False),
    ],
)  # fmt: skip
async def test_signal_says_what_becomes_of_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, on_stop: str, handed_over: bool
) -> None:
    """An upgrade that ends all calls, or a last stop that leaves them up, is the same mistake in two directions."""
    running: asyncio.Queue[Controller] = asyncio.Queue()

    async def run(controller: Controller, _ready: object) -> None:
        running.put_nowait(controller)
        await controller.stopping.wait()

    monkeypatch.setattr(Controller, "run", run)
    settings = settings_for(tmp_path).model_copy(update={"on_stop": on_stop})
    serving = asyncio.create_task(serve(settings, lambda _said: None, "simrack"))
    controller = await running.get()
    os.kill(os.getpid(), number)
    await serving
    assert controller.handing_over is handed_over
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        asyncio.get_running_loop().remove_signal_handler(each)
