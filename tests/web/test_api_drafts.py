"""Drafts over the API: prepared by a program, looked at, put in force or dropped as the pages do."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from web_controller import Controller, controller_of
from web_demo import A_CARD
from web_helpers import Stand

from simrack.controller.config.kinds import digest_of
from simrack.controller.config.models import Sim

pytestmark = pytest.mark.stack

PREFIX = "/api/v1/drafts"
Ask = Callable[..., Any]


@pytest.fixture
def run(demo: Stand) -> Iterator[Controller]:
    """A control room in full work with a controller behind it."""
    with controller_of(demo) as controller:
        yield controller


@pytest.fixture
def ask(run: Controller) -> Ask:
    """Requests of a program with a token; the answer's body, after its status was checked."""
    run.stand.signed_in()
    bearer = {"Authorization": f"Bearer {run.stand.room.accounts.new_token('script')}"}
    client = run.stand.app.test_client()

    def request(method: str, path: str = "", status: int = 200, **body: Any) -> Any:
        answer = client.open(PREFIX + path, method=method, headers=bearer, json=body or None)
        assert answer.status_code == status, answer.text
        return answer.json if answer.data else None

    return request


def change(run: Controller, note: str) -> dict[str, Any]:
    sim: Sim = run.bench.table.sims[A_CARD]
    body = {**sim.model_dump(mode="json", exclude_defaults=True), "note": note}
    return {"kind": "sim", "name": A_CARD, "body": body, "base": digest_of(sim)}


def test_a_draft_is_made_looked_at_and_put_in_force(run: Controller, ask: Ask) -> None:
    """A program could change things at once only, or not with what a colleague has prepared."""
    made = ask("POST", "", 201, changes=[change(run, "by a program")], note="tonight")["id"]
    assert [one["title"] for one in ask("GET")["drafts"] if one["id"] == made] == ["tonight"]
    looked = ask("GET", f"/{made}")
    assert (looked["state"], looked["conflicts"], looked["mistakes"]) == ("open", [], [])
    assert [one["op"] for one in looked["differences"]] == ["changed"]
    assert run.bench.table.sims[A_CARD].note != "by a program"
    assert ask("POST", f"/{made}/apply")["version"] == run.bench.table.version
    assert run.bench.table.sims[A_CARD].note == "by a program"
    assert ask("GET", f"/{made}")["state"] == "applied"
    ask("POST", f"/{made}/apply", 409)
    ask("DELETE", f"/{made}", 409)


def test_a_draft_that_others_overtook_says_so_until_it_is_based_anew(run: Controller, ask: Ask) -> None:
    """A draft of last week would undo what was done since."""
    made = ask("POST", "", 201, changes=[change(run, "mine")])["id"]
    other = ask("POST", "", 201, changes=[change(run, "theirs")])["id"]
    ask("POST", f"/{other}/apply")
    assert len(ask("GET", f"/{made}")["conflicts"]) == 1
    assert [one["name"] for one in ask("POST", f"/{made}/apply", 409)["conflicts"]] == [A_CARD]
    ask("POST", f"/{made}/rebase", 204)
    ask("POST", f"/{made}/apply")
    assert run.bench.table.sims[A_CARD].note == "mine"


def test_what_is_not_there_or_not_to_be_kept_is_refused(run: Controller, ask: Ask) -> None:
    """A password would lie in a draft, or a program would believe that something was done."""
    sender = {"kind": "sender", "name": "new", "body": {"name": "new", "digest": {"user": "x", "password": "kettle-under-water"}}}
    told = ask("POST", "", 422, changes=[sender])
    assert told["errors"] == [{"field": "changes", "detail": "A draft keeps no password."}]
    for method, path in (("GET", "/987654"), ("DELETE", "/987654"), ("POST", "/987654/apply"), ("POST", "/987654/rebase")):
        ask(method, path, 404)
    ask("POST", "", 409, changes=[change(run, "x")], into=987654)
    made = ask("POST", "", 201, changes=[change(run, "x")])["id"]
    ask("DELETE", f"/{made}/changes/7", 404)
    ask("DELETE", f"/{made}/changes/0", 204)
    assert ask("GET", f"/{made}")["changes"] == []
    ask("POST", f"/{made}/apply", 409)
    ask("DELETE", f"/{made}", 204)
    assert ask("GET", f"/{made}")["state"] == "dropped"
