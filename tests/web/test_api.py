"""The HTTP API: the same answers as the pages, described by its own document."""

import json

import pytest
from web_demo import TELLING_CALL
from web_helpers import Stand

from simrack.controller.models import RecordFilter
from simrack.controller.store.errors import StoreDown


@pytest.mark.stack
def test_document_is_openapi_3_1_and_names_every_path(demo: Stand) -> None:
    """A client could not be generated."""
    document = demo.browser().get("/openapi.json").json
    assert document is not None
    assert document["openapi"].startswith("3.1")
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path in (
        "/api/v1/rack", "/api/v1/calls", "/api/v1/records", "/api/v1/records/{call}", "/api/v1/alarms",
        "/api/v1/statistics", "/api/v1/causes",
    ):  # fmt: skip
        assert "$ref" in json.dumps(document["paths"][path]["get"]["responses"]["200"])


@pytest.mark.stack
def test_rack_and_calls(demo: Stand) -> None:
    """A wallboard of one's own could not be fed."""
    browser = demo.signed_in()
    rack = browser.get("/api/v1/rack").json
    assert rack is not None
    assert len(rack["boxes"]) == 4
    assert rack["boxes"][0]["missing"] == [11]
    assert rack["boxes"][0]["site_title"] == "Brno"
    calls = browser.get("/api/v1/calls").json
    assert calls is not None
    assert len(calls["calls"]) == len(demo.model.snapshot().calls)


@pytest.mark.stack
def test_records_are_those_of_the_page(demo: Stand) -> None:
    """A report would differ from what the page shows."""
    answer = demo.signed_in().get("/api/v1/records?outcome=failed&sort=-talk_network_ms&per_page=25").json
    assert answer is not None
    page = demo.room.desk.queries.records(RecordFilter(outcome="failed", sort="-talk_network_ms", per_page=25))
    assert answer["total"] == page.total
    assert [row["call"] for row in answer["rows"]] == [row.call for row in page.rows]


@pytest.mark.stack
def test_story_and_alarms(demo: Stand) -> None:
    """A call could not be explained from a script."""
    browser = demo.signed_in()
    story = browser.get(f"/api/v1/records/{TELLING_CALL}").json
    assert story is not None
    assert story["record"]["talk_network_ms"] == 222314
    assert {"module", "network"} <= {line["source"] for line in story["ladder"]}
    missing = browser.get("/api/v1/records/none")
    assert (missing.status_code, missing.mimetype) == (404, "application/problem+json")
    alarms = browser.get("/api/v1/alarms").json
    assert alarms is not None
    assert [alarm["severity"] for alarm in alarms["alarms"]] == ["critical", "major"]
    everything = browser.get("/api/v1/alarms?open_only=false").json
    assert everything is not None
    assert len(everything["alarms"]) == 3


@pytest.mark.stack
@pytest.mark.parametrize("query", ["cause=900", "since=never", "per_page=0", "outcome=lost", "nonsense=1", "per_page=100000"])
def test_wrong_queries_are_named(demo: Stand, query: str) -> None:
    """A script would get everything because of a typing mistake."""
    answer = demo.signed_in().get(f"/api/v1/records?{query}")
    assert answer.status_code == 422
    assert query.split("=")[0] in answer.text


@pytest.mark.stack
def test_errors_are_problems_in_json(demo: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script would get a page for people."""
    browser = demo.signed_in()

    def gone(*_: object) -> None:
        raise StoreDown("gone")

    monkeypatch.setattr(demo.room.desk.queries, "records", gone)
    answer = browser.get("/api/v1/records")
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    assert browser.get("/api/v1/nothing").mimetype == "application/problem+json"
