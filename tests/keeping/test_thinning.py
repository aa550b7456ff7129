"""Which copies are kept and which go."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from simrack.controller.keeping.thinning import Keep, made_at, name_of, superfluous

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)


def hourly(count: int) -> list[str]:
    return [name_of(NOW - timedelta(hours=hour)) for hour in range(count)]


def test_a_year_of_hourly_copies_leaves_as_many_as_asked() -> None:
    """Else the disk fills, or last month's copy is gone when it is needed."""
    names = set(hourly(24 * 400))
    keep = Keep(hours=24, days=7, weeks=5, months=12)
    left = sorted(names - set(superfluous(names, keep)), reverse=True)
    assert 40 <= len(left) <= 24 + 7 + 5 + 12 + 1
    oldest = made_at(left[-1])
    assert oldest is not None
    assert NOW - oldest > timedelta(days=320)


@given(st.lists(st.integers(0, 24 * 500), min_size=1, max_size=60, unique=True), st.integers(0, 4))
def test_the_newest_always_stays_and_thinning_again_removes_nothing(ages: list[int], count: int) -> None:
    """A rule that eats its own copies would leave none in the end."""
    names = {name_of(NOW - timedelta(hours=age)) for age in ages}
    keep = Keep(count, count, count, count)
    left = names - set(superfluous(names, keep))
    assert max(names) in left
    assert superfluous(left, keep) == ()


def test_other_files_are_nobodys() -> None:
    """A folder may hold more than our copies; nothing else is removed."""
    others = ["notes.txt", "simrack-2026.backup", "simrack-20261121T123000Z.backup.bad", "x-simrack-20261121T123000Z.backup"]
    assert superfluous([*others, *hourly(3)], Keep(0, 0, 0, 0)) == tuple(sorted(hourly(3))[:-1])
