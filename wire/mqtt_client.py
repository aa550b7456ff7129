"""The MQTT client below the bus: aiomqtt with what a broker that dies again and again shows to be missing.

Sockets come and go with a broker, and their numbers are given to whatever opens next in this process: another
session, a page of figures, a database. Nothing that was planned for a lost socket may touch its number later.
"""

import asyncio
import contextlib
import math
import socket
from collections.abc import Coroutine
from typing import Any

import aiomqtt
import paho.mqtt.client as paho


class Client(aiomqtt.Client):
    """A session's client; `drop` it when the session is over, however that came about."""

    async def stand(self, pattern: str, seconds: float) -> None:
        """Subscribe to a pattern. Raises `MqttError`: refused, the link lost, or no answer in so many seconds."""
        await self._answered(self.subscribe(pattern, qos=1, timeout=math.inf), seconds)

    async def fall(self, pattern: str, seconds: float) -> None:
        """Undo `stand`; the same errors."""
        await self._answered(self.unsubscribe(pattern, timeout=math.inf), seconds)

    async def _answered(self, asked: Coroutine[Any, Any, Any], seconds: float) -> None:
        # Not aiomqtt's own time-out: it outlives the link, and asyncio.wait_for of Python 3.11 loses a cancellation
        # that comes with the answer, so that a session which was told to end once would never end.
        waiting = asyncio.ensure_future(asked)
        try:
            await asyncio.wait({waiting, self._disconnected}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise aiomqtt.MqttError("the link was lost" if self._disconnected.done() else f"no answer in {seconds:g} s")
            waiting.result()
        finally:
            waiting.cancel()

    def check(self) -> None:
        """Raise `MqttError` when the link was lost in the moment of its connect: aiomqtt forgets that."""
        if not self._client.is_connected():
            raise aiomqtt.MqttError("the link was lost while it was made")

    def drop(self) -> None:
        """Close what a connect that was never answered leaves open, and look at the error that nobody waits for."""
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()
        found = self._client.socket()
        if isinstance(found, socket.socket) and found.fileno() >= 0:
            # Its reader hears of the end, and clears up.
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)

    def _on_socket_register_write(self, client: paho.Client, _userdata: Any, sock: Any) -> None:
        def write() -> None:
            try:
                client.loop_write()
            except Exception as error:  # noqa: BLE001  (whatever it is, `run` is told: this session is over)
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        def begin() -> None:
            found = client.socket()
            if found is not None and found is sock and found.fileno() >= 0 and client.want_write():
                self._loop.add_writer(found.fileno(), write)

        # From the thread that connects, or from this one; by the time it runs the socket may be gone.
        self._loop.call_soon_threadsafe(begin)
