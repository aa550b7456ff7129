"""The control room's own figures: a page that is slow or fails shows on the board before somebody calls."""

from web_helpers import Stand

from simrack.web.app import create_app
from simrack.web.metrics import WebMetrics, count_requests


def test_requests_are_counted_by_view_and_status(demo: Stand) -> None:
    # Its counting stays in it, so that no other test may have it afterwards.
    demo.app, demo.alone = create_app(demo.room), False
    metrics = WebMetrics(demo.model, demo.room.feed, demo.room.live)
    count_requests(demo.app, metrics, demo.clock)
    browser = demo.signed_in()
    browser.get("/alarms")
    browser.get("/records/" + "x" * 4000)
    value = metrics.registry.get_sample_value
    assert value("simrack_web_requests_total", {"view": "alarms.alarms", "status": "200"}) == 1
    assert value("simrack_web_requests_total", {"view": "records.story", "status": "404"}) == 1
    assert value("simrack_web_request_seconds_count", {"view": "alarms.alarms"}) == 1
    assert value("simrack_web_boxes_online") == 3
