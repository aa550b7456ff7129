"""How much moves by itself on live pages over a minute of real traffic: a whole rack, five pages, Chromium's own count.

    python -P tests/system/shifts.py [--seconds 60] [--out FILE]

Calls come and go on two boxes of eight channels, a module loses its power and gets it back, lines and alarms follow from
that. All pages are open at once, each in a window of its own. Ends with 1 when anything moved or a console said an error.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

import support
import web_shifts
from system import rack as racks
from system import sipp as s
from system.people import NAME, PASSWORD, sign_up
from system.rack import Rack

from simrack.controller.models import RecordFilter

BOXES, CHANNELS = 2, 8
BOX = "lab-01"
PAGES = {"Rack": "/rack", "Calls": "/calls", "Gateway": f"/gateways/{BOX}", "Alarms": "/alarms", "Logs": "/logs"}
CALLER = "+882109001234"
HOLD_MS, CALLS_PER_S = 4000, 2
POWER_S = 5.0
# A machine that other work leaves little of needs minutes for what takes seconds.
PATIENCE_S = 180.0


@contextmanager
def calls(rack: Rack, folder: Path) -> Iterator[None]:
    """Calls of one sender, as many in a second as asked for, until the block ends."""
    number = rack.number("answer", answer_after_s=0.5)
    scenario = s.invite(number, CALLER) + s.PROVISIONAL + '<recv response="200" rrs="true"></recv>'
    (folder / "scenario.xml").write_text(
        s.HEAD + scenario + s.ack(number, CALLER) + s.pause(HOLD_MS) + s.bye(number, CALLER) + "</scenario>\n"
    )
    host = rack.state["callers"]["trunk"]["from"]
    argv = [
        "sipp", rack.sip, "-sf", "scenario.xml", "-i", host, "-mi", host, "-mp", str(s.media_port(host)),
        "-r", str(CALLS_PER_S), "-l", str(BOXES * CHANNELS - 2), "-nd", "-nostdin", "-m", "100000",
    ]  # fmt: skip
    with (folder / "sipp.log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()


@contextmanager
def power(rack: Rack) -> Iterator[None]:
    """One module loses its power and gets it back, over and over, until the block ends."""
    stop = threading.Event()

    def switch() -> None:
        turn = 0
        while not stop.wait(POWER_S):
            turn += 1
            rack.ask("/board", {"box": BOX, "channel": CHANNELS, "act": "off" if turn % 2 else "on"})

    thread = threading.Thread(target=switch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def enter(page: Page, web: str) -> None:
    page.goto(f"{web}/sign-in")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/rack")


def measure(rack: Rack, folder: Path, seconds: float) -> dict[str, Any]:
    """Per page: the sum of all shifts, how often something was drawn, what the console said."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        first = browser.new_context(viewport={"width": 1280, "height": 800})
        first.set_default_timeout(PATIENCE_S * 1000)
        enter(first.new_page(), rack.state["web"])
        kept = first.storage_state()
        first.close()
        windows, errors = {}, {}
        with calls(rack, folder), power(rack):
            for name, path in PAGES.items():
                # A window of its own each: tabs share six connections, and one behind another is not drawn.
                context = browser.new_context(viewport={"width": 1280, "height": 800}, storage_state=kept)
                context.set_default_timeout(PATIENCE_S * 1000)
                errors[name] = web_shifts.listen(context)
                windows[name] = context.new_page()
                windows[name].goto(rack.state["web"] + path)
                web_shifts.begin(windows[name])
            windows["Rack"].wait_for_timeout(seconds * 1000)
            seen = {name: web_shifts.end(page) for name, page in windows.items()}
        browser.close()
    return {
        name: {"shift": round(one.score, 6), "drawn": one.drawn, "moved": one.shifts[:5], "errors": errors[name]}
        for name, one in seen.items()
    }


def run(folder: Path, seconds: float) -> dict[str, Any]:
    support.READY_S = racks.READY_S = PATIENCE_S
    told: dict[str, Any] = {}
    # A busy machine may take longer to end the processes than the helper waits; it kills them then, and all is measured.
    with (
        contextlib.suppress(subprocess.TimeoutExpired),
        support.processes(folder) as begin,
        Rack(folder, begin, boxes=BOXES, channels=CHANNELS) as rack,
    ):
        sign_up(rack.state["setup_link"])
        pages = measure(rack, folder, seconds)
        ended = len(rack.queries.records(RecordFilter(per_page=500)).rows)
        told = {"seconds": seconds, "channels": BOXES * CHANNELS, "calls_ended": ended, "pages": pages}
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        told = run(Path(scratch), asked.seconds)
    text = json.dumps(told, indent=1)
    sys.stdout.write(text + "\n")
    if asked.out is not None:
        asked.out.write_text(text + "\n")
    still = [name for name, page in told["pages"].items() if not page["drawn"]]
    moved = [name for name, page in told["pages"].items() if page["shift"] or page["errors"]]
    if still or moved:
        raise SystemExit(f"nothing was drawn on {still}; moved or said an error: {moved}")


if __name__ == "__main__":
    main()
