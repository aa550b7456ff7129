"""One call's shell with twins at its four sides: driver, leg, sound, outbox."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gateway_support import CountingIds, HandClock, until

from simrack.drivers.modems.base import (
    AtTrace,
    AudioFlow,
    AudioFormat,
    CallProgress,
    CardChanged,
    CardState,
    DtmfHeard,
    LeftOver,
    ModemDriver,
    ModemError,
    ModemEvent,
    ModemRefused,
    NetworkChanged,
    PortLost,
    Progress,
    Sheet,
    Unresponsive,
)
from simrack.gateway import calls_logic as logic
from simrack.gateway import ladder
from simrack.gateway import module as module_file
from simrack.gateway.attempts import OpenAttempt
from simrack.gateway.channel import Channel
from simrack.gateway.discovery import locate
from simrack.gateway.errors import StoreBroken
from simrack.gateway.module import Module
from simrack.gateway.ports import Opened, Tools
from simrack.gateway.settings import BoxSettings, ModuleSettings
from simrack.gateway.switchboard import Switchboard
from simrack.sip import legs
from simrack.sip.sdp import Chosen
from simrack.wire.channel import ChannelState, Mark
from simrack.wire.messages import CallPart, FaultPart, MediaFigures, ModuleInfo, NetworkInfo, SimInfo

S = ChannelState
SIM = SimInfo(iccid="8900", imsi="00101", msisdn="+8821001")
OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0%s\r\n"
    b"a=rtpmap:0 PCMU/8000\r\n"
)
WITH_EVENTS = OFFER % b" 101" + b"a=rtpmap:101 telephone-event/8000\r\n"


class Driver(ModemDriver):
    """Does what the test says; keeps what it was told."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[ModemEvent] = asyncio.Queue()
        self.trace: Callable[[AtTrace], None] = lambda _: None
        self.sheet = Sheet("twin", "Twin", (), (), {}, "sure", AudioFormat(), (), Path())
        self.told: list[str] = []
        self.dialled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.off_hook = False
        self.hang_up_error: ModemError | None = None
        self.audio_error: ModemError | None = None
        self.start_error: ModemError | None = None

    def now(self, state: Progress, number: str = "", cause: int = 0, text: str = "") -> None:
        self.off_hook = state is not Progress.RELEASED
        self.events.put_nowait(CallProgress(state, number, cause, text))

    async def start(self) -> ModuleInfo:
        if self.start_error:
            raise self.start_error
        self.events.put_nowait(CardChanged(CardState.READY, SIM))
        self.events.put_nowait(NetworkChanged(NetworkInfo(stat=1)))
        return ModuleInfo(model="TWIN")

    async def dial(self, number: str, *, hide: bool | None = None) -> None:
        self.told.append(f"dial {number}" + {None: "", True: " hidden", False: " shown"}[hide])
        await asyncio.shield(self.dialled)
        self.off_hook = True

    async def answer(self) -> None:
        self.told.append("answer")

    async def hang_up(self, cause: int = 16) -> float:
        self.told.append(f"hang up {cause}")
        if self.hang_up_error:
            raise self.hang_up_error
        self.off_hook = False
        return 0.0  # "now", as the box takes it

    async def send_dtmf(self, digit: str) -> None:
        self.told.append(f"digit {digit}")

    async def audio_on(self) -> AudioFormat:
        if self.audio_error:
            raise self.audio_error
        return AudioFormat()

    async def audio_off(self) -> None:
        self.told.append("audio off")

    async def release_cause(self) -> tuple[int, str]:
        return 16, ""

    rings_after = False  # somebody else calls as soon as a call is over

    async def in_call(self, *, ringing: bool = True) -> bool:
        return self.off_hook or (ringing and self.rings_after)

    async def refresh(self) -> NetworkInfo:
        return NetworkInfo(stat=1)

    async def command(self, text: str) -> tuple[str, ...]:
        return (text,)

    async def close(self) -> None:
        self.told.append("close")
        if not self.dialled.done():
            self.dialled.set_exception(ModemError("port closed"))
            self.dialled.exception()  # nobody may have dialled


class Leg:
    """Both kinds of leg: what is sent is kept as text."""

    def __init__(self, sdp: bytes | None = WITH_EVENTS, **headers: str) -> None:
        self.events: asyncio.Queue[legs.Event] = asyncio.Queue()
        self.sent: list[str] = []
        fields = {
            "x-simrack-call": "c1", "x-simrack-attempt": "a1", "x-simrack-channel": "1", "x-simrack-iccid": "8900",
            **{"x-simrack-" + key.replace("_", "-"): value for key, value in headers.items()},
        }  # fmt: skip
        self.request = legs.Invite(("127.0.0.1", 5060), "sip:+1@box", "+882", "+1", "id", "tag", sdp, fields)
        self.ids = legs.DialogIds("id")

    def trying(self) -> None:
        self.sent.append("100")

    def ring(self) -> None:
        self.sent.append("180")

    def progress(self, sdp: bytes) -> None:
        assert b"m=audio 4998" in sdp
        self.sent.append("183")

    def answer_text(self, sdp: bytes) -> str:
        return ""

    def answer(self, sdp: bytes, headers: legs.Headers = ()) -> None:
        self.sent.append("200")

    def reject(self, status: int, cause: int, text: str = "", headers: legs.Headers = ()) -> None:
        self.sent.append(" ".join([str(status), str(cause), *(value for _, value in headers)]))

    def hang_up(self, cause: int, text: str = "") -> None:
        self.sent.append(f"bye {cause} {text}".strip())

    def give_up(self, cause: int, text: str = "") -> None:
        raise AssertionError("a box has no host behind it that could be lost")

    def accept_update(self, sdp: bytes | None) -> None:
        self.sent.append("updated")

    def refuse_update(self, status: int) -> None:
        self.sent.append(f"update {status}")

    def offer(self, sdp: bytes) -> None:
        self.sent.append("offer")

    def probe(self) -> None:
        self.sent.append("probe")

    def info(self, content_type: str, body: bytes) -> None:
        self.sent.append(f"info {body[:8].decode()}")


class Bridge:
    def __init__(self, chosen: Chosen) -> None:
        self.heard, self.no_media, self.failed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.digits: asyncio.Queue[str] = asyncio.Queue()
        self.did: list[str] = []
        self.chosen = chosen

    def speak(self, digit: str) -> None:
        self.did.append(f"speak {digit}")

    def answered(self) -> None:
        self.did.append("emptied")

    def update(self, chosen: Chosen) -> None:
        self.did.append("open" if chosen.sends else "quiet")
        self.chosen = chosen

    def figures(self) -> MediaFigures:
        return MediaFigures(codec=self.chosen.codec)

    def close(self) -> None:
        self.did.append("closed")


class Port:
    """An RTP socket and an audio port in one."""

    def __init__(self) -> None:
        self.address = ("127.0.0.1", 4998)
        self.lost, self.reason, self.closed, self.paused = asyncio.Event(), "", False, False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True


class Sound:
    codecs: tuple[str, ...] = ("PCMA", "PCMU")

    def __init__(self) -> None:
        self.bridges: list[Bridge] = []
        self.ports: list[Port] = []
        self.full = False

    def bind(self) -> Port:
        if self.full:
            raise OSError("no port")
        self.ports.append(Port())
        return self.ports[-1]

    def open_audio(self, path: Path, fmt: AudioFormat) -> Port:
        return Port()

    def bridge(self, chosen: Chosen, rtp: Any, audio: Any, gain_db: float) -> Bridge:
        self.bridges.append(Bridge(chosen))
        return self.bridges[-1]


@dataclass
class Books:
    """Outbox and attempt memory in one."""

    facts: list[CallPart | FaultPart] = field(default_factory=list)
    attempts: set[str] = field(default_factory=set)

    rows: dict[str, OpenAttempt] = field(default_factory=dict)
    settled: list[tuple[int, str, LeftOver | None]] = field(default_factory=list)
    full: bool = False
    #: The disk is busy until this is set.
    written: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.written.set()

    async def put(self, body: CallPart | FaultPart) -> None:
        self.facts.append(body)
        if isinstance(body, CallPart):
            self.rows.pop(body.attempt, None)

    async def remember(self, row: OpenAttempt) -> bool:
        if self.full:
            raise StoreBroken("disk full")
        await self.written.wait()
        fresh = row.attempt not in self.attempts
        self.attempts.add(row.attempt)
        self.rows.setdefault(row.attempt, row)
        return fresh

    async def note(self, row: OpenAttempt) -> None:
        if row.attempt in self.rows:
            self.rows[row.attempt] = row

    async def forget(self, attempt: str) -> None:
        self.rows.pop(attempt, None)

    async def settle(self, channel: int, imei: str, held: LeftOver | None) -> None:
        self.settled.append((channel, imei, held))

    @property
    def parts(self) -> list[CallPart]:
        return [fact for fact in self.facts if isinstance(fact, CallPart)]


class Rig:
    """One module with its switchboard."""

    def __init__(self, run_tasks: Callable[..., Any], tmp_path: Path) -> None:
        self.start_task, self.books, self.sound = run_tasks, Books(), Sound()
        self.drivers: list[Driver] = []
        self.next_error: ModemError | None = None
        self.leave_call = False
        self.asked: list[legs.Dial] = []
        self.offered = Leg()
        path = tmp_path / "at"
        path.touch()
        self.port = path
        settings = BoxSettings.model_validate({"box": "lab-01", "data": tmp_path, "calls": {"no_media_s": 1}})
        row = ModuleSettings(channel=1, at=str(path), audio=str(path))
        clock = HandClock()
        self.clock = clock
        tools = Tools(
            settings, clock, CountingIds(), self.books, self.books, self.sound, locate, self.open, self.dial,
            ("127.0.0.1", 5060),
        )  # fmt: skip
        self.states: list[ChannelState] = []
        channel = Channel("lab-01", 1, clock, lambda c: self.states.append(c.state), strict=True)
        self.module = Module(row, channel, tools)
        self.board = Switchboard(tools, {1: self.module})

    async def open(self, row: ModuleSettings, trace: Callable[[AtTrace], None]) -> Opened:
        driver = Driver()
        driver.trace, driver.start_error, self.next_error = trace, self.next_error, None
        driver.off_hook, self.leave_call = self.leave_call, False
        self.drivers.append(driver)
        return Opened(driver, driver.sheet)

    def dial(self, dial: legs.Dial) -> Leg:
        self.asked.append(dial)
        return self.offered

    @property
    def driver(self) -> Driver:
        return self.drivers[-1]

    @property
    def state(self) -> ChannelState:
        return self.module.channel.state

    async def ready(self) -> None:
        await until(lambda: self.state is S.READY, "ready")

    async def begin(self, sdp: bytes = WITH_EVENTS, **headers: str) -> Leg:
        leg = Leg(sdp, **headers)
        self.start_task(self.board.take(leg))
        await until(lambda: self.driver.told, "dial")
        return leg

    async def taken(self, sdp: bytes = WITH_EVENTS, **headers: str) -> Leg:
        leg = await self.begin(sdp, **headers)
        self.driver.dialled.set_result(None)
        await until(lambda: self.module.current and self.module.current.state.phase is not logic.Phase.BEGUN, "taken")
        return leg

    async def up(self, sdp: bytes = WITH_EVENTS, **headers: str) -> Leg:
        leg = await self.taken(sdp, **headers)
        self.driver.now(Progress.ACTIVE)
        await until(lambda: "200" in leg.sent, "200")
        return leg

    async def part(self) -> CallPart:
        await until(lambda: self.books.parts and self.module.current is None, "part")
        assert all(port.closed for port in self.sound.ports)
        assert all("closed" in bridge.did for bridge in self.sound.bridges)
        return self.books.parts[-1]


@pytest.fixture
async def rig(run_tasks: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(ladder, "BACKOFF_S", (0.01,))
    monkeypatch.setattr(module_file, "LOOK_S", 0.01)
    made = Rig(run_tasks, tmp_path)
    run_tasks(made.module.run())
    await made.ready()
    return made


async def test_glare_gives_the_channel_to_the_incoming_call(rig: Rig) -> None:
    """RING while an INVITE is in flight: 503 with 44 and "taken", then the incoming call is offered."""
    leg = await rig.begin()
    rig.driver.now(Progress.INCOMING, "+882777")
    await until(lambda: len(leg.sent) > 1, "refusal")
    assert leg.sent == ["100", "503 44 taken"]
    rig.driver.dialled.set_exception(ModemRefused("NO CARRIER", 16))
    await until(lambda: rig.asked, "offer to the controller")
    assert rig.asked[0].calling == "+882777"
    assert rig.asked[0].called == "+8821001"
    assert rig.state is S.INCOMING
    assert not [told for told in rig.driver.told if told.startswith("hang up")]
    part = rig.books.parts[0]
    assert (part.cause, part.side, part.direction) == (44, "rack", "out")


async def test_glare_whose_dial_was_taken_after_all_ends_both_calls(rig: Rig) -> None:
    leg = await rig.begin()
    rig.driver.now(Progress.INCOMING, "+882777")
    await until(lambda: len(leg.sent) > 1, "refusal")
    rig.driver.dialled.set_result(None)
    await rig.part()
    assert "hang up 16" in rig.driver.told
    await until(lambda: rig.state is S.READY, "ready")
    assert rig.asked == []


async def test_cancel_while_the_dial_command_is_out_hangs_up_and_rests(rig: Rig) -> None:
    leg = await rig.begin()
    leg.events.put_nowait(legs.Failed(487, 16, "cancelled"))
    await until(lambda: "hang up 16" in rig.driver.told, "hang up")
    rig.driver.dialled.set_exception(ModemRefused("given up", 16))
    part = await rig.part()
    assert (part.cause, part.side, part.connected) == (16, "calling", None)
    assert leg.sent == ["100"]
    assert rig.state is S.READY


async def test_who_rings_in_the_moment_after_a_call_is_not_hung_up_with_it(rig: Rig) -> None:
    """Talk lasted until the next caller was gone, who was cut off."""
    leg = await rig.up()
    rig.driver.rings_after = True
    leg.events.put_nowait(legs.Disconnected(16))
    await rig.part()
    assert rig.driver.told.count("hang up 16") == 1


async def test_cancel_that_crosses_the_connect_counts_as_an_answered_call(rig: Rig) -> None:
    leg = await rig.taken()
    rig.driver.hang_up_error = None
    rig.driver.now(Progress.ALERTING)
    await until(lambda: "183" in leg.sent, "183")
    rig.driver.now(Progress.ACTIVE)
    leg.events.put_nowait(legs.Failed(487, 16, "cancelled"))
    part = await rig.part()
    assert part.connected is not None
    assert "hang up 16" in rig.driver.told


async def test_the_cancel_that_came_before_anything_was_sent_never_reaches_the_module(rig: Rig) -> None:
    leg = Leg()
    leg.events.put_nowait(legs.Failed(487, 16, "cancelled"))
    await rig.board.take(leg)
    assert not [told for told in rig.driver.told if told.startswith("dial")]
    assert (await rig.part()).dialled is None


async def test_a_module_that_vanishes_releases_the_leg_and_starts_again(rig: Rig) -> None:
    leg = await rig.up()
    first = rig.driver
    first.events.put_nowait(PortLost("unplugged"))
    part = await rig.part()
    assert leg.sent[-1] == "bye 41 module lost", "ports and files of the box are no sender's business"
    assert part.cause_text == "unplugged"
    assert (part.cause, part.side) == (41, "rack")
    await until(lambda: rig.driver is not first and rig.state is S.READY, "served again")
    faults = [fact for fact in rig.books.facts if isinstance(fact, FaultPart)]
    assert [(fact.reason, fact.cleared) for fact in faults] == [("unplugged", False), ("unplugged", True)]
    assert not [told for told in first.told if told.startswith("hang up")]


async def test_a_module_that_cant_be_hung_up_is_started_anew(rig: Rig) -> None:
    leg = await rig.up()
    first = rig.driver
    first.hang_up_error = ModemRefused("still off-hook")
    leg.events.put_nowait(legs.Disconnected(16, "", "remote"))
    await until(lambda: rig.driver is not first and rig.state is S.READY, "served again")
    part = await rig.part()
    assert (part.cause, part.side) == (16, "calling")


async def test_a_module_without_voice_fails_the_call_before_it_is_answered(rig: Rig) -> None:
    rig.driver.audio_error = ModemRefused("ERROR")
    leg = await rig.begin()
    rig.driver.dialled.set_result(None)
    part = await rig.part()
    assert leg.sent == ["100", "503 41"]
    assert "no audio" in part.cause_text


async def test_the_path_is_quiet_until_it_opens_and_buffers_are_empty_at_answer(rig: Rig) -> None:
    leg = await rig.taken(early_media="auto")
    bridge = rig.sound.bridges[0]
    assert not bridge.chosen.sends
    bridge.heard.set()
    await until(lambda: "183" in leg.sent, "183 by voice")
    assert bridge.chosen.sends
    rig.driver.now(Progress.ALERTING)
    rig.driver.now(Progress.ACTIVE)
    await until(lambda: "200" in leg.sent, "200")
    assert leg.sent == ["100", "183", "200"]
    assert bridge.did == ["open", "emptied"]


async def test_no_media_both_ways_releases_the_call(rig: Rig) -> None:
    leg = await rig.up()
    await asyncio.sleep(0)
    bridge = rig.sound.bridges[0]

    def silent() -> bool:
        bridge.no_media.set()
        return leg.sent[-1].startswith("bye")

    await until(silent, "release")
    assert leg.sent[-1] == "bye 41 no media"
    part = await rig.part()
    assert (part.cause_text, part.side) == ("no media", "rack")


async def test_call_whose_voice_broke_is_ended_at_once(rig: Rig) -> None:
    """Two people who pay for silence: a fault in the bridge must end the call, not leave it open for hours."""
    leg = await rig.up()
    rig.sound.bridges[0].failed.set()
    await until(lambda: leg.sent[-1] == "bye 41 voice failed", "release")
    assert (await rig.part()).side == "rack"


async def test_silence_while_it_rang_does_not_end_the_answered_call(rig: Rig) -> None:
    await rig.taken()
    rig.sound.bridges[0].no_media.set()
    rig.driver.now(Progress.ACTIVE)
    await until(lambda: rig.state is S.ACTIVE, "active")
    await asyncio.sleep(0.05)
    assert rig.state is S.ACTIVE


async def test_the_modules_flow_control_reaches_its_audio_port(rig: Rig) -> None:
    """A module whose buffer is full would else drop voice, and speak late for the rest of the call."""
    await rig.up()
    audio = rig.module.audio
    assert isinstance(audio, Port)
    rig.driver.events.put_nowait(AudioFlow(False))
    await until(lambda: audio.paused, "pause")
    rig.driver.events.put_nowait(AudioFlow(True))
    await until(lambda: not audio.paused, "resume")


async def test_digits_in_all_four_ways(rig: Rig) -> None:
    leg = await rig.up()
    bridge = rig.sound.bridges[0]
    bridge.digits.put_nowait("5")
    leg.events.put_nowait(legs.Info("application/dtmf-relay", b"Signal=#\r\nDuration=100"))
    await until(lambda: {"digit 5", "digit #"} <= set(rig.driver.told), "digits to the network")
    rig.driver.events.put_nowait(DtmfHeard("7"))
    await until(lambda: "speak 7" in bridge.did, "RFC 4733")


async def test_a_digit_goes_as_info_where_no_telephone_events_were_agreed(rig: Rig) -> None:
    leg = await rig.up(OFFER % b"")
    rig.driver.events.put_nowait(DtmfHeard("7"))
    await until(lambda: "info Signal=7" in leg.sent, "INFO")


async def test_hold_keeps_the_call_and_a_senseless_reinvite_is_refused(rig: Rig) -> None:
    leg = await rig.up()
    leg.events.put_nowait(legs.Update(WITH_EVENTS + b"a=sendonly\r\n"))
    await until(lambda: rig.state is S.HELD, "held")
    leg.events.put_nowait(legs.Update(b"nonsense"))
    leg.events.put_nowait(legs.Update(WITH_EVENTS))
    await until(lambda: rig.state is S.ACTIVE, "resumed")
    leg.events.put_nowait(legs.Update(None))
    await until(lambda: leg.sent.count("updated") == 3, "answers")
    assert "update 488" in leg.sent


async def test_the_refusals_of_an_invite(rig: Rig) -> None:
    async def answer(leg: Leg) -> str:
        await rig.board.take(leg)
        return leg.sent[-1]

    assert await answer(Leg(attempt="1", iccid="1")) == "503 44 other-sim"
    assert await answer(Leg(attempt="2", channel="2")) == "503 44 not-ready"
    assert await answer(Leg(sdp=None, attempt="3")) == "488 65 request"
    assert await answer(Leg(sdp=b"x", attempt="4")) == "400 127 request"
    assert await answer(Leg(attempt="1")) == "482 25 repeated"
    rig.sound.full = True
    assert await answer(Leg(attempt="5")) == "503 47 no-port"
    rig.board.closed = True
    assert await answer(Leg(attempt="6")) == "503 41 stopping"
    assert rig.driver.told == []


async def test_a_call_that_arrives_as_the_box_stops_is_refused_also_behind_a_busy_disk(rig: Rig) -> None:
    """It would be told of no stop: the box could not end before that call does."""
    rig.books.written.clear()
    leg = Leg(attempt="7")
    taking = rig.start_task(rig.board.take(leg))
    await asyncio.sleep(0)
    rig.board.closed = True
    rig.books.written.set()
    await taking
    assert leg.sent[-1] == "503 41 stopping"
    assert rig.driver.told == []
    assert rig.books.rows == {}


async def test_clir_goes_with_the_call(rig: Rig) -> None:
    await rig.begin(clir="hide")
    assert rig.driver.told == ["dial +882 hidden"]


async def test_a_bug_in_one_call_ends_that_call_on_both_sides(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    leg = await rig.taken()

    def broken(call: object, event: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(logic, "step", broken)
    rig.driver.now(Progress.ALERTING)
    part = await rig.part()
    assert part.cause_text == "internal: ZeroDivisionError"
    assert leg.sent[-1].startswith("bye 41")
    assert "hang up 16" in rig.driver.told


async def test_an_incoming_call_to_a_disabled_channel_is_turned_away(rig: Rig) -> None:
    rig.module.channel.marks = frozenset({Mark.DISABLED})
    rig.driver.now(Progress.INCOMING, "+882777")
    part = await rig.part()
    assert "hang up 21" in rig.driver.told
    assert rig.asked == []
    assert (part.direction, part.number, part.cause, part.side, part.turned_away) == ("in", "+882777", 21, "rack", True)
    assert (part.cause_text, part.connected, part.iccid) == ("the channel is disabled", None, "8900")


async def test_an_unresponsive_module_shows_as_fault_and_others_reasons_are_kept(rig: Rig) -> None:
    rig.next_error = ModemError("still silent")
    rig.driver.events.put_nowait(Unresponsive("no answer to AT"))
    await until(lambda: len(rig.drivers) == 3 and rig.state is S.READY, "third start")
    assert S.FAULT in rig.states
    faults = [(fact.reason, fact.rung, fact.cleared) for fact in rig.books.facts if isinstance(fact, FaultPart)]
    assert faults == [
        ("no answer to AT", "", False), ("still silent", "reopen", False), ("still silent", "", False),
        ("still silent", "", True),
    ]  # fmt: skip
    recovery = rig.module.channel.report("b", 1).recovery
    assert recovery
    assert recovery.failed == ()
    assert [figures.model_dump() for figures in recovery.figures] == [
        {"rung": "reopen", "tries": 2, "cured": 1, "failed": 1}
    ]


async def test_an_unplugged_module_is_absent_until_its_path_is_back(rig: Rig) -> None:
    rig.port.unlink()
    rig.driver.events.put_nowait(PortLost("unplugged"))
    await until(lambda: rig.state is S.ABSENT, "absent")
    await asyncio.sleep(0.05)
    assert len(rig.drivers) == 1
    rig.port.touch()
    await until(lambda: len(rig.drivers) == 2 and rig.state is S.READY, "back")


async def test_a_call_left_by_a_killed_box_is_hung_up_at_start(rig: Rig) -> None:
    first = rig.driver

    async def open_ringing(row: ModuleSettings, trace: Callable[[AtTrace], None]) -> Opened:
        driver = Driver()
        driver.off_hook = True
        rig.drivers.append(driver)
        return Opened(driver, driver.sheet)

    rig.module.tools = replace(rig.module.tools, opener=open_ringing)
    first.events.put_nowait(PortLost("restart"))
    await until(lambda: rig.driver is not first and rig.state is S.READY, "served again")
    assert rig.driver.told == ["hang up 16"]


async def test_the_journal_knows_what_a_call_has_reached_while_it_goes_on(rig: Rig) -> None:
    """Whatever kills the box, its next run can close the record with these."""
    await rig.taken()
    row = rig.books.rows["a1"]
    assert (row.call, row.channel, row.iccid, row.imsi, row.direction, row.number) == (
        "c1", 1, "8900", "00101", "out", "+882",
    )  # fmt: skip
    assert row.connected is None
    rig.driver.now(Progress.ACTIVE)
    await until(lambda: rig.books.rows["a1"].connected, "connected")
    rig.driver.now(Progress.RELEASED)
    await rig.part()
    assert rig.books.rows == {}


async def test_a_refused_attempt_leaves_no_open_row(rig: Rig) -> None:
    leg = Leg(iccid="other")
    await rig.board.take(leg)
    assert leg.sent == ["503 44 other-sim"]
    assert rig.books.attempts == {"a1"}
    assert rig.books.rows == {}


async def test_an_incoming_call_is_kept_before_it_is_answered(rig: Rig) -> None:
    rig.driver.now(Progress.INCOMING, "+88210")
    await until(lambda: rig.asked, "INVITE")
    await until(lambda: rig.books.rows, "row")
    (row,) = rig.books.rows.values()
    assert (row.direction, row.number, row.attempt) == ("in", "+88210", dict(rig.asked[0].headers)["X-Simrack-Attempt"])
    rig.driver.now(Progress.RELEASED)
    await rig.part()
    assert rig.books.rows == {}


async def test_an_incoming_call_that_cant_be_kept_isnt_answered(rig: Rig) -> None:
    """Disk full: a call that a kill would leave without a record is turned away, and the record says why."""
    rig.books.full = True
    rig.driver.now(Progress.INCOMING, "+88210")
    part = await rig.part()
    assert "answer" not in rig.driver.told
    assert "hang up 21" in rig.driver.told
    assert (part.cause, part.side, part.cause_text) == (41, "rack", "the box can't write its file")


async def test_a_call_that_the_last_run_left_is_hung_up_and_told_to_the_journal(rig: Rig) -> None:
    assert rig.books.settled == [(1, "", None)]
    rig.leave_call = True
    rig.driver.events.put_nowait(PortLost("unplugged"))
    await until(lambda: len(rig.books.settled) == 2, "second start")
    held = rig.books.settled[1][2]
    assert held
    assert held.state is Progress.INCOMING
    assert rig.driver.told == ["hang up 16"]


@pytest.mark.parametrize("jump_s", [3600, -3600])
async def test_a_wall_clock_that_jumps_in_a_call_is_not_in_its_record(rig: Rig, jump_s: int) -> None:
    """Else an hour is billed that nobody spoke, or the end lies before the answer."""
    await rig.up()
    rig.clock.now += 30
    rig.clock.set_s = jump_s
    rig.driver.now(Progress.RELEASED)
    part = await rig.part()
    assert part.connected
    assert part.talk_ms == 30_000
    assert part.released - part.connected == timedelta(seconds=30)
