"""The AT engine against a peer in memory: one command in flight, everything else apart from it."""

import asyncio
from collections.abc import Callable

import pytest

from simrack.drivers.at import chat as chat_module
from simrack.drivers.at.chat import Chat
from simrack.drivers.at.command import AtCommand, Priority
from simrack.drivers.at.errors import AtAborted, AtGone, AtRefused, AtSilent, AtTimeout
from simrack.drivers.at.result import Kind
from simrack.wire.ports import SystemClock

CSQ = AtCommand("AT+CSQ", ("+CSQ:",))
DIAL = AtCommand("ATD123;", dial=True)


class Peer:
    """A byte stream whose far end answers from a table; what is not there stays unanswered."""

    def __init__(self, answers: dict[str, str] | None = None) -> None:
        self.answers = {"AT": "OK"} | (answers or {})
        self.sent: list[str] = []
        self.raw = bytearray()
        self.closed = False
        self._received: Callable[[bytes], None] = lambda _: None
        self._lost: Callable[[str], None] = lambda _: None
        self._news = asyncio.Condition()
        self._tasks: list[asyncio.Future[None]] = []

    def attach(self, received: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        self._received, self._lost = received, lost

    def write(self, data: bytes) -> None:
        self.raw += data
        text = data.decode("latin-1").removesuffix("\r")
        self.sent.append(text)
        self._tasks.append(asyncio.ensure_future(self._answer(text)))

    async def close(self) -> None:
        self.closed = True

    def say(self, *lines: str) -> None:
        self._received("".join(f"\r\n{line}\r\n" for line in lines).encode("latin-1"))

    def octets(self, data: bytes) -> None:
        self._received(data)

    def vanish(self) -> None:
        self._lost("unplugged")

    async def got(self, text: str, count: int = 1) -> None:
        async with asyncio.timeout(5), self._news:
            await self._news.wait_for(lambda: self.sent.count(text) >= count)

    async def _answer(self, text: str) -> None:
        async with self._news:
            self._news.notify_all()
        if text in self.answers:
            self.say(*self.answers[text].split("|"))


class Table:
    """A chat with what it told."""

    def __init__(self, answers: dict[str, str] | None = None) -> None:
        self.peer = Peer(answers)
        self.trace: list[str] = []
        self.news: list[str] = []
        self.lost: list[str] = []
        self.chat = Chat(self.peer, clock=SystemClock(), trace=lambda way, text: self.trace.append(way + text))
        self.chat.on_line = lambda line: self.news.append(line.text)
        self.chat.on_lost = self.lost.append


async def test_news_inside_an_answer_is_news() -> None:
    """Else a ring during a signal reading would be lost (wdoekes#143)."""
    table = Table({"AT+CSQ": '^RSSI:26|^HCSQ:"LTE",60|+CSQ: 28,99|RING|OK'})
    assert (await table.chat.run(CSQ)).texts == ("+CSQ: 28,99",)
    assert table.news == ["^RSSI:26", '^HCSQ:"LTE",60', "RING"]


async def test_echo_is_no_answer() -> None:
    """Else a module with echo on would seem to answer every question with the question."""
    table = Table({"AT+CGMM": "AT+CGMM|EC25|OK"})
    answer = await table.chat.run(AtCommand("AT+CGMM", ("+CGMM:",), bare=True))
    assert answer.texts == ("EC25",)
    assert table.news == []


async def test_one_command_at_a_time_most_urgent_next() -> None:
    """Else a hang-up would wait behind the readings of a busy rack."""
    table = Table()
    tasks = [asyncio.create_task(table.chat.run("AT+FIRST"))]
    await table.peer.got("AT+FIRST")
    for text, priority in (
        ("AT+IDLE", Priority.IDLE),
        ("AT+A", Priority.NORMAL),
        ("AT+B", Priority.NORMAL),
        ("AT+URGENT", Priority.URGENT),
        ("AT+WATCH", Priority.WATCHDOG),
    ):
        tasks.append(asyncio.create_task(table.chat.run(text, priority)))
    await asyncio.sleep(0)
    order = ["AT+FIRST", "AT+WATCH", "AT+URGENT", "AT+A", "AT+B", "AT+IDLE"]
    for text in order:
        await table.peer.got(text)
        assert table.peer.sent[-1] == text
        table.peer.say("OK")
    await asyncio.gather(*tasks)
    assert table.peer.sent == order


async def test_a_waiter_that_gives_up_passes_its_turn_on() -> None:
    """Else one cancelled caller would close the port for all others."""
    table = Table()
    first = asyncio.create_task(table.chat.run("AT+FIRST"))
    await table.peer.got("AT+FIRST")
    second = asyncio.create_task(table.chat.run("AT+SECOND"))
    third = asyncio.create_task(table.chat.run("AT+THIRD"))
    await asyncio.sleep(0)
    second.cancel()
    table.peer.say("OK")
    await first
    await table.peer.got("AT+THIRD")
    table.peer.say("OK")
    await third
    assert "AT+SECOND" not in table.peer.sent


@pytest.mark.parametrize("result", ["NO CARRIER", "BUSY", "NO ANSWER", "NO DIALTONE"])
async def test_call_results_have_two_roles(result: str) -> None:
    """They end an outstanding dial, and at any other time they are news of a call."""
    table = Table()
    dial = asyncio.create_task(table.chat.run(DIAL))
    await table.peer.got(DIAL.text)
    table.peer.say(result)
    with pytest.raises(AtRefused) as refused:
        await dial
    assert refused.value.final.text == result
    assert table.news == []
    reading = asyncio.create_task(table.chat.run(CSQ))
    await table.peer.got(CSQ.text)
    table.peer.say(result, "+CSQ: 1,99", "OK")
    assert (await reading).first == "+CSQ: 1,99"
    assert table.news == [result]


async def test_end_of_a_call_in_the_same_burst_as_the_dials_ok_is_news() -> None:
    """Else an immediate failure would be swallowed by the dial that it follows."""
    table = Table({DIAL.text: "OK|NO CARRIER"})
    await table.chat.run(DIAL)
    assert table.news == ["NO CARRIER"]


async def test_late_answer_does_not_become_the_next_one() -> None:
    """Else every answer after one time-out would be off by one (bg111#97)."""
    table = Table({"AT+COPS?": '+COPS: 0,0,"Lab",7|OK'})
    with pytest.raises(AtTimeout):
        await table.chat.run(AtCommand("AT+CSQ", ("+CSQ:",), timeout_s=0.02))
    assert (table.chat.resyncs, table.chat.timeouts) == (1, 1)
    table.peer.say("+CSQ: 28,99", "OK")
    answer = await table.chat.run(AtCommand("AT+COPS?", ("+COPS:",)))
    assert answer.texts == ('+COPS: 0,0,"Lab",7',)
    assert table.news in ([], ["+CSQ: 28,99"])
    assert table.chat.resyncs == 2


async def test_answer_that_comes_while_resynchronising_is_drained() -> None:
    """One OK too many means: not in step yet."""
    table = Table()
    table.peer.answers["AT"] = "+CSQ: 28,99|OK|OK"
    asyncio.get_running_loop().call_later(0.06, lambda: table.peer.answers.update(AT="OK"))
    with pytest.raises(AtTimeout):
        await table.chat.run(AtCommand("AT+CSQ", ("+CSQ:",), timeout_s=0.02))
    assert table.peer.sent.count("AT") > 1
    assert table.news == []


async def test_cancelled_command_leaves_the_port_in_step() -> None:
    """Else a caller who goes away in the middle would poison the next command."""
    table = Table({"AT+COPS?": "+COPS: 0|OK"})
    task = asyncio.create_task(table.chat.run(CSQ))
    await table.peer.got(CSQ.text)
    task.cancel()
    await asyncio.wait((task,))
    answer = await table.chat.run(AtCommand("AT+COPS?", ("+COPS:",)))
    assert answer.texts == ("+COPS: 0",)
    assert table.peer.sent == [CSQ.text, "AT", "AT+COPS?"]


async def test_given_up_dial_is_broken_off() -> None:
    """Else a cancel would wait for the module's own time-out."""
    table = Table({"AT+CHUP": "OK"})
    dial = asyncio.create_task(table.chat.run(DIAL))
    await table.peer.got(DIAL.text)
    assert table.chat.dialling
    table.chat.abandon()
    with pytest.raises(AtAborted):
        await dial
    assert not table.chat.dialling
    await table.chat.run("AT+CHUP")
    assert table.peer.sent == [DIAL.text, "AT", "AT+CHUP"]


async def test_silence_is_told_apart_from_a_slow_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the recovery ladder would start for one slow command, or never."""
    monkeypatch.setattr(chat_module, "RESYNC_ANSWER_S", 0.01)
    table = Table()
    table.peer.answers.clear()
    with pytest.raises(AtSilent):
        await table.chat.run(AtCommand("AT+CSQ", timeout_s=0.01))
    table.peer.answers["AT"] = "OK"
    await table.chat.synchronise()


async def test_lost_port_ends_every_wait() -> None:
    """Else calls would hang on a module that was unplugged."""
    table = Table()
    tasks = [asyncio.create_task(table.chat.run(text)) for text in ("AT+A", "AT+B")]
    await table.peer.got("AT+A")
    table.peer.vanish()
    for task in tasks:
        with pytest.raises(AtGone, match="unplugged"):
            await task
    assert table.lost == ["unplugged"]
    with pytest.raises(AtGone):
        await table.chat.run("AT+C")
    await table.chat.close()
    assert table.peer.closed


async def test_listening_begins_before_the_command() -> None:
    """Else an answer by news that comes at once would be missed."""
    table = Table({"AT+CUSD=1": 'OK|+CUSD: 0,"5,00",15'})
    with table.chat.listen(lambda text: text.startswith("+CUSD:")) as listener:
        await table.chat.run("AT+CUSD=1")
        assert (await listener.get(1)).text == '+CUSD: 0,"5,00",15'
    with table.chat.listen(lambda text: True) as listener, pytest.raises(TimeoutError):
        await listener.get(0.01)


async def test_body_waits_for_its_prompt() -> None:
    """Else EC25 silently loses what is sent too early (at-dialects 7.3)."""
    table = Table()
    command = AtCommand("AT+CMGS=24", ("+CMGS:",), body=b"0001000B91")
    task = asyncio.create_task(table.chat.run(command))
    await table.peer.got("AT+CMGS=24")
    await asyncio.sleep(0)
    assert b"\x1a" not in table.peer.raw
    table.peer.octets(b"\r\n> ")
    await table.peer.got("0001000B91\x1a")
    table.peer.say("+CMGS: 7", "OK")
    assert (await task).first == "+CMGS: 7"
    refused = asyncio.create_task(table.chat.run(command))
    await table.peer.got("AT+CMGS=24", 2)
    table.peer.say("+CMS ERROR: 304")
    with pytest.raises(AtRefused) as error:
        await refused
    assert (error.value.final.kind, error.value.final.code) == (Kind.CMS, 304)


async def test_error_news_is_no_answer() -> None:
    """A USSD may fail after its OK (gammu#326): that is news, and ends nobody's command."""
    table = Table()
    table.peer.say("+CME ERROR: 258")
    assert table.news == ["+CME ERROR: 258"]


async def test_trace_shows_both_ways_without_secrets() -> None:
    """Else a call's story would lack a line, or show a PIN."""
    table = Table({'AT+CPIN="1234"': 'AT+CPIN="1234"|OK'})
    await table.chat.run('AT+CPIN="1234"')
    assert table.trace == [">AT+CPIN=****", "<AT+CPIN=****", "<OK"]
