"""S8: a fleet of 1,000 boxes with 16 channels each that reports 5,000 changes a second.

Mosquitto, a controller and a control room as they are shipped; one process speaks for all boxes, at least once (QoS 1)
as boxes do. While the changes come, somebody looks at the rack with a live page open. After the last change, the time
until the control room shows it and the controller answers a command is what was left to take in.
Reference: an MQTT client that only counts the same messages, alone with the same broker in a second turn, because there
are not cores enough for all of them at once. The one who speaks writes packets of its own: a client library would need
as much of the machine as those that are measured.
"""

import argparse
import asyncio
import contextlib
import http.client
import http.cookiejar
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from common import Figure, cpu_seconds, keep, percentile, resident_mb, start
from s1_calls import OTHERS, OWN, broker, free_port

from simrack.cli.session import session
from simrack.wire import topics
from simrack.wire.channel import ChannelState
from simrack.wire.messages import BoxStatus, CallInfo, ChannelReport, ModuleInfo, NetworkInfo, SimInfo
from simrack.wire.mqtt import Commander, MqttBus
from simrack.wire.ports import SystemClock, SystemIds

HERE = Path(__file__).parent
PASSWORD = "four rainy copper horses"
# A publisher that sent a second's worth at once would measure the broker's buffers.
STEP_S = 0.02
# Long enough to say that it will never be taken in.
TAKEN_S = 60.0
LOOK_S = 0.5
# Packets under way, as many as the broker is set to take.
MOST_UNDER_WAY = 1000
# Stands for the number of a report, even and odd, and for what it is replaced by.
ANY_SEQ, ANY = (987_654_320, 987_654_321), b"\0"
# The machine belongs to all of them: controller and control room share it with the broker.
ALL = OWN | OTHERS


@dataclass(frozen=True)
class Size:
    """What is simulated."""

    boxes: int
    channels: int
    rate: int
    seconds: float

    @property
    def changes(self) -> int:
        return int(self.rate * self.seconds)


def box_name(index: int) -> str:
    return f"hall-{index:04}"


def report(index: int, channel: int, seq: int, now: datetime) -> ChannelReport:
    """What a box says of a channel: in a call and out of it in turn."""
    busy = seq % 2 == 1
    call = CallInfo(call=f"c{index}-{channel}-{seq}", attempt="a", direction="out", number="+882101234567", since=now, connected=now)
    return ChannelReport(
        boot="b1", seq=seq, at=now, box=box_name(index), channel=channel, since=now,
        state=ChannelState.ACTIVE if busy else ChannelState.READY, call=call if busy else None,
        module=ModuleInfo(imei="860000000000000", manufacturer="Quectel", model="EC25", firmware="EC25EFAR06A06M4G", driver="quectel-ec2x"),
        sim=SimInfo(iccid=f"89882{index:07}{channel:07}", imsi=f"00101{index * 100 + channel:010}"),
        network=NetworkInfo(stat=1, operator="Test Mobil", technology="LTE", signal_dbm=-70 - seq % 20, cell="1a2b3c"),
    )  # fmt: skip


# --- the other processes, this file with another first word ------------------------------------------------------


class Speaker:
    """A session that publishes at QoS 1, retained, with many under way (MQTT 3.1.1: 2.2.3, 3.3)."""

    def __init__(self, url: str) -> None:
        place = urllib.parse.urlsplit(url)
        self._line = socket.create_connection((place.hostname or "", place.port or 1883), 10)
        body = b"\x00\x04MQTT\x04\x02\x00\x00" + _text("all-boxes")
        self._line.sendall(b"\x10" + _length(len(body)) + body)
        assert self._line.recv(4) == b"\x20\x02\x00\x00", "the broker refused"
        self._packet = self._under_way = self._octets = 0

    def say(self, many: Sequence[tuple[str, bytes]]) -> None:
        """Publish all of them, and read what the broker has to say meanwhile."""
        out = bytearray()
        for topic, payload in many:
            self._packet = self._packet % 65535 + 1
            body = _text(topic) + self._packet.to_bytes(2) + payload
            out += b"\x33" + _length(len(body)) + body
        self._under_way += len(many)
        self._line.sendall(out)
        self.settle(MOST_UNDER_WAY)

    def settle(self, left: int = 0) -> None:
        """Wait until no more than so many are without the broker's word: each PUBACK has four octets."""
        while self._under_way > left:
            data = self._line.recv(65536)
            assert data, "the broker ended the session"
            self._octets += len(data)
            self._under_way -= self._octets // 4
            self._octets %= 4


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2) + data


def _length(length: int) -> bytes:
    octets = bytearray()
    while True:
        length, low = divmod(length, 128)
        octets.append(low | (0x80 if length else 0))
        if not length:
            return bytes(octets)


def speak(url: str, size: Size) -> None:
    """All boxes: births, a word of readiness, and at each line on standard input the changes at their pace."""
    line, now = Speaker(url), datetime.now(UTC)
    for index in range(size.boxes):
        status = BoxStatus(boot="b1", seq=1, at=now, box=box_name(index), online=True, site=f"site-{index % 20:02}", channels=size.channels)
        reports = [(topics.channel_state(box_name(index), channel), report(index, channel, 2, now).encode()) for channel in range(1, size.channels + 1)]
        line.say([(topics.box_status(box_name(index)), status.encode()), *reports])
    line.settle()
    places = [(index, channel) for channel in range(1, size.channels + 1) for index in range(size.boxes)]
    texts = [(topics.channel_state(box_name(index), channel), _both(index, channel, now)) for index, channel in places]
    print(json.dumps({"ready": True}), flush=True)
    turn = 2
    while sys.stdin.readline():
        began, sent, first = time.monotonic(), 0, turn + 1
        while sent < size.changes:
            due = min(size.changes, int((time.monotonic() - began) * size.rate))
            line.say([_next(texts, number, first) for number in range(sent, due)])
            sent = due
            time.sleep(STEP_S)
        line.settle()
        turn = first + (sent - 1) // len(places)
        index, channel = places[(sent - 1) % len(places)]
        told = {"sent": sent, "seconds": time.monotonic() - began, "box": box_name(index), "channel": channel, "seq": turn}
        print(json.dumps(told), flush=True)


def _both(index: int, channel: int, now: datetime) -> tuple[bytes, bytes]:
    """The report of an idle channel and of one in a call, with a number in place of its own."""
    idle, busy = (report(index, channel, seq, now).encode().replace(b"%d" % seq, ANY) for seq in ANY_SEQ)
    return idle, busy


def _next(texts: Sequence[tuple[str, tuple[bytes, bytes]]], number: int, first: int) -> tuple[str, bytes]:
    turn, place = divmod(number, len(texts))
    topic, both = texts[place]
    return topic, both[(first + turn) % 2].replace(ANY, b"%d" % (first + turn))


def count(url: str, wanted: int) -> None:
    """The reference: counts what is not retained; its CPU for `wanted` of them, from the first one."""
    place, seen, began = urllib.parse.urlsplit(url), 0, 0.0
    line = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    line.connect(place.hostname or "", place.port or 1883)

    def on_message(_client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        nonlocal seen, began
        if message.retain:
            return
        seen += 1
        if seen == 1:
            began = time.process_time()
        if seen == wanted:
            print(json.dumps({"cpu_s": time.process_time() - began, "seen": seen}), flush=True)

    line.on_message = on_message
    line.subscribe(topics.ALL_CHANNEL_STATE, qos=1, options=None)
    print(json.dumps({"ready": True}), flush=True)
    line.loop_forever()


# --- the room ------------------------------------------------------------------------------------------------------


class Person:
    """Somebody signed in, by HTTP."""

    def __init__(self, base: str, link: str) -> None:
        self.base = base
        self._jar = http.cookiejar.CookieJar()
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._jar)).open
        page = self.get(link.removeprefix(base))[1]
        token = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
        assert token is not None
        fields = {"csrf": token[1], "name": "Ada", "password": PASSWORD, "again": PASSWORD}
        self._open(link, urllib.parse.urlencode(fields).encode(), 30).read()

    def get(self, path: str) -> tuple[float, str]:
        """Milliseconds and the text of a page."""
        began = time.perf_counter()
        with self._open(self.base + path, timeout=60) as answer:
            text = answer.read().decode()
        return (time.perf_counter() - began) * 1000, text

    @contextlib.contextmanager
    def live(self, topic: str) -> Iterator[list[int]]:
        """A live page: an event stream that is read in a thread; the list has the octets of each second's reading."""
        octets = [0]
        place = urllib.parse.urlsplit(self.base)
        line = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        cookie = "; ".join(f"{item.name}={item.value}" for item in self._jar)
        line.request("GET", f"/stream?topic={topic}", headers={"Cookie": cookie})
        answer = line.getresponse()

        def read() -> None:
            with contextlib.suppress(OSError, AttributeError, ValueError, http.client.HTTPException):
                while data := answer.read1(65536):
                    octets[0] += len(data)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield octets
        line.close()


@contextlib.contextmanager
def installation(folder: Path, url: str) -> Iterator[tuple["subprocess.Popen[str]", "subprocess.Popen[str]", Person]]:
    """Controller and control room, and somebody who is signed in."""
    database = f"sqlite:///{folder / 'simrack.db'}"
    (folder / "controller.toml").write_text(
        f'database = "{database}"\ndata = "{folder}"\n[mqtt]\nurl = "{url}"\n[sip]\nlisten = "127.0.0.1:0"\n'
    )
    port = free_port()
    (folder / "web.toml").write_text(f'database = "{database}"\nlisten = "127.0.0.1:{port}"\n[mqtt]\nurl = "{url}"\n')
    simrack = (sys.executable, "-P", "-m", "simrack.cli")
    with (
        start([*simrack, "controller", "--config", str(folder / "controller.toml")], folder / "controller.log", ALL, ready=True) as controller,
        start([*simrack, "web", "--config", str(folder / "web.toml")], folder / "web.log", ALL, ready=True) as web,
    ):
        made = subprocess.run([*simrack, "web", "--config", str(folder / "web.toml"), "--new-link"], capture_output=True, text=True, check=True)
        link = re.search(r"http://\S+", made.stdout)
        assert link is not None, made.stdout
        yield controller, web, Person(f"http://127.0.0.1:{port}", link[0])


async def answered(url: str) -> float:
    """Seconds until the controller answers a command: whatever it has not taken in yet comes first."""
    bus, ids = MqttBus(url, "bench"), SystemIds()
    commander = Commander(bus, "bench", SystemClock(), ids)
    async with session(bus, url, 10):
        began = time.monotonic()
        await commander.send(topics.controller_command(), "banned", {}, actor="cli:bench", timeout_s=TAKEN_S)
        return time.monotonic() - began


def shown(person: Person, box: str, channel: int, seq: int) -> bool:
    """Whether the control room has this report."""
    found = json.loads(person.get(f"/api/v1/rack?box={box}")[1])["boxes"]
    return bool(found) and any(row["channel"] == channel and row["seq"] >= seq for row in found[0]["channels"])


def wait(what: str, holds: Any) -> None:
    deadline = time.monotonic() + TAKEN_S
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not come within {TAKEN_S:g} s")
        time.sleep(0.1)


@dataclass(frozen=True)
class Run:
    """What one run gave."""

    figure: dict[str, float]
    reference: dict[str, float]
    pages: list[float]


def measure(folder: Path, size: Size) -> Run:
    """One run: the changes with the installation there, then with the one that only counts."""
    words = [str(value) for value in (size.boxes, size.channels, size.rate, size.seconds)]
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(broker(folder))
        boxes = stack.enter_context(child(["speak", url, *words], folder / "boxes.log"))
        figure, whole = _taken_in(folder, url, boxes, size)
        counter = stack.enter_context(child(["count", url, str(size.changes)], folder / "count.log"))
        tell(boxes)
        hear(boxes)
        counted = hear(counter)
    return Run(figure, {"us": round(counted["cpu_s"] * 1e6 / counted["seen"], 1)}, whole)


def _taken_in(folder: Path, url: str, boxes: "subprocess.Popen[str]", size: Size) -> tuple[dict[str, float], list[float]]:
    with installation(folder, url) as (controller, web, person):
        last = (box_name(size.boxes - 1), size.channels, 2)
        wait("the whole fleet", lambda: shown(person, *last))
        with person.live("overview") as octets:
            before = {pid: cpu_seconds(pid) for pid in (controller.pid, web.pid)}
            tell(boxes)
            whole, one = look(person, size.seconds)
            done = hear(boxes)
            began = time.monotonic()
            # Both at once: what one has left to take in must not be waited for in the time of the other.
            with ThreadPoolExecutor(1) as beside:
                answer = beside.submit(lambda: asyncio.run(answered(url)))
                wait("the last change", lambda: shown(person, done["box"], done["channel"], done["seq"]))
                web_left_s = time.monotonic() - began
                controller_left_s = answer.result()
            spent = {pid: cpu_seconds(pid) - before[pid] for pid in before}
        took = done["seconds"]
        return {
            "offered": round(done["sent"] / took), "web_per_second": round(done["sent"] / (took + web_left_s)),
            "controller_per_second": round(done["sent"] / (took + controller_left_s)),
            "page_p50_ms": round(percentile(whole, 0.5)), "page_p95_ms": round(percentile(whole, 0.95)),
            "box_page_p95_ms": round(percentile(one, 0.95)),
            "controller_mb": resident_mb(controller.pid), "web_mb": resident_mb(web.pid),
            "controller_us": round(spent[controller.pid] * 1e6 / done["sent"], 1), "web_us": round(spent[web.pid] * 1e6 / done["sent"], 1),
            "stream_kb_per_second": round(octets[0] / 1000 / max(took, 1.0), 1),
        }, whole  # fmt: skip


@contextlib.contextmanager
def child(words: list[str], log: Path) -> Iterator["subprocess.Popen[str]"]:
    """This file as another process, once it is ready."""
    with log.open("ab") as sink:
        argv = [sys.executable, str(HERE / "s8_fleet.py"), *words]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True)
        try:
            hear(process)
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=20)


def tell(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def hear(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The next line of a child."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{process.args!r} ended without a word")
    said: dict[str, Any] = json.loads(line)
    return said


def look(person: Person, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds of the rack page, and of one box's, again and again while the changes come."""
    whole, one = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end or not whole:
        whole.append(person.get("/rack")[0])
        one.append(person.get(f"/rack?box={box_name(0)}")[0])
        time.sleep(LOOK_S)
    return whole, one


def main() -> None:
    """Measure, and keep the figure unless this is a rehearsal."""
    if sys.argv[1:2] == ["speak"]:
        boxes, channels, rate, seconds = sys.argv[3:7]
        speak(sys.argv[2], Size(int(boxes), int(channels), int(rate), float(seconds)))
        return
    if sys.argv[1:2] == ["count"]:
        count(sys.argv[2], int(sys.argv[3]))
        return
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--boxes", type=int, default=1000)
    options.add_argument("--channels", type=int, default=16)
    options.add_argument("--rate", type=int, default=5000, help="changes per second")
    options.add_argument("--seconds", type=float, default=30.0)
    options.add_argument("--rehearse", action="store_true", help="print, and keep nothing")
    given = options.parse_args()
    size = Size(given.boxes, given.channels, given.rate, given.seconds)
    with tempfile.TemporaryDirectory() as scratch:
        run = measure(Path(scratch), size)
    if given.rehearse:
        print(json.dumps({"figure": run.figure, "reference": run.reference}))
        return
    keep(
        Figure(
            id="s8_fleet", what=f"{size.boxes} boxes x {size.channels} channels: changes a second taken in, pages meanwhile",
            unit="/s", figure=run.figure, reference=run.reference, reference_what="CPU of an MQTT client (paho) that only counts them, µs a message",
            ratio=round(run.figure["controller_us"] / max(run.reference["us"], 0.1), 1),
            limited_by="CPU of two cores that broker, controller, control room, speaker and looker share; of a report's the MQTT client in Python, then its model",
            samples=len(run.pages), spread=[],
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
