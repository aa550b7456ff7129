"""S2: the delay that the rack adds, INVITE in at the controller to the dial command on the module's port.

The record's ladder holds both moments: the controller's own (INVITE in, INVITE out) and the box's (INVITE in to
the dial command, on one monotonic clock). Reference: INVITE to 200 of a SIPp on loopback.
"""

import os
import re
import socket
import tempfile
import time
from pathlib import Path

from common import Figure, keep, spread, start, summary
from support import processes
from system import sipp as s
from system.rack import Rack
from system.sipp import Sipp

from simrack.controller.models import RecordFilter, Story

CALLS, RATE = 330, 10
# A call lasts a second or two and a SIM rests between calls: fewer channels would measure the queue for them.
BOXES, CHANNELS = 2, 16
CALLER = "+882109000999"


_REQUEST = (
    "{method} sip:uas@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK-{number}-{method}\r\n"
    "From: <sip:me@{me}>;tag=t{number}\r\nTo: <sip:uas@127.0.0.1>{tag}\r\nCall-ID: {number}@loopback\r\n"
    "CSeq: {cseq}\r\nContact: <sip:me@{me}>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def loopback_ms(folder: Path) -> list[float]:
    """INVITE to 200 of SIPp's own answering scenario, in ms. SIPp's own clock has steps of 4 ms, so ours measures."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    argv = ["sipp", "-sn", "uas", "-i", "127.0.0.1", "-p", str(port), "-nostdin"]
    with start(argv, folder / "uas.log", os.sched_getaffinity(0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        time.sleep(1.0)  # SIPp has no ready line
        line.settimeout(2.0)
        line.connect(("127.0.0.1", port))
        return [_one_call(line, number) for number in range(CALLS)]


def _one_call(line: socket.socket, number: int) -> float:
    me = "{}:{}".format(*line.getsockname())

    def ask(method: str, cseq: str, tag: str = "") -> None:
        line.send(_REQUEST.format(method=method, me=me, number=number, cseq=cseq, tag=tag).encode())

    began = time.perf_counter()
    ask("INVITE", "1 INVITE")
    answer = _final(line)
    spent = (time.perf_counter() - began) * 1000
    found = re.search(r"(?im)^To:.*?(;tag=[^\r;]+)", answer)
    tag = found.group(1) if found else ""
    ask("ACK", "1 ACK", tag)
    ask("BYE", "2 BYE", tag)
    _final(line)
    return spent


def _final(line: socket.socket) -> str:
    while True:
        text = line.recv(65535).decode("latin-1")
        if text.startswith("SIP/2.0 2"):
            return text


def added_ms(story: Story) -> float | None:
    """INVITE in at the controller to the dial command, from the record's own times."""
    out = next((line.ms for line in story.ladder if line.source == "controller" and line.target == "box"), None)
    log = story.attempts[0].at_log if story.attempts else ()
    dialled = next((line.ms for line in log if line.way == ">" and line.text.startswith("ATD")), None)
    return None if out is None or dialled is None else float(out + dialled)


def main() -> None:
    """Measure and keep the figure."""
    with tempfile.TemporaryDirectory() as name, processes(Path(name)) as begin:
        folder = Path(name)
        rack = Rack(folder, begin, boxes=BOXES, channels=CHANNELS)
        number = rack.number("answer", answer_after_s=0.1, hang_up_after_s=0.1)
        scenario = s.invite(number, CALLER) + s.PROVISIONAL + '<recv response="200" rrs="true"></recv>'
        scenario += s.ack(number, CALLER) + s.AWAIT_BYE
        Sipp(folder, rack.sip, "127.0.0.2").run(scenario, "-m", str(CALLS), "-r", str(RATE), "-l", "100")
        rows = rack.queries.records(RecordFilter(text=number, outcome="answered", per_page=1000)).rows
        stories = [rack.queries.story(row.call) for row in rows]
        values = [ms for story in stories if story is not None for ms in [added_ms(story)] if ms is not None]
        reference = loopback_ms(folder)
    keep(
        Figure(
            id="s2_delay", what="INVITE in at the controller to the dial command on the module's port, 10 calls per second",
            unit="ms", figure=summary(values), reference=summary(reference),
            reference_what="INVITE to 200 of a SIPp on loopback",
            ratio=round(summary(values)["p50"] / max(summary(reference)["p50"], 0.01), 1),
            limited_by="the disk writes before 100 Trying and before the dial command, then the SIP library's parsing",
            samples=len(values), spread=spread(values),
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
