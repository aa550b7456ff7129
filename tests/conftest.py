"""Fixtures of the whole suite: loop-blocking detector, processes that end with their test."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings
from production_parts import (
    COLLECTED,
    SHARE,
    Amqtt,
    Broker,
    Collected,
    Database,
    Mosquitto,
    Parts,
    Postgres,
    database_at,
    in_use,
    stack,
)
from support import StartProcess, processes

from simrack.wire import logs

# Some machines forbid it: each of some hundred processes, and each worker's collecting, would compile everything anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A busy machine is no finding; the suite's own limit of time per test stays.
settings.register_profile("simrack", deadline=None)
settings.load_profile("simrack")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stack", action="store_true", help="run tests marked `stack` on PostgreSQL and Mosquitto instead of SQLite and amqtt"
    )


#: Whole processes whose tests measure no voice and count no milliseconds: they may run beside those that do.
BESIDE = tuple(
    f"tests/system/{name}.py" for name in ("test_control_room_acts", "test_gammu", "test_judge", "test_newcomer")
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file's tests on one worker, and all whole processes that run in real time on one (`make test` runs two).

    xdist's own groups do nothing with pytest 9.2: they are written into a node's name, which it does not read any more.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "tests/system" if path.startswith("tests/system/") and path not in BESIDE else path

    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What has no embedded twin (tests that ask for `postgres` or `mosquitto`) is left to `--stack`."""
    root = config.rootpath / "tests"
    # Before anything is deselected, so that tests/production/test_share.py knows all.
    config.stash[COLLECTED] = Collected(
        (item.path.relative_to(root).as_posix(), item.get_closest_marker("stack") is not None) for item in items
    )
    if not config.getoption("--stack"):
        alone = [item for item in items if {"postgres", "mosquitto"} & set(getattr(item, "fixturenames", ()))]
        items[:] = [item for item in items if item not in alone]
        config.hook.pytest_deselected(items=alone)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much of the suite runs on Mosquitto and PostgreSQL, when this run could tell."""
    for report in terminalreporter.getreports("passed"):
        for name, told in getattr(report, "user_properties", ()):
            if name == SHARE:
                terminalreporter.write_line(f"Mosquitto and PostgreSQL: {told}")


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[BlockBuster | None]:
    """A blocking call in simrack's own coroutines fails the test (quality.md: one loop per process)."""
    if request.node.get_closest_marker("system"):
        yield None
        return
    with blockbuster_ctx("simrack") as detector:
        # A traceback in the log reads source files; production loggers do that too, once per bug.
        for name in ("os.stat", "io.BufferedReader.read", "io.TextIOWrapper.read"):
            detector.functions[name].can_block_in("linecache.py", {"checkcache", "updatecache"})
        yield detector


@pytest.fixture(autouse=True, scope="session")
def quiet_logs() -> Iterator[None]:
    """The log form of production, so that a line that can't be rendered fails here.

    Each line goes to where the running test's output goes: a logger that stayed with the output of the test that
    used it first would write to a closed file in the next one.
    """
    configure = structlog.configure

    def for_this_moment(**chosen: Any) -> None:
        now = {"logger_factory": lambda *_: structlog.PrintLogger(sys.stderr), "cache_logger_on_first_use": False}
        configure(**{**chosen, **now})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", for_this_moment)
        logs.configure("test", level="info")
        yield


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[StartProcess]:
    """Start simrack commands that end with the test."""
    with processes(tmp_path) as begin:
        yield begin


@pytest.fixture
async def run_tasks() -> AsyncIterator[Callable[..., asyncio.Task[Any]]]:
    """Start coroutines that are cancelled at the end of the test."""
    tasks: list[asyncio.Task[Any]] = []

    def begin(coroutine: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(coroutine)
        tasks.append(task)
        return task

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(scope="session")
def production() -> Iterator[Parts]:
    """PostgreSQL and Mosquitto of this session, started when first asked for."""
    parts = Parts()
    yield parts
    parts.close()


@pytest.fixture
def postgres(production: Parts) -> Postgres:
    """The session's PostgreSQL, for what SQLite has no twin of."""
    return production.postgres


@pytest.fixture
def mosquitto(production: Parts) -> Mosquitto:
    """The session's Mosquitto, for what the embedded broker has no twin of."""
    return production.mosquitto


@pytest.fixture(scope="session")
def up_options(request: pytest.FixtureRequest) -> Callable[[], Sequence[str]]:
    """Options for one more `simrack up`: none, or with --stack a database on PostgreSQL and a Mosquitto of its own."""
    if not request.config.getoption("--stack"):
        return tuple
    parts: Parts = request.getfixturevalue("production")
    return parts.up_options


@pytest.fixture(autouse=True)
def production_in_use(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test marked `stack` runs on the parts of production when the session was started with --stack."""
    if not (request.config.getoption("--stack") and request.node.get_closest_marker("stack")):
        yield
        return
    with in_use(request.getfixturevalue("production")):
        yield


@pytest.fixture
def database(production_in_use: None, tmp_path: Path) -> Database:
    """A fresh database of this release."""
    return database_at(tmp_path / "simrack.db")


@pytest.fixture
def database_url(database: Database) -> str:
    """The URL of a fresh database, as the controller uses it."""
    return database.url


@pytest.fixture
def broker(
    production_in_use: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    """A broker with an empty memory: amqtt, or with --stack Mosquitto."""
    on = stack()
    if on is None:
        own = Amqtt(tmp_path_factory.mktemp("broker"))
        yield own
        own.close()
        return
    mosquitto = on.parts.mosquitto
    mosquitto.kill()
    mosquitto.start()
    yield mosquitto


@pytest.fixture
def broker_url(broker: Broker) -> str:
    """The URL of the broker for one user."""
    return broker.url()
