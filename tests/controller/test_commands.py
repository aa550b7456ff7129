"""Commands: checked, done once, answered each time, passed on to boxes."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from audit_parts import Book, gate_of
from controller_sim import CountingIds, TestClock, until

from simrack.controller.calls.commands import MOST_TOGETHER, CommandDesk, CommandRefused, names_of
from simrack.controller.calls.metrics import Metrics
from simrack.wire import topics
from simrack.wire.errors import UserError
from simrack.wire.messages import Command, CommandReply
from simrack.wire.mqtt import Commander, MemoryBroker

Run = Callable[..., asyncio.Task[Any]]


class Desk:
    """A command desk, a box that answers, and a person."""

    def __init__(self, run_tasks: Run) -> None:
        self.clock, broker = TestClock(), MemoryBroker()
        self.controller, self.box, self.person = (broker.bus(name) for name in ("c", "b", "p"))
        self.done: list[str] = []
        self.at_box: list[Command] = []
        self.replies: list[CommandReply] = []
        commander = Commander(self.controller, "controller", self.clock, CountingIds())
        actions = {"hang-up": self.hang_up, "backup": self.broken, "reload-config": self.mend}
        self.book = Book()
        gate = gate_of(self.clock, self.book)
        self.desk = CommandDesk(self.controller, self.clock, actions, Metrics(), commander, gate)
        self.box.subscribe(topics.box_command("box-1"), self.on_box)
        self.person.subscribe("reply", lambda _t, p: self.replies.append(CommandReply.decode(p)))
        self.run_tasks = run_tasks
        for work in (self.controller.run, self.box.run, self.person.run, self.desk.run):
            run_tasks(work())

    async def hang_up(self, args: Any, actor: str) -> dict[str, Any]:
        self.done.append(f"{actor}:{args['call']}")
        return {"n": len(self.done)}

    async def broken(self, _args: Any, _actor: str) -> dict[str, Any]:
        raise RuntimeError("bug")

    async def mend(self, _args: Any, _actor: str) -> dict[str, Any]:
        raise UserError("wrong", "file.toml:3", "Write it right.")

    def on_box(self, _topic: str, payload: bytes) -> None:
        command = Command.decode(payload)
        self.at_box.append(command)
        ok = command.args.get("channel") == 1
        reply = CommandReply(
            id=command.id, ok=ok, error="" if ok else "there is no channel 9", result={"marks": []}
        )
        self.run_tasks(self.box.publish(command.reply_to, reply.encode()))

    async def send(
        self, action: str, *, key: str = "k1", actor: str = "ann", late: bool = False, **args: Any
    ) -> None:
        command = Command(
            id=key, action=action, actor=actor, reply_to="reply", args=args,
            deadline=self.clock.utc() + timedelta(seconds=-1 if late else 5),
        )  # fmt: skip
        await until(lambda: self.person.connected and self.controller.connected)
        await self.person.publish(topics.controller_command(), command.encode())


async def test_repeated_command_is_done_once_and_answered_each_time(run_tasks: Run) -> None:
    """A click whose answer was lost does not hang up twice."""
    on = Desk(run_tasks)
    for _ in range(3):
        await on.send("hang-up", call="x")
    await until(lambda: len(on.replies) == 3)
    assert on.done == ["ann:x"]
    assert {reply.result["n"] for reply in on.replies} == {1}


async def test_refused_commands_say_why(run_tasks: Run) -> None:
    """Too late, nobody's, unknown, broken, mistaken: each has its words and nothing is done."""
    on = Desk(run_tasks)
    await on.send("hang-up", key="1", late=True, call="x")
    await on.send("hang-up", key="2", actor="", call="x")
    await on.send("dance", key="3")
    await on.send("backup", key="4")
    await on.send("reload-config", key="5")
    await on.send("disable-channel", key="6", box="a/b", channel=1)
    await on.send("disable-channel", key="7", channel=1)
    await until(lambda: len(on.replies) == 7)
    errors = {reply.id: reply.error for reply in on.replies}
    assert not any(reply.ok for reply in on.replies)
    assert "deadline" in errors["1"]
    assert "actor" in errors["2"]
    assert "known are" in errors["3"]
    assert errors["4"] == "internal: RuntimeError"
    assert errors["5"] == "file.toml:3: wrong. Write it right."
    assert "no name has" in errors["6"]
    assert "needs box" in errors["7"]
    assert on.done == []
    assert on.at_box == []


async def test_channel_commands_go_to_the_box_with_their_actor(run_tasks: Run) -> None:
    """The box has the last word, and knows who asked."""
    on = Desk(run_tasks)
    await on.send("disable-channel", key="1", box="box-1", channel=1)
    await on.send("enable-channel", key="2", box="box-1", channel=9)
    await until(lambda: len(on.replies) == 2)
    assert [(c.action, c.actor, dict(c.args)) for c in on.at_box] == [
        ("disable-channel", "ann", {"channel": 1}),
        ("enable-channel", "ann", {"channel": 9}),
    ]
    found = {reply.id: reply for reply in on.replies}
    assert found["1"].ok
    assert found["2"].error == "box-1: there is no channel 9"


@pytest.mark.parametrize("calls", [None, [], "c1", [1], [""], ["a"] * (MOST_TOGETHER + 1)])
def test_a_list_of_calls_that_is_none_is_refused(calls: object) -> None:
    """A group that is badly named must not end the calls of somebody else, or none in silence."""
    with pytest.raises(CommandRefused):
        names_of({"calls": calls}, "calls", MOST_TOGETHER)
    assert names_of({"calls": ["a", "b", "a"]}, "calls", 3) == ["a", "b"]


def test_refusal_is_an_error_of_its_own() -> None:
    assert str(CommandRefused("no")) == "no"
