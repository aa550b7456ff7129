"""Whatever fits the OpenAPI document is answered as the document says, and never with an error of ours."""

import pytest
import schemathesis
import web_openapi
from web_controller import controller_of
from web_helpers import Stand


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", web_openapi.MODES, ids=lambda mode: mode.value)
def test_generated_requests_get_what_the_document_tells(demo: Stand, mode: schemathesis.GenerationMode) -> None:
    """A client made of the document would meet a 500, or an answer that it can't read."""
    demo.signed_in()
    with controller_of(demo) as controller:
        demo.room.live.command = web_openapi.Orders(controller).command  # type: ignore[method-assign]
        made = web_openapi.walk(demo, examples=1, modes=[mode])
    assert not made.wrong, "\n".join(made.wrong.values())
    assert made.counts["requests"] > 30
    assert made.counts["status_200"] > 10 or mode is schemathesis.GenerationMode.NEGATIVE
    assert made.counts["status_403"] < 10, "everything is reached: by token, or by session where no token may"
