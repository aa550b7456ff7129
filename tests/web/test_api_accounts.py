"""Accounts by the API, and what all of the API shares: idempotency keys, problems, keys of lists."""

import json

import pytest
from web_helpers import Browser, Stand

from simrack.web.accounts.answers import KEPT
from simrack.web.api import common
from simrack.web.errors import BadForm


class Api:
    """A program with a token of the administrator that may do everything, accounts too."""

    def __init__(self, stand: Stand) -> None:
        self.browser: Browser = stand.signed_in()

    def __call__(self, method: str, path: str, body: object = None, key: str = "", **headers: str):  # type: ignore[no-untyped-def]  # noqa: ANN204
        self.browser.get("/account")
        sent = {"X-CSRF-Token": self.browser.csrf(), **({"Idempotency-Key": key} if key else {}), **headers}
        return self.browser.client.open(f"/api/v1{path}", method=method, json=body, headers=sent)


@pytest.mark.stack
def test_an_account_by_the_api_from_making_to_disabling(demo: Stand) -> None:
    """What people do by clicking could not be done by a script."""
    api = Api(demo)
    made = api("POST", "/accounts", {"name": "Bob", "role": "noc"})
    assert made.status_code == 201
    assert demo.browser().sign_in("Bob", made.json["password"]).status_code == 303
    bob = next(row for row in api("GET", "/accounts").json["accounts"] if row["name"] == "Bob")
    body = {"role": "support", "version": bob["version"]}
    changed = api("PUT", f"/accounts/{bob['id']}", body)
    assert (changed.status_code, changed.json["role"]) == (200, "support")
    assert api("PUT", f"/accounts/{bob['id']}", body).status_code == 409
    off = api("PUT", f"/accounts/{bob['id']}", {"role": "support", "version": changed.json["version"], "disabled": True})
    assert off.json["disabled"] is True
    assert off.json["sessions"] == 0
    assert api("GET", "/accounts/999999").status_code == 404
    assert api("GET", f"/accounts/{2**70}").status_code == 404
    refused = api("POST", "/accounts", {"name": "bob", "role": "noc"})
    assert (refused.status_code, refused.mimetype) == (422, "application/problem+json")
    assert refused.json["errors"][0]["field"] == "name"


@pytest.mark.stack
def test_a_repeated_request_acts_once(demo: Stand) -> None:
    """A program that lost the answer would make two tokens, or end up with none."""
    api = Api(demo)
    body = {"name": "report", "days": 3}
    first = api("POST", "/account/tokens", body, key="k1")
    again = api("POST", "/account/tokens", body, key="k1")
    assert first.status_code == again.status_code == 201
    assert first.json == again.json
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(demo.room.accounts.sessions.listed(kind="token")) == 1
    assert api("POST", "/account/tokens", {**body, "days": 4}, key="k1").status_code == 422
    assert api("POST", "/account/tokens", {**body, "name": "other"}, key="k2").status_code == 201
    assert api("POST", "/account/tokens", body, key="x" * 200).status_code == 400
    demo.clock.forward(KEPT.total_seconds() + 1)


@pytest.mark.stack
def test_a_kept_answer_is_no_secret_in_the_database_and_nobody_elses(demo: Stand) -> None:
    """A copied database would hold tokens; one person's key would answer another."""
    from sqlalchemy import create_engine, text

    from simrack.web.accounts import PersonForm, Who

    api = Api(demo)
    token = api("POST", "/account/tokens", {"name": "report"}, key="same").json["token"]
    engine = create_engine(demo.room.settings.database)
    with engine.connect() as connection:
        stored = str([tuple(row) for row in connection.execute(text("SELECT * FROM web_answer"))])
    engine.dispose()
    assert "same" in stored
    assert token not in stored
    demo.room.accounts.people.make(Who("cli"), "Bob", PersonForm("noc"))
    bob = demo.room.accounts.people.get("Bob")
    bearer = demo.room.accounts.sessions.new_token(Who("cli"), bob.id, "t", None, 3)
    sent = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": "same"}
    assert demo.browser().client.post("/api/v1/account/tokens", json={"name": "report"}, headers=sent).status_code == 403


@pytest.mark.stack
def test_two_at_the_same_time_are_one(demo: Stand) -> None:
    """Two copies of one program would both act."""
    demo.signed_in()
    answers = demo.room.accounts.answers
    assert answers.begin(1, "k", "digest") is None
    for request, other in (("digest", False), ("another", True)):
        with pytest.raises(Exception) as said:
            answers.begin(1, "k", request)
        assert getattr(said.value, "other", None) is other
    demo.clock.forward(121)
    assert answers.begin(1, "k", "digest") is None, "a process that died must not keep the key"
    answers.drop(1, "k")
    assert answers.begin(1, "k", "another") is None


@pytest.mark.stack
def test_the_document_tells_of_problems_and_keys(demo: Stand) -> None:
    """A generated client would not know what an error looks like, nor that it may repeat."""
    document = demo.browser().get("/openapi.json").json
    assert document is not None
    assert document == demo.browser().get("/openapi.json").json
    for item in document["paths"].values():
        for method, operation in item.items():
            for status, answer in operation["responses"].items():
                if status >= "400":
                    assert list(answer["content"]) == ["application/problem+json"]
                    schema = answer["content"]["application/problem+json"]["schema"]
                    told = {one["$ref"].rpartition("/")[2] for one in schema.get("anyOf", [schema])}
                    assert "Problem" in told, "any request may be refused before its operation sees it"
                    for name in told:
                        assert {"status", "title", "detail"} <= set(document["components"]["schemas"][name]["properties"]), name
            names = [parameter["name"] for parameter in operation.get("parameters", ())]
            assert names.count("Idempotency-Key") == (method not in ("get", "head"))
    assert "Problem" in document["components"]["schemas"]


@pytest.mark.parametrize("after", ["!", "e30", common.after_key("x"), common.after_key(1, 2), "a" * 400])
def test_a_made_up_place_in_a_list_is_refused(after: str) -> None:
    """A script would get a stack trace, or the wrong part of a list."""
    with pytest.raises(BadForm):
        common.read_after(after, (int,))
    assert common.read_after("", (int,)) is None
    assert common.read_after(common.after_key("a", 3), (str, int)) == ("a", 3)


@pytest.mark.stack
@pytest.mark.parametrize("body", ['{"name": "x"', "[]", '"x"', "{}", json.dumps({"name": "x" * 4000, "role": "noc"}), "null", "1e999"])
def test_bodies_that_make_no_sense_are_problems(demo: Stand, body: str) -> None:
    """A program's mistake would be an error of ours."""
    api = Api(demo)
    api.browser.get("/account")
    headers = {"X-CSRF-Token": api.browser.csrf()}
    answer = api.browser.client.post("/api/v1/accounts", data=body, headers=headers, content_type="application/json")
    assert answer.status_code in (400, 422)
    assert answer.mimetype == "application/problem+json"
