"""What a hostile or broken sender, module, box or file can do: a clear answer, and nothing lost.

All tests share one rack. After all of them: as many records as calls, no channel stuck, no traceback in a log.
"""

import asyncio
import json
import os
import random
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from production_parts import Mosquitto, stack
from support import processes
from system import rawsip
from system import sipp as s
from system.rack import Rack, until
from system.rawsip import Call, Client, session
from system.sipp import Sipp

from simrack.controller.models import RecordFilter, RecordRow
from simrack.wire import topics
from simrack.wire.channel import ChannelState
from simrack.wire.messages import CommandReply
from simrack.wire.mqtt import Commander, MqttBus
from simrack.wire.ports import SystemClock, SystemIds

TRUNK, DIGEST, STRANGER = "127.0.0.2", "127.0.0.1", "127.0.0.9"
LEEWAY_MS = 100
BACK_S = 30.0  # a box or module that is started again, on a busy machine


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory, up_options: Callable[[], Sequence[str]]) -> Iterator[Rack]:
    """2 boxes x 2 channels of this module's own, because boxes are killed here."""
    folder = tmp_path_factory.mktemp("bad")
    with processes(folder) as begin, Rack(folder, begin, boxes=2, channels=2, options=up_options()) as made:
        yield made


@pytest.fixture
def at(rack: Rack) -> Iterator[Callable[[str], Client]]:
    """Clients at any loopback address; each test leaves no call open."""
    clients: list[Client] = []

    def begin(host: str) -> Client:
        clients.append(Client(rack.sip, host))
        return clients[-1]

    yield begin
    for client in clients:
        client.close()
    until(lambda: not rack.queries.open_calls(), "no call is open")


@pytest.fixture
def trunk(at: Callable[[str], Client]) -> Client:
    """The sender that its address identifies."""
    return at(TRUNK)


def quick(rack: Rack, **settings: Any) -> str:
    """A number that answers soon."""
    return rack.number("tone", **{"tone_hz": 1000, "answer_after_s": 0.1, **settings})


def only(rack: Rack, number: str) -> RecordRow:
    rows = rack.records(number)
    assert len(rows) == 1, "one call, one record"
    return rows[0]


def agrees(rack: Rack, number: str, *, estimated: bool = False) -> RecordRow:
    """One call, one record, one row in the network's books, the same talk time in both."""
    row, calls = only(rack, number), rack.ended(number)
    assert len(calls) == 1
    assert row.estimated is estimated
    assert abs(row.talk_network_ms - calls[0]["talk_ms"]) <= LEEWAY_MS, (row, calls)
    return row


def record_count(rack: Rack) -> int:
    return rack.queries.records(RecordFilter()).total


def where(rack: Rack, number: str) -> tuple[str, int]:
    """The channel that carries the call."""

    def find() -> tuple[str, int] | None:
        reports = rack.snapshot().channels.items()
        return next((key for key, report in reports if report.call and report.call.number == number), None)

    found: tuple[str, int] = until(find, f"a channel shows the call to {number}")
    return found


def child(rack: Rack, name: str) -> int:
    """Process id of a child of `simrack up` as it is now; the state file follows restarts."""

    def alive() -> int:
        found = int(json.loads(rack.state_file.read_text())["pids"][name])
        return found if Path(f"/proc/{found}").exists() else 0

    return int(until(alive, f"{name} runs"))


def command(rack: Rack, action: str, **args: Any) -> CommandReply:
    """What a person or a page asks of the controller."""

    async def send() -> CommandReply:
        bus, up = MqttBus(rack.state["mqtt"], f"test-{action}"), asyncio.Event()

        async def connected() -> None:
            up.set()

        bus.on_connect(connected)
        task = asyncio.create_task(bus.run())
        try:
            async with asyncio.timeout(10):
                await up.wait()
            commander = Commander(bus, "test", SystemClock(), SystemIds())
            return await commander.send(topics.controller_command(), action, args, actor="test")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return asyncio.run(send())


def every_channel(rack: Rack) -> list[tuple[str, int]]:
    return [(box["box"], module["channel"]) for box in rack.state["boxes"] for module in box["modules"]]


def alarms(rack: Rack) -> set[str]:
    return {alarm.cause for alarm in rack.queries.alarms(open_only=True)}


# --- who may call -----------------------------------------------------------------------------------------


@pytest.mark.stack
def test_who_is_not_known_is_refused_without_a_record(rack: Rack, at: Callable[[str], Client]) -> None:
    """An address that no sender has hears 403 at once, whatever it claims; nothing is recorded or dialled."""
    before = record_count(rack), len(rack.ask("/ledger/calls"))
    stranger = at(STRANGER)
    stranger.call(rack.numbers["answer"]).invite().fails(403, 21)
    claim = stranger.call(rack.numbers["answer"])
    claim.invite(extra=[authorization(rack, claim, 'realm="simrack", nonce="x", algorithm=MD5')]).fails(403, 21)
    assert (record_count(rack), len(rack.ask("/ledger/calls"))) == before


def authorization(rack: Rack, call: Call, challenge: str, password: str = "", **more: Any) -> str:
    caller = rack.state["callers"]["digest"]
    return rawsip.digest(challenge, caller["user"], password or caller["password"], call.uri, **more)


def challenged(client: Client, number: str) -> tuple[Call, str]:
    """A call that was asked who it is, ready to be sent again."""
    call = client.call(number).invite()
    challenge = call.fails(401, 21)["www-authenticate"]
    call.to_tag, call.branch, call.cseq = "", rawsip.new_branch(), 2
    return call, challenge


@pytest.mark.stack
def test_credentials_wrong_used_up_or_for_another_number(rack: Rack, at: Callable[[str], Client]) -> None:
    """403 for a wrong password; a nonce serves one count once, and only the number that it was asked for."""
    phone, number = at(DIGEST), quick(rack)
    call, challenge = challenged(phone, number)
    call.invite(extra=[authorization(rack, call, challenge, password="wrong")]).fails(403, 21)
    call, challenge = challenged(phone, number)
    good = authorization(rack, call, challenge)
    elsewhere = 'Authorization: Digest username="a", realm="proxy", nonce="b", uri="sip:c", response="d"'
    call.invite(extra=[elsewhere, good]).answered()
    call.bye()
    again = phone.call(number).invite(extra=[good]).fails(401, 21)
    assert "stale=true" in again["www-authenticate"]
    other = phone.call(rack.numbers["busy"])
    taken_over = authorization(rack, call, challenge, count=2)
    other.invite(extra=[taken_over]).fails(403, 21)
    assert agrees(rack, number).sender == rack.state["callers"]["digest"]["user"]


@pytest.mark.stack
@pytest.mark.parametrize("header", ["Digest x=,,,\"", "Basic bGFiOmxhYg==", "Digest", "\"\\"])
def test_credentials_that_can_not_be_read(rack: Rack, at: Callable[[str], Client], header: str) -> None:
    phone = at(DIGEST)
    message = phone.call(rack.numbers["answer"]).invite(extra=[f"Authorization: {header}"]).final()
    assert message.status in (400, 403)


@pytest.mark.stack
def test_headers_of_boxes_are_worth_nothing_from_outside(rack: Rack, trunk: Client) -> None:
    """A sender who could name channel, card or limits would choose the SIM and steal its minutes."""
    number = quick(rack)
    forged = ["Channel: 2", "Box: lab-02", "ICCID: 1", "Attempt: mine", "Call: mine", "Max-Call: 1", "Max-Ring: 1"]
    call = trunk.call(number).invite(extra=[f"X-Simrack-{line}" for line in forged])
    call.answered()
    threading.Event().wait(1.2)
    call.bye()
    row = agrees(rack, number)
    assert row.talk_network_ms > 1100, "the forged limit ended the call"
    assert rack.story(number).attempts[0].attempt != "mine"


@pytest.mark.stack
def test_box_answers_nobody_but_its_controller(rack: Rack) -> None:
    """A box that can be found by a scan can be attacked; one that takes INVITEs from anybody is free to call with."""
    card = rack.state["boxes"][0]["modules"][0]["iccid"]
    before = len(rack.ask("/ledger/calls"))
    boxes = rack.snapshot().boxes.values()
    clients = [Client(status.sip, host) for status in boxes for host in (STRANGER, DIGEST)]
    for client in clients:
        call = client.call(rack.numbers["answer"])
        names = ["X-Simrack-Channel: 1", "X-Simrack-Call: 1", "X-Simrack-Attempt: 1", f"X-Simrack-ICCID: {card}"]
        call.invite(extra=names)
        for method in ("OPTIONS", "BYE", "REGISTER", "CANCEL"):
            client.send(call.write(method, branch=rawsip.new_branch()))
        client.send(b"\xff" * 100)
    threading.Event().wait(0.3)
    for client in clients:
        assert client.receive("", 0.01) is None
        client.close()
    assert len(clients) == 4
    assert len(rack.ask("/ledger/calls")) == before


# --- what a message may hold ------------------------------------------------------------------------------


@pytest.mark.stack
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"drop": ["Contact"]}, 400),
        ({"drop": ["Max-Forwards"], "extra": ["Max-Forwards: 0"]}, 483),
        ({"extra": ["Require: 100rel"]}, 420),
        ({"extra": ["Require: replaces", "Replaces: a@b;to-tag=1;from-tag=2"]}, 420),
        ({"extra": ["X-Big: " + "x" * 17_000]}, 513),
        ({"kind": "text/plain"}, 415),
        ({"uri": "tel:+882109000001"}, 416),
        ({"cseq": 2**32}, 400),
    ],
    ids=["no Contact", "no hops left", "100rel", "Replaces", "huge header", "no SDP", "tel URI", "CSeq"],
)  # fmt: skip
def test_malformed_invite(rack: Rack, trunk: Client, changes: dict[str, Any], status: int) -> None:
    """RFC 3261 says what is wrong with it; it is no call and makes no record."""
    before = record_count(rack)
    message = trunk.call(rack.numbers["answer"]).invite(**changes).final()
    assert message.status == status
    assert record_count(rack) == before


@pytest.mark.stack
@pytest.mark.parametrize(
    ("user", "status", "cause"),
    [
        ("", 484, 28),
        ("alice", 484, 28),
        ("**21*1234%23", 484, 28),
        ("+882109000002%0d%0aATH", 484, 28),
        ("+882109000002%3bATD112", 484, 28),
        ("+٨٨٢١٠٩٠٠٠٠٠٢", 484, 28),
        ("1" * 3000, 484, 28),
        ("+4366412345678", 404, 27),
        ("112", 503, 3),
    ],
    ids=["nothing", "a name", "service code", "line end", "semicolon", "other digits", "endless", "no pattern", "112"],
)
def test_called_number_that_can_not_be(rack: Rack, trunk: Client, user: str, status: int, cause: int) -> None:
    """No number reaches an AT port unless it is one; each refusal has its reason and its record."""
    before, calls = record_count(rack), len(rack.ask("/ledger/calls"))
    call = trunk.call("x")
    call.invite(uri=f"sip:{user}@{trunk.text}").fails(status, cause)
    until(lambda: record_count(rack) == before + 1, "one record")
    assert len(rack.ask("/ledger/calls")) == calls


@pytest.mark.stack
def test_called_number_in_odd_clothes(rack: Rack, trunk: Client) -> None:
    """Parameters, separators and escapes are of the URI, not of the number."""
    users = ("+882109000002;npdi;rn=+1", "+88-210-900.0002", "%2B882109000002", "+882109000002:pw")
    uris = [f"sip:{user}@{trunk.text};user=phone" for user in users]
    for call in [trunk.call("x").invite(uri=uri) for uri in uris]:
        call.fails(486, 17)
    rows = rack.records(rack.numbers["busy"], 4)[:4]
    assert {row.dialled for row in rows} == {rack.numbers["busy"]}


@pytest.mark.stack
@pytest.mark.parametrize(
    "sdp",
    [
        "hello",
        session(TRUNK, 4000, formats=["18"]),
        session(TRUNK, 4000).replace("audio", "video"),
        session(TRUNK, 4000).replace("RTP/AVP", "RTP/SAVP"),
        session(TRUNK, 0),
        session("pbx.example.org", 4000),
        session("224.0.0.1", 4000),
        "",
    ],
    ids=["no SDP", "G.729", "video", "SRTP", "port 0", "host name", "group", "none"],
)
def test_session_that_nobody_can_serve(rack: Rack, trunk: Client, sdp: str) -> None:
    """488 before any channel is taken: such calls kept channels from everybody, or looked names up in the voice loop."""
    number = rack.number("answer")
    call = trunk.call(number)
    call.sdp = sdp
    call.invite().fails(488, 65)
    row = only(rack, number)
    assert (row.outcome, row.attempts) == ("refused", 0)
    assert rack.ledger(number) == []


@pytest.mark.stack
def test_caller_whose_name_is_no_text(rack: Rack, trunk: Client) -> None:
    """A phone that writes names in Latin-1 got no answer at all, and no record."""
    number = rack.number("busy")
    calls = {name: trunk.call(number) for name in (b"\xff\xfe", "Jörg".encode())}
    for name, call in calls.items():
        plain = call.write("INVITE", body=call.sdp)
        trunk.send(plain.replace(b"From: <sip:", b'From: "' + name + b'" <sip:' + name, 1))
    for call in calls.values():
        call.fails(486, 17)
    assert len(rack.records(number, 2)) == 2


@pytest.mark.stack
def test_noise_harms_nobody(rack: Rack, trunk: Client) -> None:
    """Whatever comes in a packet, the next call is served."""
    draw = random.Random(1)
    good = trunk.call(rack.numbers["busy"]).write("INVITE", body=trunk.session())
    for data in (b"", b"\0" * 100, b"INVITE", b"SIP/2.0 200 OK\r\n\r\n", b"\r\n" * 1000, b"GET / HTTP/1.1\r\n\r\n"):
        trunk.send(data)
    for _ in range(100):
        spoilt = bytearray(good)
        for _ in range(draw.randrange(1, 8)):
            spoilt[draw.randrange(len(spoilt))] = draw.randrange(256)
        trunk.send(bytes(spoilt))
    trunk.call(rack.numbers["busy"]).invite().fails(486, 17)
    until(lambda: not rack.queries.open_calls(), "the spoilt calls have ended")


# --- dialogs ----------------------------------------------------------------------------------------------


@pytest.mark.stack
@pytest.mark.parametrize("stage", ["at once", "100", "183"])
def test_sender_cancels(rack: Rack, trunk: Client, stage: str) -> None:
    """The module ends on-hook whenever the caller gives up."""
    number = rack.number("no_answer", ring_s=20.0)
    call = trunk.call(number).invite()
    if stage != "at once":
        call.take(int(stage))
    call.cancel()
    row = only(rack, number)
    assert (row.outcome, row.sip_status, row.side, row.talk_network_ms) == ("cancelled", 487, "calling", 0)
    until(lambda: all(found["released_at"] for found in rack.ledger(number)), "the module is on-hook")


@pytest.mark.stack
def test_bye_before_the_answer(rack: Rack, trunk: Client) -> None:
    """RFC 3261 15: a caller may send BYE instead of CANCEL; the INVITE ends with 487."""
    number = rack.number("no_answer", ring_s=20.0)
    call = trunk.call(number).invite()
    call.take(183)
    assert call.ask("BYE").status == 200
    assert any(seen.status == 487 for seen in call.seen)
    call.cseq = 1
    trunk.send(call.write("ACK"))
    assert agrees(rack, number).outcome == "cancelled"


@pytest.mark.stack
def test_bye_before_the_ack(rack: Rack, trunk: Client) -> None:
    """A caller that hangs up at once and forgets the ACK still ends its call, once."""
    number = quick(rack)
    call = trunk.call(number).invite()
    call.take(200)
    call.bye()
    assert agrees(rack, number).outcome == "answered"


@pytest.mark.stack
def test_one_call_id_twice(rack: Rack, trunk: Client) -> None:
    """The same INVITE over two ways is one call (482); another From tag is another call."""
    number, other = rack.number("no_answer", ring_s=20.0), rack.number("busy")
    first, merged, second = trunk.call(number), trunk.call(number), trunk.call(other)
    first.invite().take(183)
    merged.call_id, merged.tag = first.call_id, first.tag
    merged.invite().take(482)
    trunk.send(merged.write("ACK"))
    second.call_id = first.call_id
    second.invite().fails(486, 17)
    first.cancel()
    assert only(rack, number).outcome == "cancelled"
    assert only(rack, other).cause == 17


@pytest.mark.stack
def test_hold_and_resume_by_sipp(rack: Rack, tmp_path: Path) -> None:
    """A re-INVITE passes through both legs: held and taken back, one record, the channel shows it."""
    number, caller = quick(rack), "+882109000999"
    scenario = s.invite(number, caller) + s.PROVISIONAL + '<recv response="200" rrs="true"></recv>' + s.ack(number, caller)
    for cseq, way in ((2, "inactive"), (3, "sendrecv")):
        scenario += reinvite(number, caller, cseq, way) + s.pause(700)
    running = Sipp(tmp_path, rack.sip, TRUNK).start(scenario + s.bye(number, caller).replace("CSeq: 2", "CSeq: 4"))
    key = where(rack, number)
    until(lambda: rack.snapshot().channels[key].state is ChannelState.HELD, "the channel is held")
    until(lambda: rack.snapshot().channels[key].state is ChannelState.ACTIVE, "the channel speaks again")
    result = running.result()
    assert result.ok, result.messages[-3000:] + result.errors
    assert "a=inactive" in result.messages.rpartition("CSeq: 2 INVITE")[2]
    assert agrees(rack, number).outcome == "answered"
    rack.wait_ready()


def reinvite(number: str, caller: str, cseq: int, way: str) -> str:
    body = s.INVITE.rpartition("[len]")[2].partition("]]>")[0].format(rtp="[media_port]", formats="0 8 101")
    head = s.IN_DIALOG.format(method="INVITE", number=number, caller=caller, cseq=cseq).strip()
    text = head.replace("Content-Length: 0", "Content-Type: application/sdp\nContent-Length: [len]") + body.rstrip()
    ack = s.ack(number, caller).replace("CSeq: 1", f"CSeq: {cseq}")
    answer = '<recv response="100" optional="true"></recv><recv response="200" rrs="true"></recv>'
    return f'<send retrans="500"><![CDATA[\n{text}\na={way}\n\n]]></send>\n{answer}\n{ack}'


@pytest.mark.stack
def test_senseless_requests_in_a_call_leave_it_alone(rack: Rack, trunk: Client) -> None:
    number = quick(rack)
    call = trunk.call(number).invite()
    call.answered()
    for body in ("nonsense", session(TRUNK, 4000, formats=["18"]), session("pbx.example.org", 4000)):
        assert call.ask("INVITE", body=body).status == 488
        call.ack()
    assert call.ask("INVITE", body=call.sdp, extra=["Require: 100rel"]).status == 420
    assert call.ask("REFER", extra=["Refer-To: <sip:a@b>"]).status == 405
    call.cseq -= 4
    assert call.ask("BYE").status == 500, "out of order (RFC 3261 12.2.2)"
    call.cseq += 20
    call.bye()
    assert agrees(rack, number).outcome == "answered"


@pytest.mark.stack
def test_voice_from_a_stranger_is_not_taken(rack: Rack, trunk: Client, at: Callable[[str], Client]) -> None:
    """Who guesses the port neither hears the call nor speaks into it."""
    number = quick(rack)
    call = trunk.call(number).invite()
    voice = call.answered().voice
    trunk.speak(voice, 5)
    until(lambda: trunk.voice.recv(2000), "voice comes to the caller")
    stranger = at(STRANGER)
    stranger.speak(voice, 100, first=1000)
    stranger.voice.settimeout(0.2)
    with pytest.raises(TimeoutError):
        stranger.voice.recv(2000)
    call.bye()
    agrees(rack, number)
    media = rack.story(number).attempts[0].media
    assert media is not None
    assert media.to_network.packets <= 5


@pytest.mark.stack
def test_storm_of_calls_that_are_given_up_at_any_moment(rack: Rack, at: Callable[[str], Client]) -> None:
    """Each call has one record, each answered call of the network is in it, and no channel is left behind."""
    number = rack.number("answer", answer_after_s=0.1, hang_up_after_s=0.2)
    kinds: Counter[int] = Counter()

    def caller(seed: int, client: Client) -> None:
        draw = random.Random(seed)
        for _ in range(6):
            call = client.call(number).invite()
            threading.Event().wait(draw.choice((0, 0.01, 0.1, 0.5, 1.0, 1.3)) * draw.random())
            if draw.random() < 0.7:
                client.send(call.write("CANCEL", to_tag=""))
            message = call.final(30)
            kinds[message.status] += 1
            if message.status == 200:
                call.ack()
                call.ended()

    threads = [threading.Thread(target=caller, args=(seed, at(TRUNK))) for seed in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(kinds.values()) == 30
    rows, calls = rack.records(number, 30), rack.ledger(number)
    assert len(rows) == 30
    connected = sum(1 for call in calls if call["answered_at"])
    assert connected >= kinds[200]

    def recorded() -> bool:
        return sum(row.outcome == "answered" for row in rack.records(number, 30)) == connected

    # An answer that crossed a CANCEL is known from the box's part, which may come after the record.
    until(recorded, "each answered call of the network is a record's")
    assert all(call["released_at"] for call in calls)


# --- modules ----------------------------------------------------------------------------------------------


@pytest.mark.stack
@pytest.mark.parametrize(
    ("fault", "cause"),
    [({"fault": "dial_error"}, 41), ({"fault": "dial_error", "code": 30}, 38), ({"fault": "drop", "duration_s": 0.2}, 41)],
    ids=["ERROR", "no network", "vanished"],
)
def test_no_module_can_dial(rack: Rack, trunk: Client, fault: dict[str, Any], cause: int) -> None:
    """503 with the reason, after every channel was tried once; the sender sees nothing of the AT dialogue."""
    rack.wait_ready()
    for box, channel in every_channel(rack):
        rack.ask("/faults", {"box": box, "channel": channel, **fault})
    number = quick(rack)
    message = trunk.call(number).invite().final()
    assert message.status in (480, 503)
    assert message.cause == cause
    assert not re.search(r"ATD|CME|/", message["reason"].removeprefix("Q.850"))
    row = only(rack, number)
    assert row.talk_network_ms == 0
    assert rack.ledger(number) == []


@pytest.mark.stack
@pytest.mark.parametrize(
    ("fault", "cause", "side"),
    [
        ({"fault": "drop", "duration_s": 0.2}, 41, "rack"),
        ({"fault": "call_drop", "code": 27}, 27, "called"),
        ({"fault": "no_service", "duration_s": 0.5}, 27, "called"),
    ],
    ids=["module vanishes", "radio link lost", "no service"],
)  # fmt: skip
def test_module_fails_in_a_call(rack: Rack, trunk: Client, fault: dict[str, Any], cause: int, side: str) -> None:
    """The caller is released at once with the reason, and no word of files and ports; the channel comes back."""
    until(rack.ready_channels, "a channel is ready")
    number = quick(rack)
    call = trunk.call(number).invite()
    call.answered()
    box, channel = where(rack, number)
    rack.ask("/faults", {"box": box, "channel": channel, **fault})
    message = call.ended()
    assert message.cause == cause
    assert str(rack.folder) not in message["reason"]
    # A module that was lost may have held its call for longer than the box can tell.
    row = agrees(rack, number, estimated=fault["fault"] == "drop")
    assert (row.outcome, row.cause, row.side) == ("answered", cause, side)


@pytest.mark.stack
def test_garbage_and_floods_in_a_call_are_borne(rack: Rack, trunk: Client) -> None:
    """A module that talks nonsense for a moment keeps its call: voice flows beside the AT port."""
    until(rack.ready_channels, "a channel is ready")
    number = quick(rack)
    call = trunk.call(number).invite()
    call.answered()
    box, channel = where(rack, number)
    for fault in ({"fault": "garbage", "octets": 3000}, {"fault": "flood", "rate": 1000, "duration_s": 0.5}):
        rack.ask("/faults", {"box": box, "channel": channel, **fault})
    threading.Event().wait(1.0)
    call.bye()
    assert agrees(rack, number).side == "calling"


# --- limits and places ------------------------------------------------------------------------------------


@pytest.mark.stack
def test_all_channels_busy(rack: Rack, trunk: Client) -> None:
    number, late = quick(rack), rack.number("answer")
    rack.wait_ready()
    calls = [trunk.call(number).invite() for _ in range(rack.channels)]
    for call in calls:
        call.answered()
    trunk.call(late).invite().fails(503, 34)
    for call in calls:
        call.bye()
    assert only(rack, late).refusal == "channel-free"
    assert rack.ledger(late) == []


@pytest.mark.stack
def test_channels_out_of_use(rack: Rack, trunk: Client) -> None:
    """There is a pattern, but every candidate falls out at a check: 480, cause 41, and the check's words."""
    number = quick(rack)
    try:
        for box, channel in every_channel(rack):
            assert command(rack, "disable-channel", box=box, channel=channel).ok
        message = trunk.call(number).invite().fails(480, 41)
        assert "disabled" in message["reason"]
    finally:
        for box, channel in every_channel(rack):
            assert command(rack, "enable-channel", box=box, channel=channel).ok
    assert only(rack, number).refusal == "channel-marks"
    call = trunk.call(number).invite()
    call.answered()
    call.bye()


@pytest.mark.stack
def test_bad_routing_file_leaves_the_old_one_in_force(rack: Rack, trunk: Client) -> None:
    """File, line and what is allowed; an alarm until it is mended; a sender's limits count from then on."""
    path = rack.folder / "data" / "run" / "routing.toml"
    good = path.read_text()
    try:
        for bad, words in (
            (good.replace('title = "Lab PBX"', 'titel = "Lab PBX"'), "Did you mean 'title'?"),
            (good.replace('plan = "lab"', 'plan = "elsewhere"'), "there is no plan called 'elsewhere'"),
        ):
            path.write_text(bad)
            reply = command(rack, "reload-config")
            assert (reply.ok, words in reply.error) == (False, True), reply.error
            trunk.call(rack.numbers["busy"]).invite().fails(486, 17)
            until(lambda: "config-rejected" in alarms(rack), "the alarm opens")
        path.write_text(good.replace('name = "lab-trunk"', 'name = "lab-trunk"\nmax_calls = 1\nmax_call_s = 1'))
        assert command(rack, "reload-config").ok
        until(lambda: "config-rejected" not in alarms(rack), "the alarm closes")
        number = quick(rack)
        call = trunk.call(number).invite()
        call.answered()
        trunk.call(rack.numbers["answer"]).invite().fails(503, 34)
        call.ended()
        assert agrees(rack, number).marks == ("max-duration",) or 900 < only(rack, number).talk_network_ms < 1500
    finally:
        path.write_text(good)
        assert command(rack, "reload-config").ok


@pytest.mark.stack
def test_boxes_that_stall(rack: Rack, trunk: Client) -> None:
    """503 with cause 41 after 1.5 s each; boxes that wake up dial none of what they slept through."""
    number = quick(rack)
    boxes = [child(rack, f"box-{name}") for name in ("lab-01", "lab-02")]
    try:
        for pid in boxes:
            os.kill(pid, signal.SIGSTOP)
        trunk.call(number).invite().fails(503, 41)
    finally:
        for pid in boxes:
            os.kill(pid, signal.SIGCONT)
    assert only(rack, number).outcome == "failed"
    until(lambda: answers(rack, trunk), "calls are carried again")
    assert rack.ledger(number) == [], "an abandoned call was dialled"


def answers(rack: Rack, client: Client) -> bool:
    """Whether a call gets through."""
    call = client.call(quick(rack)).invite()
    if call.final().status != 200:
        return False
    call.ack()
    call.bye()
    return True


# --- processes --------------------------------------------------------------------------------------------


@pytest.mark.stack
def test_box_killed_in_a_call(rack: Rack, trunk: Client) -> None:
    """The caller is released when the box is back, the record says whose fault it was, the module is on-hook."""
    number = quick(rack)
    call = trunk.call(number).invite()
    call.answered()
    box, channel = where(rack, number)
    os.kill(child(rack, f"box-{box}"), signal.SIGKILL)
    assert call.ended(BACK_S).cause == 41
    row = only(rack, number)
    assert (row.outcome, row.cause, row.side) == ("answered", 41, "rack")
    assert "box-lost" in row.marks
    # The module held the call until the box was back and hung up: that moment is known.
    agrees(rack, number, estimated=row.estimated)
    assert (row.box, row.channel) == (box, channel)
    rack.wait_ready()
    assert len(rack.ended(number)) == 1


def outside_broker(rack: Rack) -> Mosquitto | None:
    """The broker that this rack was given; None: its own."""
    on = stack()
    return on.parts.broker_at(rack.state["mqtt"]) if on else None


@pytest.mark.stack
def test_broker_killed_in_a_call(rack: Rack, trunk: Client) -> None:
    """Calls go on without the broker, the record is completed afterwards, and the rack's state returns."""
    number = quick(rack)
    call = trunk.call(number).invite()
    call.answered()
    broker = outside_broker(rack)
    broker.kill() if broker else os.kill(child(rack, "broker"), signal.SIGKILL)
    threading.Event().wait(0.5)
    call.bye()
    if broker:
        broker.start()
    until(lambda: not only(rack, number).estimated, "the box's part completes the record", BACK_S)
    assert agrees(rack, number).outcome == "answered"
    rack.wait_ready()
    assert answers(rack, trunk)


@pytest.mark.stack
def test_controller_stopped_in_a_call(rack: Rack, trunk: Client) -> None:
    """Both sides are released; the record tells it, with the network's own figures."""
    called = quick(rack)
    call = trunk.call(called).invite()
    call.answered()
    threading.Event().wait(0.3)
    os.kill(child(rack, "controller"), signal.SIGTERM)
    assert call.ended(BACK_S).cause == 41
    until(lambda: only(rack, called).estimated is False, "the box's part completes the record", BACK_S)
    row = agrees(rack, called)
    assert (row.outcome, row.cause, row.side) == ("answered", 41, "rack")
    assert row.marks[0] == "controller-stopped"
    until(lambda: serves(rack, trunk), "the controller serves again", BACK_S)


@pytest.mark.stack
def test_controller_killed_in_a_call(rack: Rack, trunk: Client) -> None:
    """Nobody notices: the next controller knows the call, and its end and its record are as any call's."""
    called = quick(rack)
    call = trunk.call(called).invite()
    call.answered()
    threading.Event().wait(0.3)
    os.kill(child(rack, "controller"), signal.SIGKILL)
    until(lambda: serves(rack, trunk), "the controller serves again", BACK_S)
    call.ack()  # the next controller can't know that its answer has arrived
    call.bye()
    until(lambda: only(rack, called).estimated is False, "the box's part completes the record", BACK_S)
    row = agrees(rack, called)
    assert (row.outcome, row.cause, row.side) == ("answered", 16, "calling")
    assert row.marks[0] == "resumed"


def serves(rack: Rack, client: Client) -> bool:
    """Whether a new call is answered by the controller at all."""
    call = client.call(rack.numbers["busy"]).invite()
    first = client.receive(call.call_id, 0.3)
    # Nobody there yet, or the controller that is ending, which refuses what comes.
    if first is None or first.status >= 200:
        return False
    try:
        return call.final(5.0).status == 486
    except AssertionError:
        return False


@pytest.mark.stack
def test_lab_killed_in_a_call(rack: Rack, trunk: Client) -> None:
    """All modules vanish at once, as when a hub loses power: calls end, and everything comes back by itself.

    The last but one, because a new lab gives numbers of earlier calls out again.
    """
    number = quick(rack)
    call = trunk.call(number).invite()
    call.answered()
    before = rack.state["ledger"]
    os.kill(child(rack, "lab"), signal.SIGKILL)
    assert call.ended().cause == 41
    row = only(rack, number)
    assert (row.outcome, row.cause, row.side) == ("answered", 41, "rack")
    rack.state["ledger"] = until(lambda: new_ledger(rack, before), "the state file names the new ledger")
    rack.wait_ready()
    assert answers(rack, trunk)


def new_ledger(rack: Rack, before: str) -> str:
    found = str(json.loads(rack.state_file.read_text())["ledger"])
    return "" if found == before else found


@pytest.mark.stack
def test_nothing_is_left_behind(rack: Rack) -> None:
    """Last of all: no call open, every network call over, each leg in a record, no traceback in any log."""
    rack.wait_ready()
    assert not rack.queries.open_calls()
    assert all(call["released_at"] for call in rack.ask("/ledger/calls"))
    for log in Path(rack.state["logs"]).glob("*.log"):
        text = log.read_text(errors="replace")
        assert "Traceback" not in text, f"{log.name}: {text[max(0, text.index('Traceback') - 500) :][:3000]}"
        assert "never retrieved" not in text, log.name
