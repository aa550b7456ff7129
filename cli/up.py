"""`simrack up`: the whole centre on one machine, and with `--lab` an emulated rack to go with it."""

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from simrack.cli import boxes as own
from simrack.cli.output import say, say_error, say_json
from simrack.cli.outside import (
    BrokerPasswords,
    DatabaseUrl,
    Outside,
    OutsideBroker,
    WebDatabaseUrl,
    need_users,
    passwords_of,
)
from simrack.cli.places import DataOption, claim, data_folder, invoked, parse_address, write_private
from simrack.cli.supervisor import Child, Ready, Supervisor
from simrack.cli.toml_text import toml_text
from simrack.wire.errors import UserError
from simrack.wire.ports import Ids, SystemClock, SystemIds

RTP_PORTS_PER_BOX = 200  # two ports a call (RTP and RTCP) and room for calls that just ended
RTP_FIRST = 20000
STATE_VERSION = 1


@dataclass(slots=True)
class Plan:
    """What this run listens on and keeps where."""

    data: Path
    state: Path
    sip: tuple[str, int]
    web: tuple[str, int]
    mqtt: tuple[str, int]
    lab: bool
    boxes: int
    channels: int
    seed: int
    routing: Path | None
    own: own.OwnBoxes
    new_boxes: list[str] = field(default_factory=list)
    passwords: dict[str, str] = field(default_factory=dict)
    outside: Outside = field(default_factory=Outside)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        return self.data / "run"

    @property
    def database(self) -> str:
        return self.outside.database or f"sqlite:///{self.data / 'simrack.db'}"

    @property
    def web_database(self) -> str:
        """As the control room and the command line use it: on a server their role can't change a fact."""
        return self.outside.web_database or self.database

    def broker_url(self, user: str) -> str:
        return f"mqtt://{user}:{self.passwords[user]}@{self.mqtt[0]}:{self.mqtt[1]}"

    def box_names(self) -> list[str]:
        return [str(box["box"]) for box in self.facts.get("boxes", [])]


def _address(pair: tuple[str, int]) -> str:
    return f"{pair[0]}:{pair[1]}"


@contextlib.contextmanager
def _locked(data: Path) -> Iterator[None]:
    """One `simrack up` per data folder; the lock goes with the process."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        handle = (data / "simrack.lock").open("a")
    except OSError as error:
        raise UserError(f"the data folder can't be used ({error.strerror})", str(data), "Name another with --data.") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another `simrack up` runs on this data folder", str(data), "End it first, or name another with --data."
            ) from None
        yield


def _check_place(state: Path) -> None:
    """Find out before anything runs that the state file has a place."""
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(state.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(f"the state file can't be written ({error.strerror})", str(state), "Name another place with --state.") from error


def _write_broker(plan: Plan, ids: Ids, users: list[str]) -> Path:
    # Imported here: argon2 is slow to load, and most commands never need it.
    from argon2 import PasswordHasher

    # Random words of 128 bits need no slow hash; the broker checks them at each connect, in its only loop.
    hasher = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
    lines = []
    for user in users:
        plan.passwords[user] = plan.own.passwords.get(user) or ids.token(16)
        lines.append(f"{user}:{hasher.hash(plan.passwords[user])}")
    secrets = plan.run / "broker-users"
    write_private(secrets, "\n".join(lines) + "\n")
    return _write(plan, "broker", {"listen": _address(plan.mqtt), "users": str(secrets)})


def _write(plan: Plan, name: str, document: dict[str, Any]) -> Path:
    path = plan.run / f"{name}.toml"
    write_private(path, toml_text(document))
    return path


def _write_controller(plan: Plan) -> Path:
    document: dict[str, Any] = {
        "database": plan.database,
        "data": str(plan.data),
        "mqtt": {"url": plan.broker_url("controller")},
        "sip": {"listen": _address(plan.sip), "realm": "simrack"},
    }
    if plan.routing is not None:
        document["import"] = str(plan.routing)
    return _write(plan, "controller", document)


def _write_web(plan: Plan) -> Path:
    return _write(
        plan,
        "web",
        {
            "database": plan.web_database,
            "listen": _address(plan.web),
            "controller_sip": _address(plan.sip),
            "mqtt": {"url": plan.broker_url("web")},
        },
    )


def _write_box(plan: Plan, index: int, box: dict[str, Any]) -> Path:
    first = RTP_FIRST + index * RTP_PORTS_PER_BOX
    modules = [{key: module[key] for key in ("channel", "at", "audio")} for module in box["modules"]]
    return _write(
        plan,
        f"box-{box['box']}",
        {
            "box": box["box"],
            "site": "lab",
            "data": str(plan.data / str(box["box"])),
            "mqtt": {"url": plan.broker_url(str(box["box"]))},
            "sip": {"listen": "127.0.0.1:0", "controller": _address(plan.sip)},
            "rtp": {"host": "127.0.0.1", "first": first, "last": first + RTP_PORTS_PER_BOX - 1},
            "module": modules,
        },
    )


def _write_own_boxes(plan: Plan, names: list[str]) -> None:
    """A settings file for each box of the person's own; a file that is there is never touched."""
    known = plan.own
    for index, name in enumerate(names, plan.boxes if plan.lab else 0):
        known.passwords[name] = plan.passwords[name]
        path, first = known.file(name), RTP_FIRST + index * RTP_PORTS_PER_BOX
        if not path.exists():
            text = own.box_file(
                name, site=own.site_of(plan.routing), data=known.folder / name, mqtt=plan.broker_url(name),
                sip=_address(plan.sip), rtp_first=first, rtp_last=first + RTP_PORTS_PER_BOX - 1, sockets=own.plugged_in(),
            )  # fmt: skip
            write_private(path, text)
    if known.listen not in ("", _address(plan.mqtt)):
        say_error(f"The broker moved from {known.listen} to {_address(plan.mqtt)}: mend [mqtt] url in the file of each box.")
    known.listen = _address(plan.mqtt)
    known.save()


class Rack:
    """Everything that one `simrack up` runs."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.clock, self.ids = SystemClock(), SystemIds()
        self.supervisor = Supervisor(plan.data / "logs", self.clock, self._restarted)

    async def start(self, group: asyncio.TaskGroup) -> None:
        plan = self.plan
        boxes = [f"lab-{number:02d}" for number in range(1, plan.boxes + 1)] if plan.lab else []
        mine = sorted({*plan.own.passwords, *plan.new_boxes})
        users = ["controller", "web", "cli", *boxes, *mine]
        first = self._broker_child(users)
        _write_own_boxes(plan, mine)
        if plan.lab:
            first.append(self._lab_child())
            self._write_lab_routing()
        await self.supervisor.start(group, *first)
        if plan.lab:
            self._read_lab()
        await self.supervisor.start(group, Child("controller", self._argv("controller", _write_controller(plan)), self._fact("sip")))
        await self.supervisor.start(group, *self._box_children(), self._web_child())
        self._write_state()

    def _broker_child(self, users: list[str]) -> list[Child]:
        if not self.plan.outside.broker:
            return [Child("broker", ["broker", "--config", str(_write_broker(self.plan, self.ids, users))])]
        need_users(self.plan.passwords, users)
        return []

    @staticmethod
    def _argv(command: str, config: Path) -> list[str]:
        return [command, "--config", str(config)]

    def _fact(self, *names: str) -> Any:
        def keep(ready: Ready) -> None:
            self.plan.facts.update({name: ready[name] for name in names if name in ready})

        return keep

    def _web_child(self) -> Child:
        return Child("web", self._argv("web", _write_web(self.plan)), self._fact("web", "setup_link"))

    def _box_children(self) -> list[Child]:
        boxes = self.plan.facts.get("boxes", [])
        return [
            Child(f"box-{box['box']}", self._argv("box", _write_box(self.plan, index, box)))
            for index, box in enumerate(boxes)
        ]

    def _lab_child(self) -> Child:
        plan = self.plan
        argv = ["lab", "up", "--boxes", str(plan.boxes), "--channels", str(plan.channels)]
        return Child("lab", [*argv, "--seed", str(plan.seed), "--state", str(plan.run / "lab.json")])

    def _read_lab(self) -> None:
        self.plan.facts.update(json.loads((self.plan.run / "lab.json").read_text()))

    def _write_lab_routing(self) -> None:
        if self.plan.routing is not None:
            return
        from simrack.cli.lab_routing import lab_callers, lab_routing

        password = self.ids.token(12)
        self.plan.facts["callers"] = lab_callers(password)
        self.plan.routing = _write(self.plan, "routing", lab_routing(password))

    def _restarted(self) -> None:
        """Tell the new process ids, and where the lab listens now, to whoever reads the state file."""
        if not self.plan.state.exists():
            return
        if self.plan.lab:
            self._read_lab()
        self._write_state()

    def _write_state(self) -> None:
        plan = self.plan
        plan.facts.update(
            version=STATE_VERSION,
            box_files=plan.own.files(),
            mqtt=plan.broker_url("cli"),
            database=plan.web_database,
            data=str(plan.data),
            logs=str(plan.data / "logs"),
            sip=plan.facts.get("sip", _address(plan.sip)),
            pids=self.supervisor.pids(),
        )
        write_private(plan.state, json.dumps(plan.facts, indent=2) + "\n")


def _watch_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _Stopped


class _Stopped(Exception):
    """A person or the system asked us to end."""


async def _serve(plan: Plan, as_json: bool) -> None:
    rack = Rack(plan)
    stop = asyncio.Event()
    _watch_signals(stop)
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_until(stop))
            await rack.start(group)
            _announce(plan, as_json)
    except* _Stopped:
        pass
    except* UserError as mistakes:
        failure = mistakes.exceptions[0]
    finally:
        await rack.supervisor.stop()
        plan.state.unlink(missing_ok=True)
    if failure is not None:
        raise failure


def _rejected(database: str) -> list[str]:
    """Why the routing file is not in force, if so: the controller serves all the same, under the one before."""
    from simrack.controller.store.queries import Queries

    queries = Queries(database)
    try:
        return [alarm.title for alarm in queries.alarms() if alarm.cause == "config-rejected"]
    finally:
        queries.close()


def _announce(plan: Plan, as_json: bool) -> None:
    facts = plan.facts
    if as_json:
        say_json({"ready": True, "state": str(plan.state), **{k: facts.get(k) for k in ("sip", "web", "setup_link")}}, indent=None)
        return
    for mistake in _rejected(plan.web_database):
        say_error(f"{mistake} The configuration before stays in force.")
    say(f"SIP      {facts.get('sip')}")
    say(f"Web      {facts.get('web')}")
    if facts.get("setup_link"):
        say(f"Set-up   {facts['setup_link']}   (works once: names the first administrator)")
    say(f"State    {plan.state}")
    for path in facts["box_files"].values():
        say(f"Box      {invoked()} box --config {path}")
    say("Ctrl-C ends it.")


def up(
    lab: Annotated[bool, typer.Option("--lab", help="Also start an emulated network and its boxes.")] = False,
    boxes: Annotated[int, typer.Option(min=1, max=64, help="Emulated boxes.")] = 2,
    channels: Annotated[int, typer.Option(min=1, max=64, help="Channels of each emulated box.")] = 4,
    state: Annotated[Path | None, typer.Option(help="Where to write the state file (JSON); default: state.json in the data folder.")] = None,
    data: DataOption = None,
    sip: Annotated[str, typer.Option(help="SIP address of the controller; port 0 chooses a free one.")] = "127.0.0.1:5060",
    web: Annotated[str, typer.Option(help="Address of the control room; port 0 chooses a free one.")] = "127.0.0.1:8080",
    mqtt: Annotated[str, typer.Option(help="Address of the embedded broker (loopback); default: a free port, with --box 127.0.0.1:1883 and then as before.")] = "",
    box: Annotated[
        list[str] | None,
        typer.Option(help="Make a broker user and a settings file for a box of your own (repeatable; remembered)."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Routing file: senders, plans, patterns (docs/configuration.md).")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the emulated network.")] = 1,
    database: DatabaseUrl = "",
    web_database: WebDatabaseUrl = "",
    outside_broker: OutsideBroker = "",
    broker_passwords: BrokerPasswords = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say ready as one JSON line.")] = False,
) -> None:
    """Run the centre on this machine, with --lab a rack too.

    The centre is broker, controller and control room. They run until Ctrl-C.
    """
    from simrack.wire import logs

    logs.configure("up")
    folder = data_folder(data)
    state = (state or folder / "state.json").absolute()
    names = [own.check_name(name) for name in box or []]
    if config is not None and not config.is_file():
        raise UserError("the routing file does not exist", str(config), "Check the path; docs/configuration.md has every key.")
    with _locked(folder):
        _check_place(state)
        known = own.OwnBoxes.load(folder)
        passwords = passwords_of(outside_broker, broker_passwords)
        broker = mqtt or known.listen or (own.BROKER if names else "127.0.0.1:0")
        plan = Plan(
            data=folder,
            state=state,
            sip=claim(parse_address(sip, "--sip"), socket.SOCK_DGRAM, "--sip"),
            web=claim(parse_address(web, "--web"), socket.SOCK_STREAM, "--web"),
            mqtt=parse_address(outside_broker, "--broker")
            if outside_broker
            else claim(own.check_broker(parse_address(broker, "--mqtt")), socket.SOCK_STREAM, "--mqtt"),
            lab=lab,
            boxes=boxes,
            channels=channels,
            seed=seed,
            routing=config.absolute() if config else None,
            own=known,
            new_boxes=names,
            passwords=passwords,
            outside=Outside(database, web_database, bool(outside_broker)),
        )
        asyncio.run(_serve(plan, as_json))
