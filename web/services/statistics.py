"""Statistics as pages, API and command line show them: period, grouping, figures, last week, charts (pure but `count`)."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import phonenumbers

from simrack.controller.figures import Counts, Peak, Statistics
from simrack.controller.models import Names, Own, RecordFilter
from simrack.controller.store.statistics import SEPARATOR, TIMES, Question, regrouped
from simrack.web.masks import Mask
from simrack.web.services import records
from simrack.web.text import DASH, Times, clock_text, number_text, seconds_text
from simrack.wire import causes

WEEK = timedelta(days=7)
#: Groupings in the order of the form. Of a number only who sees them whole may ask.
GROUPINGS: Mapping[str, str] = {
    "sender": "Sender", "plan": "Plan", "owner": "Owner of the plan", "operator": "Operator", "iccid": "SIM", "box": "Box",
    "channel": "Channel", "pattern": "Pattern", "prefix": "First five digits", "country": "Country", "direction": "Way",
    "outcome": "Outcome", "cause": "Cause", "side": "Ended by", "refusal": "Reason of a refusal", "codec": "Codec",
    "ingress": "Sender's address", "calling": "Caller", "called": "Called number", "pair": "Caller and called",
    "minute": "Minute", "hour": "Hour", "day": "Day", "week": "Week", "month": "Month",
    "hour of day": "Hour of the day", "weekday": "Day of the week",
}  # fmt: skip
NUMBERS = frozenset({"calling", "called", "pair"})
_BEHIND = {"owner": "plan", "operator": "plan", "channel": "box", "ingress": "sender"}
PERIODS: Mapping[str, str] = {
    "hour": "last hour", "today": "today", "yesterday": "yesterday", "7d": "last 7 days", "30d": "last 30 days",
}  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LEAST_S, LEAST_MOST = 10, 3600
# Longer spans are read at night, by export of records; a page that is waited for reads a year at most.
SPAN_MOST = timedelta(days=366)
MINUTES_MOST = timedelta(hours=6)
PER_PAGE = 100
SORTS = ("group", "calls", "minutes", "asr", "asr_b", "ner", "acd_s", "pdd_ms", "busy_ms")


class Reads(Protocol):
    """What is asked of the database (controller.store.statistics)."""

    def groups(self, asked: Question, own: Own = ...) -> Statistics: ...
    def times(self, asked: Question, own: Own = ..., *, minutes: bool = False) -> dict[datetime, Counts]: ...
    def both(
        self, asked: Question, own: Own = ..., *, minutes: bool = False
    ) -> tuple[Statistics, dict[datetime, Counts]]: ...
    def peaks(self, wanted: RecordFilter, own: Own = ...) -> Peak | None: ...
    def causes(self, wanted: RecordFilter, own: Own = ...) -> list[tuple[str, str, int, int, int]]: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asked for, as far as they may; `wrong` says by field what was not understood."""

    wanted: RecordFilter
    by: str = "sender"
    period: str = "today"
    least_s: int = LEAST_S
    week: bool = True
    sort: str = "-calls"
    page: int = 1
    wrong: dict[str, str] = field(default_factory=dict)

    @property
    def since(self) -> datetime:
        assert self.wanted.since is not None
        return self.wanted.since

    @property
    def until(self) -> datetime:
        assert self.wanted.until is not None
        return self.wanted.until

    @property
    def seconds(self) -> float:
        return (self.until - self.since).total_seconds()

    @property
    def question(self) -> Question:
        return Question(self.wanted, self.by, self.least_s)

    @property
    def week_ago(self) -> "Asked":
        return replace(self, wanted=replace(self.wanted, since=self.since - WEEK, until=self.until - WEEK))


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table: its name, what it counts, what it counted a week ago, the filter that finds its calls."""

    key: str
    name: str
    now: Counts
    before: Counts | None
    found_by: dict[str, str]


@dataclass(frozen=True, slots=True)
class Series:
    """One chart: moments in s since 1970, this period and the same a week ago (None: nothing to say)."""

    title: str
    unit: str
    moments: tuple[int, ...]
    now: tuple[float | None, ...]
    before: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a page or a file prints."""

    asked: Asked
    lines: tuple[Line, ...]
    total: Counts
    before: Counts | None
    cut: bool
    peak: Peak | None
    charts: tuple[Series, ...]


def offered(mask: Mask) -> dict[str, str]:
    """The groupings that this session may ask for."""
    return {
        by: title for by, title in GROUPINGS.items()
        if not records.kept_from(mask, by) and not records.kept_from(mask, _BEHIND.get(by, by)) and (mask.whole or by not in NUMBERS)
    }  # fmt: skip


def read(given: Mapping[str, str], times: Times, mask: Mask, now: datetime) -> Asked:
    """What an address asks for."""
    search = records.read({**given, "sort": "", "after": "", "per_page": ""}, times, mask)
    wrong, allowed = search.wrong, offered(mask)
    by = given.get("by", "") or next(iter(allowed))
    if by not in allowed:
        wrong["by"], by = "Choose one of the groupings.", next(iter(allowed))
    period, since, until = _period(given, search.wanted, times, now, wrong)
    if by == "minute" and until - since > MINUTES_MOST:
        wrong["by"], by = "Minutes are shown for six hours at most; these are hours.", "hour"
    least = given.get("least_s", "").strip()
    if least and not (least.isascii() and least.isdecimal() and 1 <= int(least[:9]) <= LEAST_MOST):
        wrong["least_s"], least = f"A number from 1 to {LEAST_MOST}.", ""
    sort = given.get("sort", "")
    page = given.get("page", "1")
    return Asked(
        replace(search.wanted, since=since, until=until, text=""), by, period, int(least or LEAST_S),
        given.get("week", "1") != "0", sort if sort.removeprefix("-") in SORTS else "group" if by in TIMES else "-calls",
        int(page[:6]) if page.isascii() and page.isdecimal() else 1, wrong,
    )  # fmt: skip


def _period(
    given: Mapping[str, str], wanted: RecordFilter, times: Times, now: datetime, wrong: dict[str, str]
) -> tuple[str, datetime, datetime]:
    """The named period, or the one between two moments of the form."""
    asked = given.get("period", "")
    if wanted.since is not None or wanted.until is not None:
        until = wanted.until or now
        since = wanted.since or until - timedelta(days=1)
        if since >= until:
            wrong["until"] = "The end lies before the beginning."
        elif until - since > SPAN_MOST:
            wrong["since"] = "At most a year at a time."
        else:
            return "", since, until
    elif asked and asked not in PERIODS:
        wrong["period"] = f"Choose one of {', '.join(PERIODS.values())}."
    name = asked if asked in PERIODS else "today"
    return name, *_named(name, times, now)


def _named(name: str, times: Times, now: datetime) -> tuple[datetime, datetime]:
    local = now.astimezone(times.zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    since, until = {
        "hour": (now - timedelta(hours=1), now),
        "today": (midnight, now),
        # Wall clock arithmetic: a day of 23 or 25 hours begins at its own midnight.
        "yesterday": (midnight - timedelta(days=1), midnight),
        "7d": (midnight - timedelta(days=6), now),
        "30d": (midnight - timedelta(days=29), now),
    }[name]
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    # At the stroke of midnight today is empty, and a period must not be.
    return since, max(until, since + timedelta(seconds=1))


# --- counting ---------------------------------------------------------------------------------------------------


def count(reads: Reads, asked: Asked, own: Own, names: Names, times: Times, *, charts: bool = True) -> View:
    """Everything of one page. Raises `StoreDown`."""
    ago = asked.week_ago
    # Beside one another: a database has more cores than one, and somebody waits for the page.
    with ThreadPoolExecutor(2, "statistics") as beside:
        then = beside.submit(_counted, reads, ago, own, names, times, charts) if asked.week else None
        most = beside.submit(reads.peaks, asked.wanted, own) if charts else None
        now, along = _counted(reads, asked, own, names, times, charts)
        before, along_ago = then.result() if then is not None else (None, {})
        peak = most.result() if most is not None else None
    lines = _lines(asked, now, before, names)
    drawn = tuple(_charts(asked, along, along_ago, peak, times)) if charts else ()
    return View(
        asked, tuple(_sorted(lines, asked)), now.total, before.total if before else None, now.cut, peak, drawn
    )


def _whole_hours(times: Times) -> bool:
    """Whether this zone's hours begin with those of UTC."""
    offset = datetime(2026, 1, 1, tzinfo=times.zone).utcoffset()
    return offset is not None and offset.total_seconds() % 3600 == 0


def _counted(
    reads: Reads, asked: Asked, own: Own, names: Names, times: Times, charts: bool
) -> tuple[Statistics, Mapping[datetime, Counts]]:
    """The groups of a period, and its counts along time where a chart or the groups themselves need them."""
    minutes = asked.by == "minute" or asked.seconds <= 3 * 3600 or not _whole_hours(times)
    if asked.by in TIMES:
        along = reads.times(asked.question, own, minutes=minutes)
        found = regrouped({at.isoformat(): counts for at, counts in along.items()}, lambda key: _bucket(datetime.fromisoformat(key), asked.by, times))
        return Statistics(found, Counts.sum(found.values())), along
    counted, along = reads.both(asked.question, own, minutes=minutes) if charts else (reads.groups(asked.question, own), {})
    put = _together(asked.by, names)
    return replace(counted, groups=regrouped(counted.groups, put)) if put is not None else counted, along


def _together(by: str, names: Names) -> Callable[[str], str] | None:
    """How finer groups of the database become those that were asked for."""
    if by == "country":
        return country_code
    if by == "owner":
        return lambda plan: names.plan_owners.get(plan, "")
    if by == "operator":
        return lambda plan: names.plan_operators.get(plan, "")
    if by == "ingress":
        return lambda address: address.rpartition(":")[0] or address
    return None


def country_code(digits: str) -> str:
    """The country calling code that a number in E.164 begins with; "" for another kind of number."""
    if not digits.startswith("+"):
        return ""
    found = (digits[1 : 1 + length] for length in (1, 2, 3))
    return next((code for code in found if code.isdecimal() and int(code) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE), "")


def _bucket(moment: datetime, by: str, times: Times) -> str:
    """The group of a moment, in the zone of the pages; it sorts as text."""
    local = moment.astimezone(times.zone)
    if by == "week":
        local -= timedelta(days=local.weekday())
    if by == "weekday":
        return str(local.weekday())
    form = {"minute": "%Y-%m-%d %H:%M", "hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m", "hour of day": "%H:00"}
    return local.strftime(form[by])


def _lines(asked: Asked, now: Statistics, before: Statistics | None, names: Names) -> Iterator[Line]:
    for key, counts in now.groups.items():
        ago = before.groups.get(_week_before(key, asked.by)) if before is not None else None
        if before is not None and ago is None and not before.cut:
            ago = Counts()
        yield Line(key, name_of(asked.by, key, names), counts, ago, found_by(asked.by, key))


def _week_before(key: str, by: str) -> str:
    forms = {"minute": "%Y-%m-%d %H:%M", "hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "week": "%Y-%m-%d"}
    if by not in forms:
        return key
    return (datetime.strptime(key, forms[by]).replace(tzinfo=UTC) - WEEK).strftime(forms[by])


def name_of(by: str, key: str, names: Names) -> str:
    """A group in words."""
    known = {"sender": names.senders, "plan": names.plans}.get(by)
    if known is not None:
        return known.get(key, key) or "none"
    if by == "cause":
        return f"{key} {causes.name(int(key))}" if key not in ("", "0") else "none"
    if by == "country":
        return _country_name(key)
    if by == "weekday":
        return WEEKDAYS[int(key)]
    if by in NUMBERS or by == "channel":
        parts = key.split(SEPARATOR)
        return (" / " if by == "channel" else " → ").join(map(number_text, parts)) if parts[0] else "none"
    return {"out": "out to the network", "in": "in from the network", "calling": "calling side", "called": "called side", "rack": "this rack"}.get(key, key) or "none"


def _country_name(code: str) -> str:
    if not code:
        return "no country code"
    regions = [region for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(code)] if region != "001"]
    where = ", ".join(regions[:3]) + (" …" if len(regions) > 3 else "") if regions else "international network"
    return f"+{code} {where}"


def found_by(by: str, key: str) -> dict[str, str]:
    """The filter of the Records page that lists a group's calls; empty where there is none."""
    if by == "channel" and SEPARATOR in key:
        box, channel = key.split(SEPARATOR)
        return {"box": box, "channel": channel} if box else {}
    if by in ("calling", "called"):
        return {"text": key}
    if by in ("sender", "plan", "iccid", "box", "pattern", "direction", "outcome", "cause", "side", "refusal") and key not in ("", "0"):
        return {by: key}
    return {}


def _sorted(lines: Iterator[Line], asked: Asked) -> list[Line]:
    name, down = asked.sort.removeprefix("-"), asked.sort.startswith("-")
    if name == "group":
        return sorted(lines, key=lambda line: line.key if asked.by in TIMES else line.name.casefold(), reverse=down)

    def value(line: Line) -> tuple[bool, float]:
        figure: Any = getattr(line.now, name)
        return (figure is not None) == down, figure or 0.0

    return sorted(lines, key=value, reverse=down)


# --- charts -----------------------------------------------------------------------------------------------------


def _charts(
    asked: Asked, along: Mapping[datetime, Counts], ago: Mapping[datetime, Counts], peak: Peak | None, times: Times
) -> Iterator[Series]:
    step = _step(asked)
    moments = _moments(asked, step)
    now, before = _steps(along, step), _steps({moment + WEEK: counts for moment, counts in ago.items()}, step)
    seconds = tuple(int(moment.timestamp()) for moment in moments)

    def series(title: str, unit: str, figure: Callable[[Counts], float | None], empty: float | None = None) -> Series:
        def values(counted: Mapping[datetime, Counts]) -> tuple[float | None, ...]:
            return tuple(figure(counted[moment]) if moment in counted else empty for moment in moments)

        return Series(title, unit, seconds, values(now), values(before) if asked.week else ())

    yield series("Calls", "", lambda counts: counts.calls, 0)
    yield series("Answered (ASR)", "%", lambda counts: _percent(counts.asr))
    yield series("Talk per answered call (ACD)", "s", lambda counts: counts.acd_s)
    if peak is not None and step >= timedelta(hours=1):
        most = {moment: max((peak.hours[hour] for hour in peak.hours if moment <= hour < moment + step), default=None) for moment in moments}
        yield Series("Most calls at once", "", seconds, tuple(most[moment] for moment in moments), ())
    else:
        yield series("Calls at once, mean", "", lambda counts: counts.at_once(step.total_seconds()), 0)


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio * 100, 1)


def _step(asked: Asked) -> timedelta:
    """The width of a chart's point: some dozens of them."""
    hours = asked.seconds / 3600
    if hours <= 3:
        return timedelta(minutes=5)
    return timedelta(hours=1 if hours <= 24 * 4 else 6 if hours <= 24 * 14 else 24)


def _moments(asked: Asked, step: timedelta) -> list[datetime]:
    first, moments = _floor(asked.since, step), []
    while first < asked.until:
        moments.append(first)
        first += step
    return moments


def _floor(moment: datetime, step: timedelta) -> datetime:
    seconds = step.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def _steps(along: Mapping[datetime, Counts], step: timedelta) -> dict[datetime, Counts]:
    found: dict[datetime, Counts] = {}
    for moment, counts in along.items():
        at = _floor(moment, step)
        found[at] = counts if at not in found else found[at] + counts
    return found


# --- words ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figure:
    """One column of figures: its words, what they mean, whether more is better (1), worse (-1) or neither."""

    id: str
    title: str
    meaning: str
    text: Callable[[Counts, float], str]
    value: Callable[[Counts], float | None]
    better: int = 0


def _ratio(value: float | None) -> str:
    return DASH if value is None else f"{value * 100:.1f} %"


FIGURES: tuple[Figure, ...] = (
    Figure("calls", "Calls", "Records of the period by their start: answered, failed, refused, cancelled.",
           lambda c, _: f"{c.calls:,}", lambda c: c.calls),
    Figure("minutes", "Minutes", "Talk time at the network, as the boxes measured it.",
           lambda c, _: f"{c.minutes:,.1f}", lambda c: c.minutes),
    Figure("asr", "ASR", "Answer-seizure ratio (ITU-T E.425): answered calls of all that seized a channel. A refused call seized none.",
           lambda c, _: _ratio(c.asr), lambda c: c.asr, 1),
    Figure("asr_b", "ASR-B", "As ASR, of calls that were answered for so many seconds at least: short answers are often machines or misdialled numbers.",
           lambda c, _: _ratio(c.asr_b), lambda c: c.asr_b, 1),
    Figure("ner", "NER", "Network effectiveness ratio (ITU-T E.425): what the network brought to the called user's end, whatever he did. Answered, busy (17), no answer (18, 19), cancelled while ringing, absent or off (20, 27), rejected (21); of all that seized a channel.",
           lambda c, _: _ratio(c.ner), lambda c: c.ner, 1),
    Figure("acd_s", "ACD", "Average call duration: talk at the network of answered calls.",
           lambda c, _: clock_text(c.acd_s), lambda c: c.acd_s, 1),
    Figure("pdd_ms", "PDD", "Post-dial delay: mean time from the call's arrival to ringing, of calls that came to it.",
           lambda c, _: seconds_text(c.pdd_ms), lambda c: c.pdd_ms, -1),
    Figure("busy_ms", "At once", "Calls at the same time on average over the period (erlang), from start to end of each.",
           lambda c, s: DASH if c.at_once(s) is None else f"{c.at_once(s):.2f}", lambda c: c.busy_ms),
)  # fmt: skip


def csv_rows(view: View) -> Iterator[list[str]]:
    """Heading and rows as a file holds them: the words of the page, and those of a week ago."""
    title = GROUPINGS[view.asked.by]
    yield [title, *(f.title for f in FIGURES), *(f"{f.title}, week ago" for f in FIGURES if view.asked.week)]
    width, total = seconds_of(view.asked), Line("", "Total", view.total, view.before, {})
    for line, seconds in (*((line, width) for line in view.lines), (total, view.asked.seconds)):
        ago = [f.text(line.before, seconds) if line.before is not None else "" for f in FIGURES] if view.asked.week else []
        yield [line.name, *(f.text(line.now, seconds) for f in FIGURES), *ago]


_WIDTHS = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0, "week": 7 * 86_400.0}


def seconds_of(asked: Asked) -> float:
    """The time that one row covers, in s: a row of hours an hour, any other the whole period."""
    return _WIDTHS.get(asked.by, asked.seconds)


def change(figure: Figure, now: Counts, before: Counts | None) -> tuple[str, str]:
    """How a figure moved in a week, as (tone, words): percent of counts, points of ratios."""
    then = figure.value(before) if before is not None else None
    value = figure.value(now)
    if value is None or then is None or value == then:
        return "", ""
    if figure.id in ("asr", "asr_b", "ner"):
        if not round((value - then) * 100, 1):
            return "", ""
        words = f"{(value - then) * 100:+.1f} pt"
    elif not then:
        return "", "new"
    elif not round((value - then) / then * 100):
        return "", ""
    else:
        words = f"{(value - then) / then * 100:+.0f} %"
    tone = "" if not figure.better else "good" if (value > then) == (figure.better > 0) else "bad"
    return tone, words
