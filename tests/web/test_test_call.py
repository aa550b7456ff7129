"""Test calls: what stands in the way, what is refused, what is written down, and the mark on their calls."""

from typing import Any
from urllib.parse import urlencode

import pytest
from production_parts import as_owner
from sqlalchemy import create_engine, select, update
from web_demo import A_CARD, TELLING_CALL, messages
from web_far_end import far_end
from web_helpers import Browser, Stand, stand, text_of, wait_until

from simrack.controller.config.models import Sender
from simrack.controller.models import Explanation, OrderedCandidate, Refusal
from simrack.controller.routing.decision import read_over as routing_reads
from simrack.controller.routing.table import RoutingTable
from simrack.controller.store import tables as t
from simrack.web.accounts import PersonForm, Who
from simrack.web.errors import BadForm
from simrack.web.services import test_calls
from simrack.wire.errors import CommandFailed
from simrack.wire.messages import CommandReply

pytestmark = pytest.mark.stack


@pytest.fixture
def table(demo: Stand) -> RoutingTable:
    return demo.room.desk.queries.config.table()


def explains(on: Stand, monkeypatch: pytest.MonkeyPatch, told: Explanation | None, error: str = "no controller") -> list[dict[str, object]]:
    """The controller's answer to `explain`; what it was asked."""
    asked: list[dict[str, object]] = []

    def command(_topic: str, action: str, args: dict[str, object], *, actor: str) -> CommandReply:
        assert action == "explain"
        asked.append(args)
        if told is None:
            raise CommandFailed(error)
        return CommandReply(id="1", ok=True, result={"explanation": told.model_dump(mode="json")})

    monkeypatch.setattr(on.room.live, "command", command)
    return asked


def routed(**more: object) -> Explanation:
    first = OrderedCandidate(box="vienna-01", channel=3, iccid="8988210020700004410", plan="nova")
    return Explanation(config_version=41, sender="alpine", called_received="+882101", order=(first,), **more)


def send(browser: Browser, path: str, body: object) -> dict[str, object]:
    """What the page's script would send."""
    browser.get("/account")
    answer = browser.client.post(path, json=body, headers={"X-CSRF-Token": browser.csrf()})
    told: dict[str, object] = answer.get_json() if answer.is_json else {}
    return {"status": answer.status_code, **told}


def digest_sender(table: RoutingTable) -> str:
    return next(name for name, sender in table.senders.items() if sender.digest is not None and not sender.addresses)


# --- what stands in the way -------------------------------------------------------------------------------------


def test_a_first_day_leads_to_set_up(empty: Stand) -> None:
    """A newcomer would meet an empty form."""
    words = text_of(empty.signed_in().get("/test-call").text)
    assert "Nothing can be called yet" in words
    assert "Go through set-up" in words


def test_the_page_offers_senders_for_tests_only_and_says_which_cannot_call_from_here(demo: Stand, table: RoutingTable) -> None:
    """Somebody would call as a customer, or look for the reason of a refusal."""
    answer = demo.signed_in().get("/test-call")
    assert answer.headers["Permissions-Policy"] == "camera=(), microphone=(self), geolocation=()"
    assert demo.signed_in().get("/calls").headers["Permissions-Policy"] == "camera=(), microphone=(), geolocation=()"
    words = text_of(answer.text)
    assert "the control room's machine has no such address" in words
    assert "Your name and the number are written to the audit log." in words


def test_what_is_missing_is_named(table: RoutingTable) -> None:
    """Calls would be refused one by one for a reason that the page knows."""
    assert test_calls.missing(table) is None
    voice = RoutingTable(1, table.installation, table.sites, {}, {}, {}, {}, {})
    lacking = test_calls.missing(voice)
    assert lacking is not None
    assert lacking[0] == "No agreement permits test calls"
    planless = RoutingTable(1, table.installation, table.sites, table.agreements, {}, {}, {}, {})
    lacking = test_calls.missing(planless)
    assert lacking is not None
    assert lacking[2] == "/plans/plan"


def test_a_caller_is_who_its_record_says(table: RoutingTable) -> None:
    """A call would come from an address, or show a number, that the sender has no right to."""
    sender = table.senders[digest_sender(table)]
    assert test_calls.local_of(sender, "192.0.2.1") == "192.0.2.1", "without addresses it may come from anywhere"
    for addresses, local in (
        (("127.0.0.7",), "127.0.0.7"), (("10.9.9.0/24", "192.0.2.0/24"), "192.0.2.1"), (("203.0.113.9",), ""), (("127.0.0.7:5099",), ""),
    ):  # fmt: skip
        assert test_calls.local_of(sender.model_copy(update={"addresses": addresses}), "192.0.2.1") == local, addresses
    for numbers, default, shown in (
        (("+88210*", "+882107"), None, "+882107"), (("+88210*",), None, "+88210"), (("+8821010-+8821019",), None, "+8821010"),
        (("+88210*",), "+882101234", "+882101234"),
    ):  # fmt: skip
        known = sender.model_copy(update={"numbers": numbers, "default_number": default})
        assert test_calls.calling_of(known) == shown
    assert test_calls.own_address(("127.0.0.1", 5060)) == "127.0.0.1"


@pytest.mark.parametrize(("typed", "dialled"), [("+43 1 (234) 56-78", "+4312345678"), ("0660/123.45", "066012345"), ("*31*5", "*31*5")])
def test_a_number_may_be_written_as_people_write_it(typed: str, dialled: str) -> None:
    """Copied numbers would be refused."""
    assert test_calls.read_number(typed) == dialled


@pytest.mark.parametrize("typed", ["", " - ", "call me", "+43<script>", "1\r\n2", "++43", "1" * 33, "9" * 4000, "sip:a@b", "12#"])
def test_nonsense_is_no_number(typed: str) -> None:
    """Bad input: it would reach the signalling."""
    with pytest.raises(BadForm):
        test_calls.read_number(typed)


@pytest.mark.parametrize(
    ("box", "part", "header"),
    [
        ("", "", ""), ("vienna-01", "", "box=vienna-01"), (" vienna-01 ", "channel=3", "box=vienna-01; channel=3"),
        ("vienna-01", f"iccid={A_CARD}", f"iccid={A_CARD}"), ("", f"iccid={A_CARD[:4]} {A_CARD[4:]}", f"iccid={A_CARD}"),
    ],
)  # fmt: skip
def test_what_is_chosen_is_what_the_controller_reads(box: str, part: str, header: str, demo: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """One channel or one card could not be tried; or another one would be."""
    browser, asked = demo.signed_in(), explains(demo, monkeypatch, routed())
    sender = digest_sender(demo.room.desk.queries.config.table())
    browser.get("/test-call/way?" + urlencode({"sender": sender, "number": "+1", "box": box, "part": part}))
    assert asked[0].get("over", "") == header
    assert str(routing_reads(header) or "") == header


@pytest.mark.parametrize(
    ("box", "part", "words"),
    [
        ("nobodys", "", "There is no box nobodys."), ("x" * 4000, "", "There is no box xxx"), ("a;b", "", "There is no box a;b."),
        ("<b>", "channel=3", "There is no box"), ("vienna-01\r\nX: y", "", "There is no box"), ("vienna-01", "channel=three", "such as 3"),
        ("vienna-01", "channel=" + "9" * 4000, "such as 3"), ("vienna-01", "channel=999", "vienna-01 has no channel 999."),
        ("", "channel=3", "A channel of which box?"), ("", "iccid=1", "no SIM with this ICCID"), ("", "trumpet=1", "Choose a channel or a SIM."),
        ("vienna-01", "channel=", "Choose a channel or a SIM."),
    ],
)  # fmt: skip
def test_nonsense_to_call_over_is_said_beside_its_field(
    box: str, part: str, words: str, demo: Stand, table: RoutingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad input: it would become a header of its own, or a call over anything."""
    asked = explains(demo, monkeypatch, routed())
    browser = demo.signed_in()
    body = {"number": "+882101", "sender": digest_sender(table), "voice": "tone", "sdp": "v=0", "box": box, "part": part}
    told = send(browser, "/test-call", body)
    assert (told["status"], told["field"]) == (200, "over")
    assert words in str(told["error"])
    page = browser.get("/test-call?" + urlencode({"box": box, "part": part}))
    assert words.replace("<", "&lt;") in text_of(page.text.split('id="e-over"')[1][:200].split(">", 1)[1])
    assert asked == []


def test_a_box_its_channels_and_its_cards_are_offered_by_name(demo: Stand) -> None:
    """Somebody would have to know names and ICCIDs by heart."""
    browser = demo.signed_in()
    page = browser.get("/test-call?box=vienna-01&channel=3").text
    assert '<optgroup label="' in page
    assert '<option value="vienna-01" selected>' in page
    assert '<option value="channel=3" selected>vienna-01 / 3' in page
    assert '<optgroup label="SIMs in it">' in page
    assert f'<option value="iccid={A_CARD}" selected>SIM …{A_CARD[-4:]}' in browser.get(f"/test-call?iccid={A_CARD}").text
    assert '<select name="part" aria-describedby="e-over" disabled>' in browser.get("/test-call").text


def test_a_channel_and_a_card_lead_to_a_test_call_over_them_for_those_who_may(demo: Stand) -> None:
    """A module that was mended would be tried by luck; or a button would lead to a page that says no."""
    browser = demo.signed_in()
    assert 'href="/test-call?box=vienna-01&amp;channel=3"' in browser.get("/rack/vienna-01/3").text
    assert f'href="/test-call?iccid={A_CARD}"' in browser.get(f"/sims/card?name={A_CARD}").text
    viewer = demo.browser()
    first = demo.room.accounts.people.make(Who("cli:test"), "Vi", PersonForm("auditor"))
    viewer.sign_in("Vi", first)
    viewer.get("/account/password")
    viewer.post("/account/password", old=first, new="five slow yellow tractors", again="five slow yellow tractors")
    for path in ("/rack/vienna-01/3", f"/sims/card?name={A_CARD}"):
        answer = viewer.get(path)
        assert answer.status_code == 200
        assert "/test-call" not in answer.text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"box": "vienna-01", "part": "channel=3"}, "Channel vienna-01 / 3 is not there now."),
        ({"box": "vienna-01"}, "vienna-01 has no channel that could be called over now."),
        ({"part": f"iccid={A_CARD}"}, f"SIM …{A_CARD[-4:]} is in no module now."),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_in_peoples_words(
    query: dict[str, str], words: str, demo: Stand, table: RoutingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody would read `box=vienna-01; channel=3` and look for the mistake in the number."""
    refusal = Refusal(reason="not-there", sip=404, cause=27, text="No channel is what this test call was to go over: x.")
    explains(demo, monkeypatch, Explanation(config_version=41, sender="x", called_received="+1", refusal=refusal))
    way = "/test-call/way?" + urlencode({"sender": digest_sender(table), "number": "+1", **query})
    assert f"It would be refused: {words}" in text_of(demo.signed_in().get(way).text)


# --- before it is placed ----------------------------------------------------------------------------------------


def test_the_page_says_what_a_call_would_touch(demo: Stand, table: RoutingTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A button would act on a channel that nobody named."""
    browser, name = demo.signed_in(), digest_sender(table)
    asked = explains(demo, monkeypatch, routed())
    words = text_of(browser.get(f"/test-call/way?sender={name}&number=%2B882101+22").text)
    assert "Takes vienna-01 / 3" in words
    assert asked[0]["called"] == "+88210122"
    assert "over" not in asked[0]
    assert "There is no box" in text_of(browser.get(f"/test-call/way?sender={name}&number=%2B1&box=a;b&part=").text)
    refusal = Refusal(reason="no-pattern", sip=404, cause=1, text="No pattern fits.")
    explains(demo, monkeypatch, Explanation(config_version=41, sender=name, called_received="+1", refusal=refusal))
    assert "It would be refused: No pattern fits." in text_of(browser.get(f"/test-call/way?sender={name}&number=%2B1").text)
    explains(demo, monkeypatch, None)
    assert "can't be told: no controller" in text_of(browser.get(f"/test-call/way?sender={name}&number=%2B1").text)
    assert "Digits, perhaps + in front" in text_of(browser.get(f"/test-call/way?sender={name}&number=<b>").text)
    assert "Give a number" in text_of(browser.get("/test-call/way?sender=nobodys&number=%2B1").text)


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"number": "<script>alert(1)</script>"}, "number", "Digits"), ({"number": "9" * 4000}, "number", "longer than any number"),
        ({"sender": "nobodys"}, "sender", "no sender for test calls"), ({"sender": "x" * 4000}, "sender", "no sender"),
        ({"voice": "trumpet"}, "voice", "Microphone, tone or silence"), ({"number": ["1"], "sender": None}, "number", "Digits"),
        ({"sdp": "nonsense"}, None, "one audio line"), ({"sdp": ""}, None, "no offer"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said_beside_its_field(
    changed: dict[str, object], field: str | None, words: str, demo: Stand, table: RoutingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad input: a 500, or a call that nobody wanted."""
    explains(demo, monkeypatch, routed())
    told = send(demo.signed_in(), "/test-call", {"number": "+882101", "sender": digest_sender(table), "voice": "tone", "sdp": "v=0", **changed})
    assert told["status"] in (200, 400)
    assert words in str(told["error"])
    assert told.get("field") == field
    assert "nobody" not in str(told.get("sdp"))


def test_an_emergency_number_is_not_called(demo: Stand, table: RoutingTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test would raise an alarm, or worse reach somebody who saves lives."""
    refusal = Refusal(reason="emergency", sip=503, cause=3, text="Emergency numbers never go to a shared SIM.")
    explains(demo, monkeypatch, Explanation(config_version=41, sender="x", called_received="112", refusal=refusal))
    told = send(demo.signed_in(), "/test-call", {"number": "112", "sender": digest_sender(table), "voice": "tone", "sdp": "v=0"})
    assert (told["error"], told["field"]) == ("Emergency numbers are not called for a test.", "number")


def test_a_day_has_its_limit(demo: Stand, table: RoutingTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script would use up the SIMs' minutes."""
    explains(demo, monkeypatch, routed())
    browser, accounts = demo.signed_in(), demo.room.accounts
    for _ in range(200):
        accounts.note(Who("user:Bo"), "test-call", "+1")
    body = {"number": "+882101", "sender": digest_sender(table), "voice": "tone", "sdp": "v=0"}
    assert "200 test calls were placed today" in str(send(browser, "/test-call", body)["error"])
    assert "200 of 200 placed today" in text_of(browser.get("/test-call").text)
    demo.clock.forward(24 * 3600)
    assert accounts.acts_since("test-call", demo.clock.utc().replace(hour=0, minute=0, second=0, microsecond=0)) == 0


# --- a call -----------------------------------------------------------------------------------------------------


def test_a_call_over_the_api_is_placed_followed_and_written_down(
    demo: Stand, table: RoutingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script could not test the rack; or nobody would know who called."""
    with far_end(486, reason='Reason: Q.850;cause=17;text="busy"') as far:
        on = stand(demo.room.settings.database, controller_sip=far.address)
        on.feed(*messages(on.clock.utc()))
        explains(on, monkeypatch, routed())
        browser, name = on.signed_in(), digest_sender(table)
        client, bearer = on.app.test_client(), {"Authorization": f"Bearer {on.room.accounts.new_token('all')}"}

        def ask(path: str = "", **body: object) -> dict[str, Any]:
            address = f"/api/v1/test-calls{path}"
            answer = client.post(address, json=body, headers=bearer) if body else client.get(address, headers=bearer)
            return {"status": answer.status_code, **answer.get_json()}

        assert ask(number="x", sender=name)["status"] == 422
        for wrong, at in (
            ({"box": "nobodys"}, "over.box"), ({"box": "vienna-01", "channel": 999}, "over.channel"), ({"channel": 3}, "over.channel"),
            ({"box": "vienna-01", "channel": "three"}, "over.channel"), ({"iccid": "1"}, "over.iccid"), ({"moon": 1}, "over.moon"),
            ("vienna-01", "over"), ({"box": "x" * 4000}, "over.box"),
        ):  # fmt: skip
            told = ask(number="+88210 1", sender=name, over=wrong)
            assert (told["status"], [error["field"] for error in told["errors"]]) == (422, [at])
        placed = ask(number="+88210 1", sender=name, seconds=5, over={"box": "vienna-01", "channel": 3})
        wait_until(lambda: ask(f"/{placed['id']}")["state"] == "over", 30)
        invite = far.invites[0]
        assert invite.start.split()[1].startswith("sip:+882101@")
        assert invite.one("x-test-over") == "box=vienna-01; channel=3"
        told = ask(f"/{placed['id']}")
        assert (told["sip_status"], told["cause"], told["call"], told["talk_ms"]) == (486, 17, "", 0)
        assert [call["id"] for call in ask()["calls"]] == [placed["id"]]
        assert ask("/nobodys")["status"] == 404
        wait_until(lambda: len(_acts(on)) == 2, 20)
        assert [action for action, _ in _acts(on)] == ["test-call", "test-call-end"]
        assert '"result": "not answered"' in _acts(on)[1][1]
        _becomes_record(on, name, invite.one("call-id"))
        words = text_of(browser.get(f"/test-call/{placed['id']}/result").text)
        assert "not answered TEST" in words
        assert "Cause 17, " in words
        assert "Read its story" in words
        assert ask(f"/{placed['id']}")["call"] == TELLING_CALL
        assert "Your last test calls" in text_of(browser.get("/test-call").text)
        on.app.extensions["phone"].stop()
        on.close()


def _acts(on: Stand) -> list[tuple[str, str]]:
    engine = create_engine(on.room.settings.database)
    with engine.connect() as connection:
        rows = connection.execute(select(t.web_act).where(t.web_act.c.action.like("test-call%")).order_by(t.web_act.c.id)).all()
    engine.dispose()
    return [(row.action, row.detail) for row in rows]


def _becomes_record(on: Stand, sender: str, call_id: str) -> None:
    """The controller has written a record of that Call-ID."""
    engine = create_engine(as_owner(on.room.settings.database))
    with engine.begin() as connection:
        connection.execute(update(t.cdr).where(t.cdr.c.call == TELLING_CALL).values(sender=sender, sip_call_id=call_id))
    engine.dispose()


def test_a_controller_whose_name_leads_nowhere_is_named(demo: Stand, table: RoutingTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad input in the settings file: the phone would fail without a word that helps."""
    on = stand(demo.room.settings.database, controller_sip="nowhere.invalid:5060")
    explains(on, monkeypatch, routed())
    body = {"number": "+882101", "sender": digest_sender(table), "voice": "tone", "sdp": "v=0"}
    assert "nowhere.invalid (controller_sip) leads to no address" in str(send(on.signed_in(), "/test-call", body)["error"])
    off = stand(demo.room.settings.database, test_calls={"at_a_time": 0})
    assert "Test calls are switched off" in text_of(off.signed_in().get("/test-call").text)
    assert "switched off" in str(send(off.signed_in(), "/test-call", body)["error"])
    on.close()
    off.close()


def test_nobody_has_anothers_test_call(demo: Stand) -> None:
    """Other people's ids: a colleague's call could be ended, or its number read."""
    browser = demo.signed_in()
    assert browser.get("/test-call/nobodys").status_code == 404
    assert browser.get("/test-call/nobodys/result").status_code == 404
    assert send(browser, "/test-call/nobodys/press", {"keys": "1"})["status"] == 404
    assert send(browser, "/test-call/nobodys/hang-up", {})["status"] == 204, "it is over already: nothing to say"


# --- the mark, and the sender -----------------------------------------------------------------------------------


def test_calls_of_senders_for_tests_are_marked_wherever_they_stand(demo: Stand) -> None:
    """A test would be taken for a customer's call."""
    browser = demo.signed_in()
    assert '<span class="note test">TEST</span>' in browser.get("/calls").text
    assert '<span class="note test">TEST</span>' in browser.get("/records").text
    assert '<span class="note test">TEST</span>' in browser.get(f"/records/{TELLING_CALL}").text


def test_a_sender_for_other_use_is_not_marked(table: RoutingTable) -> None:
    """Customers' calls would be taken for tests."""
    names = sorted(table.senders)
    other = table.senders[names[0]].model_copy(update={"use": "own-use-voice"})
    mixed = RoutingTable(1, table.installation, {}, {}, {}, {}, {**table.senders, names[0]: other}, {})
    assert test_calls.test_senders(mixed) == frozenset(names[1:])
    assert names[0] not in {caller.name for caller in test_calls.callers_of(mixed, "127.0.0.1")}


def test_the_form_of_a_sender_for_tests_is_filled_in(demo: Stand) -> None:
    """A newcomer would have to know nine fields before the first test call."""
    browser = demo.signed_in()
    page = browser.get("/senders/sender?for=test-calls").text
    assert 'value="test calls from the control room"' in page
    assert 'value="test" selected' in page
    made = browser.get("/senders/sender?for=test-calls").text
    assert "password" in made
    assert page.split('name="digest.password"')[1].split(">")[0] != made.split('name="digest.password"')[1].split(">")[0], "another each time"
    assert 'value="' not in browser.get("/senders/sender").text.split('name="digest.password"')[1].split(">")[0]


def test_what_the_form_begins_with_is_a_whole_sender_but_for_its_numbers(table: RoutingTable) -> None:
    """The button would lead to a form that can't be sent."""
    body = test_calls.first_sender(table, "Ada")
    file = {"name": "test-calls", "numbers": ["+882109"], **body, "digest": {**body["digest"], "password": "x" * 12}}
    assert Sender.model_validate(file).use == "test"
