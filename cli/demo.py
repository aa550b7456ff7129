"""`simrack demo`: an emulated rack on this machine, one checked call, and the page to look at.

The judge is the emulated network: the tone towards GSM is what its own books heard, the tone towards SIP is
what the built-in caller heard.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from simrack.cli.call import CallReport, place_call, random_tone
from simrack.cli.cdr import story_text
from simrack.cli.main import DIE_WITH_PARENT
from simrack.cli.output import say
from simrack.cli.places import invoked, short
from simrack.cli.rack import take_snapshot
from simrack.wire.channel import ChannelState
from simrack.wire.errors import UserError
from simrack.wire.ports import Clock, SystemClock

START_S = 90.0  # a cold disk and two cores
READY_S = 60.0  # modules boot, read their cards and register
RECORD_S = 10.0  # the record waits 2 s for the box's part at most
TALK_S = 3.0
TONE_LEEWAY_HZ = 15.0
STOP_S = 30.0
POLL_S = 0.2


class Demo:
    """One run of the demo."""

    def __init__(self, data: Path, boxes: int, channels: int, sip: str, web: str, clock: Clock) -> None:
        self.data, self.channels = data, boxes * channels
        self._clock = clock
        self.state_path = data / "state.json"
        argv = ["up", "--lab", "--boxes", str(boxes), "--channels", str(channels), "--data", str(data)]
        self._argv = [*argv, "--state", str(self.state_path), "--sip", sip, "--web", web, "--json"]
        self._up: subprocess.Popen[bytes] | None = None
        self.state: dict[str, Any] = {}

    def start(self) -> None:
        """Start the rack and wait until it serves."""
        self._up = subprocess.Popen(
            [sys.executable, "-P", "-m", "simrack.cli", *self._argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, DIE_WITH_PARENT: str(os.getpid())},
            start_new_session=True,
        )
        assert self._up.stdout is not None
        guard = threading.Timer(START_S, self._up.kill)
        guard.daemon = True
        guard.start()
        try:
            line = self._up.stdout.readline()
        finally:
            guard.cancel()
        if not line:
            raise UserError("the rack did not start", todo="The reason stands above.")
        self.state = json.loads(self.state_path.read_text())

    def wait_ready(self) -> None:
        """Until every channel is ready."""
        end = self._clock.monotonic() + READY_S
        ready = 0
        while self._clock.monotonic() < end:
            snapshot = asyncio.run(take_snapshot(str(self.state["mqtt"])))
            ready = sum(report.state is ChannelState.READY for report in snapshot.channels.values())
            if ready == self.channels:
                return
        raise UserError(f"only {ready} of {self.channels} channels are ready", todo=f"See the logs in {self.state['logs']}.")

    def ask_lab(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The emulated network's own address."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - our own loopback address
            f"{self.state['ledger']}{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            return json.loads(answer.read())

    def story(self, number: str) -> Any:
        """The record of the call to `number`, once it is written."""
        from simrack.controller.models import RecordFilter
        from simrack.controller.store.queries import Queries

        queries = Queries(str(self.state["database"]))
        end = self._clock.monotonic() + RECORD_S
        pause = threading.Event()
        while self._clock.monotonic() < end:
            rows = queries.records(RecordFilter(text=number)).rows
            if rows:
                return queries.story(rows[0].call)
            pause.wait(POLL_S)
        raise UserError(f"no record of the call to {number}", todo=f"See the logs in {self.state['logs']}.")

    def wait(self) -> None:
        """Until the rack ends."""
        assert self._up is not None
        self._up.wait()

    def stop(self) -> None:
        if self._up is None or self._up.poll() is not None:
            return
        self._up.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._up.wait(STOP_S)
        if self._up.poll() is None:
            self._up.kill()
            self._up.wait()


def _check(report: CallReport, heard_at_network: float, sent_to_sip: float) -> bool:
    return (
        report.answered
        and abs(report.sent_hz - heard_at_network) <= TONE_LEEWAY_HZ
        and abs(sent_to_sip - report.heard_hz) <= TONE_LEEWAY_HZ
    )


def _result(demo: Demo, report: CallReport, number: str, to_sip: float, seconds: float) -> tuple[dict[str, Any], Any]:
    story = demo.story(number)
    booked = [call for call in demo.ask_lab("/ledger/calls") if call["called"] == number]
    heard = float(booked[-1]["heard"]["from_mobile_hz"] or 0) if booked else 0.0
    record = story.record
    ok = _check(report, heard, to_sip) and record.outcome == "answered"
    call = {
        "id": record.call, "number": number, "outcome": record.outcome, "cause": record.cause, "box": record.box,
        "channel": record.channel, "talk_network_ms": record.talk_network_ms,
        "talk_ledger_ms": booked[-1]["talk_ms"] if booked else None, "codec": record.codec, "mos": record.mos,
    }  # fmt: skip
    result = {
        "ok": ok,
        "call": call,
        "tone_to_gsm_hz": [report.sent_hz, heard],
        "tone_to_sip_hz": [to_sip, report.heard_hz],
        "seconds": round(seconds, 1),
    }
    return result, story


def _place(demo: Demo, began: float, clock: Clock) -> tuple[dict[str, Any], Any]:
    to_sip = random_tone()
    number = str(demo.ask_lab("/numbers", {"behaviour": "answer", "tone_hz": int(to_sip), "answer_after_s": 1.0})["number"])
    report = place_call(demo.state, number, tone_hz=random_tone(), seconds=TALK_S)
    if not report.answered:
        raise UserError(f"the call was not answered: {json.dumps(asdict(report))}", todo=f"See the logs in {demo.state['logs']}.")
    return _result(demo, report, number, to_sip, clock.monotonic() - began)


def _tell(demo: Demo, result: dict[str, Any], story: Any) -> None:
    from simrack.controller.routing.explain_text import explain_text

    say(story_text(story, explain_text(story.explanation) if story.explanation else ""))
    say()
    gsm, sip = result["tone_to_gsm_hz"], result["tone_to_sip_hz"]
    say(f"Voice to GSM: sent {gsm[0]:.0f} Hz, the network heard {gsm[1]:.0f} Hz")
    say(f"Voice to SIP: sent {sip[0]:.0f} Hz, the caller heard {sip[1]:.0f} Hz")
    say(f"{'All as it should be' if result['ok'] else 'NOT as it should be'}, {result['seconds']} s since the start.")
    say()


def _invite_to_look(demo: Demo) -> None:
    say(f"Control room  {demo.state['web']}")
    if demo.state.get("setup_link"):
        say(f"First visit   {demo.state['setup_link']}   (works once: names the first administrator)")
    say(f"More calls    {invoked()} call answer --state {short(demo.state_path)}")
    say(f"Records       {invoked()} cdr --state {short(demo.state_path)}")
    say("Ctrl-C ends it.")


def demo(
    boxes: Annotated[int, typer.Option(min=1, max=64, help="Emulated boxes.")] = 2,
    channels: Annotated[int, typer.Option(min=1, max=64, help="Channels of each.")] = 4,
    once: Annotated[bool, typer.Option("--once", help="End after the call; the last line is one JSON object.")] = False,
    data: Annotated[Path, typer.Option(help="Data folder of the demo.")] = Path("run/demo"),
    sip: Annotated[str, typer.Option(help="SIP address; port 0 chooses a free one.")] = "127.0.0.1:0",
    web: Annotated[str, typer.Option(help="Web address; port 0 chooses a free one.")] = "127.0.0.1:0",
) -> None:
    """Show simrack: an emulated rack, one call with voice checked both ways, and the control room."""
    clock = SystemClock()
    began = clock.monotonic()
    run = Demo(data.absolute(), boxes, channels, sip, web, clock)
    ok = False
    try:
        say(f"Starting {boxes} boxes x {channels} channels, broker, controller and control room ...")
        run.start()
        run.wait_ready()
        say(f"{run.channels} channels ready after {clock.monotonic() - began:.1f} s; placing a call ...\n")
        result, story = _place(run, began, clock)
        ok = bool(result["ok"])
        _tell(run, result, story)
        if once:
            say(json.dumps(result))
        else:
            _invite_to_look(run)
            run.wait()
    except KeyboardInterrupt:
        ok = True
    finally:
        run.stop()
    if not ok:
        raise SystemExit(1)
