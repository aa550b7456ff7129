"""An RTP end with its own codec and ear: says a tone, hears what comes."""

import array
import asyncio
import bisect
import math
import re
import struct
from typing import cast

Address = tuple[str, int]
FRAME = 160


def _expand(code: int) -> int:
    """G.711 mu-law, written from its table of segments."""
    code = ~code & 0xFF
    size = (((code & 0x0F) << 3) + 132 << ((code >> 4) & 7)) - 132
    return -size if code & 0x80 else size


_EXPANDED = [_expand(code) for code in range(256)]
_BY_SIZE = sorted((value, code) for code, value in enumerate(_EXPANDED))


def decode(data: bytes) -> bytes:
    return array.array("h", [_EXPANDED[code] for code in data]).tobytes()


def encode(samples: "array.array[int]") -> bytes:
    last = len(_BY_SIZE) - 1
    return bytes(_BY_SIZE[min(bisect.bisect(_BY_SIZE, (value, 0)), last)][1] for value in samples)


class Phone(asyncio.DatagramProtocol):
    """Says a tone of `hz` to wherever `say` is told, and keeps what it hears."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.events: list[int] = []
        self.first_packet: float | None = None
        self.transport: asyncio.DatagramTransport
        self.address: Address
        self._task: asyncio.Task[None] | None = None
        self._seen: set[bytes] = set()
        self._sequence = self._stamp = 0
        self._to: Address | None = None

    @classmethod
    async def open(cls) -> "Phone":
        _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(cls, local_addr=("127.0.0.1", 0))
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: Address) -> None:
        kind, stamp = data[1] & 0x7F, data[4:8]
        if self.first_packet is None:
            self.first_packet = asyncio.get_running_loop().time()
        if kind == 0:
            self.heard += decode(data[12:])
        elif kind == 101 and stamp not in self._seen:
            self._seen.add(stamp)
            self.events.append(data[12])

    def say(self, sdp: bytes, hz: float) -> None:
        """Send a tone to the address in an SDP."""
        port = re.search(rb"m=audio (\d+)", sdp)
        assert port
        self._to = ("127.0.0.1", int(port.group(1)))
        self._task = asyncio.ensure_future(self._speak(hz))

    async def _speak(self, hz: float) -> None:
        loop, start, count = asyncio.get_running_loop(), asyncio.get_running_loop().time(), 0
        while True:
            samples = array.array(
                "h", (round(9000 * math.sin(2 * math.pi * hz * (count * FRAME + i) / 8000)) for i in range(FRAME))
            )
            self._packet(0, encode(samples))
            count += 1
            await asyncio.sleep(max(start + count * 0.02 - loop.time(), 0))

    def _packet(self, kind: int, payload: bytes, *, marker: bool = False) -> None:
        head = struct.pack("!BBHII", 0x80, kind | (0x80 if marker else 0), self._sequence, self._stamp, 77)
        self.transport.sendto(head + payload, self._to)
        self._sequence = (self._sequence + 1) & 0xFFFF
        if kind == 0:
            self._stamp += FRAME

    def press(self, digit: int) -> None:
        """RFC 4733: three packets of the event, three of its end."""
        for index, end in enumerate((False, False, False, True, True, True)):
            duration = 160 * (min(index, 3) + 1)
            self._packet(101, struct.pack("!BBH", digit, (0x80 if end else 0) | 10, duration), marker=index == 0)
        self._stamp += 800

    def stop_talking(self) -> None:
        if self._task:
            self._task.cancel()

    def close(self) -> None:
        self.stop_talking()
        self.transport.close()

    def hears(self, hz: float, last_ms: int = 240) -> bool:
        """Whether the last piece of what came is this tone, and loud."""
        return len(self.heard) >= last_ms * 16 and self.share(hz, last_ms) >= 0.8

    def share(self, hz: float, last_ms: int = 0) -> float:
        """Share of 40 ms pieces that are this tone, by Goertzel; short, for a gap that was mended shifts the phase."""
        size = 320
        samples = array.array("h", bytes(self.heard[-last_ms * 16 :]))
        pieces = [samples[i : i + size] for i in range(0, len(samples) - size + 1, size)]
        good = [p for p in pieces if power(p, hz) > 0.35 * sum(v * v for v in p) / size > 3e4]
        return len(good) / max(len(pieces), 1)


def power(samples: "array.array[int]", hz: float) -> float:
    """Mean square that a tone of `hz` has in these samples."""
    step = 2 * math.cos(2 * math.pi * hz / 8000)
    one = two = 0.0
    for value in samples:
        one, two = value + step * one - two, one
    size = one * one + two * two - step * one * two
    return size / (len(samples) ** 2)
