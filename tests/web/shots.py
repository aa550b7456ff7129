"""Pictures of every page, light and dark, 1280 and 390 px wide, over the demo data, to be looked at.

    python -P tests/web/shots.py FOLDER [part of a name]
"""

import asyncio
import sys
import tempfile
import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, sync_playwright
from waitress.server import create_server

from simrack.controller.store.migrate import migrate
from simrack.wire import topics
from simrack.wire.messages import Command, CommandReply
from simrack.wire.mqtt import Bus

sys.path.insert(0, str(Path(__file__).parents[1]))

import web_demo as demo_data
import web_helpers as helpers
import web_ops as ops

from simrack.web.accounts import PersonForm, Who

PAGES = {
    "rack": "/rack", "drawer": "/rack/vienna-01/3", "drawer-fault": "/rack/vienna-02/5", "wall": "/rack?wall",
    "gateways": "/gateways", "gateway": "/gateways/vienna-02", "gateway-dead": "/gateways/brno-02",
    "gateway-restart": "/gateways/vienna-02/restart-box", "gateway-module": "/gateways/vienna-01/3/restart-module",
    "calls-end-group": "/calls/hang-up?group=sender&value=alpine",
    "listen": f"/calls/{demo_data.A_CALL}/listen", "listen-other": f"/calls/{demo_data.ANOTHER_CALL}/listen",
    "test-call": "/test-call", "test-call-number": "/test-call?number=%2B882101+22+33",
    "calls": "/calls", "calls-by-sender": "/calls?group=sender", "records": "/records",
    "statistics": "/statistics?period=today", "statistics-hours": "/statistics?by=hour&period=7d", "statistics-cause": "/statistics?by=cause&sender=alpine",
    "statistics-none": "/statistics?refusal=nothing", "statistics-wrong": "/statistics?by=moon&since=never", "causes": "/causes?period=7d",
    "records-more": "/records?direction=out&side=called", "records-none": "/records?text=999999999", "records-wrong": "/records?cause=900&since=never",
    "story": f"/records/{demo_data.TELLING_CALL}", "alarms": "/alarms", "alarms-history": "/alarms?state=", "alarms-wrong": "/alarms?state=&severity=x&since=never",
    "alarms-kinds": "/alarms/kinds", "alarms-notices": "/alarms/notices", "alarms-ask": "/alarms/1/acknowledge",
    "analyse": "/analyse", "logs": "/logs", "logs-none": "/logs?text=nothing-of-this", "logs-level": "/logs/controller/level",
    "set-up": "/set-up", "missing": "/nothing-here",
    **{f"story-{name}": f"/records/{call}" for name, call in demo_data.HARD_CALLS.items()},
}  # fmt: skip
PAGES |= {
    "conf-sims": "/sims", "conf-sims-none": "/sims?text=nothing-like-this", "conf-sim": f"/sims/card?name={demo_data.A_CARD}",
    "conf-sims-import": "/sims/import", "conf-plans": "/plans", "conf-plan": "/plans/plan?name=nova", "conf-senders": "/senders",
    "conf-sender": "/senders/sender?name=alpine", "conf-sender-new": "/senders/sender", "conf-agreements": "/agreements",
    "conf-agreement": "/agreements/agreement?name=lab", "conf-sites": "/sites", "conf-installation": "/installation",
    "conf-routing": "/routing", "conf-pattern": "/routing/pattern?name=Test+mobile,+weekday", "conf-explain": "/routing/explain",
    "conf-tests": "/routing/tests", "conf-drafts": "/routing/drafts", "conf-limits": "/routing/limits",
}  # fmt: skip
PAGES |= {
    "settings": "/settings", "settings-none": "/settings?text=nothing+like+this", "settings-option": "/settings/options/calls.per_second",
    "settings-choice": "/settings/options/trace.keep", "settings-text": "/settings/options/notices.webhook",
    "settings-versions": "/settings/versions", "settings-version": "/settings/versions/41",
}  # fmt: skip
PAGES |= {
    "audit": "/audit", "audit-none": "/audit?actor=nobody", "audit-wrong": "/audit?since=never&after=x", "audit-entry": "/audit/12",
    "audit-check": "/audit/check",
}  # fmt: skip
EMPTY = (
    "rack", "calls", "test-call", "gateways", "records", "alarms", "conf-sims", "conf-plans", "conf-senders", "conf-agreements", "conf-routing",
    "conf-explain", "conf-tests", "conf-drafts",
)  # fmt: skip
ACCOUNTS = {
    "account": "/account", "account-password": "/account/password", "account-second": "/account/second-factor",
    "account-token": "/account/tokens/new", "accounts": "/accounts", "accounts-roles": "/accounts/roles",
    "accounts-new": "/accounts/new", "accounts-person": "/accounts/2", "accounts-sessions": "/accounts/sessions",
    "accounts-ask": "/accounts/2/ask/disable",
}  # fmt: skip
LONG = {
    "long-rack": "/rack", "long-drawer": f"/rack/{demo_data.LONG_BOX}/2", "long-calls": "/calls",
    "long-calls-by-sender": "/calls?group=sender", "long-records": "/records?sender=long",
}  # fmt: skip
HALL = {
    "hall-rack": "/rack", "hall-site": "/rack?site=brno", "hall-box": "/rack?box=vienna-007", "hall-trouble": "/rack?show=trouble",
    "hall-drawer": "/rack/vienna-007/3", "hall-wall": "/rack?wall", "hall-gateways": "/gateways?sort=-trouble", "hall-calls": "/calls?group=box",
}  # fmt: skip
WIDTHS = (1280, 390)
BASES: dict[int, str] = {}  # where a stand is served already
COOKIES: dict[str, str] = {}  # of each database: stands over one count their ids from the same start


class RealClock(helpers.Hands):
    """The page's timers run on the browser's clock, so the server's is real too."""

    def utc(self) -> datetime:
        return datetime.now(UTC)


def main(folder: Path, only: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        url = demo_data.demo_url(Path(scratch))
        clock = RealClock()
        demo_data.fill_database(url, clock)
        stand = helpers.stand(url, clock=clock, time_zone="Europe/Vienna")
        empty_url = f"sqlite:///{scratch}/empty.db"
        migrate(empty_url, clock)
        empty = helpers.stand(empty_url, clock=clock, time_zone="Europe/Vienna")
        serve(stand)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
            )
            shoot_door(browser, empty, folder, only)
            people(stand)
            shoot(browser, stand, {**PAGES, **ACCOUNTS}, folder, only)
            shoot(browser, small(url, clock), {"rack-small": "/rack"}, folder, only)
            shoot(browser, small(empty_url, clock), {"rack-first": "/rack"}, folder, only)
            long = helpers.stand(url, clock=clock, time_zone="Europe/Vienna")
            long.feed(*demo_data.long_names(clock.utc()))
            shoot(browser, long, LONG, folder, only)
            hall = helpers.stand(url, clock=clock, time_zone="Europe/Vienna")
            hall.feed(*demo_data.hall(clock.utc(), 240, 16))
            shoot(browser, hall, HALL, folder, only)
            shoot(browser, empty, {f"empty-{name}": PAGES[name] for name in EMPTY}, folder, only)
            browser.close()


def people(stand: helpers.Stand) -> None:
    """Accounts of every kind, one locked out, one with a token, a second factor half set up."""
    if stand.room.accounts.empty():
        stand.browser().set_up(stand.room.accounts.new_link())
    accounts, cli = stand.room.accounts, Who("cli:ada")
    senders = sorted(stand.room.desk.names().senders)
    for name, form in (
        ("Nora of the night shift", PersonForm("noc", "noc@example.net")), ("Sam", PersonForm("support")),
        ("Otto Oberhuber-Wiesenthal of the auditors", PersonForm("auditor")),
        ("Acme portal", PersonForm("sender", "", frozenset(senders[:1]), frozenset({"sim"}))),
        ("Ruth", PersonForm("reseller", "", frozenset(senders[:3]))),
    ):  # fmt: skip
        accounts.people.make(cli, name, form)
    accounts.people.disable(cli, "Sam")
    accounts.sessions.new_token(cli, 1, "wallboard", {"alarms.see", "rack.see"}, 90)
    accounts.second.begin(1)
    for _ in range(5):
        stand.browser().sign_in("Ruth", "wrong wrong wrong")


def serve(stand: helpers.Stand) -> None:
    """Demo messages come as from the bus."""
    for message in demo_data.messages(stand.clock.utc()):
        stand.feed(message)
    stand.app.extensions["ears"].open(0, "Nora of the night shift", demo_data.ANOTHER_CALL, 2, lambda _session: None)
    ops.more_alarms(stand.room.settings.database, stand.clock.utc())
    for lines in ops.log_lines(stand.clock.utc()):
        stand.room.live.logs.take(lines, stand.clock.utc())
    stand.room.live.services.append(partial(controller, stand))


async def controller(stand: helpers.Stand, bus: Bus) -> None:
    """Answers what pages ask the controller for."""

    def answer(_topic: str, payload: bytes) -> None:
        command = Command.decode(payload)
        result = {"targets": ops.TARGETS, "held": 2} if command.action == "notices" else {}
        stand.broker.route(command.reply_to, CommandReply(id=command.id, ok=True, result=result).encode(), retain=False)

    bus.subscribe(topics.controller_command(), answer)
    await asyncio.Event().wait()


def small(url: str, clock: RealClock) -> helpers.Stand:
    """The rack of `make demo`: two boxes of four."""
    stand = helpers.stand(url, clock=clock, time_zone="Europe/Vienna")
    for message in demo_data.messages(clock.utc(), dead=""):
        channel = getattr(message, "channel", 0) or 0
        if getattr(message, "box", "") in ("vienna-01", "vienna-02", "") and channel <= 4:
            stand.feed(message.model_copy(update={"channels": 4}) if hasattr(message, "channels") else message)
    return stand


def address(stand: helpers.Stand) -> str:
    stand.room.live.start()
    server = create_server(stand.app, host="127.0.0.1", port=0, threads=40)
    threading.Thread(target=server.run, daemon=True).start()
    return f"http://127.0.0.1:{server.effective_port}"


def complain(message: ConsoleMessage) -> None:
    if message.type == "error":
        sys.stderr.write(f"{message.location.get('url')}: {message.text}\n")


def shoot_door(browser: Browser, stand: helpers.Stand, folder: Path, only: str) -> None:
    token = stand.room.accounts.new_link()
    base = address(stand)
    BASES[id(stand)] = base
    for width in WIDTHS:
        for theme in ("light", "dark"):
            context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)
            page = context.new_page()
            for name, path in (("setup", f"/setup/{token}"), ("sign-in", "/sign-in"), ("setup-spent", "/setup/00")):
                if only in name:
                    page.goto(base + path)
                    page.screenshot(path=folder / f"{name}-{theme}-{width}.png")
            context.close()


def shoot(browser: Browser, stand: helpers.Stand, pages: dict[str, str], folder: Path, only: str) -> None:
    if not any(only in name for name in pages):
        return
    base = BASES.get(id(stand)) or address(stand)
    helpers.wait_until(lambda: stand.model.snapshot().broker, what="the link to the broker")
    if stand.room.accounts.empty():
        stand.browser().set_up(stand.room.accounts.new_link())
    database = stand.room.settings.database
    if database not in COOKIES:
        COOKIES[database] = stand.room.accounts.sign_in("Ada", helpers.PASSWORD, "", "")
    cookie = COOKIES[database]
    for width in WIDTHS:
        for theme in ("light", "dark"):
            height = 800 if width > 400 else 844
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
            context.add_cookies([{"name": "simrack", "value": cookie, "url": base}])
            for name, path in pages.items():
                if only not in name:
                    continue
                page = context.new_page()
                page.on("console", complain)
                page.goto(base + path)
                page.wait_for_timeout(350)
                page.screenshot(path=folder / f"{name}-{theme}-{width}.png", full_page="drawer" not in name)
                page.close()
            context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
