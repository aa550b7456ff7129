"""S3 as one run: a box's voice process between two far ends, judged by the far ends; used by benchmark and proof."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from voice_ends import Ends, Weather
from voice_judge import FRAME, PLANTS, RATE, TONES, breaks, planted, second_of

from simrack.sip import codecs

BOX = Path(__file__).parent / "voice_box.py"
ANSWER_S = 30.0
#: Buffers find their depth for the weather; quality.md's figures are about the call, not its first seconds.
SETTLE_S = 6.0
#: A judge that comes later than this to its own work can't tell the box's lateness from its own.
JUDGE_LATE_MS = 20.0


class Box:
    """The process under test."""

    def __init__(self, ends: Ends, codec: str, *, profile: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(BOX)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        calls = [(m.path, c.address) for m, c in zip(ends.modules, ends.clients, strict=True)]
        self.targets = [tuple(t) for t in self.ask(json.dumps({"codec": codec, "profile": profile, "calls": calls}))]

    def ask(self, line: str) -> Any:
        guard = threading.Timer(ANSWER_S, self._process.kill)
        guard.start()
        try:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        finally:
            guard.cancel()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()


@contextlib.contextmanager
def box(ends: Ends, codec: str, *, profile: bool) -> Iterator[Box]:
    made = Box(ends, codec, profile=profile)
    try:
        yield made
    finally:
        made.close()


def measure(calls: int, seconds: float, seed: int, *, codec: str = "PCMU", profile: bool = False) -> dict[str, Any]:
    """One run; what the far ends saw, the process's CPU, and what the box said of itself under `box`."""
    ends = Ends(calls, Weather(), seed)
    try:
        with box(ends, codec, profile=profile) as process:
            ends.begin(process.targets)
            ends.run(SETTLE_S)
            before, began = process.ask("figures"), time.monotonic()
            ends.settle()
            ends.run(seconds)
            after, took = process.ask("figures"), time.monotonic() - began
            cost = process.ask("end")["profile"] if profile else ""
        moved = {name: after[name] - before[name] for name in after if isinstance(after[name], int)}
        return {
            **ends.figures(), "cpu_share": (after["cpu_s"] - before["cpu_s"]) / took, "seconds": took,
            "box": {**moved, "mos": after["mos"], "drift_ppm": after["drift_ppm"]}, "profile": cost,
            "load": os.getloadavg()[0],
        }  # fmt: skip
    finally:
        ends.close()


def codec_share(calls: int, codec: str = "PCMU", seconds: float = 1.0) -> float:
    """Reference: share of a core for encoding and decoding alone, as many frames a second, without any I/O."""
    coder, frame = codecs.make(codec, RATE), second_of(700)[: FRAME * 2]
    payload, count, began = coder.encode(frame), 0, time.process_time()
    while (spent := time.process_time() - began) < seconds:
        for _ in range(100):
            coder.encode(frame)
            coder.decode(payload)
        count += 100
    return spent / count * 50 * calls


def detector_finds() -> list[str]:
    """Planted faults that the detector misses; empty when it can be trusted."""
    missed = []
    for hz in (TONES[0], 730, 1220, TONES[-1]):
        clean = second_of(hz) * 2
        samples = np.frombuffer(clean, "<i2").astype(float)
        if len(breaks(samples, hz)):
            missed.append(f"clean {hz} Hz")
        faulty = {kind: np.frombuffer(planted(clean, kind), "<i2").astype(float) for kind in PLANTS}
        missed += [f"{kind} at {hz} Hz" for kind, line in faulty.items() if not len(breaks(line, hz))]
    return missed


def broken(run: dict[str, Any], most_delay_ms: float) -> list[str]:
    """What of S3 does not hold in a run."""
    wrong = []
    for way in ("to_module", "to_client"):
        values = run[f"{way}_ms"]
        if not values:
            wrong.append(f"{way}: no delay could be measured")
        elif (p95 := float(np.percentile(values, 95))) > most_delay_ms:
            wrong.append(f"{way}: p95 delay {p95:.1f} ms")
        if run[f"clicks_{way}"]:
            wrong.append(f"{way}: {run[f'clicks_{way}']} clicks")
    for name, text in (("starved", "times a module ran dry"), ("late", "packets too late"), ("missing", "packets not sent")):
        if run[name]:
            wrong.append(f"{run[name]} {text}")
    if run["cpu_share"] > 1:
        wrong.append(f"{run['cpu_share']:.2f} of a core")
    if wrong and run["judge_behind_ms"] > JUDGE_LATE_MS:
        wrong.append(f"(the judge itself was up to {run['judge_behind_ms']} ms late: load {run['load']:.1f})")
    return wrong
