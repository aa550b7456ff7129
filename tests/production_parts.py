"""The parts of production for tests: a PostgreSQL server and a Mosquitto broker that end with the session.

The same two faces serve the embedded parts, so that a test asks for a database and a broker and runs on
SQLite and amqtt, or with `--stack` on these.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
from argon2 import PasswordHasher
from sqlalchemy.engine import URL, make_url
from support import Process

from simrack.cli.mosquitto import write_files
from simrack.controller.store import server
from simrack.controller.store.migrate import migrate
from simrack.controller.store.rights import CONTROLLER, OWNER, WEB
from simrack.wire import topics
from simrack.wire.mqtt import MemoryBroker, MqttBus
from simrack.wire.ports import SystemClock, SystemIds

POSTGRES = Path("/usr/lib/postgresql/15/bin")
READY_S = 60.0
# Gigabytes that were written and not yet put in their place.
KEPT_READY_S = 300.0
TEMPLATE = "simrack_template"
BOXES = ("lab-01", "lab-02", "lab-03", "box", "tester")
PASSWORDS = {OWNER: "owner-of-tests", CONTROLLER: "controller-of-tests", WEB: "web-of-tests"}


def wait_for(condition: Callable[[], Any], what: str, seconds: float = READY_S) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about within {seconds} s")
        threading.Event().wait(0.02)


def accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def as_user(user: str, argv: Sequence[str], death: str) -> list[str]:
    """A command that runs as a system user and ends when the test process dies, whatever kills that."""
    other = ["--reuid", user, "--regid", user, "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *other, "--pdeathsig", death, *argv]


class Postgres:
    """A cluster of its own in a temporary folder, reached by its socket; with fsync, as in production.

    With `kept` it lies there, and stays when it is closed. `settings` are those of the server.
    """

    def __init__(self, kept: Path | None = None, settings: Sequence[str] = ("shared_buffers=32MB",)) -> None:
        # Not below pytest's folder: a socket's path has 107 characters, and another user must get there.
        self.folder = kept or Path(tempfile.mkdtemp(prefix="simrack-pg-"))
        self._kept, self._settings = kept is not None, settings
        self._made = 0
        self.process: subprocess.Popen[bytes] | None = None
        if (self.folder / "data" / "PG_VERSION").exists():
            self.data, self.sockets, self.log = self.folder / "data", self.folder / "s", self.folder / "log"
            self.start()
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.data, self.sockets = self.folder / "data", self.folder / "s"
        self.log = self.folder / "log"
        secret = self.folder / "secret"
        secret.write_text("admin-of-tests\n")
        for path in (self.data, self.sockets):
            path.mkdir(mode=0o700)
        self.sockets.chmod(0o755)
        if os.geteuid() == 0:
            for path in (self.folder, self.data, self.sockets, secret):
                shutil.chown(path, "postgres")
        made = subprocess.run(
            as_user("postgres", [
                str(POSTGRES / "initdb"), "-D", str(self.data), "-U", "postgres", "--pwfile", str(secret),
                "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync",
            ], "SIGKILL"),
            capture_output=True, cwd="/", check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr.decode()
        self.start()
        server.create(self.url("postgres"), TEMPLATE, PASSWORDS, SystemClock())

    def start(self) -> None:
        """Start the server and wait until it answers."""
        wait_for(self._started, "PostgreSQL", KEPT_READY_S if self._kept else READY_S)

    def _started(self) -> bool:
        # Children of a killed server end when they notice; until then a new one refuses to share their memory.
        self._launch()
        assert self.process is not None
        process = self.process
        wait_for(lambda: process.poll() is not None or self._answers(), "PostgreSQL", KEPT_READY_S if self._kept else READY_S)
        return process.poll() is None

    def _launch(self) -> None:
        argv = [
            str(POSTGRES / "postgres"), "-D", str(self.data), "-k", str(self.sockets), "-c", "listen_addresses=",
            "-c", "max_connections=200", *(word for setting in self._settings for word in ("-c", setting)),
        ]  # fmt: skip
        with self.log.open("ab") as log:
            # SIGQUIT ends the server with all its processes at once.
            self.process = subprocess.Popen(
                as_user("postgres", argv, "SIGQUIT"), stdout=log, stderr=log, cwd="/", start_new_session=True
            )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.plain("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End all of it at once."""
        assert self.process is not None
        os.killpg(self.process.pid, number)
        self.process.wait(30)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            if self._kept:
                # In order, so that its next start has no log to go through.
                self.process.send_signal(signal.SIGINT)
                self.process.wait(KEPT_READY_S)
            else:
                self.kill(signal.SIGQUIT)
        if not self._kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, role: str = "postgres") -> str:
        """The URL of a database for one role."""
        word = PASSWORDS.get(role, "admin-of-tests")
        made = URL.create(
            "postgresql+psycopg", role, word, database=database, query={"host": str(self.sockets)}
        )
        return made.render_as_string(hide_password=False)

    def plain(self, database: str, role: str = "postgres") -> str:
        """The same for psycopg itself."""
        word = PASSWORDS.get(role, "admin-of-tests")
        return f"host={self.sockets} dbname={database} user={role} password={word}"

    def database(self, template: str = TEMPLATE, name: str = "") -> str:
        """The name of a fresh database of this release, made as `simrack database create` makes it."""
        self._made += 1
        name = name or f"t{self._made}"
        with psycopg.connect(self.plain("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER}")
            # A copy has the tables' rights, but not those of the database itself.
            connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            connection.execute(f"GRANT CONNECT ON DATABASE {name} TO {CONTROLLER}, {WEB}")
        return name

    def has(self, name: str) -> bool:
        """Whether there is a database of this name."""
        with psycopg.connect(self.plain("postgres"), autocommit=True) as connection:
            return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None

    def number(self, name: str) -> str:
        """The name of the folder that holds a database's files."""
        with psycopg.connect(self.plain("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT oid FROM pg_database WHERE datname = %s", (name,)).fetchone()
        assert found is not None, f"there is no database {name}"
        return str(found[0])

    def empty(self) -> str:
        """The name of a database without tables, which belongs to the owner's role."""
        self._made += 1
        name = f"t{self._made}"
        with psycopg.connect(self.plain("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0")
        with psycopg.connect(self.plain(name), autocommit=True) as connection:
            connection.execute(f"ALTER SCHEMA public OWNER TO {OWNER}")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        with psycopg.connect(self.plain("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class Database(Protocol):
    """A fresh database of this release."""

    url: str  # as the controller
    web: str  # as the control room
    owner: str  # as whoever may do everything


@cache
def _fresh() -> bytes:
    """A database without rows: copying it is much faster than migrating for each test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fresh.db"
        migrate(f"sqlite:///{path}", SystemClock())
        return path.read_bytes()


class SqliteDatabase:
    """A file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = self.web = self.owner = f"sqlite:///{path}"
        if not path.exists():
            path.write_bytes(_fresh())


class PostgresDatabase:
    """A database on the session's server, with the roles of production."""

    def __init__(self, on: Postgres, template: str = TEMPLATE) -> None:
        self.on, self.name = on, on.database(template)
        self.url, self.web = on.url(self.name, CONTROLLER), on.url(self.name, WEB)
        self.owner = on.url(self.name, OWNER)
        self.admin = on.url(self.name)

    def close(self) -> None:
        self.on.drop(self.name)


class Reachable(Protocol):
    """Something that has a broker's URL for a user."""

    def url(self, user: str = "tester") -> str: ...


class Broker(Protocol):
    """A broker that knows the users of `BOXES` and of the centre."""

    port: int
    passwords: Path

    def start(self) -> None: ...
    def kill(self, number: int = signal.SIGKILL) -> None: ...
    def send(self, number: int) -> None: ...
    def close(self) -> None: ...
    def url(self, user: str = "tester") -> str: ...


class _Files:
    """Users and passwords, alike for both brokers."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.urls = write_files(folder, ("127.0.0.1", self.port), BOXES, SystemIds())
        self.passwords = folder / "passwords.toml"

    def url(self, user: str = "tester") -> str:
        return self.urls[user]


class Mosquitto(_Files):
    """Debian's Mosquitto with the files that `simrack mosquitto` writes."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="simrack-mq-"))
        super().__init__(folder)
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "mosquitto", "mosquitto")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                as_user("mosquitto", ["mosquitto", "-c", str(self.folder / "simrack.conf")], "SIGKILL"),
                stdout=log, stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip
        wait_for(lambda: accepts("127.0.0.1", self.port), "Mosquitto")

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.send(number)
        assert self.process is not None
        self.process.wait(10)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Amqtt(_Files):
    """The embedded broker as its own command runs it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from simrack.cli.mosquitto import read_passwords

        hasher = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
        users = folder / "users"
        lines = [f"{user}:{hasher.hash(word)}" for user, word in read_passwords(self.passwords).items()]
        users.write_text("\n".join(lines) + "\n")
        self._config = folder / "broker.toml"
        self._config.write_text(f'listen = "127.0.0.1:{self.port}"\nusers = "{users}"\n')
        self.process: Process | None = None
        self.start()

    def start(self) -> None:
        self.process = Process(["broker", "--config", str(self._config)], self.folder / "log")

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.popen.send_signal(number)

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.stop(number)

    def close(self) -> None:
        if self.process is not None:
            self.kill()


class Parts:
    """What one session has started; nothing is started before it is asked for."""

    def __init__(self) -> None:
        self._postgres: Postgres | None = None
        self._mosquitto: Mosquitto | None = None
        self._templates: dict[str, str] = {}
        self._more: list[Mosquitto] = []

    def start(self) -> None:
        """Have both run."""
        self._postgres = self._postgres or Postgres()
        self._mosquitto = self._mosquitto or Mosquitto()

    @property
    def postgres(self) -> Postgres:
        self._postgres = self._postgres or Postgres()
        return self._postgres

    @property
    def mosquitto(self) -> Mosquitto:
        self._mosquitto = self._mosquitto or Mosquitto()
        return self._mosquitto

    def template(self, name: str, fill: Callable[[str], object]) -> str:
        """A database that `fill` has filled once, as owner, to be copied."""
        if name not in self._templates:
            made = PostgresDatabase(self.postgres)
            fill(made.owner)
            self._templates[name] = made.name
        return self._templates[name]

    def up_options(self) -> tuple[str, ...]:
        """Options of `simrack up` for a database and a broker of its own."""
        database, broker = PostgresDatabase(self.postgres), Mosquitto()
        self._more.append(broker)
        return (
            "--database", database.url, "--web-database", database.web,
            "--broker", f"127.0.0.1:{broker.port}", "--broker-passwords", str(broker.passwords),
        )  # fmt: skip

    def broker_at(self, url: str) -> Mosquitto:
        """The broker that was made by `up_options`, by its address."""
        return next(broker for broker in self._more if f":{broker.port}" in url)

    def close(self) -> None:
        for part in (self._postgres, self._mosquitto, *self._more):
            if part is not None:
                part.close()


class InUse:
    """The parts of production that the running test is on, and its databases by the file that SQLite would use."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.databases: dict[Path, PostgresDatabase] = {}

    def at(self, path: Path, template: str = TEMPLATE) -> PostgresDatabase:
        if path not in self.databases:
            self.databases[path] = PostgresDatabase(self.parts.postgres, template)
        return self.databases[path]

    def close(self) -> None:
        for database in self.databases.values():
            database.close()


_current: list[InUse] = []


def stack() -> InUse | None:
    """The parts of production, when the running test is on them."""
    return _current[-1] if _current else None


@contextmanager
def in_use(parts: Parts) -> Iterator[InUse]:
    """Have every database and broker of the running test be those of production."""
    parts.start()  # before the loop of a test runs
    _current.append(InUse(parts))
    try:
        yield _current[-1]
    finally:
        _current.pop().close()


def database_at(path: Path) -> Database:
    """The running test's database that belongs to `path`: an SQLite file, or one on PostgreSQL."""
    on = stack()
    return on.at(path) if on else SqliteDatabase(path)


def url_at(path: Path) -> str:
    """The URL of the running test's database that belongs to `path`; an SQLite file is made by its first user."""
    on = stack()
    return on.at(path).url if on else f"sqlite:///{path}"


def as_owner(url: str) -> str:
    """The same database for a test's own hand, which may do everything."""
    if url.startswith("sqlite"):
        return url
    parsed = make_url(url).set(username=OWNER, password=PASSWORDS[OWNER])
    return parsed.render_as_string(hide_password=False)


class RealBroker:
    """`MemoryBroker`'s face before Mosquitto: buses of the session's broker, and what it retains."""

    def __init__(self, broker: Reachable) -> None:
        self._broker = broker
        self.retained: dict[str, bytes] = {}
        self._watching: asyncio.Task[None] | None = None

    def bus(self, client_id: str, *, will: tuple[str, bytes] | None = None) -> "RealBus":
        self._watch()
        return RealBus(self._broker.url(), client_id, will=will)

    def _watch(self) -> None:
        if self._watching is not None:
            return
        watcher = MqttBus(self._broker.url(), "retained-watcher")
        watcher.subscribe("simrack/#", self._note)
        self._watching = asyncio.get_running_loop().create_task(watcher.run())

    def _note(self, topic: str, payload: bytes) -> None:
        # Everything that simrack publishes under these topics is retained, or nobody asks for it here.
        self.retained[topic] = payload

    async def forget(self) -> None:
        """Have the broker lose all that it retains; sessions stay."""
        bus, found, all_told = MqttBus(self._broker.url(), "forgetter"), set[str](), asyncio.Event()
        last = f"{topics.ROOT}/tests/all-told"
        bus.subscribe(f"{topics.ROOT}/#", lambda topic, _payload: found.add(topic))
        # What is retained comes before what is published after the subscription.
        bus.subscribe(last, lambda _topic, _payload: all_told.set())
        told = asyncio.Event()

        async def ask() -> None:
            await bus.publish(last, b"?")
            told.set()

        bus.on_connect(ask)
        work = asyncio.create_task(bus.run())
        async with asyncio.timeout(READY_S):
            await asyncio.gather(told.wait(), all_told.wait())
            for topic in sorted(found - {last}):
                await bus.publish(topic, b"", retain=True)
        work.cancel()
        await asyncio.wait({work})

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)


class RealBus(MqttBus):
    """A session that a test can cut."""

    def cut(self) -> None:
        """Lose the session without a word."""
        found = self._client._client.socket() if self._client is not None else None
        if isinstance(found, socket.socket):
            with suppress(OSError):  # cut already
                found.shutdown(socket.SHUT_RDWR)


def bus_broker() -> MemoryBroker | RealBroker:
    """A broker for parts in this process: in memory, or a fresh Mosquitto."""
    on = stack()
    if on is None:
        return MemoryBroker()
    on.parts.mosquitto.kill()
    on.parts.mosquitto.start()
    return RealBroker(on.parts.mosquitto)


#: Where a test meets a database, a broker or whole processes. Decisions, codecs and dialects meet neither.
INTEGRATION = (
    "store", "web", "system", "cli", "production", "controller/test_app.py", "controller/test_overload.py",
    "controller/test_resume.py", "gateway/test_box", "gateway/test_process.py", "gateway/test_uplink.py",
    "wire/test_bus.py", "contracts/test_parts.py",
)  # fmt: skip
SHARE = "share of the stack"


class Collected:
    """How many integration tests there are, and how many of them run on production parts too."""

    def __init__(self, tests: Iterable[tuple[str, bool]]) -> None:
        """`tests`: path below tests/, and whether it is marked `stack`."""
        mine = [(path, marked) for path, marked in tests if path.startswith(INTEGRATION)]
        self.all, self.marked = len(mine), sum(marked for _, marked in mine)
        self._places = {place for place in INTEGRATION if any(path.startswith(place) for path, _ in mine)}

    def lacks(self) -> list[str]:
        """Places of integration tests of which nothing was collected."""
        return [place for place in INTEGRATION if place not in self._places]

    def told(self) -> str:
        return f"{self.marked} of {self.all} integration tests ({100 * self.marked / max(1, self.all):.0f} %) run on them"


COLLECTED = pytest.StashKey[Collected]()
