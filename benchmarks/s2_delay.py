"""S2: the delay that the rack adds, INVITE in at the controller to the dial command on the module's port.

The record's ladder holds both moments: the controller's own (INVITE in, INVITE out) and the box's (INVITE in to
the dial command, on one monotonic clock). Reference: INVITE to 200 between two SIPp on loopback.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from common import Figure, keep, spread, summary
from support import processes
from system import sipp as s
from system.rack import Rack
from system.sipp import Sipp

from simrack.controller.models import RecordFilter, Story

CALLS, RATE = 330, 10
# A call lasts a second or two and a SIM rests between calls: fewer channels would measure the queue for them.
BOXES, CHANNELS = 2, 16
CALLER = "+882109000999"


def loopback_ms(folder: Path) -> list[float]:
    """INVITE to 200 of SIPp's own scenarios, in ms."""
    port = 36070
    server = subprocess.Popen(
        ["sipp", "-sn", "uas", "-i", "127.0.0.1", "-p", str(port), "-nostdin", "-m", str(CALLS), "-timeout", "60s"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    subprocess.run(
        [
            "sipp", "-sn", "uac", f"127.0.0.1:{port}", "-i", "127.0.0.2", "-r", str(RATE), "-m", str(CALLS), "-nostdin",
            "-d", "100", "-trace_rtt", "-rtt_freq", "1", "-timeout", "60s",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, check=False,
    )  # fmt: skip
    server.terminate()
    server.wait()
    rows = next(folder.glob("uac_*_rtt.csv")).read_text().splitlines()[1:]
    return [float(re.split(";", row)[1]) for row in rows if row]


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
            reference_what="SIPp to SIPp on loopback, INVITE to 200",
            ratio=round(summary(values)["p50"] / max(summary(reference)["p50"], 0.01), 1),
            limited_by="the disk writes before 100 Trying and before the dial command, then the SIP library's parsing",
            samples=len(values), spread=spread(values),
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
