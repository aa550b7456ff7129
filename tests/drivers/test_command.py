"""`simrack module probe`: what a person sees of a module."""

import asyncio
import json

from drivers_transcript import Transcript
from typer.testing import CliRunner

from simrack.drivers.command import app


async def test_probe_names_driver_and_health() -> None:
    """Else nobody could tell whether a new module will work before it carries calls."""
    async with Transcript.named("ec25_answered") as module:
        shown = await asyncio.to_thread(CliRunner().invoke, app, ["probe", module.path])
        document = await asyncio.to_thread(CliRunner().invoke, app, ["probe", "--json", module.path, "/nowhere"])
    assert shown.exit_code == 0
    assert "driver quectel; Quectel EC25" in shown.output
    assert "IMEI 860000000000015" in shown.output
    assert document.exit_code == 1
    found = json.loads(document.stdout)
    assert found["modules"][0]["checks"]["card"] == "READY"
    assert "no such port" in found["failed"]["/nowhere"]
