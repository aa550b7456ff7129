"""Many calls on one real box while some of its modules go mad; judged by the emulated network's ears and by RTP clients.

Real processes: the lab (network and modules) and `simrack box`; the SIP side is this process. What counts against the box is
what others see of its good calls: clicks heard at either end, modules that ran dry or were not read, packets late or missing.
"""

import asyncio
import contextlib
import io
import itertools
import json
import os
import queue
import signal
import threading
import time
import urllib.request
import wave
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gateway_lab import Lab
from gateway_sip import Controller, Dialog, sdp_of
from support import Process, StartProcess
from voice_ends import Address, Client, Ends, Weather
from voice_judge import RATE, TONES, breaks

#: The lab's tones stand at -12 dBFS.
LAB_PEAK = 8231
ANSWER_S = 30.0
#: A module that babbled or was away is called again for so long; recovery itself is proved elsewhere.
BACK_S = 20.0
LOOK_S = 0.2
KEPT_S = 25.0  # of the 30 s of voice that the network keeps of a call
FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("hang", {}),
    ("babble", {"octets": 1_000_000}),
    ("reset", {}),
    ("drop", {"duration_s": 2.0}),
)


class Callers(Ends):
    """The SIP sides alone: the modules are the lab's."""

    def __init__(self, count: int, weather: Weather, seed: int) -> None:
        super().__init__(0, weather, seed)
        for number in range(count):
            up, down = self._dice.sample(TONES, 2)
            ppm = weather.drift_ppm if number % 2 else -weather.drift_ppm
            client = Client(up, down, ppm)
            client.ear.peak = LAB_PEAK
            self.clients.append(client)

        self._thread = threading.Thread(target=self._work, name="callers")
        self._over, self._fresh, self._joining = threading.Event(), threading.Event(), queue.SimpleQueue[int]()
        self._thread.start()

    def join(self, index: int, target: Address) -> None:
        """Let one caller talk, or send to where its next call is."""
        new = not self.clients[index].target[1]
        self.clients[index].target = target
        if new:
            self._joining.put(index)

    def _work(self) -> None:
        """All the time, in a thread of its own: a sender that pauses while others are looked at would be the fault itself."""
        while not self._over.is_set():
            while not self._joining.empty():
                self._push(time.monotonic(), "client", self._joining.get(), 0)
            self.run(LOOK_S)
            if not self._fresh.is_set():
                self.settle()
                self._fresh.set()

    def anew(self) -> None:
        """Judge from here on."""
        self._fresh.clear()
        assert self._fresh.wait(ANSWER_S), "the callers' thread has died"

    def close(self) -> None:
        self._over.set()
        self._thread.join(ANSWER_S)
        super().close()


@dataclass
class Trouble:
    """What others saw of the good calls in one phase; `seconds` of each of `calls`."""

    calls: int
    seconds: float
    seen: Counter[str]
    judge_behind_ms: float

    @property
    def rate(self) -> float:
        """Events per call and second."""
        return sum(self.seen.values()) / max(1e-9, self.calls * self.seconds)

    def __str__(self) -> str:
        seen = ", ".join(f"{n} {what}" for what, n in self.seen.items() if n) or "nothing"
        return f"{seen} in {self.seconds:.0f} s of {self.calls} calls (judge up to {self.judge_behind_ms:.0f} ms late)"


class Rig:
    """Lab, box and calls; channels 1 to `mad` go mad, the rest are judged."""

    def __init__(self, lab: Lab, box: Process, callers: Callers, controller: Controller, mad: int) -> None:
        self.lab, self.box, self.callers, self.mad = lab, box, callers, mad
        self._controller = controller
        self.numbers: list[str] = []
        self._rows: dict[str, int] = {}
        self._begun: dict[int, Counter[str]] = {}

    @property
    def good(self) -> range:
        return range(self.mad, len(self.callers.clients))

    def books(self) -> Counter[str]:
        """The lab's own counts over the good modules."""
        rows = self.lab.ask_now("GET", "/modules")
        kept = [row for row in rows if row["channel"] - 1 in self.good]
        return Counter({
            "frames that a module lacked": sum(row["frames_starved"] for row in kept),
            "frames that the box did not fetch": sum(row["frames_dropped"] for row in kept),
        })  # fmt: skip

    def phase(self, seconds: float, acts: tuple[tuple[float, Callable[[], None]], ...] = ()) -> Trouble:
        """Let the calls talk; `acts` are (after so many seconds, what to do)."""
        self.callers.anew()
        before, began = self.books(), time.monotonic()
        for after, act in acts:
            time.sleep(max(0.0, began + after - time.monotonic()))
            act()
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        seen = self.books()
        behind, took = self.callers.behind_s, time.monotonic() - began
        seen.subtract(before)
        clients = [self.callers.clients[index] for index in self.good]
        seen["clicks heard by the SIP side"] = sum(client.ear.clicks for client in clients)
        seen["late packets"] = sum(client.late for client in clients)
        seen["missing packets"] = sum(client.missing for client in clients)
        over = time.monotonic()
        seen["clicks heard by the network"] = sum(self.network_clicks(index, took, over) for index in self.good)
        return Trouble(len(clients), took, seen, behind * 1000)

    def network_clicks(self, index: int, seconds: float, over: float) -> int:
        """In the seconds before `over` of what the landline heard of this caller's tone."""
        if not self._rows:
            self._rows = {row["called"]: row["id"] for row in self.lab.ask_now("GET", "/ledger/calls?heard=no")}
        number = self._rows[self.numbers[index]]
        with urllib.request.urlopen(f"{self.lab.url}/calls/{number}/audio.wav", timeout=30) as answer:
            data = io.BytesIO(answer.read())
        since = round((time.monotonic() - over) * RATE)
        with wave.open(data) as sound:
            pcm = sound.readframes(sound.getnframes())
        last = round(min(seconds, KEPT_S) * RATE)
        line = np.frombuffer(pcm, "<i2").astype(float)
        return len(breaks(line[: len(line) - since][-last:], self.callers.clients[index].hz))

    def go_mad(self, after_s: float, apart_s: float) -> tuple[tuple[float, Callable[[], None]], ...]:
        """The four faults, each at another module, as acts of a phase."""
        return tuple(
            (after_s + turn * apart_s, partial(self.fault, turn % self.mad, name, **more))
            for turn, (name, more) in enumerate(FAULTS)
        )

    async def call_again(self, turn_of: str) -> int:
        """New calls on the modules that went mad; how many were back in time."""
        placed = (place(self, self._controller, index, turn_of, BACK_S) for index in range(self.mad))
        done = await asyncio.gather(*placed, return_exceptions=True)
        return sum(isinstance(one, Dialog) for one in done)

    def fault(self, index: int, name: str, **more: Any) -> None:
        self.lab.ask_now("POST", "/faults", {"box": "lab-01", "channel": index + 1, "fault": name, **more})

    def calm(self) -> None:
        self.lab.ask_now("DELETE", "/faults")

    def freeze(self, seconds: float) -> None:
        """Plant what the product must never do: the box stands still, and with it every call."""
        pid = self.box.popen.pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    def alive(self) -> int:
        """Good calls that the network still holds."""
        held = [row["called"] for row in self.lab.ask_now("GET", "/ledger/calls?heard=no") if row["answered_at"] and not row["released_at"]]
        return sum(self.numbers[index] in held for index in self.good)


def configured(lab: Lab, folder: Path, controller: Controller) -> str:
    modules = "".join(
        f"[[module]]\nchannel = {m['channel']}\nat = {json.dumps(m['at'])}\naudio = {json.dumps(m['audio'])}\n"
        for m in lab.modules
    )
    file = folder / "box.toml"
    file.write_text(
        f'box = "lab-01"\ndata = {json.dumps(str(folder / "data"))}\n[mqtt]\nurl = "mqtt://127.0.0.1:9"\n'
        f'[sip]\ncontroller = "127.0.0.1:{controller.port}"\n[rtp]\nfirst = 40000\nlast = 44999\n{modules}'
    )
    return str(file)


def tone_number(lab: Lab, hz: int) -> str:
    order = {"behaviour": "tone", "tone_hz": hz, "answer_after_s": 0.1}
    return str(lab.ask_now("POST", "/numbers", order)["number"])


async def place(
    rig: Rig, controller: Controller, index: int, turn_of: str = "", within_s: float = ANSWER_S
) -> Dialog:
    """Call through one channel until it takes it: modules start with the box."""
    client = rig.callers.clients[index]
    host, port = rig.box.ready["sip"].split(":")
    end = time.monotonic() + within_s
    for turn in itertools.count():
        if time.monotonic() > end:
            break
        headers = {
            "X-Simrack-Call": f"c{index}{turn_of}", "X-Simrack-Attempt": f"a{index}{turn_of}t{turn}", "X-Simrack-Channel": str(index + 1),
            "X-Simrack-ICCID": rig.lab.modules[index]["iccid"],
        }  # fmt: skip
        dialog = controller.invite((host, int(port)), rig.numbers[index], sdp_of(client.address), headers)
        for _ in range(round(ANSWER_S / 0.05)):
            if dialog.final is not None:
                break
            await asyncio.sleep(0.05)
        if dialog.final is not None and dialog.final.status == 200:
            line = next(line for line in dialog.final.body.decode().splitlines() if line.startswith("m=audio"))
            rig.callers.join(index, ("127.0.0.1", int(line.split()[1])))
            return dialog
        await asyncio.sleep(0.5)
    raise AssertionError(f"channel {index + 1} took no call in {within_s:.0f} s")


@contextlib.contextmanager
def emulated(folder: Path, begin: StartProcess, channels: int) -> Iterator[Lab]:
    state = folder / "lab.json"
    begin("lab", "up", "--channels", str(channels), "--state", str(state), "--setup", "0.05-0.1", "--boot", "0.2")
    yield Lab(json.loads(state.read_text()))


@contextlib.asynccontextmanager
async def talking(folder: Path, begin: StartProcess, *, calls: int, mad: int, seed: int) -> AsyncIterator[Rig]:
    """All calls answered and talking."""
    controller = await Controller.open()
    callers = Callers(calls, Weather(), seed)
    try:
        with emulated(folder, begin, calls) as lab:
            box = await asyncio.to_thread(begin, "box", "--config", configured(lab, folder, controller))
            rig = Rig(lab, box, callers, controller, mad)
            rig.numbers = [await asyncio.to_thread(tone_number, lab, client.listens_to) for client in callers.clients]
            await asyncio.gather(*(place(rig, controller, index) for index in range(calls)))
            yield rig
    finally:
        controller.close()
        callers.close()
