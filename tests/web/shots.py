"""Pictures of every page, light and dark, 1280 and 390 px wide, over the demo data, to be looked at.

    python -P tests/web/shots.py FOLDER [part of a name]
"""

import asyncio
import io
import sys
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import pyotp
from playwright.sync_api import Browser, ConsoleMessage, sync_playwright
from waitress.server import create_server

from simrack.controller.store.errors import StoreDown
from simrack.controller.store.migrate import migrate
from simrack.controller.store.queries import Queries
from simrack.wire import topics
from simrack.wire.messages import Command, CommandReply, ConsoleLine, ConsoleLines, ControllerStatus, LiveCall
from simrack.wire.mqtt import Bus

sys.path.insert(0, str(Path(__file__).parents[1]))

import web_demo as demo_data
import web_helpers as helpers
import web_ops as ops

from simrack.web.accounts import PersonForm, Who
from simrack.web.desk import Reads

A_PLACE = next(
    (one.box, one.channel) for one in demo_data.messages(helpers.NOW) if isinstance(one, LiveCall) and one.call == demo_data.A_CALL
)
AT_LINES = (">AT+CSQ", "<+CSQ: 23,99", "<OK", ">AT+CLCC", '<+CLCC: 1,0,0,0,0,"+882101234567",145', "<OK", ">AT+CEREG?", '<+CEREG: 2,1,"1A2B","01C3D4E5",7', "<OK")
PAGES = {
    "rack": "/rack", "drawer": "/rack/vienna-01/3", "drawer-fault": "/rack/vienna-02/5", "wall": "/rack?wall",
    "gateways": "/gateways", "gateway": "/gateways/vienna-02", "gateway-dead": "/gateways/brno-02",
    "gateway-restart": "/gateways/vienna-02/restart-box", "gateway-module": "/gateways/vienna-01/3/restart-module",
    "calls-end-group": "/calls/hang-up?group=sender&value=alpine",
    "listen": f"/calls/{demo_data.A_CALL}/listen", "listen-other": f"/calls/{demo_data.ANOTHER_CALL}/listen",
    "test-call": "/test-call", "test-call-number": "/test-call?number=%2B882101+22+33", "drawer-console": f"/rack/{A_PLACE[0]}/{A_PLACE[1]}",
    "conf-explained": "/routing/explain?sender=alpine&called=%2B882101234567&calling=%2B882100000001",
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
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LOOKS = [(width, theme) for width in WIDTHS for theme in THEMES]
#: What the controller answers.
ANSWERS: dict[str, dict[str, Any]] = {
    "notices": {"targets": ops.TARGETS, "held": 2},
    "explain": {"explanation": demo_data.explanation().model_dump(mode="json", exclude_defaults=True)},
}
GONE = {
    "gone-rack": "/rack", "gone-records": "/records", "gone-statistics": "/statistics", "gone-story": f"/records/{demo_data.TELLING_CALL}",
    "gone-sender": "/senders/sender?name=alpine", "gone-drawer": "/rack/vienna-01/3", "gone-calls": "/calls",
}  # fmt: skip
ALONE = {
    "alone-rack": "/rack", "alone-explain": "/routing/explain?sender=alpine&called=%2B882101234567&calling=%2B882100000001",
    "alone-way": "/test-call?number=%2B882101234567&sender=alpine", "alone-notices": "/alarms/notices", "alone-banned": "/set-up",
}  # fmt: skip
BASES: dict[int, str] = {}  # where a stand is served already
ALIVE: list[helpers.Stand] = []  # an id is one stand's for as long as it is kept
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
            shoot(browser, stand, {**PAGES, **ACCOUNTS, "import-review": sheet(stand)}, folder, only)
            person(stand, "Nils")
            nils = stand.room.accounts.sign_in("Nils", helpers.PASSWORD, "", "")
            shoot(browser, stand, {"forbidden": "/accounts"}, folder, only, nils)
            shoot(browser, stand, {"sign-in-code": "/sign-in/code"}, folder, only, half(stand))
            away(browser, url, clock, folder, only)
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


def half(stand: helpers.Stand) -> str:
    """The cookie of somebody who is asked for a second factor now."""
    accounts, id_ = stand.room.accounts, person(stand, "Vera")
    accounts.second.begin(id_)
    accounts.second.confirm(Who("cli:ada"), id_, pyotp.TOTP(accounts.second.pending(id_)).at(stand.clock.utc()))
    return accounts.sign_in("Vera", helpers.PASSWORD, "", "")


def person(stand: helpers.Stand, name: str) -> int:
    """Somebody of the night shift who has chosen a password."""
    people, cli = stand.room.accounts.people, Who("cli:ada")
    people.make(cli, name, PersonForm("noc"))
    id_ = people.get(name).id
    people.set_password(cli, id_, helpers.PASSWORD, "")
    return id_


def sheet(stand: helpers.Stand) -> str:
    """Where a file of SIMs with new, changed and bad lines waits for its review."""
    lines = f"ICCID;Registered to;Colour\n8943000000000000011;Acme;red\n8.9E+18;Acme;red\n{demo_data.A_CARD};Acme;red\n"
    browser = stand.signed_in()
    browser.get("/sims/import")
    file = (io.BytesIO(lines.encode()), "delivery of november.csv")
    return browser.client.post("/sims/import", data={"csrf": browser.csrf(), "plan": "nova", "file": file}).headers["Location"]


class Cable:
    """Queries over a database that can be pulled out."""

    def __init__(self, url: str) -> None:
        self.queries, self.down = Queries(url), False

    def __getattr__(self, name: str) -> object:
        if self.down:
            raise StoreDown("the database can't be read: gone")
        return getattr(self.queries, name)


def away(browser: Browser, url: str, clock: RealClock, folder: Path, only: str) -> None:
    """Without the database, and without the controller."""
    cable = Cable(url)
    gone = helpers.stand(url, clock=clock, time_zone="Europe/Vienna", queries=cast(Reads, cable))
    gone.feed(*demo_data.messages(clock.utc()))
    BASES[id(gone)] = address(gone)
    cable.down = True
    shoot(browser, gone, GONE, folder, only)
    cable.down = False
    alone = helpers.stand(url, clock=clock, time_zone="Europe/Vienna")
    alone.feed(*demo_data.messages(clock.utc()))
    alone.feed(ControllerStatus(boot="c1", seq=2, at=clock.utc(), online=False, sip="10.7.0.1:5060", config_version=41))
    shoot(browser, alone, ALONE, folder, only)


def serve(stand: helpers.Stand) -> None:
    """Demo messages come as from the bus."""
    for message in demo_data.messages(stand.clock.utc()):
        stand.feed(message)
    stand.app.extensions["ears"].open(0, "Nora of the night shift", demo_data.ANOTHER_CALL, 2, lambda _session: None)
    now = stand.clock.utc()
    lines = tuple(
        ConsoleLine(at=now - timedelta(seconds=len(AT_LINES) - at), way=">" if line[0] == ">" else "<", text=line[1:])
        for at, line in enumerate(AT_LINES)
    )
    stand.model.console(ConsoleLines(box=A_PLACE[0], channel=A_PLACE[1] or 1, until=now + timedelta(minutes=9), lines=lines))
    ops.more_alarms(stand.room.settings.database, stand.clock.utc())
    for told in ops.log_lines(stand.clock.utc()):
        stand.room.live.logs.take(told, stand.clock.utc())
    stand.room.live.services.append(partial(controller, stand))


async def controller(stand: helpers.Stand, bus: Bus) -> None:
    """Answers what pages ask the controller for."""

    def answer(_topic: str, payload: bytes) -> None:
        command = Command.decode(payload)
        result = ANSWERS.get(command.action, {})
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
    ALIVE.append(stand)
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
    for width, theme in LOOKS:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)
        page = context.new_page()
        for name, path in (("setup", f"/setup/{token}"), ("sign-in", "/sign-in"), ("setup-spent", "/setup/00")):
            if only in name:
                page.goto(base + path)
                page.screenshot(path=folder / f"{name}-{theme}-{width}.png")
        context.close()


def shoot(browser: Browser, stand: helpers.Stand, pages: dict[str, str], folder: Path, only: str, cookie: str = "") -> None:
    if not any(only in name for name in pages):
        return
    if id(stand) not in BASES:
        BASES[id(stand)] = address(stand)
    base = BASES[id(stand)]
    helpers.wait_until(lambda: stand.model.snapshot().broker, what="the link to the broker")
    if stand.room.accounts.empty():
        stand.browser().set_up(stand.room.accounts.new_link())
    database = stand.room.settings.database
    if database not in COOKIES:
        COOKIES[database] = stand.room.accounts.sign_in("Ada", helpers.PASSWORD, "", "")
    cookie = cookie or COOKIES[database]
    for width, theme in LOOKS:
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
            if "console" in name:
                page.locator(".console").scroll_into_view_if_needed()
            page.screenshot(path=folder / f"{name}-{theme}-{width}.png", full_page="drawer" not in name)
            page.close()
        context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
