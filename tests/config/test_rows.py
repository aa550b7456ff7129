"""Rows of the config tables: every row has a place of its own."""

from simrack.controller.config.models import RoutingFile
from simrack.controller.config.rows import rows_of
from simrack.controller.store import tables as t


def test_patterns_of_several_prefixes_get_different_places() -> None:
    """Else a file whose first pattern has two prefixes can't be imported: two rows would share a key."""
    file = RoutingFile.model_validate({
        "installation": {"class": "test-lab", "owner": "x", "country": "001"},
        "site": [{"name": "s", "country": "001"}],
        "pattern": [{"prefixes": ["+1", "+2", "+3"], "action": "refuse"}, {"prefixes": ["+4", "+5"], "action": "refuse"}],
    })  # fmt: skip
    rows = {table.name: rows for table, rows in rows_of(file, "realm")}[t.config_pattern.name]
    assert [(row["position"], row["prefix"]) for row in rows] == [(0, "+1"), (1, "+2"), (2, "+3"), (3, "+4"), (4, "+5")]
