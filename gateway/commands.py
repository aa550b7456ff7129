"""What a command to the box may do; each answers with a small document, or says why not."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simrack.drivers.modems.base import ModemError, NotAllowed
from simrack.gateway import calls_logic as logic
from simrack.gateway.console import Consoles
from simrack.gateway.drain import STOP_DELAY_S, Drains, read_order
from simrack.gateway.errors import CommandRefused, StoreBroken
from simrack.gateway.listening import listen
from simrack.gateway.module import Module
from simrack.gateway.outbox import Outbox
from simrack.gateway.uplink import Action
from simrack.wire.causes import Cause
from simrack.wire.channel import Mark
from simrack.wire.ports import Ids, iso_ms

Args = Mapping[str, Any]

# A console that nobody looks at any more must not go on for ever.
MOST_CONSOLE_S = 600

@dataclass(frozen=True, slots=True)
class Commands:
    """The box's verbs."""

    modules: Mapping[int, Module]
    outbox: Outbox
    drains: Drains
    consoles: Consoles
    stop: Callable[[], None]
    ids: Ids

    def table(self) -> dict[str, Action]:
        """Action name -> what does it."""
        return {
            "disable-channel": self.disable_channel,
            "enable-channel": self.enable_channel,
            "at": self.at,
            "hang-up": self.hang_up,
            "restart-module": self.restart_module,
            "restart-box": self.restart_box,
            "drain": self.drain,
            "end-drain": self.end_drain,
            "console": self.console,
            "listen": self.listen,
            "stop": self.stop_box,
        }

    async def disable_channel(self, args: Args) -> dict[str, Any]:
        """No new call on `channel`; the running one goes on."""
        return await self._mark(args, on=True)

    async def enable_channel(self, args: Args) -> dict[str, Any]:
        """Undo `disable-channel`."""
        return await self._mark(args, on=False)

    async def _mark(self, args: Args, *, on: bool) -> dict[str, Any]:
        channel = self._module(args).channel
        channel.mark(Mark.DISABLED, on=on)
        try:
            # Draining is of this run: after a restart there is nothing left to drain.
            await self.outbox.keep_marks(channel.number, channel.marks - {Mark.DRAINING})
        except StoreBroken as error:
            raise CommandRefused(f"done, but a restart will forget it: {error}") from error
        return {"marks": sorted(channel.marks)}

    async def at(self, args: Args) -> dict[str, Any]:
        """A person's own AT command `text` at `channel`, if the driver's allow-list has it."""
        text = args.get("text")
        if not isinstance(text, str):
            raise CommandRefused("the command needs a text")
        try:
            lines = await self._module(args).driver.command(text)
        except NotAllowed as error:
            raise CommandRefused(f"not allowed: {error}") from error
        except ModemError as error:
            raise CommandRefused(str(error)) from error
        return {"lines": list(lines)}

    async def hang_up(self, args: Args) -> dict[str, Any]:
        """End the call on `channel`; with `attempt` that one only."""
        call = self._module(args).current
        wanted = str(args.get("attempt") or "")
        if call is None or (wanted and call.ticket.attempt != wanted):
            raise CommandRefused("the channel has no call" if call is None else "the channel has another call")
        call.feed(logic.Ordered(Cause.NORMAL, str(args.get("reason") or "ended by a person")))
        return {"call": call.ticket.call, "attempt": call.ticket.attempt}

    async def restart_module(self, args: Args) -> dict[str, Any]:
        """Drain `channel` as `mode` says, restart its module and take it into service again."""
        return self.drains.order(read_order(args, "restart-module"), self._module(args).channel.number)

    async def restart_box(self, args: Args) -> dict[str, Any]:
        """Drain all channels as `mode` says, then end the process in order; its supervisor starts it again."""
        return self.drains.order(read_order(args, "restart-box"))

    async def drain(self, args: Args) -> dict[str, Any]:
        """Take `channel`, or the whole box, out of use as `mode` says, until `end-drain` or a restart of the box."""
        return self.drains.order(read_order(args, "keep"), self._channel(args))

    async def end_drain(self, args: Args) -> dict[str, Any]:
        """Take back what was ordered for `channel`, or for the whole box."""
        return self.drains.end(self._channel(args))

    async def console(self, args: Args) -> dict[str, Any]:
        """Send what passes at the port of `channel` for `seconds`; 0 ends it."""
        seconds = args.get("seconds", MOST_CONSOLE_S)
        if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 <= seconds <= MOST_CONSOLE_S:
            raise CommandRefused(f"seconds is a whole number from 0 to {MOST_CONSOLE_S}")
        return {"until": iso_ms(self.consoles.watch(self._module(args).channel.number, seconds))}

    async def listen(self, args: Args) -> dict[str, Any]:
        """Let a person hear the call on `channel` (see `gateway.listening`)."""
        return listen(self._module(args).current, args, self.ids)

    async def stop_box(self, args: Args) -> dict[str, Any]:
        """End all calls and the process, once the answer is on its way."""
        asyncio.get_running_loop().call_later(STOP_DELAY_S, self.stop)
        return {}

    def _channel(self, args: Args) -> int | None:
        """The channel that is named, or None for the whole box."""
        return None if args.get("channel") is None else self._module(args).channel.number

    def _module(self, args: Args) -> Module:
        number = args.get("channel")
        if not isinstance(number, int) or isinstance(number, bool):
            raise CommandRefused("the command needs a channel number")
        module = self.modules.get(number)
        if module is None:
            raise CommandRefused(f"there is no channel {number}")
        return module
