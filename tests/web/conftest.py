"""Databases of the control room's tests: one filled once for all readers, one fresh for each writer."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import web_demo as demo_data
import web_helpers as helpers
from flask_openapi3.openapi import OpenAPI
from jinja2 import FileSystemBytecodeCache
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from production_parts import stack
from web_browser import Hand

from simrack.controller.store.migrate import migrate

#: What comes ends its wait at once; on two busy cores a page may take many seconds.
LONGEST_MS = 30_000


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty and a filled database, made once."""
    folder = tmp_path_factory.mktemp("web")
    # Each test makes its own application; compiling the same pages each time would be most of the time.
    OpenAPI.jinja_options = {"bytecode_cache": FileSystemBytecodeCache(str(folder))}
    clock = helpers.Hands()
    migrate(f"sqlite:///{folder / 'empty.db'}", clock)
    demo_data.fill_database(f"sqlite:///{folder / 'demo.db'}", clock, records=400)
    return folder


def _copy(templates: Path, name: str, folder: Path) -> str:
    on = stack()
    if on is None:
        shutil.copy(templates / name, folder / "web.db")
        return helpers.database(folder)

    def fill(url: str) -> None:
        if name == "demo.db":
            demo_data.fill_database(url, helpers.Hands(), records=400)

    return on.at(folder / "web.db", on.parts.template(name, fill)).web


@pytest.fixture
def empty(production_in_use: None, templates: Path, tmp_path: Path) -> Iterator[helpers.Stand]:
    """A control room of the first day: tables, no account, no box."""
    stand = helpers.stand(_copy(templates, "empty.db", tmp_path))
    yield stand
    stand.close()


@pytest.fixture
def demo(production_in_use: None, templates: Path, tmp_path: Path) -> Iterator[helpers.Stand]:
    """A control room in full work."""
    stand = helpers.stand(_copy(templates, "demo.db", tmp_path))
    stand.feed(*demo_data.messages(stand.clock.utc()))
    yield stand
    stand.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests of a file. Not of the session: its loop would run under the asynchronous tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(params=["mouse", "keyboard"])
def hand(request: pytest.FixtureRequest, page: Page) -> Hand:
    """The acts of a test once by mouse, once by keyboard alone."""
    return Hand(page, request.param)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A browser window; an error in its console fails the test."""
    errors: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        # A server that stops under an open page cuts its stream: the browser and htmx both report that.
        expected = message.location.get("url", "").endswith("/nothing-here")
        cut = expected or message.text == "[object Event]" or "net::ERR_" in message.text
        if message.type == "error" and not cut:
            errors.append(message.text)

    # The bypass is for axe, which a test puts into the page.
    context = chromium.new_context(
        viewport={"width": 1280, "height": 800}, reduced_motion="reduce", bypass_csp=True
    )
    window = context.new_page()
    window.set_default_timeout(LONGEST_MS)
    expect.set_options(timeout=LONGEST_MS)
    window.on("console", heard)
    window.on("pageerror", lambda error: errors.append(str(error)))
    yield window
    context.close()
    assert errors == []
