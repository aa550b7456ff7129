"""People and programs before a running rack: the set-up form, a token, commands in a shell."""

import http.cookiejar
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright
from system.rack import Rack

NAME, PASSWORD = "Ada", "four wet otters sing"
ANSWER_S = 20.0


@contextmanager
def window(patience_ms: float) -> Iterator[Page]:
    """A browser's window whose acts and expectations wait so long."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.set_default_timeout(patience_ms)
        expect.set_options(timeout=patience_ms)
        yield page
        expect.set_options(timeout=5_000)
        browser.close()


def command(*argv: str) -> list[str]:
    return [sys.executable, "-P", "-m", "simrack.cli", *argv]


def told(rack: Rack, *argv: str, status: int = 0) -> str:
    """What one command of a person says."""
    environment = {**os.environ, "SIMRACK_STATE": str(rack.state_file)}
    done = subprocess.run(command(*argv), capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == status, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Api:
    """An administrator's program: it knows the address of the control room and a token, and nothing else."""

    def __init__(self, web: str, token: str) -> None:
        self._web, self._token = web, token

    def __call__(self, path: str, body: Any = None, status: int = 200) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._web}/api/v1{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                found, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                found, text = error.code, error.read()
        assert found == status, f"{path}: {found} {text.decode()}"
        return json.loads(text)


def sign_up(link: str) -> None:
    """The first administrator, through the form behind the set-up link."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    with browser.open(link, timeout=ANSWER_S) as page:
        found = re.search(r'name="csrf" value="(\w+)"', page.read().decode())
    assert found, "the form has its check against forged requests"
    form = {"name": NAME, "password": PASSWORD, "again": PASSWORD, "csrf": found[1]}
    with browser.open(link, urllib.parse.urlencode(form).encode(), timeout=ANSWER_S) as page:
        assert page.url.endswith(("/rack", "/set-up"))
