"""What a command to the box may do; each answers with a small document, or says why not."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simrack.drivers.modems.base import ModemError, NotAllowed
from simrack.gateway import calls_logic as logic
from simrack.gateway.errors import CommandRefused, StoreBroken
from simrack.gateway.module import Module
from simrack.gateway.outbox import Outbox
from simrack.gateway.uplink import Action
from simrack.wire.causes import Cause
from simrack.wire.channel import Mark

Args = Mapping[str, Any]

# Enough for the reply to leave; a person does not notice it.
STOP_DELAY_S = 0.2


@dataclass(frozen=True, slots=True)
class Commands:
    """The box's verbs."""

    modules: Mapping[int, Module]
    outbox: Outbox
    stop: Callable[[], None]

    def table(self) -> dict[str, Action]:
        """Action name -> what does it."""
        return {
            "disable-channel": self.disable_channel,
            "enable-channel": self.enable_channel,
            "at": self.at,
            "hang-up": self.hang_up,
            "restart-module": self.restart_module,
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
            await self.outbox.keep_marks(channel.number, channel.marks)
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
        """End the call on `channel`, restart the module and take it into service again."""
        module = self._module(args)
        await module.restart("restarted by a person")
        return {"channel": module.channel.number}

    async def stop_box(self, args: Args) -> dict[str, Any]:
        """End all calls and the process, once the answer is on its way."""
        asyncio.get_running_loop().call_later(STOP_DELAY_S, self.stop)
        return {}

    def _module(self, args: Args) -> Module:
        number = args.get("channel")
        if not isinstance(number, int) or isinstance(number, bool):
            raise CommandRefused("the command needs a channel number")
        module = self.modules.get(number)
        if module is None:
            raise CommandRefused(f"there is no channel {number}")
        return module
