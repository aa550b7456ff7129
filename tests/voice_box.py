"""The voice of a box as a process of its own: the product's ticker, ports and bridges, without SIP and AT.

`python voice_box.py` reads its calls from the first line of standard input, prints where it takes RTP, and runs until it
reads another line; each line is answered with its figures, "end" ends it. With "profile" in the first line it prints what cost most.
"""

import asyncio
import cProfile
import io
import json
import pstats
import resource
import sys
from pathlib import Path
from typing import Any

import uvloop

from simrack.drivers.modems.base import AudioFormat
from simrack.gateway.hardware import Hardware
from simrack.gateway.settings import RtpSettings
from simrack.gateway.voice import Bridge
from simrack.sip import codecs
from simrack.sip.sdp import Chosen
from simrack.wire.ports import SystemClock, SystemIds

PROFILE_LINES = 18


def say(document: Any) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def figures(hardware: Hardware, bridges: list[Bridge]) -> dict[str, Any]:
    """What the box says of itself; only CPU time is believed, the rest stands beside what the far ends saw."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    media = [bridge.figures() for bridge in bridges]
    ticker = hardware.ticker
    return {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "ticks": ticker.ticks, "ticks_late": ticker.late, "ticks_skipped": ticker.skipped,
        "late": sum(m.to_network.late for m in media), "concealed": sum(m.to_network.concealed for m in media),
        "lost": sum(m.to_network.lost for m in media), "late_pcm": sum(m.from_network.late for m in media),
        "mos": min((m.mos for m in media if m.mos is not None), default=None),
        "drift_ppm": [m.drift_ppm for m in media[:4]],
    }  # fmt: skip


async def serve(order: dict[str, Any], lines: asyncio.Queue[str]) -> None:
    hardware = Hardware(RtpSettings(first=20000, last=29999), 30.0, SystemClock(), SystemIds())
    row = codecs.row(order["codec"])
    bridges, addresses = [], []
    for path, remote in order["calls"]:
        rtp, audio = hardware.bind(), hardware.open_audio(Path(path), AudioFormat(8000))
        chosen = Chosen(row.name, row.payload_type, None, tuple(remote), 20, True, True)
        bridge = hardware.bridge(chosen, rtp, audio, 0.0)
        assert isinstance(bridge, Bridge)
        bridges.append(bridge)
        addresses.append(rtp.address)
    say(addresses)
    ticker = asyncio.create_task(hardware.run())
    while await lines.get() != "end":
        say(figures(hardware, bridges))
    ticker.cancel()


async def main() -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        lines.put_nowait(sys.stdin.readline().strip())

    order = json.loads(sys.stdin.readline())
    loop.add_reader(sys.stdin.fileno(), read)
    if not order.get("profile"):
        await serve(order, lines)
        return
    profile = cProfile.Profile()
    profile.enable()
    await serve(order, lines)
    profile.disable()
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(PROFILE_LINES)
    say({"profile": text.getvalue()})


if __name__ == "__main__":
    uvloop.run(main())
