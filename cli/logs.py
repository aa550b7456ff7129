"""`simrack logs`: the last lines of all processes, following them, and another level for a while."""

import asyncio
import getpass
import json
import sys
from typing import Annotated

import typer

from simrack.cli.output import JsonOption, say, say_json
from simrack.cli.places import StateOption, read_state
from simrack.cli.route import ask_controller
from simrack.cli.session import session
from simrack.web.logs import Kept, LogFilter, LogRing
from simrack.wire import topics
from simrack.wire.logs import LEVELS
from simrack.wire.messages import LogLines, LogWish
from simrack.wire.mqtt import MqttBus
from simrack.wire.ports import SystemClock, SystemIds, iso_ms

app = typer.Typer(help="Log lines of all processes.")
CONNECT_S = 12.0  # long enough for a second try after a session that the broker dropped
#: Each process sends its last lines in portions of a hundred, twice a second; this long without one ends them.
QUIET_S = 1.5
LAST = 500


class Tail:
    """Collects lines; with `follow` prints each that fits as it comes."""

    def __init__(self, wanted: LogFilter) -> None:
        self.ring, self.wanted = LogRing(), wanted
        self.news = asyncio.Event()
        self._clock = SystemClock()

    def take(self, _topic: str, payload: bytes) -> None:
        message = LogLines.decode(payload)
        self.ring.take(message, self._clock.utc())
        if message.lines:
            self.news.set()

    async def settle(self) -> None:
        """Until the processes' earlier lines have come."""
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    await self.news.wait()
            except TimeoutError:
                return
            self.news.clear()

    async def follow(self, shown: int, as_json: bool) -> None:
        """Print what comes from now on, until interrupted."""
        while True:
            await self.news.wait()
            self.news.clear()
            fresh = [kept for kept in reversed(self.ring.find(self.wanted).lines) if kept.number > shown]
            for kept in fresh:
                _print(kept, as_json)
            shown = self.ring.number
            sys.stdout.flush()


async def _run(url: str, wanted: LogFilter, count: int, follow: bool, as_json: bool) -> None:
    tail, name = Tail(wanted), f"cli-{SystemIds().token(4)}"
    bus = MqttBus(url, name)
    bus.subscribe(topics.ALL_LOGS, tail.take)
    async with session(bus, url, CONNECT_S):
        wish = LogWish(recent=LAST, actor=f"cli:{getpass.getuser()}")
        await bus.publish(topics.log_wish(topics.EVERY_PROCESS), wish.encode())
        await tail.settle()
        for kept in reversed(tail.ring.find(wanted, count).lines):
            _print(kept, as_json)
        if follow:
            await tail.follow(tail.ring.number, as_json)


def document(kept: Kept) -> dict[str, object]:
    """One line as JSON has it."""
    line = kept.line
    ids = {name: value for name in ("box", "channel", "call", "sender", "sim") if (value := getattr(line, name))}
    return {"at": iso_ms(line.at), "process": kept.process, "level": line.level, "event": line.event, **ids, **line.fields}


def _print(kept: Kept, as_json: bool) -> None:
    told = document(kept)
    if as_json:
        say(json.dumps(told, ensure_ascii=False))
        return
    at, process, level, event = (str(told.pop(name)) for name in ("at", "process", "level", "event"))
    rest = " ".join(f"{name}={value}" for name, value in told.items())
    # Control characters of a line must not move the cursor of whoever reads it.
    say("".join(sign if sign.isprintable() else " " for sign in f"{at} {process:<16} {level:<7} {event}  {rest}"))


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    state: StateOption = None,
    as_json: JsonOption = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    level: Annotated[str, typer.Option(help="This and worse: debug, info, warning, error.")] = "",
    process: Annotated[str, typer.Option(help="One process: controller, web, box-NAME.")] = "",
    box: Annotated[str, typer.Option(help="Lines about this box.")] = "",
    channel: Annotated[str, typer.Option(help="Lines about this channel.")] = "",
    call: Annotated[str, typer.Option(help="Lines about this call.")] = "",
    sender: Annotated[str, typer.Option(help="Lines about this sender.")] = "",
    text: Annotated[str, typer.Option(help="Part of any field.")] = "",
    count: Annotated[int, typer.Option(help="Lines at most.", min=1, max=500)] = 100,
) -> None:
    """Show the last lines of all processes, oldest first; with --follow those that come too."""
    if context.invoked_subcommand is not None:
        return
    if level not in ("", *LEVELS):
        raise typer.BadParameter(f"choose one of {', '.join(LEVELS)}", param_hint="--level")
    wanted = LogFilter(level=level, process=process, box=box, channel=channel, call=call, sender=sender, text=text)
    try:
        asyncio.run(_run(str(read_state(state)["mqtt"]), wanted, count, follow, as_json))
    except KeyboardInterrupt:
        raise typer.Exit from None


@app.command()
def level(
    process: Annotated[str, typer.Argument(help="controller, web or box-NAME.")],
    level: Annotated[str, typer.Argument(help="debug, info, warning or error.")],
    minutes: Annotated[int, typer.Option(help="Then it comes back by itself.", min=1, max=60)] = 60,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have one process log more, or less, for a while."""
    args = {"process": process, "level": level, "minutes": minutes}
    actor = f"cli:{getpass.getuser()}"
    result = asyncio.run(ask_controller(str(read_state(state)["mqtt"]), "log-level", args, actor))
    if as_json:
        say_json(result)
    else:
        say(f"{process} logs {level} and worse until {result['until']}.")
