"""The MQTT client below the bus: aiomqtt with what a broker that dies again and again shows to be missing.

Sockets come and go with a broker, and their numbers are given to whatever opens next in this process: another
session, a page of figures, a database. Nothing that was planned for a lost socket may touch its number later.
"""

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import aiomqtt
import paho.mqtt.client as paho

# What is read of the socket in one turn of the loop: ten reports of a channel, about 1 ms of work. paho asks for each
# packet in four pieces, and each question to the system hands the interpreter to whatever thread draws a page.
AHEAD_OCTETS = 8192


class Ahead:
    """What was read of the socket beyond what paho asked for; it asks the system once a turn."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._data, self._at, self._asked = b"", 0, False

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def turn(self) -> None:
        """The system may be asked again."""
        self._asked = False

    def take(self, bufsize: int) -> bytes:
        """Up to so many octets, b"" at the end. Raises `BlockingIOError`: no more in this turn; else as `read` does."""
        if not self:
            if self._asked:
                raise BlockingIOError
            self._asked = True
            self._data, self._at = self._read(AHEAD_OCTETS), 0
        begin, self._at = self._at, min(self._at + bufsize, len(self._data))
        return self._data[begin : self._at]


class Client(aiomqtt.Client):
    """A session's client; `drop` it when the session is over, however that came about."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self._ahead = Ahead(self._client._sock_recv)
        self._client._sock_recv = self._ahead.take  # type: ignore[method-assign]

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

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        super()._on_socket_open(client, userdata, sock)
        # In the place of aiomqtt's reader, which comes back to the loop after each packet.
        self._loop.call_soon_threadsafe(self._loop.add_reader, sock.fileno(), self._read)

    def _read(self) -> None:
        self._ahead.turn()
        try:
            self._client.loop_read()
            while self._ahead and self._client.socket() is not None:
                self._client.loop_read()
        except Exception as error:  # noqa: BLE001  (whatever it is, `run` is told: this session is over)
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._disconnected.done():
            self._disconnected.set_exception(error)

    def _join_acknowledgements(self) -> None:
        """What waits of them at the head of the queue goes out as one piece: paho sends each by itself."""
        queue = self._client._out_packet
        first = queue[0] if queue else None
        if first is None or first["command"] != paho.PUBACK or first["pos"]:
            return
        octets = bytearray()
        while queue and queue[0]["command"] == paho.PUBACK:
            octets += queue.popleft()["packet"]
        first["packet"], first["to_process"] = octets, len(octets)
        queue.appendleft(first)

    def _on_socket_register_write(self, client: paho.Client, _userdata: Any, sock: Any) -> None:
        def write() -> None:
            try:
                self._join_acknowledgements()
                client.loop_write()
            except Exception as error:  # noqa: BLE001  (as above)
                self._fail(error)

        def begin() -> None:
            found = client.socket()
            if found is not None and found is sock and found.fileno() >= 0 and client.want_write():
                self._loop.add_writer(found.fileno(), write)

        # From the thread that connects, or from this one; by the time it runs the socket may be gone.
        self._loop.call_soon_threadsafe(begin)
