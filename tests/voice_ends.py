"""Both far ends of 32 calls in one process: RTP clients on UDP sockets and modules behind PTYs, each with its own clock.

The network between client and box loses and delays packets. Everything is real time and nothing here is simrack's code;
the box under test is another process. Figures come from what the far ends see and from nothing else.
"""

import contextlib
import heapq
import os
import pty
import random
import select
import socket
import struct
import termios
import time
import tty
from dataclasses import dataclass, field
from typing import Any

from voice_judge import DIP_AT, FRAME, RATE, TONES, Ear, delays_ms, expand, mulaw, second_of

Address = tuple[str, int]
PERIOD = 0.02
OCTETS = 2 * FRAME
#: A module begins to play with 40 ms in hand, as an EC25 does; dry afterwards is voice that came too late.
PRIME_S = 0.04
#: A client's jitter buffer of 40 ms: what comes later than that after the fastest packet is lost to it.
CLIENT_BUFFER_S = 0.04


@dataclass(frozen=True)
class Weather:
    """The network from the clients to the box, and both ends' clocks."""

    loss: float = 0.02
    jitter_s: float = 0.02
    drift_ppm: float = 100.0


@dataclass
class Module:
    """The module's end of the audio port: says a tone, plays what comes at its own clock."""

    hz: int
    listens_to: int
    ppm: float
    ear: Ear = field(init=False)
    said: list[float] = field(default_factory=list)
    starved: int = 0
    worst_gap_s: float = 0.0
    _begun: float = 0.0
    _played_upto: float = 0.0
    _last: float = 0.0

    def __post_init__(self) -> None:
        self.fd, self._slave = pty.openpty()
        tty.setraw(self.fd)
        attributes = termios.tcgetattr(self._slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(self._slave, termios.TCSANOW, attributes)
        os.set_blocking(self.fd, False)
        self.path = os.ttyname(self._slave)
        self.voice = second_of(self.hz)
        self.ear = Ear(self.listens_to)
        self.count = 0

    def speak(self, now: float) -> None:
        at = self.count % 50
        if at == DIP_AT // FRAME:
            self.said.append(now + DIP_AT % FRAME / RATE)
        # What the box does not read is lost, as a real module throws its voice away.
        with contextlib.suppress(BlockingIOError):
            os.write(self.fd, self.voice[at * OCTETS : (at + 1) * OCTETS])
        self.count += 1

    def listen(self, now: float) -> None:
        data = os.read(self.fd, 65536)
        self.ear.hear(data, now)
        if self._last:
            self.worst_gap_s = max(self.worst_gap_s, now - self._last)
        self._last = now
        clock = 1 + self.ppm * 1e-6
        if not self._begun or self._played_upto / clock < now:
            self.starved += bool(self._begun)
            self._begun, self._played_upto = now, (now + PRIME_S) * clock
        self._played_upto += len(data) / 2 / RATE

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._slave)


@dataclass
class Client:
    """The SIP side's end: sends its tone through the weather, hears what the box sends."""

    hz: int
    listens_to: int
    ppm: float
    host: str = "127.0.0.1"
    ear: Ear = field(init=False)
    said: list[float] = field(default_factory=list)
    sent: int = 0
    lost: int = 0
    late: int = 0
    came: int = 0
    missing: int = 0
    target: Address = ("", 0)

    def __post_init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((self.host, 0))
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 212_992)
        self.address: Address = self.sock.getsockname()
        self.voice = mulaw(second_of(self.hz))
        self.ear = Ear(self.listens_to)
        self._fastest = float("inf")
        self._next: int | None = None
        self.count = 0

    def speak(self, number: int, now: float) -> None:
        at = number % 50
        if at == DIP_AT // FRAME:
            self.said.append(now + DIP_AT % FRAME / RATE)
        head = struct.pack("!BBHII", 0x80, 0, number & 0xFFFF, number * FRAME & 0xFFFFFFFF, 77)
        self.sock.sendto(head + self.voice[at * FRAME : (at + 1) * FRAME], self.target)
        self.sent += 1

    def listen(self, now: float) -> None:
        data = self.sock.recv(4096)
        number, stamp = struct.unpack_from("!HI", data, 2)
        if data[1] & 0x7F:
            return
        transit = now - stamp / RATE
        if self._next is not None and number != self._next:
            self.missing += (number - self._next) & 0xFFFF
            self._fastest = float("inf") if (number - self._next) & 0xFFFF > 1000 else self._fastest
        self._next = (number + 1) & 0xFFFF
        self._fastest = min(self._fastest, transit)
        self.late += transit - self._fastest > CLIENT_BUFFER_S
        self.came += 1
        self.ear.hear(expand(data[12:]), now)

    def close(self) -> None:
        self.sock.close()


class Ends:
    """All far ends, moved by one loop."""

    def __init__(self, calls: int, weather: Weather, seed: int) -> None:
        self.weather, self._dice = weather, random.Random(seed)
        pairs = [self._dice.sample(TONES, 2) for _ in range(calls)]
        drift = [weather.drift_ppm if k % 2 else -weather.drift_ppm for k in range(calls)]
        self.modules = [Module(up, down, ppm) for (up, down), ppm in zip(pairs, drift, strict=True)]
        self.clients = [Client(down, up, -ppm) for (up, down), ppm in zip(pairs, drift, strict=True)]
        self.behind_s = 0.0  # how late this process itself was at worst: then it is no judge
        self._due: list[tuple[float, int, str, int, int]] = []
        self._order = 0

    @property
    def all(self) -> list[Module | Client]:
        return [*self.modules, *self.clients]

    def begin(self, targets: list[Address]) -> None:
        """Start all streams, spread over one frame."""
        now = time.monotonic()
        for index, (client, target) in enumerate(zip(self.clients, targets, strict=True)):
            client.target = target
            self._push(now + self._dice.random() * PERIOD, "client", index, 0)
            self._push(now + self._dice.random() * PERIOD, "module", index, 0)

    def _push(self, at: float, what: str, index: int, number: int) -> None:
        self._order += 1
        heapq.heappush(self._due, (at, self._order, what, index, number))

    def run(self, seconds: float) -> None:
        """Move everything for so long."""
        poll, ends = select.epoll(), dict[int, Module | Client]()
        for end in self.all:
            fd = end.fd if isinstance(end, Module) else end.sock.fileno()
            poll.register(fd, select.EPOLLIN)
            ends[fd] = end
        stop = time.monotonic() + seconds
        try:
            while (now := time.monotonic()) < stop:
                self._act(now)
                due = self._due[0][0] if self._due else stop
                wait = max(0.0, min(due, stop) - time.monotonic())
                for fd, _ in poll.poll(wait):
                    ends[fd].listen(time.monotonic())
        finally:
            poll.close()

    def _act(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            at, _, what, index, number = heapq.heappop(self._due)
            self.behind_s = max(self.behind_s, now - at)
            if what == "packet":
                self.clients[index].speak(number, now)
            elif what == "module":
                module = self.modules[index]
                module.speak(now)
                self._push(at + PERIOD / (1 + module.ppm * 1e-6), "module", index, 0)
            else:
                self._client(at, index, number)

    def _client(self, at: float, index: int, number: int) -> None:
        client = self.clients[index]
        if self._dice.random() < self.weather.loss:
            client.lost += 1
        else:
            self._push(at + self._dice.random() * self.weather.jitter_s, "packet", index, number)
        self._push(at + PERIOD / (1 + client.ppm * 1e-6), "client", index, number + 1)

    def settle(self) -> None:
        """Forget what was heard so far: judging begins when buffers have found their depth."""
        for end in self.all:
            end.ear.forget()
        for module in self.modules:
            module.starved, module.worst_gap_s = 0, 0.0
        for client in self.clients:
            client.late = client.came = client.missing = client.lost = client.sent = 0
        self.behind_s = 0.0

    def figures(self) -> dict[str, Any]:
        """What both sides saw."""
        return {
            "to_module_ms": [ms for m, c in zip(self.modules, self.clients, strict=True) for ms in delays_ms(m.ear, c.said)],
            "to_client_ms": [ms for m, c in zip(self.modules, self.clients, strict=True) for ms in delays_ms(c.ear, m.said)],
            "clicks_to_module": sum(m.ear.clicks for m in self.modules),
            "clicks_to_client": sum(c.ear.clicks for c in self.clients),
            "judged_s": round(min(end.ear.heard_s for end in self.all), 1),
            "starved": sum(m.starved for m in self.modules),
            "late": sum(c.late for c in self.clients),
            "missing": sum(c.missing for c in self.clients),
            "packets_sent": sum(c.sent for c in self.clients),
            "packets_lost": sum(c.lost for c in self.clients),
            "packets_came": sum(c.came for c in self.clients),
            "worst_gap_ms": round(1000 * max(m.worst_gap_s for m in self.modules)),
            "judge_behind_ms": round(1000 * self.behind_s, 1),
        }  # fmt: skip

    def close(self) -> None:
        for end in self.all:
            end.close()
