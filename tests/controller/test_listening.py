"""Listening to a call: only with a legal basis, always marked, and never to another call than the one meant."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from controller_sim import until
from controller_world import ROUTING, World, world
from gateway_sip import Dialog, sdp_of

from simrack.wire import topics
from simrack.wire.messages import Command, CommandReply, LiveCall

ANSWER = sdp_of(("127.0.0.1", 20000), kinds="0 101")
WAY = {"said": "127.0.0.1:4000", "heard": "127.0.0.1:4002", "seconds": 60}
BASIS = "contract 7, clause 3"


class BoxDesk:
    """The box's end of its command topic."""

    def __init__(self, on: World, error: str = "") -> None:
        self.heard: list[Command] = []
        self._on, self._error = on, error
        self._tasks: set[asyncio.Task[None]] = set()
        on.box.bus.subscribe(topics.box_command(on.box.name), self._take)

    def _take(self, _topic: str, payload: bytes) -> None:
        command = Command.decode(payload)
        self.heard.append(command)
        reply = CommandReply(id=command.id, ok=not self._error, error=self._error, result={"source": "127.0.0.1:20000"})
        task = asyncio.create_task(self._on.box.bus.publish(command.reply_to, reply.encode()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def routing(folder: Path, basis: str) -> None:
    """The trunk's record with this basis."""
    head, name, rest = ROUTING.partition('name = "trunk"\n')
    (folder / "routing.toml").write_text(f'{head}{name}listening = "{basis}"\n{rest}')


async def speaking(on: World) -> tuple[Dialog, Dialog, str]:
    """An answered call of the trunk: both dialogs and its id."""
    calls: list[LiveCall] = []
    on.web.subscribe(topics.ALL_CALLS, lambda _, data: calls.append(LiveCall.decode(data)))
    call = on.invite()
    at_box = await on.box.invited()
    assert at_box.invite is not None
    at_box.respond(at_box.invite, 200, "OK", body=ANSWER)
    assert await on.final(call) == 200
    return call, at_box, at_box.invite.headers["x-simrack-call"]


async def ended(on: World, call: Dialog, at_box: Dialog) -> Any:
    call.again("BYE")
    await until(lambda: at_box.request("BYE"))
    await on.box.tell(at_box, talk_ms=5)
    return await on.record()


async def test_a_call_is_heard_with_a_basis_and_marked_for_ever(tmp_path: Path) -> None:
    """Who was listened to, and that it was lawful, must be readable in the record years later."""
    routing(tmp_path, BASIS)
    async with world(tmp_path) as on:
        box, lives = BoxDesk(on), []
        on.web.subscribe(topics.ALL_CALLS, lambda _, data: lives.append(LiveCall.decode(data)))
        call, at_box, name = await speaking(on)
        reply = await on.command("listen", call=name, **WAY)
        assert reply.ok, reply.error
        assert (reply.result["basis"], reply.result["source"]) == (BASIS, "127.0.0.1:20000")
        asked = box.heard[-1]
        fields = at_box.invite.headers if at_box.invite else {}
        assert asked.action == "listen"
        assert asked.args == {**WAY, "channel": int(fields["x-simrack-channel"]), "attempt": fields["x-simrack-attempt"]}
        await until(lambda: any(live.listened for live in lives), "the mark on the page")
        assert (await on.command("listen", call=name, seconds=0)).ok
        assert box.heard[-1].args["seconds"] == 0
        row = await ended(on, call, at_box)
        assert "listened" in row.marks
        story = await asyncio.to_thread(on.queries.story, row.call)
        assert story is not None
        assert any("listens" in line.label for line in story.ladder)


async def test_without_a_basis_nobody_listens(tmp_path: Path) -> None:
    """Off by default: no setting of the rack and no role opens a sender's calls without its record saying why."""
    routing(tmp_path, "  ")
    async with world(tmp_path) as on:
        box = BoxDesk(on)
        call, at_box, name = await speaking(on)
        reply = await on.command("listen", call=name, **WAY)
        assert "no legal basis" in reply.error
        assert "trunk" in reply.error
        assert box.heard == []
        row = await ended(on, call, at_box)
        assert "listened" not in row.marks


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"call": "nobody"}, "no call"),
        ({"seconds": 601}, "seconds"),
        ({"seconds": -1}, "seconds"),
        ({"seconds": True}, "seconds"),
        ({"seconds": "60"}, "seconds"),
        ({"said": ""}, "needs said"),
        ({"heard": 7}, "needs heard"),
        ({"call": ["a"]}, "needs call"),
    ],
)
async def test_nonsense_is_refused_in_words(tmp_path: Path, args: dict[str, Any], words: str) -> None:
    """A mistyped script gets a sentence, and the call no mark."""
    routing(tmp_path, BASIS)
    async with world(tmp_path) as on:
        box = BoxDesk(on)
        call, at_box, name = await speaking(on)
        reply = await on.command("listen", **{"call": name, **WAY, **args})
        assert not reply.ok
        assert words in reply.error
        assert box.heard == []
        assert "listened" not in (await ended(on, call, at_box)).marks


async def test_what_the_box_refuses_is_told(tmp_path: Path) -> None:
    """The box has the last word on its channel."""
    routing(tmp_path, BASIS)
    async with world(tmp_path) as on:
        BoxDesk(on, error="the channel has another call, or none")
        call, at_box, name = await speaking(on)
        reply = await on.command("listen", call=name, **WAY)
        assert reply.error == "box-1: the channel has another call, or none"
        await ended(on, call, at_box)
