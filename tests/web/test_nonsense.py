"""Nonsense in every field of every form, every parameter of every page and every part of an address.

Pages and forms are found by walking, so one that is added later is tried as well. SIMRACK_NONSENSE is the share of all
tries that is made (1: all of them, some 30,000 requests).
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from production_parts import as_owner
from web_demo import TELLING_CALL
from web_helpers import PASSWORD, Browser, Stand
from web_infest import infest_database, infested
from web_nonsense import VALUES, controller_for_all, furnish, judge, lost, sampled, send_file, tries
from web_walk import NEVER, Form, Walk, look, send, with_query

SHARE = float(os.environ.get("SIMRACK_NONSENSE", "0.006"))
SEED = int(os.environ.get("SIMRACK_NONSENSE_SEED", "5"))
#: Acts on another account than one's own, so that the walk stays signed in.
FIRST = ("/accounts/2", "/accounts/2/ask/password", "/settings/versions/41", f"/records/{TELLING_CALL}")
#: Forms that only a stranger sees, that stand there after another one, or that JavaScript makes; each has tests of its own.
ELSEWHERE = frozenset({
    "access.set_up", "access.sign_in", "access.code", "access.sign_out", "accounts.eyes_end", "own.second_off", "own.second_codes", "own.second_begin",
    "listen.listen", "listen.end", "test_call.place", "test_call.press", "test_call.hang_up", "imports.apply",
})  # fmt: skip


@dataclass
class Intruder:
    """Signed in as an administrator, with whatever a page can show in the room."""

    stand: Stand
    browser: Browser

    def __post_init__(self) -> None:
        self.findings: list[str] = []
        self.sent = 0
        self.pick = sampled(SEED)

    def chosen(self, place: str) -> bool:
        return self.pick(place, SHARE)

    def token(self, page: str = "/account/password") -> str:
        """The form token; an act of the walk may have ended the session."""
        if self.browser.get(page).status_code in (302, 401):
            self.stand.clock.forward(3600)
            self.browser.sign_in(password=PASSWORD)
            self.browser.get("/account/password")
        return self.browser.csrf()

    def form(self, form: Form) -> None:
        """Every field of one form with nonsense."""
        token = ""
        for place, fields in tries(form, self.chosen):
            token = token or self.token()
            sent = [(name, token if name == "csrf" else value) for name, value in fields]
            for part in (False, True) if form.target else (False,):
                answer = send(self.browser, form, sent, part=part)
                self.sent += 1
                judge(place, answer, self.findings)
                gone = lost(form, answer, sent) if answer.status_code in (409, 422) and not part and not place.endswith(" twice") else None
                self.findings += [f"{place}: loses {sorted(gone)}"] if gone else []
                token = "" if answer.status_code == 302 else token
        if self.chosen(f"{form.action} files"):
            judge(f"{form.action} with files", send_file(self.browser, form, self.token()), self.findings)

    def get(self, address: str) -> None:
        self.sent += 1
        judge(address[:120], self.browser.client.get(address, buffered=True), self.findings)


@pytest.fixture
def tester(demo: Stand) -> Iterator[Intruder]:
    """The demo with everything in it, a script in every word that comes from outside, and a controller behind it."""
    infest_database(as_owner(demo.room.settings.database))
    infested(demo)
    with controller_for_all(demo):
        furnish(demo)
        yield Intruder(demo, demo.signed_in())


@pytest.mark.stack
@pytest.mark.timeout(14_400)
def test_no_form_breaks_on_nonsense_or_loses_what_was_typed(tester: Intruder) -> None:
    """A slip, a broken program or an attacker would stop a page, get a script into it, or lose half an hour of typing."""
    walk = Walk(tester.stand.app, tester.browser, FIRST)
    for address, answer in walk:
        judge(address, answer, tester.findings)
    for form in walk.forms.values():
        tester.form(form)
    missed = {rule.endpoint for rule in tester.stand.app.url_map.iter_rules() if "POST" in (rule.methods or ()) and not rule.rule.startswith("/api/")}
    missed -= {kind for kind, _, _ in walk.forms} | ELSEWHERE
    assert not missed, f"no page shows the form of {sorted(missed)}"
    assert not tester.findings, "\n".join(tester.findings)


@pytest.mark.stack
@pytest.mark.timeout(14_400)
def test_no_parameter_breaks_a_page(tester: Intruder) -> None:
    """An address that somebody mistyped or sent on in pieces would show an error of the server."""
    names: dict[str, set[str]] = {}
    paths = [rule.rule for rule in tester.stand.app.url_map.iter_rules() if "GET" in (rule.methods or ()) and not rule.arguments and rule.endpoint not in NEVER]
    paths = [path for path in paths if not path.startswith("/api/")]
    for path in paths:
        answer = tester.browser.client.get(path, buffered=True)
        sight = look(path, answer.text)
        found = {name for form in sight.forms if form.method == "get" for name in form.names}
        names[path] = found | {name for link, _ in sight.links if link.partition("?")[0] in (path, f"{path}.csv") for name in re.findall(r"[?&]([a-z_]+)=", link)}
    for path in paths:
        # A table as CSV takes what the page takes.
        for name in sorted(names[path] | names.get(path.removesuffix(".csv"), set()) | {"page", "after", "done"}):
            for what, value in VALUES.items():
                if tester.chosen(f"{path} {name} {what}"):
                    tester.get(with_query(path, name, value))
    assert not tester.findings, "\n".join(tester.findings)


@pytest.mark.stack
@pytest.mark.timeout(14_400)
def test_no_part_of_an_address_breaks_a_page(tester: Intruder) -> None:
    """Whoever guesses at addresses would find one that stops a page."""
    for rule in tester.stand.app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or not rule.arguments or rule.endpoint in NEVER | {"static"} or rule.rule.startswith("/api/"):
            continue
        for what, value in VALUES.items():
            text = quote(value, safe="", errors="surrogatepass")
            if text and tester.pick(f"{rule.rule} {what}", SHARE * 5):
                tester.get(text.join(re.split(r"<[^>]*>", rule.rule)))
    assert not tester.findings, "\n".join(tester.findings)
