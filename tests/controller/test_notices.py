"""Who is told of alarms, when, and what happens when telling fails: against a real mail server and a real HTTP receiver."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope
from controller_sim import TestClock, until

from simrack.controller.alarms import notifier as module
from simrack.controller.alarms.board import AlarmBoard, AlarmNews
from simrack.controller.alarms.catalogue import CATALOGUE
from simrack.controller.alarms.deliver import Secrets
from simrack.controller.alarms.notifier import Notifier
from simrack.controller.alarms.plan import NoticePlan
from simrack.controller.alarms.rules import mailboxes_of, quiet_of, rules_of
from simrack.controller.config.catalogue import CATALOGUE as OPTIONS
from simrack.controller.config.catalogue import Values
from simrack.wire.mqtt import MemoryBroker, Stamp
from simrack.wire.ports import SystemIds

Run = Callable[..., asyncio.Task[Any]]
NIGHT = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)


def news(what: str, cause: str = "box-unreachable:b1", severity: str = "major", at: datetime = NIGHT) -> AlarmNews:
    return AlarmNews(what, cause, severity, f"{cause} title", "look", at)  # type: ignore[arg-type]


def plan(**options: Any) -> NoticePlan:
    made = NoticePlan()
    made.change(rules_of(Values({f"notices.{name}": value for name, value in options.items()})))
    return made


def told(made: NoticePlan, at: datetime) -> list[tuple[str, str]]:
    return [(notice.target.name, notice.event) for notice in made.due(at)]


def test_each_target_hears_its_severities_once() -> None:
    """The phone of whoever is on call would ring for every trifle, or twice."""
    made = plan(webhook="http://a/", mail_to="noc@example.com", mail_severity="critical")
    made.take(news("opened"))
    assert told(made, NIGHT) == [("webhook", "opened")]
    assert told(made, NIGHT + timedelta(days=1)) == []
    made.take(news("opened", "store-down", "critical"))
    assert told(made, NIGHT) == [("webhook", "opened"), ("mail", "opened")]


def test_closing_is_told_to_those_who_heard_of_the_opening() -> None:
    made = plan(webhook="http://a/")
    made.take(news("opened"))
    assert told(made, NIGHT) == [("webhook", "opened")]
    made.take(news("closed"))
    assert told(made, NIGHT) == [("webhook", "closed")]
    made.take(news("closed"))
    assert told(made, NIGHT) == []


def test_quiet_time_holds_back_and_drops_what_is_over() -> None:
    """People would be woken for what waits until the morning, or told at six of what was over at two."""
    made = plan(webhook="http://a/", quiet="22:00-06:00", zone="UTC")
    made.take(news("opened"))
    made.take(news("opened", "box-silent:b2"))
    made.take(news("opened", "store-down", "critical"))
    assert told(made, NIGHT) == [("webhook", "opened")]
    made.take(news("closed", "box-silent:b2", at=NIGHT + timedelta(hours=2)))
    assert told(made, NIGHT + timedelta(hours=6)) == []
    assert told(made, NIGHT + timedelta(hours=6, minutes=30)) == [("webhook", "opened")]


@pytest.mark.parametrize(
    ("at", "ends"),
    [("21:59", None), ("22:00", "06:00"), ("23:30", "06:00"), ("00:00", "06:00"), ("05:59", "06:00"), ("06:00", None)],
)
def test_quiet_time_goes_over_midnight(at: str, ends: str | None) -> None:
    quiet = quiet_of("22:00-06:00", "Europe/Vienna", "critical")
    assert quiet is not None
    hour, minute = map(int, at.split(":"))
    moment = datetime(2026, 11, 20, hour, minute, tzinfo=quiet.zone).astimezone(UTC)
    end = quiet.ends(moment)
    assert (end.astimezone(quiet.zone).strftime("%H:%M") if end else None) == ends
    assert end is None or timedelta() < end - moment <= timedelta(hours=8)


@pytest.mark.parametrize("text", ["", "22-6", "25:00-06:00", "22:00-22:00", "x" * 4000, "22:00-06:00<script>"])
def test_nonsense_is_no_quiet_time(text: str) -> None:
    assert quiet_of(text, "UTC", "critical") is None
    assert quiet_of("22:00-06:00", "Nowhere/At all", "critical") is None


def test_nobody_acknowledges_then_others_are_told() -> None:
    """An alarm that the night shift slept through would stay unheard."""
    made = plan(mail_to="noc@example.com", escalate_to="boss@example.com", escalate_after_min=30, escalate_severity="major")
    made.take(news("opened"))
    assert told(made, NIGHT) == [("mail", "opened")]
    made.take(news("opened", "box-silent:b2"))
    made.take(news("acknowledged", "box-silent:b2"))
    assert told(made, NIGHT + timedelta(minutes=31)) == [("escalation", "opened")]


def test_repetition_ends_with_the_acknowledgement_and_resumes_with_its_release() -> None:
    made = plan(webhook="http://a/", repeat_min=10)
    made.take(news("opened"))
    assert told(made, NIGHT) == [("webhook", "opened")]
    assert told(made, NIGHT + timedelta(minutes=10)) == [("webhook", "repeated")]
    made.take(news("acknowledged"))
    assert told(made, NIGHT + timedelta(hours=5)) == []
    made.take(news("closed"))
    assert told(made, NIGHT + timedelta(hours=6)) == [("webhook", "closed")]


def test_muted_kinds_and_other_peoples_failures() -> None:
    """A target that is down would be told of its own failure, over and over."""
    made = plan(webhook="http://a/", mail_to="noc@example.com", muted="plain-link, box-silent")
    made.take(news("opened", "box-silent:b2"))
    made.take(news("opened", "notice-failed:webhook"))
    assert told(made, NIGHT) == [("mail", "opened")]


def test_an_earlier_runs_alarm_is_not_told_again_at_start() -> None:
    """Each restart of the controller would ring all phones."""
    made = plan(webhook="http://a/")
    made.resume(news("opened"), NIGHT)
    assert told(made, NIGHT) == []
    made.take(news("closed"))
    assert told(made, NIGHT) == [("webhook", "closed")]


def test_mailboxes_are_addresses_only() -> None:
    """A line break in an address would add headers, and with them recipients, to each mail."""
    assert mailboxes_of("a@b.example, c@d.example;e@f.example") == ("a@b.example", "c@d.example", "e@f.example")
    assert mailboxes_of("a@b\r\nBcc: x@y.example, nobody, @, a@b@c, <a@b>") == ("a@b", "x@y.example")


def test_every_option_of_ours_is_read() -> None:
    """An option that nobody reads is a promise that is not kept."""
    asked: set[str] = set()

    class Asked(Values):
        def get(self, name: str) -> Any:
            asked.add(name)
            return super().get(name)

    rules_of(Asked({"notices.webhook": "http://a/", "notices.mail_to": "a@b", "notices.escalate_to": "c@d"}))
    assert asked == {name for name in OPTIONS if name.startswith("notices.")}


class Kept:
    """The store's part of the board: none is asked for here."""

    async def open_alarm(self, *_told: object) -> None: ...
    async def close_alarm(self, *_told: object) -> None: ...
    async def acknowledge_alarm(self, alarm: int, by: str, note: str, *, release: bool = False) -> str | None:
        raise AssertionError("nobody acknowledges here")


class Board:
    """An alarm board without a broker."""

    def __init__(self) -> None:
        self.clock = TestClock()
        self.board = AlarmBoard(Kept(), MemoryBroker().bus("c"), self.clock, Stamp("c1"))


class Receiver:
    """A webhook's receiver that answers as told."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.got: list[tuple[dict[str, Any], dict[str, str], bytes]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.got.append((json.loads(body), dict(request.headers), body))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/hook", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = "http://{}:{}/hook".format(*runner.addresses[0][:2])
    yield made
    await runner.cleanup()


class Stand:
    """A board with a notifier, run by hand."""

    def __init__(self, run_tasks: Run, secrets: Secrets | None = None, **options: Any) -> None:
        on = Board()
        self.clock: TestClock = on.clock
        self.board = on.board
        self.notifier = Notifier(on.board, on.clock, SystemIds(), secrets or Secrets())
        self.notifier.change(rules_of(Values({f"notices.{name}": value for name, value in options.items()})))
        run_tasks(self.notifier.run())


async def test_webhook_is_signed_and_says_what_to_do(run_tasks: Run, receiver: Receiver) -> None:
    """A receiver could not tell our alarms from anybody's, nor its reader what to do."""
    on = Stand(run_tasks, Secrets(webhook="shared words"), webhook=receiver.url)
    on.board.set("box-unreachable", True, "b1")
    await until(lambda: receiver.got)
    document, headers, body = receiver.got[0]
    assert (document["event"], document["alarm"]["cause"]) == ("opened", "box-unreachable:b1")
    assert document["alarm"]["advice"] == CATALOGUE["box-unreachable"].advice
    fields = dict(part.split("=") for part in headers["X-Simrack-Signature"].split(","))
    right = hmac.new(b"shared words", fields["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert fields["v1"] == right
    await until(lambda: on.notifier.counts["webhook", "sent"] == 1)


async def test_delivery_is_tried_again_under_the_same_number(
    run_tasks: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that was restarted would miss the alarm, or count it twice."""
    monkeypatch.setattr(module, "BACKOFF_S", (0.01,) * 8)
    receiver.statuses = [503, 500, 502]
    on = Stand(run_tasks, webhook=receiver.url)
    on.board.set("box-unreachable", True, "b1")
    await until(lambda: on.notifier.counts["webhook", "sent"] == 1)
    assert len({headers["X-Simrack-Delivery"] for _, headers, _ in receiver.got}) == 1
    assert len(receiver.got) == 4
    # Three failures in a row are said, and taken back once it works.
    assert set(on.board.open_causes) == {"box-unreachable:b1"}


async def test_a_dead_webhook_is_an_alarm_that_goes_by_mail(
    run_tasks: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would know that nobody is told."""
    monkeypatch.setattr(module, "BACKOFF_S", (0.01,) * 3)
    async with mail_server() as post:
        receiver.statuses = [404]
        on = Stand(
            run_tasks, webhook=receiver.url, mail_to="noc@example.com", mail_from="rack@example.com",
            smtp_server=f"127.0.0.1:{post.port}", smtp_security="none",
        )  # fmt: skip
        on.board.set("plain-link", True, "b1")
        await until(lambda: post.mails)
        assert "Notices to webhook don't arrive: the receiver answered 404" in text_of(post.mails[0])
        assert "notice-failed:webhook" in on.board.open_causes
        (webhook, mail) = on.notifier.status()
        assert (webhook["failed"], webhook["last_error"]) == (1, "the receiver answered 404")
        assert mail["name"] == "mail"


async def test_a_storm_keeps_the_newest_and_says_so(run_tasks: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead receiver and a thousand alarms would eat the memory of the process that carries the calls."""
    monkeypatch.setattr(module, "MOST_WAITING", 5)
    on = Board()
    notifier = Notifier(on.board, on.clock, SystemIds(), Secrets())
    notifier.change(rules_of(Values({"notices.webhook": "http://127.0.0.1:1/"})))
    for number in range(12):
        on.board.set("box-unreachable", True, f"b{number}")
    (status,) = notifier.status()
    assert (status["waiting"], notifier.counts["webhook", "dropped"]) == (5, 7)
    assert "notice-failed:webhook" in on.board.open_causes


async def test_test_notice_answers_what_happened(run_tasks: Run, receiver: Receiver) -> None:
    """People would learn in the night that the address was mistyped."""
    on = Stand(run_tasks, webhook=receiver.url)
    assert await on.notifier.test("webhook", "Ada") == ""
    assert receiver.got[0][0]["event"] == "test"
    receiver.statuses = [403]
    assert await on.notifier.test("webhook", "Ada") == "the receiver answered 403"
    on.notifier.change(rules_of(Values({"notices.webhook": "http://127.0.0.1:1/"})))
    assert "127.0.0.1:1" in await on.notifier.test("webhook", "Ada")
    with pytest.raises(KeyError):
        await on.notifier.test("nobody", "Ada")


@pytest.mark.parametrize("url", ["nonsense", "ftp://x/", "http://", "http://[::1", "javascript:alert(1)", "http:///x"])
async def test_an_address_that_is_none_is_said(run_tasks: Run, url: str) -> None:
    on = Stand(run_tasks, webhook=url)
    assert await on.notifier.test("webhook", "Ada")


class Post:
    """A mail server's memory."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.refuse = ""
        self.port = 0

    async def handle_RCPT(self, _server: SMTP, _session: Any, envelope: Envelope, address: str, _options: Any) -> str:
        if self.refuse:
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append(envelope.content)
        return "250 OK"


@asynccontextmanager
async def mail_server() -> AsyncIterator[Post]:
    """A mail server on a free port of this machine."""
    post = Post()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(post, hostname="mail.test"), "127.0.0.1", 0)
    post.port = server.sockets[0].getsockname()[1]
    try:
        yield post
    finally:
        server.close()
        await server.wait_closed()


def text_of(mail: bytes) -> str:
    from email import message_from_bytes, policy

    parsed = message_from_bytes(mail, policy=policy.default)
    return f"{parsed['subject']}\n{parsed.get_content()}"


async def test_mail_carries_what_to_do_and_no_foreign_header(run_tasks: Run) -> None:
    """A box that calls itself "x\\r\\nBcc: ..." would send mail to whom it likes."""
    async with mail_server() as post:
        on = Stand(
            run_tasks, mail_to="noc@example.com, night@example.com", mail_from="rack@example.com",
            smtp_server=f"127.0.0.1:{post.port}", smtp_security="none",
        )  # fmt: skip
        on.board.set("box-unreachable", True, "b1\r\nBcc: thief@example.com")
        await until(lambda: post.mails)
        head = post.mails[0].decode().partition("\r\n\r\n")[0]
        assert "\nBcc:" not in head
        assert "noc@example.com, night@example.com" in head
        assert CATALOGUE["box-unreachable"].advice in text_of(post.mails[0])


async def test_refused_recipient_is_final_and_said(run_tasks: Run) -> None:
    async with mail_server() as post:
        post.refuse = "550 no such mailbox"
        on = Stand(
            run_tasks, mail_to="nobody@example.com", mail_from="rack@example.com", smtp_server=f"127.0.0.1:{post.port}",
            smtp_security="none",
        )  # fmt: skip
        assert "no such mailbox" in await on.notifier.test("mail", "Ada")


async def test_mail_server_without_the_encryption_that_is_asked_for_gets_nothing(run_tasks: Run) -> None:
    """Passwords and alarms would travel readable because a server forgot its certificate."""
    async with mail_server() as post:
        on = Stand(
            run_tasks, mail_to="noc@example.com", mail_from="rack@example.com", smtp_server=f"127.0.0.1:{post.port}",
        )  # fmt: skip
        assert "can't be used" in await on.notifier.test("mail", "Ada")
        assert post.mails == []
