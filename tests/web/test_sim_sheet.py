"""Sheets of SIMs as people have them: read, judged line by line, and written so that reading them changes nothing."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web_demo import demo_file

from simrack.controller.config.models import Agreement, Installation, Plan, Sim
from simrack.controller.models import Own
from simrack.controller.routing.table import RoutingTable
from simrack.web import sim_sheet
from simrack.web.sim_sheet import Against, BadSheet, Outcome, check_digit

SCRIPT = "<script>alert(1)</script>"
FIRST, SECOND = "8943000000000000011", "8943000000000000012"


def table(*sims: Sim) -> RoutingTable:
    agreement = Agreement.model_validate({
        "name": "a", "operator": "Test Mobil", "reference": "1", "uses": ["test"], "sites": ["s"], "lab": True,
        "valid_from": "2026-01-01", "valid_until": "2027-01-01",
    })  # fmt: skip
    plans = [
        Plan(name="nova", title="Nova 500", agreement="a", country="001", imsi_prefixes=("00101",)),
        Plan(name="orbit", title="Orbit", agreement="a", country="001", imsi_prefixes=("00102",), owner="olga"),
        Plan(name="listed", agreement="a", country="001", sims=("8943000000000000099",)),
    ]
    return RoutingTable(
        version=1, installation=Installation.model_validate({"class": "test-lab", "owner": "x", "country": "001"}),
        sites={site.name: site for site in demo_file().site}, agreements={"a": agreement}, plans={plan.name: plan for plan in plans},
        sims={sim.iccid: sim for sim in sims}, senders={}, prefixes={},
    )  # fmt: skip


def judged(text: str, *sims: Sim, plan: str = "nova", own: Own | None = None) -> Outcome:
    return sim_sheet.outcome(sim_sheet.read(text.encode()), Against(table(*sims), plan, own=own or Own()))


def test_a_bad_line_among_fifty_thousand_is_told_by_its_line() -> None:
    """Whoever sends a long file would wait, or would look for one bad line by hand."""
    rows = [f"89431{number:014d};nova;Acme Ltd" for number in range(50_000)]
    rows[31_417] = "89431x;nova;Acme Ltd"
    data = "\r\n".join(["ICCID;Plan;Holder", *rows]).encode()
    begun = time.process_time()
    found = sim_sheet.outcome(sim_sheet.read(data), Against(table()))
    assert (found.new, found.changed, found.unchanged) == (49_999, 0, 0)
    [wrong] = found.wrong
    assert (wrong.line, wrong.column) == (31_419, "iccid")
    assert len(found.changes) == 49_999
    # Of the processor, because others use it too: 3 s here, and nothing grows with the square of the lines.
    assert time.process_time() - begun < 10


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("iccid\n1".encode("utf-16"), "UTF-16"), ("iccid,holder\n1,x".encode("utf-16-le"), "UTF-16"), (b"", "empty"),
        (b"PK\x03\x04rest", "a workbook"), ("iccid\n\n8943,Zoë".encode("latin-1"), "line 3 is not written in UTF-8"),
        (b"holder\nx", "no column iccid"), (b"iccid,ICC ID\n1,2", "stands twice"), (b'iccid,note\n1,"open\n2,b', "line 2 can't be read"),
        (b"8943000000000000011,nova\n", "no column iccid"), (b"iccid\n" + b"1\n" * 50_001, "more than 50,000 lines"),
        (b"x" * (16 * 2**20 + 1), "larger than 16 MB"),
    ],
    ids=["utf-16", "utf-16 without mark", "empty", "workbook", "latin-1", "no iccid", "twice", "open quote", "no header", "long", "large"],
)  # fmt: skip
def test_a_file_that_cannot_be_read_says_why(data: bytes, what: str) -> None:
    """Somebody would be told "invalid file" by a program that knows better."""
    with pytest.raises(BadSheet) as told:
        sim_sheet.read(data)
    assert what in told.value.what
    assert told.value.todo


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeffICCID,Plan,Registered to\n{FIRST},nova,Acme\n", f"iccid;plan;HOLDER\r\n{FIRST};Nova 500;Acme\r\n",
        "holder\tPLAN\tIccid\n\nAcme\tnova\t8943 0000 0000 0000 011\n\n", f"sep=;\niccid;holder\n{FIRST}F;Acme\n",
        f'"iccid","plan","holder"\r"{FIRST}","NOVA","Acme"\r',
    ],
    ids=["mark and commas", "semicolons", "tabs and spaces", "excel's mark", "old line ends"],
)  # fmt: skip
def test_a_sheet_is_read_as_programs_write_it(text: str) -> None:
    """A file out of somebody's spreadsheet would have to be rewritten by hand."""
    found = judged(text)
    assert not found.wrong
    assert found.after[FIRST] == Sim(iccid=FIRST, plan="nova", holder="Acme")


@pytest.mark.parametrize(
    ("line", "column", "what"),
    [
        (",nova,,yes,0", "iccid", "is empty"), ("8.943E+18,nova,,yes,0", "iccid", "rounded by a spreadsheet"),
        (f"{SCRIPT},nova,,yes,0", "iccid", "is no ICCID"), ("٨٩٤٣٠٠٠٠٠٠٠٠٠٠٠٠٠٠١,nova,,yes,0", "iccid", "is no ICCID"),
        (f"{SECOND},gone,,yes,0", "plan", "there is no plan “gone”"), (f"{SECOND},nova,{'x' * 4000},yes,0", "note", "4,000 characters"),
        (f'{SECOND},nova,"a\nb",yes,0', "note", "line break"), (f"{SECOND},nova,,maybe,0", "enabled", "neither yes nor no"),
        (f"{SECOND},nova,,yes,5000", "priority", "no priority"), (f"{SECOND},nova,,yes,²", "priority", "no priority"),
        (f"{SECOND},nova,,yes", "", "has 4 cells"), (f"{FIRST},nova,,no,1", "iccid", "stands in line 2 already"),
        ("8943000000000000099,nova,,yes,0", "plan", "stands in the list of plan listed"),
    ],
)  # fmt: skip
def test_a_bad_line_is_told_and_the_others_stand(line: str, column: str, what: str) -> None:
    """A mistake would go live, or would take the good lines with it."""
    found = judged(f"iccid,plan,note,enabled,priority\n{FIRST},nova,a,yes,0\n{line}\n")
    [wrong] = found.wrong
    assert (wrong.line, wrong.column) == (3, column)
    assert what in wrong.what
    assert list(found.after) == [FIRST]


def test_a_missing_column_leaves_and_an_empty_cell_takes_away() -> None:
    """A list of notes would wipe out plans, or an old note could not be removed."""
    known = Sim(iccid=FIRST, plan="orbit", note="old", holder="Acme", enabled=False, priority=3)
    found = judged(f"iccid,note\n{FIRST},\n", known)
    assert found.after == {FIRST: known.model_copy(update={"note": ""})}
    assert (found.new, found.changed) == (0, 1)
    [change] = found.changes
    assert change.base, "it is bound to what was seen"


def test_a_card_is_the_same_with_and_without_its_check_digit() -> None:
    """A supplier's list would make second cards of those that are there."""
    short, whole = FIRST[:18], FIRST[:18] + check_digit(FIRST[:18])
    assert check_digit("7992739871") == "3"
    assert list(judged(f"iccid,note\n{whole},x\n", Sim(iccid=short, plan="nova")).after) == [short]
    assert list(judged(f"iccid,note\n{short},x\n", Sim(iccid=whole, plan="nova")).after) == [whole]
    other = short + str((int(whole[-1]) + 1) % 10)
    assert list(judged(f"iccid,note\n{other},x\n", Sim(iccid=short, plan="nova")).after) == [other]


def test_an_owner_changes_own_cards_and_of_them_what_is_theirs() -> None:
    """An owner could find out about others' cards, or move one into another plan."""
    mine, theirs = Sim(iccid=FIRST, plan="orbit"), Sim(iccid=SECOND, plan="nova")
    own = Own(senders=None, plans=frozenset({"orbit"}))
    found = judged(f"iccid,note\n{FIRST},mine\n{SECOND},theirs\n8943000000000000013,nobody's\n", mine, theirs, own=own)
    assert list(found.after) == [FIRST]
    assert [one.what.partition(" SIM")[0] for one in found.wrong] == ["there is no"] * 2
    moved = judged(f"iccid,priority\n{FIRST},7\n", mine, own=own)
    assert [one.column for one in moved.wrong] == ["priority"]
    assert [one.column for one in judged(f"iccid,plan\n{FIRST},nova\n", mine, own=own).wrong] == ["plan"]


def test_rules_between_cards_and_plans_are_asked_before() -> None:
    """A sheet would be reviewed, and then refused by the controller."""
    bare = table(Sim(iccid=FIRST, plan="bare"))
    lonely = Plan(name="bare", agreement="a", country="001")
    whole = RoutingTable(
        version=1, installation=bare.installation, sites=bare.sites, agreements=bare.agreements, plans={**bare.plans, "bare": lonely},
        sims=bare.sims, senders={}, prefixes={},
    )  # fmt: skip
    found = sim_sheet.outcome(sim_sheet.read(f"iccid,plan\n{FIRST},nova\n".encode()), Against(whole))
    assert [one.what for one in found.mistakes] == ["plan 'bare' has no cards"]


WORDS = st.text(st.characters(codec="utf-8", min_codepoint=32, exclude_characters="\x7f"), max_size=20)
HARD = st.sampled_from(["=cmd|' /C calc'!A0", "+1+1", "@SUM(1)", "'=x", "''=x", "'", "-2", "+43 1 000", '"quoted"', "a;b,c", SCRIPT])


@given(st.lists(st.tuples(WORDS | HARD, WORDS | HARD, WORDS | HARD, st.booleans(), st.integers(-1000, 1000)), max_size=6))
def test_a_sheet_that_was_written_changes_nothing(rows: list[tuple[str, str, str, bool, int]]) -> None:
    """Out and in again would change cards, or a spreadsheet would run what somebody wrote into a note."""
    sims = [
        Sim(iccid=f"894300000000000{place:04d}", plan="nova", title=title, holder=holder, note=note, enabled=on, priority=priority)
        for place, (title, holder, note, on, priority) in enumerate(rows)
    ]
    text = "".join(sim_sheet.lines(sims))
    found = judged(text, *sims, plan="")
    assert (found.unchanged, found.after, found.wrong) == (len(sims), {}, ())
    for cell in (cell for line in sim_sheet.read(text.encode()).lines for cell in line.cells.values()):
        assert not sim_sheet.bound(cell).startswith(("=", "@"))
