"""A controller that is killed and started again while people speak, as real processes, judged by the network's books."""

import asyncio
import contextlib
import signal
import time
from pathlib import Path

import pytest
from system import sipp as s
from system.baresip import Baresip
from system.floor import Floor, Size, eventually, open_floor
from system.sounds import write_tone
from system.uac import Call, Callers, reached

from simrack.controller.models import RecordFilter, RecordRow
from simrack.controller.store.queries import Queries

LEEWAY_MS = 100  # quality.md, invariant 1
CALLER = "+882109000999"
VOICE_PACKETS = 50  # 1 s of voice
pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


class Scene:
    """Calls that speak, and what the books say of them."""

    def __init__(self, floor: Floor, callers: Callers) -> None:
        self.floor, self.callers = floor, callers

    async def speaking(self, count: int) -> list[Call]:
        calls = []
        for _ in range(count):
            number = await self.floor.number(behaviour="answer", answer_after_s=0.05, tone_hz=700)
            calls.append(self.callers.invite(number, "talking"))
        left = await reached(calls, lambda call: call.was_answered, 30)
        assert not left, [call.told for call in left]
        return calls

    async def leg(self, call: Call) -> dict[str, object]:
        rows = [row for row in await self.floor.ask("/ledger/calls") if row["called"] == call.number]
        assert len(rows) == 1, "the number is called once"
        return dict(rows[0])

    async def network_hangs_up(self, call: Call) -> None:
        await self.floor.ask(f"/calls/{(await self.leg(call))['id']}", method="DELETE")

    async def voice(self, call: Call) -> None:
        """Wait for a second's worth of new voice from the network."""
        call.heard()
        heard = 0

        async def more() -> bool:
            nonlocal heard
            heard += call.heard()[0]
            return heard >= VOICE_PACKETS

        await eventually(more, "voice from the network", 15)

    async def records(self, count: int) -> dict[str, RecordRow]:
        queries = Queries(self.floor.parts.database)
        try:

            async def done() -> tuple[RecordRow, ...]:
                page = await asyncio.to_thread(queries.records, RecordFilter(per_page=500))
                return page.rows if page.total >= count and not await asyncio.to_thread(queries.open_calls) else ()

            rows: tuple[RecordRow, ...] = await eventually(done, f"{count} records", 30)
        finally:
            queries.close()
        assert len(rows) == count, "one call, one record"
        return {row.called_received: row for row in rows}

    async def judge(self, call: Call, row: RecordRow, side: str) -> None:
        leg = await self.leg(call)
        assert leg["released_at"] is not None
        talk = leg["talk_ms"]
        assert isinstance(talk, int)
        assert abs(row.talk_network_ms - talk) <= LEEWAY_MS, (row.talk_network_ms, talk)
        assert (row.outcome, row.side, row.estimated, row.cause) == ("answered", side, False, 16), row
        assert row.marks[0] == "resumed"
        assert row.plan == "lab"
        assert row.pattern


async def test_calls_outlive_a_killed_controller(tmp_path: Path) -> None:
    """People who speak notice nothing; whoever hangs up, before or after the restart, ends one call with one record."""
    async with open_floor(tmp_path, Size(1, 4)) as floor, Callers(floor.sip, floor.sender) as callers:
        scene = Scene(floor, callers)
        by_sender, by_network, sender_away, network_away = calls = await scene.speaking(4)
        await floor.controller.kill()
        for call in (by_sender, by_network):
            await scene.voice(call)
        callers.bye(sender_away)
        await scene.network_hangs_up(network_away)
        await floor.controller.start()
        left = await reached([sender_away, network_away], lambda call: call.ended is not None, 40)
        assert not left, [call.told for call in left]
        for call in (by_sender, by_network):
            await scene.voice(call)
            assert call.ended is None
        callers.bye(by_sender)
        await scene.network_hangs_up(by_network)
        left = await reached(calls, lambda call: call.ended is not None, 20)
        assert not left, [call.told for call in left]
        assert all(call.bye_status in (None, 200) for call in calls)
        rows = await scene.records(4)
        for call, side in zip(calls, ("calling", "called", "calling", "called"), strict=True):
            await scene.judge(call, rows[call.number], side)
        for call in (by_sender, by_network):
            assert call.answered is not None
            assert call.ended is not None
            talked_ms = (call.ended - call.answered) * 1000
            assert abs(rows[call.number].talk_sender_ms - talked_ms) <= 500, (rows[call.number], talked_ms)


async def test_calls_outlive_an_upgrade(tmp_path: Path) -> None:
    """SIGUSR1 leaves who speaks to the successor; SIGTERM ends them, so that a stopped rack is silent."""
    async with open_floor(tmp_path, Size(1, 2)) as floor, Callers(floor.sip, floor.sender) as callers:
        scene = Scene(floor, callers)
        call, other = await scene.speaking(2)
        began = time.monotonic()
        floor.controller.send(signal.SIGUSR1)
        await floor.controller.gone()
        assert time.monotonic() - began < 10
        await scene.voice(call)
        await floor.controller.start()
        await scene.voice(call)
        callers.bye(call)
        await reached([call], lambda call: call.ended is not None, 20)
        floor.controller.send(signal.SIGTERM)
        await floor.controller.gone()
        assert other.bye_received is not None
        rows = await scene.records(2)
        await scene.judge(call, rows[call.number], "calling")
        assert set(rows[other.number].marks) >= {"resumed", "controller-stopped"}


@pytest.mark.parametrize("client", ["sipp", "baresip"])
async def test_common_clients_take_a_repeated_answer(tmp_path: Path, client: str) -> None:
    """Killed in the second of the answer: the next run repeats it, and clients that had it already go on as they were."""
    with contextlib.ExitStack() as stack:
        async with open_floor(tmp_path, Size(1, 2)) as floor:
            await _repeated_answer(floor, tmp_path, client, stack)


async def _repeated_answer(floor: Floor, folder: Path, client: str, stack: contextlib.ExitStack) -> None:
    scene = Scene(floor, Callers(floor.sip, floor.sender))
    number = await floor.number(behaviour="answer", answer_after_s=0.05, tone_hz=700)
    if client == "sipp":
        scenario = s.invite(number, CALLER) + s.PROVISIONAL + '<recv response="200" rrs="true"></recv>'
        scenario += s.ack(number, CALLER) + s.pause(20_000) + s.bye(number, CALLER)
        running = s.Sipp(folder, floor.sip, floor.sender).start(scenario)
        await asyncio.to_thread(running.wait_for, "ACK sip:")
    else:
        account = f"<sip:{CALLER}@{floor.sip}>;regint=0;audio_codecs=pcmu;ptime=20"
        tone = write_tone(folder / "tone.wav", 500)
        phone = stack.enter_context(contextlib.closing(Baresip(folder / "phone", account, tone, floor.sender)))
        phone.dial(f"sip:{number}@{floor.sip}")
        await asyncio.to_thread(phone.wait, "CALL_ESTABLISHED")
    await floor.controller.kill()
    await floor.controller.start()

    async def acknowledged() -> bool:
        return "sip answer of an earlier run acknowledged" in floor.controller.log.read_text()

    await eventually(acknowledged, "the ACK of the repeated answer", 20)
    if client == "sipp":
        result = await asyncio.to_thread(running.result)
        assert result.ok, result.messages[-3000:] + result.errors
        assert result.messages.count("SIP/2.0 200 OK") >= 3
    else:
        phone.hang_up()
    rows = await scene.records(1)
    assert (rows[number].side, rows[number].cause, rows[number].marks[0]) == ("calling", 16, "resumed")
