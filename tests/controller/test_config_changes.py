"""Changes by command to a running controller: calls go by them at once, a stale one changes nothing, a restart keeps them."""

from pathlib import Path

import pytest
from controller_world import NUMBER, world

from simrack.wire import topics
from simrack.wire.messages import ConfigChanged


@pytest.mark.stack
async def test_a_change_of_a_pattern_is_what_the_next_call_goes_by(tmp_path: Path) -> None:
    """From the command to the call, to the boxes' and pages' message, and over a restart."""
    async with world(tmp_path) as on:
        body = {"name": "stop", "prefixes": ["+"], "priority": 9, "action": "refuse"}
        stop = {"kind": "pattern", "name": "stop", "body": body}
        looked = await on.command("config-check", changes=[stop])
        assert looked.result["ok"], looked.error
        reply = await on.command("entry-apply", changes=[stop], note="closed for tests")
        assert reply.result["version"] == 2, reply.error
        assert ConfigChanged.decode(on.broker.retained[topics.controller_config()]).version == 2
        assert await on.final(on.invite(NUMBER)) == 403
        stale = {**stop, "body": {**body, "priority": 1}, "base": "0" * 32}
        refused = await on.command("entry-apply", changes=[stale])
        assert (refused.ok, refused.result["conflicts"][0]["theirs"]["priority"]) == (False, 9)
    async with world(tmp_path) as on:
        assert await on.final(on.invite(NUMBER)) == 403
        back = await on.command("config-activate", version=1)
        assert back.result == {"version": 1, "changed": True}, back.error
