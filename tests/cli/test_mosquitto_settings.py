"""The settings that `simrack mosquitto` writes."""

from pathlib import Path

from simrack.cli import mosquitto


def test_a_whole_fleet_fits_into_the_queue_of_who_connects() -> None:
    """Else a controller that starts would not know the rest of the channels, and give them no calls."""
    lines = dict(line.split(" ", 1) for line in mosquitto.settings(("127.0.0.1", 1883), Path("/folder")).splitlines())
    assert int(lines["max_queued_messages"]) >= 1000 * 32
