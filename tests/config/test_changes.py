"""Changes against what is stored: taken, refused as a conflict, refused as a mistake; nothing of a password is shown."""

from dataclasses import replace
from typing import Any

from routing.fleets import a_file, a_table

from simrack.controller.config.changes import Change, resolve
from simrack.controller.config.kinds import Key, Kind, body_of, digest_of, name_of, shown
from simrack.controller.config.models import Entry, RoutingFile
from simrack.controller.config.secrets import hide
from simrack.controller.config.whole import Judged, judge
from simrack.controller.routing.table import RoutingTable

FILE = a_file()


def entries(file: RoutingFile = FILE) -> dict[Key, Entry]:
    """Every entry as it would be stored."""
    listed: dict[Kind, tuple[Entry, ...]] = {
        "site": file.site, "agreement": file.agreement, "plan": file.plan, "sim": file.sim, "pattern": file.pattern,
        "sender": tuple(hide(sender, "simrack") for sender in file.sender), "installation": (file.installation,),
        "limit": (file.limits,),
    }  # fmt: skip
    return {(kind, name_of(kind, entry)): entry for kind, some in listed.items() for entry in some}


def table() -> RoutingTable:
    here = a_table()
    patterns = {pattern.label: pattern for pattern in FILE.pattern}
    senders = {sender.name: hide(sender, "simrack") for sender in FILE.sender}
    return replace(here, patterns=patterns, senders=senders)


def changed(kind: Kind, name: str, /, base: str | None = None, **fields: Any) -> Change:
    """A change of one entry of the example as somebody sends it who saw it as it is, unless `base` says otherwise."""
    now = entries().get((kind, name))
    body = {**(shown(now) if now is not None else {}), **fields}
    return Change(kind=kind, name=name, body=body, base=digest_of(now) if base is None else base)


def judged(*changes: Change) -> Judged:
    known: dict[Key, Entry | None] = dict(entries())
    return judge(changes, known, table(), realm="simrack")


def test_a_change_is_told_field_by_field() -> None:
    """Whoever applies sees exactly what will be different."""
    done = judged(changed("sender", "trunk", max_calls=7))
    assert done.ok
    (told,) = done.differences
    assert (told.op, told.kind, told.name) == ("changed", "sender", "trunk")
    assert [(one.field, one.before, one.after) for one in told.fields] == [("max_calls", 100, 7)]
    assert done.table.senders["trunk"].max_calls == 7
    assert table().senders["trunk"].max_calls == 100


def test_an_entry_that_changed_since_is_a_conflict_with_both_versions() -> None:
    """Two people edit one sender: the second is shown both and loses nothing."""
    stale = changed("sender", "trunk", base="0" * 32, max_calls=7)
    done = judged(stale)
    assert not done.ok
    (conflict,) = done.conflicts
    assert conflict.yours is not None
    assert conflict.theirs is not None
    assert (conflict.yours["max_calls"], conflict.theirs["max_calls"]) == (7, 100)
    again = judged(stale.model_copy(update={"base": conflict.now}))
    assert again.ok


def test_an_entry_that_is_gone_or_was_made_meanwhile_is_a_conflict() -> None:
    """A form of a removed sender must not bring it back unseen, nor a new one replace a namesake."""
    gone = Change(kind="site", name="old", body={"name": "old", "country": "DE"}, base="1" * 32)
    (conflict,) = judged(gone).conflicts
    assert conflict.theirs is None
    (other,) = judged(changed("plan", "lab", base="", title="mine")).conflicts
    assert other.theirs is not None


def test_both_wanted_the_same_is_no_conflict_and_no_change() -> None:
    """Two people who press the same button are not told of a quarrel."""
    done = judged(changed("sender", "trunk", base="0" * 32))
    assert done.ok
    assert done.differences == ()


def test_passwords_are_kept_hashed_and_never_shown() -> None:
    """A form that does not repeat the password keeps it; a new one is said and not shown."""
    kept = judged(changed("sender", "phone", title="Desk phone"))
    assert kept.ok
    before, after = table().senders["phone"].digest, kept.table.senders["phone"].digest
    assert before == after
    new = judged(changed("sender", "phone", digest={"user": "phone", "password": "another one"}))
    assert new.ok
    assert new.table.senders["phone"].digest != before
    said = repr([new.differences, shown(new.table.senders["phone"])])
    assert "another one" not in said
    assert "ha1" not in said
    assert "'password': 'new'" in said


def test_another_user_needs_the_password_again() -> None:
    """A hash is bound to its user: kept for another one it would lock the sender out."""
    done = judged(changed("sender", "phone", digest={"user": "other"}))
    assert [(one.field, one.kind) for one in done.mistakes] == [("digest", "sender")]


def test_rules_between_entries_hold_and_name_the_field() -> None:
    """A target that does not exist is told at its field, before anything is written."""
    done = judged(changed("pattern", "lab numbers", targets=[{"plan": "lab"}, {"plan": "lap"}]))
    (mistake,) = done.mistakes
    assert (mistake.kind, mistake.name, mistake.field) == ("pattern", "lab numbers", "targets.1.plan")
    assert "Did you mean 'lab'?" in mistake.todo
    gone = judged(Change(kind="plan", name="lab", op="remove", base=digest_of(entries()["plan", "lab"])))
    assert [one.field for one in gone.mistakes] == ["targets.0.plan"]


def test_nonsense_is_told_by_field() -> None:
    """Each wrong field has its own sentence; nothing becomes an error page."""
    done = judged(changed("sender", "trunk", max_calls="many", title="x" * 4000, country="Nowhere", odd=1))
    fields = {one.field: one.what for one in done.mistakes}
    assert set(fields) == {"max_calls", "title", "country", "odd"}
    assert "200" in fields["title"]
    assert all(len(what) < 500 for what in fields.values())


def test_single_entries_stay_and_nothing_changes_twice() -> None:
    """There is always one installation, and one request has one wish for each entry."""
    removed = judged(Change(kind="installation", name="installation", op="remove"))
    assert not removed.ok
    twice = judged(changed("sender", "trunk", max_calls=1), changed("sender", "trunk", max_calls=2))
    assert "twice" in twice.mistakes[0].what


def test_a_renamed_pattern_keeps_its_place_and_a_taken_name_is_refused() -> None:
    """A better name must not move a pattern behind the others."""
    done = judged(changed("pattern", "lab numbers", name="all of the lab"))
    assert done.ok
    assert list(done.table.patterns) == ["all of the lab"]
    assert done.table.prefixes["+88210"][0].name == "all of the lab"
    taken = judged(changed("sender", "phone", name="trunk"))
    assert "already" in taken.mistakes[0].what


def test_cards_of_a_plans_list_follow_it() -> None:
    """A card that is taken from its plan's list belongs to no plan any more; one with a line of its own stays."""
    card, other = "8949000000000000001", "8949000000000000002"
    listed = judged(changed("plan", "lab", sims=[card, other]), changed("sim", other, iccid=other, plan="lab", title="mine"))
    assert listed.ok
    assert set(listed.table.sims) == {card, other}
    known: dict[Key, Entry | None] = {("plan", "lab"): listed.table.plans["lab"]}
    body = {**body_of(listed.table.plans["lab"]), "sims": []}
    undo = Change(kind="plan", name="lab", body=body, base=digest_of(listed.table.plans["lab"]))
    done = judge([undo], known, listed.table, realm="simrack")
    assert done.ok
    assert set(done.table.sims) == {other}


def test_an_option_outside_its_range_is_refused() -> None:
    """A rate of zero would close the rack for everybody."""
    done = judged(changed("setting", "calls.per_second", name="calls.per_second", value=0))
    assert "1 to 10,000" in done.mistakes[0].what
    good = judged(changed("setting", "calls.per_second", name="calls.per_second", value=50.0))
    assert good.table.options.number("calls.per_second") == 50
    unknown = judged(changed("setting", "calls.odd", name="calls.odd", value=1))
    assert "no option" in unknown.mistakes[0].what


def test_without_a_realm_nothing_is_hashed() -> None:
    """A page may look at a change without knowing the controller's realm."""
    done = resolve([changed("sender", "phone", digest={"user": "phone", "password": "new one"})], dict(entries()), None)
    assert not done.mistakes
