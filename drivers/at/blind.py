"""Restart of a module that answers nothing: it may still hear."""

import asyncio

from simrack.drivers.at.errors import AtError
from simrack.drivers.at.port import open_port
from simrack.drivers.modems.base import ModemError

# ESC ends a body that the module may be waiting for, CR a half line; AT takes the blame for what is left of it.
_RESTART = b"\x1b\r\nAT\rAT+CFUN=1,1\r"
# OK comes within milliseconds, and then the port vanishes; the octets must have left before it is closed.
LEAVE_S = 1.0


async def restart(at_path: str) -> None:
    """Tell the module at a port to restart its firmware (27.007 8.2), without waiting for its word.

    Raises:
        ModemError: the port can't be opened.
    """
    try:
        stream = await open_port(at_path)
    except AtError as error:
        raise ModemError(str(error)) from error
    lost = asyncio.Event()
    stream.attach(lambda _: None, lambda _: lost.set())
    try:
        stream.write(_RESTART)
        async with asyncio.timeout(LEAVE_S):
            await lost.wait()
    except TimeoutError:
        pass
    finally:
        await stream.close()
