"""Reading and acknowledging below the bus: few questions to the system, and nothing lost between them."""

import asyncio
import contextlib
import socket
from typing import Any

import paho.mqtt.client as paho
import pytest

from simrack.wire.mqtt import MqttBus
from simrack.wire.mqtt_client import AHEAD_OCTETS, Ahead, Client

WAIT_S = 10.0
MESSAGES = 300


def test_octets_come_in_order_and_the_system_is_asked_once_a_turn() -> None:
    """A packet that ends in the middle of a reading waits for the next turn, so that other work has its own."""
    came, asked = [b"abcd", b"ef", b""], []

    def read(most: int) -> bytes:
        asked.append(most)
        return came.pop(0)

    ahead = Ahead(read)
    assert (ahead.take(1), ahead.take(2), bool(ahead), ahead.take(9), bool(ahead)) == (b"a", b"bc", True, b"d", False)
    with pytest.raises(BlockingIOError):
        ahead.take(1)
    ahead.turn()
    assert ahead.take(1) == b"e"
    ahead.turn()
    assert ahead.take(5) == b"f", "what was read ahead comes before the system is asked again"
    ahead.turn()
    assert ahead.take(1) == b"", "the end of the line is told"
    assert asked == [AHEAD_OCTETS] * 3


async def test_acknowledgements_that_wait_go_out_as_one_piece_before_what_came_later() -> None:
    client = Client("nowhere.invalid")
    queue = client._client._out_packet
    for number in (1, 2):
        client._client._send_puback(number)
    client._client._send_pingreq()
    client._client._send_puback(3)
    client._join_acknowledgements()
    assert [bytes(packet["packet"]) for packet in queue] == [
        b"\x40\x02\x00\x01\x40\x02\x00\x02", b"\xc0\x00", b"\x40\x02\x00\x03",
    ]  # fmt: skip
    assert queue[0]["to_process"] == 8
    queue[0]["pos"] = 5
    client._join_acknowledgements()
    assert queue[0]["pos"] == 5, "a piece that has gone out in part is not sent again"
    client._disconnected.cancel()


class _Broker:
    """Sends many messages in one go, their border anywhere, and hears how they are acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.all = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, length = await reader.readexactly(2)
                body = await reader.readexactly(length)
                if kind & 0xF0 == paho.CONNECT:
                    writer.write(b"\x20\x02\x00\x00")
                elif kind & 0xF0 == paho.SUBSCRIBE:
                    writer.write(b"\x90\x03" + body[:2] + b"\x01")
                    await self._send(writer)
                elif kind & 0xF0 == paho.PUBACK:
                    self.acknowledged.append(int.from_bytes(body))
                    if len(self.acknowledged) == MESSAGES:
                        self.all.set()
        writer.close()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        packets = b"".join(_publish(number) for number in range(1, MESSAGES + 1))
        # Neither the client's reading nor a packet ends where one of these does.
        for begin in range(0, len(packets), 5001):
            writer.write(packets[begin : begin + 5001])
            await writer.drain()


def _publish(number: int) -> bytes:
    body = b"\x00\x01t" + number.to_bytes(2) + b"%d " % number + b"x" * 700
    return b"\x32" + bytes((len(body) % 128 | 128, len(body) // 128)) + body


async def test_a_burst_is_taken_in_wholly_in_order_and_each_message_is_acknowledged(run_tasks: Any) -> None:
    """Else a channel would show an old state after a box came back, or the broker would send it for ever."""
    broker, seen = _Broker(), []
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0, family=socket.AF_INET)
    try:
        bus = MqttBus(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}", "burst")
        bus.subscribe("t", lambda _, data: seen.append(int(data.split()[0])))
        run_tasks(bus.run())
        async with asyncio.timeout(WAIT_S):
            await broker.all.wait()
        assert seen == broker.acknowledged == list(range(1, MESSAGES + 1))
    finally:
        server.close()
