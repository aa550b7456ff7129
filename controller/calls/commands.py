"""Commands of people and programs: checked, done once, audited, answered.

A command carries who asks (`actor`), until when it means anything (`deadline`), and an id under which it is
done once however often it comes. Those about a channel are passed on to its box, which has the last word.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from simrack.controller.audit.gate import Denied, Gate
from simrack.controller.audit.words import told
from simrack.controller.calls.metrics import Metrics
from simrack.wire import topics
from simrack.wire.errors import CommandFailed, LinkDown, UserError
from simrack.wire.messages import Command, CommandReply
from simrack.wire.mqtt import Bus, Commander
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)
Args = Mapping[str, Any]
Action = Callable[[Args, str], Awaitable[dict[str, Any]]]
#: Replies remembered, so that a repeated command is answered and not done again; minutes of a busy desk.
MOST_REMEMBERED = 1000
#: Passed on to the box that the command names, under the same action.
FOR_BOXES = (
    "disable-channel", "enable-channel", "restart-module", "restart-box", "drain", "end-drain", "console",
)  # fmt: skip
#: Calls ended by one command; a BYE for each costs the loop 5 ms on both sides.
MOST_TOGETHER = 1000
#: A box answers at once; its link may need a retransmission.
BOX_TIMEOUT_S = 4.0


class CommandRefused(Exception):
    """The command can't be done; the text says why and goes to whoever asked, with `result` for programs."""

    def __init__(self, text: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.result = dict(result or {})


class CommandDesk:
    """Takes commands from the controller's topic."""

    def __init__(
        self, bus: Bus, clock: Clock, actions: Mapping[str, Action], metrics: Metrics, commander: Commander, gate: Gate
    ) -> None:
        self._bus, self._clock, self._metrics, self._commander, self._gate = bus, clock, metrics, commander, gate
        self._actions = {**actions, **{name: self._for_box(name) for name in FOR_BOXES}}
        self._done: OrderedDict[str, asyncio.Future[CommandReply]] = OrderedDict()
        self._arrived: asyncio.Queue[Command] = asyncio.Queue()
        bus.subscribe(topics.controller_command(), self._on_command)

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of what can be asked for."""
        return tuple(sorted(self._actions))

    async def run(self) -> None:
        """Do commands until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                command = await self._arrived.get()
                group.create_task(self._answer(command))

    def _on_command(self, _topic: str, payload: bytes) -> None:
        self._arrived.put_nowait(Command.decode(payload))

    async def _answer(self, command: Command) -> None:
        known = self._done.get(command.id)
        if known is None:
            known = self._done[command.id] = asyncio.get_running_loop().create_future()
            while len(self._done) > MOST_REMEMBERED:
                self._done.popitem(last=False)
            known.set_result(await self._do(command))
        reply = await known
        if not command.reply_to:
            return
        try:
            await self._bus.publish(command.reply_to, reply.encode())
        except LinkDown as error:
            log.warning("reply lost", action=command.action, id=command.id, error=str(error))

    async def _do(self, command: Command) -> CommandReply:
        error, result, begun = "", {}, False
        try:
            action = self._checked(command)
            await self._gate.admit(command)
            begun = True
            result = await action(command.args, command.actor)
        except CommandRefused as refusal:
            error, result = str(refusal), refusal.result
        except (CommandFailed, Denied, UserError) as refusal:
            error = str(refusal)
        except Exception as failure:
            # One command's fault must not end the controller; whoever asked hears of it.
            log.exception("command failed", action=command.action, id=command.id)
            error = f"internal: {type(failure).__name__}"
        known = command.action if command.action in self._actions else "unknown"
        self._metrics.commands.labels(known, "failed" if error else "done").inc()
        args = told(command.args)
        log.info("command", action=command.action, actor=command.actor, args=args, id=command.id, error=error)
        if error:
            await (self._gate.failed if begun else self._gate.denied)(command, error)
        return CommandReply(id=command.id, ok=not error, error=error, result=result)

    def _checked(self, command: Command) -> Action:
        action = self._actions.get(command.action)
        if action is None:
            raise CommandRefused(f"unknown action {command.action}; known are {', '.join(self.actions)}")
        if not command.actor:
            raise CommandRefused("a command needs an actor")
        if self._clock.utc() > command.deadline:
            raise CommandRefused("its deadline is over")
        return action

    def _for_box(self, action: str) -> Action:
        async def pass_on(args: Args, actor: str) -> dict[str, Any]:
            box, rest = topic_part(args, "box"), {key: value for key, value in args.items() if key != "box"}
            reply = await self._commander.send(
                topics.box_command(box), action, rest, actor=actor, timeout_s=BOX_TIMEOUT_S
            )
            if not reply.ok:
                raise CommandRefused(f"{box}: {reply.error}")
            return reply.result

        return pass_on


def text_of(args: Args, name: str) -> str:
    """A text argument. Raises `CommandRefused` when it isn't there."""
    value = args.get(name)
    if not isinstance(value, str) or not value:
        raise CommandRefused(f"the command needs {name}")
    return value


def names_of(args: Args, name: str, most: int) -> list[str]:
    """A list of texts, each once. Raises `CommandRefused` when it isn't there, is empty or too long."""
    value = args.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
        raise CommandRefused(f"the command needs {name}, a list of texts")
    if len(value) > most:
        raise CommandRefused(f"{name} has {len(value)} entries; {most} are the most at once")
    return list(dict.fromkeys(value))


def topic_part(args: Args, name: str) -> str:
    """A text argument that becomes part of a topic: nothing else may be reached by it."""
    value = text_of(args, name)
    if set(value) & set("/+#"):
        raise CommandRefused(f"{name} has characters that no name has")
    return value
