"""Versions made from each other: whole, in order, conflict-free, and never half in force."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from config.bench import ADA, NILS, OLGA, Bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from routing.fleets import EXAMPLE, NOW, a_channel, a_fleet

from simrack.controller.config.changes import Change
from simrack.controller.config.files import Configuration, import_file
from simrack.controller.config.impact import Sample
from simrack.controller.config.rows import EMPTY
from simrack.controller.routing.table import RoutingTable
from simrack.controller.store import configs
from simrack.controller.store.configs import Copy, Edit, pieces, portions
from simrack.controller.store.errors import StoreRefused
from simrack.controller.store.writer import Writer
from simrack.wire.errors import UserError

GOOD = EXAMPLE.read_text(encoding="utf-8")
PATTERN = {"targets": [{"plan": "lab"}]}


FIELDS = ("version", "installation", "sites", "agreements", "plans", "sims", "senders", "prefixes", "limits", "patterns", "options")


def fields_of(table: RoutingTable) -> dict[str, Any]:
    """A table field by field, and the order in it."""
    order = {"order": list(table.patterns), "cards": sorted(table.sims)}
    return {name: getattr(table, name) for name in FIELDS} | order


async def runs_as_stored(bench: Bench) -> None:
    """The call path's table is the one that a restart would compile."""
    assert fields_of(bench.table) == fields_of(await bench.stored())


@pytest.mark.stack
async def test_what_runs_is_what_the_database_holds(bench: Bench) -> None:
    """A restart must route as before: the table in memory equals the one compiled from the new version."""
    steps = [
        [await bench.change("pattern", "lab numbers", prefixes=["+88210", "+88211", "+882109"])],
        [await bench.change("pattern", "second", name="second", prefixes=["+88210", "+1"], **PATTERN)],
        [await bench.change("sender", "trunk", max_calls=3), await bench.change("limit", "limit", max_attempts=9)],
        [await bench.change("plan", "lab", sims=["894900000000000001", "894900000000000002"])],
        [await bench.change("setting", "calls.per_second", name="calls.per_second", value=20)],
        [await bench.change("installation", "installation", owner="Another Laboratory")],
    ]
    for changes in steps:
        told = await bench.apply(*changes)
        assert "refused" not in told, told
        await runs_as_stored(bench)
    moved = await bench.apply(await bench.change("pattern", "lab numbers", name="first", prefixes=["+1", "+88210"]))
    await runs_as_stored(bench)
    assert [pattern.name for pattern in bench.table.prefixes["+1"]] == ["first", "second"]
    assert (await bench.apply(await bench.remove("pattern", "first")))["version"] == moved["version"] + 1
    await runs_as_stored(bench)
    assert "+88211" not in bench.table.prefixes


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[int], list[tuple[int | None, int]]]:
    """Rows per entry of a table, and edits: (which entry or None for a new one, how many rows it gets)."""
    sizes = draw(st.lists(st.integers(1, 4), max_size=8))
    touched = draw(st.sets(st.sampled_from(range(len(sizes))))) if sizes else set()
    edits: list[tuple[int | None, int]] = [(which, draw(st.integers(0, 5))) for which in touched]
    edits += [(None, draw(st.integers(1, 3))) for _ in range(draw(st.integers(0, 2)))]
    return sizes, edits


@given(tables(), st.integers(1, 7))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_copied_and_changed_rows_keep_the_order_without_gaps(
    table: tuple[list[int], list[tuple[int | None, int]]], most: int
) -> None:
    """Positions of a new version: every row once, entries in their places, new ones behind; no transaction is long."""
    sizes, wanted = table
    at, start = {}, 0
    for which, size in enumerate(sizes):
        at[str(which)] = (start, start + size - 1)
        start += size
    old = [str(which) for which, size in enumerate(sizes) for _ in range(size)]
    edits = [Edit(None if which is None else str(which), [{"name": f"new{which}"}] * rows) for which, rows in wanted]
    made: dict[int, str] = {}
    written = list(portions(pieces(edits, at, len(old)), most))
    for portion in written:
        rows_in = sum(part.stop - part.start if isinstance(part, Copy) else len(part) for part in portion)
        assert 0 < rows_in <= most
        kinds = [isinstance(part, list) for part in portion]
        assert (True, True) not in set(pairwise(kinds)), "rows that follow each other go in with one statement"
    for piece in (part for portion in written for part in portion):
        rows = (
            {position + piece.shift: old[position] for position in range(piece.start, piece.stop)}
            if isinstance(piece, Copy)
            else {row["position"]: row["name"] for row in piece}
        )
        assert not rows.keys() & made.keys()
        made |= rows
    changed = {str(which): rows for which, rows in wanted if which is not None}
    expected = [
        name
        for which, size in enumerate(sizes)
        for name in [f"new{which}" if str(which) in changed else str(which)] * changed.get(str(which), size)
    ] + ["newNone" for which, rows in wanted if which is None for _ in range(rows)]
    assert [made[position] for position in sorted(made)] == expected
    assert sorted(made) == list(range(len(expected)))


async def test_a_change_of_what_is_not_there_writes_nothing(bench: Bench) -> None:
    with pytest.raises(StoreRefused, match="no such entry"):
        list(pieces([Edit("gone")], {}, 3))


@pytest.mark.stack
async def test_two_people_edit_one_sender(bench: Bench) -> None:
    """The second gets both versions and loses nothing; what the first did stays in force."""
    first, second = await bench.change("sender", "trunk", max_calls=7), await bench.change("sender", "trunk", max_calls=9)
    assert (await bench.apply(first, note="fewer calls"))["changed"]
    told = await bench.apply(second, actor=ADA)
    assert "changed by somebody else" in told["refused"]
    (conflict,) = told["conflicts"]
    assert (conflict["yours"]["max_calls"], conflict["theirs"]["max_calls"]) == (9, 7)
    assert bench.table.senders["trunk"].max_calls == 7
    again = await bench.apply(second.model_copy(update={"base": conflict["now"]}))
    assert again["version"] == bench.table.version
    assert bench.table.senders["trunk"].max_calls == 9


async def test_many_at_the_same_moment_make_one_version_each(bench: Bench) -> None:
    """Changes of different entries that come together all go into force; of one entry exactly one does."""
    titles = [await bench.change("sender", "trunk", title=f"title {n}") for n in range(5)]
    others = [await bench.change("sender", "phone", title="desk"), await bench.change("plan", "lab", title="all")]
    told = await asyncio.gather(*(bench.apply(one) for one in (*titles, *others)))
    assert sum("refused" not in one for one in told) == 3
    assert (bench.table.senders["phone"].title, bench.table.plans["lab"].title) == ("desk", "all")
    await runs_as_stored(bench)


@pytest.mark.stack
async def test_history_tells_who_changed_what_and_the_way_back_works(bench: Bench) -> None:
    """Somebody sees what was done last night and puts the version before in force."""
    before = bench.table.version
    told = await bench.apply(await bench.change("sender", "phone", digest={"user": "phone", "password": "new secret"}), note="night shift")
    row = (await bench.history())[0]
    assert (row.version, row.parent, row.actor, row.note, row.in_force) == (told["version"], before, ADA, "night shift", True)
    assert [change.key for change in row.changes] == [("sender", "phone")]
    assert "new secret" not in repr(row)
    stale = await bench.ask("config-activate", version=before, seen=before)
    assert "look at the history again" in stale["refused"]
    assert (await bench.ask("config-activate", version=before, seen=told["version"]))["changed"]
    await runs_as_stored(bench)
    assert bench.table.version == before
    assert "no version 99" in (await bench.ask("config-activate", version=99))["refused"]


async def test_rights_are_those_of_the_entrys_kind(bench: Bench) -> None:
    """NOC changes routing and no sender; an owner switches its own SIMs, and learns of no other."""
    await bench.apply(await bench.change("plan", "lab", sims=["894900000000000001"], owner="olga"))
    await bench.apply(await bench.change("sim", "894900000000000002", iccid="894900000000000002", plan="lab"))
    refused = await bench.apply(await bench.change("sender", "trunk", max_calls=1), actor=NILS)
    assert "no right to this" in refused["refused"]
    assert "refused" not in await bench.apply(await bench.change("pattern", "lab numbers", priority=3), actor=NILS)
    off = await bench.change("sim", "894900000000000001", enabled=False)
    assert "refused" not in await bench.apply(off, actor=OLGA)
    assert not bench.table.sims["894900000000000001"].enabled
    holder = await bench.apply(await bench.change("sim", "894900000000000001", holder="me"), actor=OLGA)
    assert "you may change" in holder["refused"]
    await bench.apply(await bench.change("plan", "lab", owner=""))
    other = await bench.apply(await bench.change("sim", "894900000000000001", enabled=True), actor=OLGA)
    unknown = await bench.apply(await bench.change("sim", "894900000000000009", enabled=True), actor=OLGA)
    assert other["refused"].replace("1 of", "9 of") == unknown["refused"]


@pytest.mark.parametrize(
    "args",
    [
        {}, {"changes": "all"}, {"changes": [{}]}, {"changes": [{"kind": "box", "name": "x"}]},
        {"changes": [{"kind": "sender", "name": "x" * 4000}]}, {"changes": [], "note": "x" * 4000}, {"changes": [], "note": 3},
    ],
)  # fmt: skip
async def test_nonsense_is_refused_with_a_sentence(bench: Bench, args: dict[str, Any]) -> None:
    """A program's mistake is told, and is no internal error."""
    version = bench.table.version
    told = await bench.ask("entry-apply", **args)
    assert len(told["refused"]) < 600
    assert bench.table.version == version
    assert "refused" in await bench.ask("config-activate", version="last")


async def test_impact_names_the_calls_that_would_go_elsewhere(bench: Bench) -> None:
    """Before a pattern goes live one sees whose calls it would refuse."""
    bench.fleet = a_fleet([a_channel(1)])
    bench.calls = tuple(
        Sample(sender=sender, called=called, calling="+88210777", started=NOW)
        for sender, called in (("trunk", "+88210000123"), ("phone", "+88210000124"), ("trunk", "+4930123456"))
    )
    stop = await bench.change("pattern", "no", name="no", prefixes=["+882100001"], senders=["trunk"], action="refuse")
    told = await bench.ask("config-check", changes=[stop.model_dump(mode="json")])
    assert told["ok"]
    impact = told["impact"]
    assert (impact["asked"], impact["moved"], impact["refused"], impact["senders"]) == (3, 1, 1, ["trunk"])
    assert impact["examples"][0]["before"]["plan"] == "lab"
    assert bench.table.version == (await bench.stored()).version
    wrong = await bench.ask("config-check", changes=[(await bench.change("sender", "trunk", country="XX")).model_dump(mode="json")])
    assert not wrong["ok"]
    assert wrong["impact"] is None


@pytest.mark.stack
async def test_a_file_never_undoes_what_people_changed(bench: Bench, tmp_path: Path) -> None:
    """The file's own news go on top of people's changes; what both have changed is refused and named."""
    text, path = GOOD, tmp_path / "example.toml"

    async def bring(new: str) -> int:
        await asyncio.to_thread(path.write_text, new, encoding="utf-8")
        return (await import_file(path, bench.store, bench.configuration, realm="simrack", put=bench.desk.put)).version

    await bench.apply(await bench.change("sender", "trunk", max_calls=7))
    version = await bring(text.replace("max_attempts = 4", "max_attempts = 2"))
    assert (bench.table.version, bench.table.limits.max_attempts, bench.table.senders["trunk"].max_calls) == (version, 2, 7)
    await runs_as_stored(bench)
    with pytest.raises(UserError, match="sender 'trunk'"):
        await bring(text.replace("max_attempts = 4", "max_attempts = 2").replace("max_calls = 100", "max_calls = 50"))
    assert bench.table.senders["trunk"].max_calls == 7
    await bring(text.replace("max_attempts = 4", "max_attempts = 3"))
    assert (bench.table.limits.max_attempts, bench.table.senders["trunk"].max_calls) == (3, 7)
    again = await bring(text.replace("max_attempts = 4", "max_attempts = 3"))
    assert (await bench.stored()).senders["trunk"].max_calls == 7
    assert again


async def test_the_first_version_may_come_from_a_page(store: Writer, configuration: Configuration) -> None:
    """A set-up page begins with the installation; nothing else may come before it."""
    bench = Bench(store, configuration, EMPTY)
    site = Change(kind="site", name="lab", body={"name": "lab", "country": "DE"})
    assert "installation" in (await bench.apply(site))["refused"]
    first = Change(kind="installation", name="installation", body={"class": "test-lab", "owner": "Lab", "country": "DE"})
    told = await bench.apply(first, site)
    assert told["version"] == bench.table.version
    await runs_as_stored(bench)
    assert "refused" not in await bench.apply(await bench.change("site", "lab", title="Lab"))
    await runs_as_stored(bench)


async def test_old_versions_are_thinned_and_the_one_in_force_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A year of changes must not fill the disk, nor take away what runs or what the next file is compared with."""
    monkeypatch.setattr(configs, "COPY_BATCH", 1)
    first = bench.table.version
    for number in range(5):
        await bench.apply(await bench.change("sender", "trunk", title=f"title {number}"))
    assert await bench.store.thin_config(2) == 3
    rows = {row.version: row.activated for row in await bench.history()}
    assert [version for version, whole in rows.items() if whole is not None] == [first + 5, first + 4, first]
    await runs_as_stored(bench)
    assert "no version" in (await bench.ask("config-activate", version=first + 1))["refused"]
    assert await asyncio.to_thread(bench.configuration.reader.everything, first + 1) == {}
