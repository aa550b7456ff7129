"""`simrack doctor`: what this machine has, what runs, and the port list for a firewall."""

import asyncio
import ctypes.util
import os
import shutil
import socket
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import typer

from simrack.cli.output import JsonOption, say, say_json, table
from simrack.cli.places import DataOption, StateOption, data_folder, read_state
from simrack.cli.rack import take_snapshot
from simrack.cli.route import ask_controller
from simrack.wire.channel import ChannelState
from simrack.wire.errors import UserError
from simrack.wire.ports import iso_ms

CONNECT_S = 2.0  # everything asked is on this machine
LOW_DISK_MB = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `todo` says what to do about a warning or an error."""

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    todo: str = ""


def _python() -> Finding:
    return Finding("ok", "Python", ".".join(map(str, sys.version_info[:3])))


def _opus() -> Finding:
    if ctypes.util.find_library("opus"):
        return Finding("ok", "Opus", "libopus is here: Opus is offered")
    return Finding("warning", "Opus", "libopus is missing: Opus is not offered", "apt-get install libopus0")


def _folder(folder: Path) -> Finding:
    place = folder if folder.exists() else next(parent for parent in folder.parents if parent.exists())
    if not os.access(place, os.W_OK):
        return Finding("error", "Data folder", f"{folder} can't be written", "Name another with --data.")
    free = shutil.disk_usage(place).free // 2**20
    if free < LOW_DISK_MB:
        return Finding("warning", "Data folder", f"{folder}: only {free} MB free", "Make room: records stop when the disk is full.")
    return Finding("ok", "Data folder", f"{folder}, {free} MB free")


def _serial() -> Finding:
    ports = sorted(str(port) for pattern in ("ttyUSB*", "ttyACM*") for port in Path("/dev").glob(pattern))
    if not ports:
        return Finding("ok", "Modules", "no USB serial port on this machine")
    closed = [port for port in ports if not os.access(port, os.R_OK | os.W_OK)]
    if closed:
        return Finding("error", "Modules", f"no right to open {', '.join(closed)}", "Add the user to the group dialout.")
    return Finding("ok", "Modules", f"{len(ports)} serial ports: {', '.join(ports)}")


def _answers(name: str, host: str, port: int) -> Finding:
    try:
        with socket.create_connection((host, port), CONNECT_S):
            return Finding("ok", name, f"answers at {host}:{port}")
    except OSError as error:
        return Finding("error", name, f"{host}:{port}: {error.strerror or error}", "Is `simrack up` running? See its logs.")


def _controller(state: dict[str, Any]) -> Finding:
    question = {"called": "0", "calling": "", "sender": "doctor"}
    try:
        asyncio.run(ask_controller(str(state["mqtt"]), "explain", question, "doctor"))
    except UserError as error:
        return Finding("error", "Controller", error.what, f"Read {state.get('logs', 'logs')}/controller.log.")
    return Finding("ok", "Controller", f"answers; SIP at {state['sip']}")


def _fleet(state: dict[str, Any]) -> Finding:
    try:
        snapshot = asyncio.run(take_snapshot(str(state["mqtt"])))
    except UserError as error:
        return Finding("error", "Boxes", error.what, "See the broker above.")
    online = {name for name, box in snapshot.boxes.items() if box.online}
    ready = sum(report.state is ChannelState.READY for (box, _), report in snapshot.channels.items() if box in online)
    text = f"{len(online)} of {len(snapshot.boxes)} boxes online, {ready} of {len(snapshot.channels)} channels ready"
    if not snapshot.boxes:
        return Finding("warning", "Boxes", "no box has reported yet", "README, \"Your first real module\".")
    fine = len(online) == len(snapshot.boxes) and ready > 0
    return Finding("ok", "Boxes", text) if fine else Finding("warning", "Boxes", text, "`simrack rack` shows each channel.")


def _database(url: str) -> Iterator[Finding]:
    from simrack.controller.store.errors import StoreError
    from simrack.controller.store.queries import Queries

    try:
        alarms = Queries(url).alarms()
    except (StoreError, UserError) as error:
        yield Finding("error", "Database", str(error).splitlines()[0], "See docs/records.md for what to do.")
        return
    yield Finding("ok", "Database", url.split("@")[-1])
    for alarm in alarms:
        yield Finding("warning", "Alarm", f"{alarm.title} (since {iso_ms(alarm.opened)[:19]} UTC)", alarm.advice)


def _running(state: dict[str, Any]) -> Iterator[Finding]:
    broker, web = urlsplit(str(state["mqtt"])), urlsplit(str(state["web"]))
    yield _answers("Broker", broker.hostname or "", broker.port or 1883)
    yield _controller(state)
    yield _answers("Control room", web.hostname or "", web.port or 80)
    yield _fleet(state)
    yield from _database(str(state["database"]))


def firewall(state: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(protocol, address, who, from where) of every listening port of a running installation."""
    broker, web = urlsplit(str(state["mqtt"])), urlsplit(str(state["web"]))
    return [
        ("udp", str(state["sip"]), "SIP of the controller", "traffic senders, boxes"),
        ("tcp", f"{web.hostname}:{web.port}", "control room and API", "NOC staff"),
        ("tcp", f"{broker.hostname}:{broker.port}", "MQTT broker", "this machine only"),
        *(("udp", ports, f"RTP of box {box}", "traffic senders") for box, ports in _voice(state)),
        ("udp", "[rtp] of its file", "RTP of any other box", "traffic senders"),
    ]


def _voice(state: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(box, address and ports) of each box whose file `simrack up` wrote."""
    for path in sorted({*Path(str(state["data"])).glob("run/box-*.toml"), *map(Path, state.get("box_files", {}).values())}):
        try:
            document = tomllib.loads(path.read_text())
            yield document["box"], f"{document['rtp']['host']}:{document['rtp']['first']}-{document['rtp']['last']}"
        except (OSError, ValueError, KeyError):
            continue  # `simrack box` itself says what is wrong with it


def doctor(data: DataOption = None, state: StateOption = None, as_json: JsonOption = False, ports: Annotated[bool, typer.Option("--ports", help="Only the port list.")] = False) -> None:
    """Check this machine and what runs on it.

    Prints what was found with what to do about it, and the port list for a firewall. Exit status 1: an error was found.
    """
    listening: list[tuple[str, str, str, str]] = []
    folder = data_folder(data)
    running: list[Finding] = []
    try:
        facts = read_state(state or (data / "state.json" if data else None))
        folder = data or Path(facts["data"])
        running = list(_running(facts))
        listening = firewall(facts)
    except UserError as error:
        running.append(Finding("warning", "Installation", f"{error.what} ({error.where})", error.todo))
    checks: tuple[Callable[[], Finding], ...] = (_python, _opus, lambda: _folder(folder), _serial)
    findings = [check() for check in checks] + running
    if as_json:
        say_json({"findings": [asdict(finding) for finding in findings], "ports": listening})
    else:
        if not ports:
            rows = [(f.level, f.subject, f.text, f.todo) for f in findings]
            table("This machine", ("", "What", "Found", "What to do"), rows, "")
            say()
        table("Ports", ("", "Address", "What", "From"), listening, "Nothing of simrack listens on this machine.")
    if any(finding.level == "error" for finding in findings):
        raise SystemExit(1)
