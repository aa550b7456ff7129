"""What people and programs send that makes no sense, and what every answer to it has to be."""

import io
import random
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import web_ops
from production_parts import as_owner
from web_controller import Controller
from web_helpers import Browser, Stand
from web_infest import TAG
from web_walk import Form, look, send
from werkzeug.test import TestResponse

from simrack.web.accounts import PersonForm, Who
from simrack.wire.messages import CommandReply

RAW = ("<script>alert('x')", "<img src=x")
VALUES = {
    "nothing": "", "blank": " \t\r\n ", "4,000 characters": "x" * 4000, "a script": TAG, "SQL": "'; DROP TABLE cdr; --", "LIKE": "%_\\%",
    "NUL": "a\x00b", "half a character": "\ud800", "right to left": "\u202egnp.exe\u202c", "marks": "Z" + "\u0335" * 300, "two lines": "a\r\nSet-Cookie: b=1",
    "minus one": "-1", "no number": "nan", "infinity": "1e309", "hexadecimal": "0x10", "other digits": "\u0663\u00b2", "4,000 digits": "9" * 4000,
    "beyond 64 bits": "9223372036854775808", "underscore": "1_0", "year 0": "0000-01-01", "year 9999": "9999-12-31T23:59", "before all": "0001-01-01T00:00",
    "template": "{{7*7}}", "path": "../../etc/passwd", "JSON": '{"a": [1, null]}', "choice:": "plan:", "braces": "%(x)s %s {0}",
}  # fmt: skip


@contextmanager
def controller_for_all(stand: Stand) -> Iterator[Controller]:
    """The real desk for the configuration; every other command is taken and does nothing."""
    running = Controller(stand)
    desk = running.command

    def command(topic: str, action: str, args: dict[str, Any], *, actor: str, timeout_s: float = 5.0) -> CommandReply:
        if action == "explain" or action in running.bench.desk.actions():
            return desk(topic, action, args, actor=actor, timeout_s=timeout_s)
        result = {"targets": web_ops.TARGETS, "held": 2, "messages": 2, "collector": "192.0.2.1:9060", "ended": 1}
        return CommandReply(id="1", ok=True, result=result)

    stand.room.live.command = command  # type: ignore[method-assign]
    try:
        yield running
    finally:
        running.close()


def furnish(stand: Stand) -> None:
    """Whatever a page shows only when there is some: other people, tokens, locks, alarms in hand, log lines, tests, drafts."""
    accounts, cli = stand.room.accounts, Who("cli:ada")
    browser = stand.signed_in()
    senders = sorted(stand.room.desk.names().senders)
    for name, rights in (("Nora", PersonForm("noc", "noc@example.net")), ("Portal", PersonForm("sender", "", frozenset(senders[:1])))):
        accounts.people.make(cli, name, rights)
    accounts.second.begin(1)
    accounts.sessions.new_token(cli, 1, "wallboard", {"alarms.see", "rack.see"}, 90)
    for _ in range(5):
        stand.browser().sign_in("Portal", "wrong wrong wrong")
    web_ops.more_alarms(as_owner(stand.room.settings.database), stand.clock.utc(), count=20)
    for lines in web_ops.log_lines(stand.clock.utc()):
        stand.room.live.logs.take(lines, stand.clock.utc())
    browser.get("/routing/tests")
    browser.post("/routing/tests", sender="alpine", called="+882101234567", calling="+882100001", expected="refused:any", name="one")
    page = browser.get("/routing/pattern?name=Premium")
    form = next(one for one in look("/routing/pattern?name=Premium", page.text).forms if one.button == ("act", "review"))
    browser.get("/settings/options/calls.per_second")
    assert browser.post("/settings/options/calls.per_second", value="50", act="apply").status_code == 303, "there is an older version"
    draft = send(browser, form, form.sent(priority="6", act="draft"))
    assert draft.status_code == 303, "a draft is kept"


def lost(form: Form, answer: TestResponse, sent: Iterable[tuple[str, str]]) -> set[str]:
    """Fields whose words are gone from the form that came back; passwords never come back, choices as what there is."""
    again = [one for one in look(form.page, answer.text).forms if one.action == form.action]
    if not again:
        return set()
    now = {(name, _plain(value)) for one in again for name, value in one.fields if value is not None}
    mine = {(name, _plain(value)) for name, value in sent if name in form.written and name in again[0].written}
    # What is longer than its field comes back cut to its length.
    return {name for name, value in mine - now if value and not any(value.startswith(word) for other, word in now if other == name and word)}


def _plain(value: str) -> str:
    """Words as they come back at best: without what is no character, and without blanks at the ends of lines."""
    value = re.sub("[\ud800-\udfff\ufffd\x00]+", "", value)
    return re.sub(r"\s+", " ", value).strip()


def judge(place: str, answer: TestResponse, findings: list[str]) -> None:
    """The rules for every answer there is."""
    if answer.status_code >= 500:
        findings.append(f"{place}: {answer.status_code}")
    if answer.mimetype == "text/html":
        if any(raw in answer.text for raw in RAW):
            findings.append(f"{place}: shown as it was written")
        if answer.status_code >= 400 and not look(place, answer.text).said:
            findings.append(f"{place}: {answer.status_code} without a word")
    if answer.mimetype == "text/csv" and re.search(r"(^|,)\"?=", answer.text, re.MULTILINE):
        findings.append(f"{place}: a formula")
    if any(sign in value for _, value in answer.headers for sign in "\r\n\0"):
        findings.append(f"{place}: a header that is cut in two")


def tries(form: Form, pick: Callable[[str], bool]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Every field with every nonsense: (field and what, what is sent)."""
    for name in (*form.names, "unknown"):
        for what, value in VALUES.items():
            if pick(place := f"{form.action} {name} {what}"):
                yield place, form.sent(**{name: value})
        if pick(place := f"{form.action} {name} left out"):
            yield place, form.sent(**{name: None})
        if pick(place := f"{form.action} {name} twice"):
            yield place, [*form.sent(), (name, "once more")]


def send_file(browser: Browser, form: Form, token: str) -> TestResponse:
    """Files where text belongs, in every field."""
    data: dict[str, Any] = {name: (io.BytesIO(b"\x89PNG\r\n\x1a\n" * 50), TAG) for name in form.names}
    data["csrf"] = token
    return browser.client.post(form.action, data=data, content_type="multipart/form-data", buffered=True)


def sampled(seed: int) -> Callable[[str, float], bool]:
    """Whether a try is among a share; the same tries for one seed, wherever they stand in the order."""
    return lambda place, share: random.Random(f"{seed} {place}").random() < share
