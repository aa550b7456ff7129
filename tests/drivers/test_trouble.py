"""Modules that go away, restart, fall silent, flood or talk nonsense."""

import asyncio
import random

import pytest
from drivers_bench import Begin
from drivers_transcript import Transcript

from simrack.drivers.at import chat as chat_module
from simrack.drivers.at import port as port_module
from simrack.drivers.modems.base import (
    CardChanged,
    CardState,
    DtmfHeard,
    ModemError,
    ModemSilent,
    ModemUnsure,
    NetworkChanged,
    PortLost,
    Progress,
    Unresponsive,
)
from simrack.drivers.modems.generic import service
from simrack.drivers.registry import open_module
from simrack.wire.ports import SystemClock

NUMBER = "+88210123456"
GARBAGE = 1_000_000


async def test_unplugged_module_is_told_once_and_ends_waits(bench: Begin) -> None:
    """Else a channel would stay "speaking" without its module."""
    module = await bench("ec25_slow_dial")
    dial = asyncio.create_task(module.driver.dial(NUMBER))
    await module.module.received("ATD*")
    module.module.unplug()
    await module.next(PortLost)
    with pytest.raises(ModemError):
        await dial
    with pytest.raises(ModemSilent):
        await module.driver.refresh()
    assert sum(isinstance(event, PortLost) for event in module.seen) == 1


async def test_restarted_module_is_to_be_made_anew(bench: Begin) -> None:
    """Else its echo, result forms and call news would be those of power-on."""
    module = await bench("ec25_answered")
    await module.module.line("RDY")
    assert "restarted" in (await module.next(PortLost)).reason


async def test_silent_module_is_reported(bench: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the recovery ladder would not know when to begin."""
    monkeypatch.setattr(chat_module, "RESYNC_ANSWER_S", 0.01)
    monkeypatch.setattr(service, "LIFE_EVERY_S", 0.02)
    module = await bench("ec25_answered")
    await module.next(NetworkChanged)
    monkeypatch.setattr(module.driver, "dial_s", 0.05)
    module.module.deaf = True
    # Unsure where the dial left before the silence was noticed.
    with pytest.raises((ModemSilent, ModemUnsure)):
        await module.driver.dial(NUMBER)
    await module.next(Unresponsive)
    module.module.deaf = False
    await module.driver.hang_up()
    await module.driver.dial(NUMBER)


async def test_megabyte_of_garbage_is_survived(bench: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one broken module would end the box's work, or eat its memory."""
    monkeypatch.setattr(port_module, "FLOOD_WINDOW_S", 0.01)
    module = await bench("ec25_answered")
    await module.next(NetworkChanged)
    dice = random.Random(7)
    junk = bytearray(dice.randbytes(GARBAGE))
    for at in range(0, GARBAGE, 5000):
        line = dice.choice(
            (b"\r\n+QIND: \"ccinfo\",,,\r\n", b"\r\n^DSCI: 1,,\r\n", b"\r\n+CREG: \r\n", b"\r\n+CUSD: 1,\"\r\n",
             b"\r\n+CMT: \r\n", b"\r\n+QTONEDET: \r\n", b"\r\nOK\r\n", b"\r\nERROR\r\n", b"\r\n+CLIP: \r\n")
        )  # fmt: skip
        junk[at : at + len(line)] = line
    await module.module.put(bytes(junk))
    await module.module.put(b"\r\n")
    await module.module.line("+QTONEDET: 53")
    assert (await module.next(DtmfHeard)).digit == "5"
    assert (await module.driver.refresh()).operator == "Lab Mobile"
    await module.driver.dial(NUMBER)
    await module.progress(Progress.DIALLING)


async def test_flooding_port_is_read_slowly() -> None:
    """Else a module at 1 MB/s would take the loop from its neighbours' voice."""
    async with Transcript("source: none\n") as module:
        stream = await port_module.open_port(module.path)
        heard, enough = 0, asyncio.Event()

        def received(data: bytes) -> None:
            nonlocal heard
            heard += len(data)
            if heard >= 3 * port_module.FLOOD_OCTETS:
                enough.set()

        stream.attach(received, lambda _: None)
        flood = asyncio.create_task(module.put(b"+QIND: \"csq\",31,99\r\n" * 20_000))
        clock = SystemClock()
        began = clock.monotonic()
        async with asyncio.timeout(10):
            await enough.wait()
        assert clock.monotonic() - began >= port_module.FLOOD_WINDOW_S
        flood.cancel()
        await stream.close()


async def test_card_news_are_read_anew(bench: Begin) -> None:
    """Else calls would leave by a card that was taken out."""
    module = await bench("ec25_card_swap")
    assert (await module.next(CardChanged)).state is CardState.READY
    await module.module.line("+QSIMSTAT: 1,0")
    assert (await module.next(CardChanged)).state is CardState.ABSENT
    await module.module.line("+QSIMSTAT: 1,1")
    changed = await module.next(CardChanged, lambda event: event.state is CardState.READY)
    assert changed.sim is not None
    assert changed.sim.iccid == "8988211000000000033"


async def test_signal_and_registration_news(bench: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the rack page shows the state of half a minute ago."""
    monkeypatch.setattr(service, "NETWORK_PAUSE_S", 0.01)
    monkeypatch.setattr(service, "SIGNAL_EVERY_S", 0.0)
    module = await bench("ec25_lost_network")
    assert (await module.next(NetworkChanged)).network.stat == 1
    await module.module.line('+QIND: "csq",10,99')
    assert (await module.next(NetworkChanged)).network.signal_dbm == -93
    await module.module.line("+CREG: 2")
    assert (await module.next(NetworkChanged)).network.stat == 2


@pytest.mark.parametrize(("ims", "stat", "told"), [("1", 1, ""), ("0", 0, "registered for data only")])
async def test_registration_for_data_only_is_told(bench: Begin, ims: str, stat: int, told: str) -> None:
    """Else calls would be sent to a module that can't make any (CREG 0 while CEREG 1)."""
    module = await bench(f"ec25_volte_{ims}")
    network = (await module.next(NetworkChanged)).network
    assert (network.stat, network.reject_cause) == (stat, told)


@pytest.mark.parametrize("echo", [True, False])
async def test_echo_on_or_off(bench: Begin, echo: bool) -> None:
    """Some firmware switches the echo on again by itself."""
    module = await bench("ec25_fast_answer", echo=echo)
    await module.driver.dial(NUMBER)
    module.module.go("answer")
    await module.progress(Progress.DIALLING, Progress.ACTIVE)


async def test_no_voice_variant_says_so(bench: Begin) -> None:
    """Else calls through a data-only module would be silent."""
    module = await bench("ec25_no_voice")
    with pytest.raises(ModemError, match="voice over USB"):
        await module.driver.audio_on()


async def test_close_before_start_gives_the_port_back() -> None:
    """Else a module that fails at start could never be opened again."""
    async with Transcript.named("ec25_answered") as module:
        for _ in range(2):
            driver = await open_module(module.path, clock=SystemClock())
            await driver.close()


async def test_reset_restarts_the_module(bench: Begin) -> None:
    """A rung of the recovery ladder."""
    module = await bench("ec25_answered")
    await module.driver.reset()
    assert "AT+CFUN=1,1" in module.module.sent


@pytest.mark.parametrize("ended", [True, False], ids=["held call", "ringing call"])
async def test_call_of_an_earlier_run_is_ended_at_start(bench: Begin, ended: bool) -> None:
    """Else the network would hold a call that no record claims, after the box was killed."""
    module = await bench("ec25_left_active" if ended else "ec25_left_ringing")
    assert bool(module.module.matching("AT+QHUP=16")) is ended
    if not ended:
        await module.module.line("RING")
        await module.progress(Progress.INCOMING)


async def test_module_without_a_call_list_rings_by_its_word(bench: Begin) -> None:
    """Else such a module could take no calls at all."""
    module = await bench("generic_no_list")
    await module.module.line('+CLIP: "+88210777",145')
    assert (await module.progress(Progress.INCOMING)).number == "+88210777"
    await module.module.line("RING")
    assert module.progresses() == [Progress.INCOMING]
