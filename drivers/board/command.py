"""Power and reset by the site's own program: a switched socket strip, a relay board, a hub of another kind.

The program is started without a shell as `PROGRAM ARGUMENTS... ACT CHANNEL SOCKET`, ACT being `on`, `off` or
`usb-reset`, SOCKET "-" where the settings name none. Exit status 0 means done; anything else failed, and the last line
that it printed says why.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from simrack.drivers.board.base import BoardError, Place

# A relay answers at once, a socket strip over SNMP or HTTP in a second or two.
COMMAND_S = 20.0


class CommandBoard:
    """See the module; serves as `UsbReset` and as `PortPower`."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = tuple(argv)

    async def reset(self, place: Place) -> None:
        """Raises `BoardError`."""
        await self._run("usb-reset", place)

    async def switch(self, place: Place, *, on: bool) -> None:
        """Raises `BoardError`."""
        await self._run("on" if on else "off", place)

    async def _run(self, act: str, place: Place) -> None:
        what = f"{self._argv[0]} {act} {place.channel}"
        try:
            child = await asyncio.create_subprocess_exec(
                *self._argv, act, str(place.channel), place.socket or "-",
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
        except OSError as error:
            raise BoardError(f"{what}: {error}") from error
        try:
            async with asyncio.timeout(COMMAND_S):
                said, _ = await child.communicate()
        except TimeoutError:
            raise BoardError(f"{what}: not done in {COMMAND_S:g} s") from None
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        if child.returncode:
            last = said.decode(errors="replace").strip().rpartition("\n")[2]
            raise BoardError(f"{what}: exit status {child.returncode}" + (f": {last[:200]}" if last else ""))
