"""The signalling ladder of one call as a drawing: arrows with their times, and what fills the gaps (pure).

The controller's ladder knows SIP and the box's part; the module's own lines come from the attempts' AT logs
and are merged by time. Where the ladder has no word of the network, it is told from what the module reported.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from simrack.controller.models import Actor, AttemptRow, LadderLine, Story
from simrack.web.text import clock_text, offset_text
from simrack.wire.messages import AtLine

ACTORS: tuple[Actor, ...] = ("sender", "controller", "box", "module", "network")
# Of all AT lines these tell the call's course; the rest stands in the AT log.
_TELLING = re.compile(
    r"(?i)^(ATD|ATA\b|ATH|AT\+CHUP|AT\+QHUP|AT\+VTS|\+QIND: ?\"ccinfo\"|\^DSCI|\+CLCC|NO CARRIER|BUSY|NO ANSWER"
    r"|NO DIALTONE|CONNECT|RING|\+CRING|\+CLIP|\+CEER|\+CME ERROR|ERROR|VOICE CALL|\^CONN|\^CEND|\^ORIG|\^CONF)"
)
_CCINFO = re.compile(r'^\+QIND: ?"ccinfo",\d+,(\d),(-?\d)')
_CLCC = re.compile(r"^\+CLCC: ?\d+,(\d),(\d),0,")
_DSCI = re.compile(r"^\^DSCI: ?\d+,(\d),(\d)")
# CLCC numbers; DSCI counts otherwise (at-dialects: 3 connect, 7 alerting, 6 end).
_CLCC_WORDS = {0: "CONNECT", 2: "SETUP", 3: "ALERTING", 4: "SETUP", -1: "RELEASE"}
_DSCI_WORDS = {3: "CONNECT", 2: "SETUP", 7: "ALERTING", 4: "SETUP", 6: "RELEASE"}
_DSCI_TO_CLCC = {1: 1, 2: 2, 3: 0, 4: 4, 5: 5, 6: -1, 7: 3}
# Two reports of one thing lie this near; the ladder's own is kept.
SAME_MS = 60
# A silence longer than this gets a row of its own, so that the eye sees where the time went.
GAP_MS = 1000
# The drawing's own units.
TOP, ROW, GAP_ROW, LEFT, STEP, WIDTH = 54, 25, 26, 74, 146, 756


# What fits between two columns.
LABEL_MOST = 27


@dataclass(frozen=True, slots=True)
class Arrow:
    """One arrow with its place."""

    y: int
    x1: int
    x2: int
    label: str
    time: str
    tone: str  # "", "good", "end"
    right: bool
    told: bool  # told by the module's report, not seen on a wire of ours

    @property
    def words(self) -> str:
        """The label as it fits; the whole is on hover."""
        whole = self.label if len(self.label) <= LABEL_MOST else self.label.partition(" (")[0]
        return whole if len(whole) <= LABEL_MOST else whole[: LABEL_MOST - 1] + "…"

    @property
    def middle(self) -> int:
        return (self.x1 + self.x2) // 2

    @property
    def end(self) -> int:
        return self.x2 - 7 if self.right else self.x2 + 7

    @property
    def head(self) -> str:
        step = -8 if self.right else 8
        return f"M{self.x2} {self.y} l{step} -4 v8z"


@dataclass(frozen=True, slots=True)
class Gap:
    """Time in which nothing was said."""

    y: int
    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """Everything the template needs."""

    arrows: tuple[Arrow, ...]
    gaps: tuple[Gap, ...]
    columns: tuple[int, ...]
    height: int
    width: int = WIDTH


def merged(story: Story) -> tuple[LadderLine, ...]:
    """The ladder with the modules' lines in it, in order of time."""
    lines = list(story.ladder)
    for attempt in story.attempts:
        offset = _offset(story, attempt)
        known = [line for line in lines if line.attempt in (0, attempt.number)]
        lines += [line for line in _at_lines(attempt, offset) if not _told_already(line, known)]
        if not any("network" in (line.source, line.target) for line in known):
            lines += _network_lines(attempt, offset)
    return tuple(sorted(lines, key=lambda line: line.ms))


def _offset(story: Story, attempt: AttemptRow) -> int:
    """When the attempt's INVITE reached the box, in the ladder's time."""
    invited = [
        line.ms
        for line in story.ladder
        if (line.source, line.target, line.attempt) == ("controller", "box", attempt.number)
    ]
    if invited:
        return min(invited)
    return max(0, round((attempt.started - story.record.started).total_seconds() * 1000))


def _at_lines(attempt: AttemptRow, offset: int) -> Iterable[LadderLine]:
    state: int | None = None
    for line in attempt.at_log:
        if not _TELLING.match(line.text):
            continue
        told = _state(line)
        # Polling repeats the state every few seconds; only a change is news. CLCC also lists data bearers.
        if line.text.startswith("+CLCC") and told in (None, state):
            continue
        state = state if told is None else told
        sent = line.way == ">"
        yield LadderLine(
            ms=offset + line.ms, attempt=attempt.number, label=_short(line.text),
            source="box" if sent else "module", target="module" if sent else "box",
        )  # fmt: skip


def _state(line: AtLine) -> int | None:
    """The call's state in CLCC numbers that this line tells, -1 for over."""
    for pattern, numbers in ((_CCINFO, None), (_CLCC, None), (_DSCI, _DSCI_TO_CLCC)):
        found = pattern.match(line.text)
        if found:
            number = int(found[2])
            return number if numbers is None else numbers.get(number)
    return None


def _short(text: str) -> str:
    found = _CCINFO.match(text)
    if found:
        return f"+QIND: ccinfo {found[2]}"
    found = _DSCI.match(text)
    if found:
        return f"^DSCI {found[2]}"
    return text


def _told_already(line: LadderLine, known: list[LadderLine]) -> bool:
    return line.label.startswith("ATD") and any(
        other.label.startswith("ATD") and abs(other.ms - line.ms) <= SAME_MS for other in known
    )


def _network_lines(attempt: AttemptRow, offset: int) -> Iterable[LadderLine]:
    for line in attempt.at_log:
        for pattern, words in ((_CCINFO, _CLCC_WORDS), (_DSCI, _DSCI_WORDS)):
            found = pattern.match(line.text)
            word = words.get(int(found[2])) if found else None
            if found is None or word is None or line.way != "<":
                continue
            outgoing = word == "SETUP" and found[1] == "0"
            yield LadderLine(
                ms=offset + line.ms, attempt=attempt.number, label=word,
                source="module" if outgoing else "network", target="network" if outgoing else "module",
            )  # fmt: skip


def draw(lines: tuple[LadderLine, ...]) -> Drawing:
    """Place every line; silences become rows that say how long they were and what went on."""
    columns = tuple(LEFT + index * STEP for index in range(len(ACTORS)))
    arrows: list[Arrow] = []
    gaps: list[Gap] = []
    y, before, phase = TOP, 0, WAITING
    for line in lines:
        if line.ms - before >= GAP_MS and arrows:
            gaps.append(Gap(y, f"{phase[0]} {_span(line.ms - before)}", phase[1]))
            y += GAP_ROW
        phase = _phase(line, phase)
        arrows.append(_arrow(line, y, columns, over=phase == ENDING))
        before = line.ms
        y += ROW
    return Drawing(tuple(arrows), tuple(gaps), columns, y + 4)


def _arrow(line: LadderLine, y: int, columns: tuple[int, ...], *, over: bool) -> Arrow:
    source, target = ACTORS.index(line.source), ACTORS.index(line.target)
    return Arrow(
        y=y + 12, x1=columns[source], x2=columns[target], label=line.label, time=offset_text(line.ms),
        tone=_tone(line.label, over=over), right=target > source, told="network" in (line.source, line.target),
    )  # fmt: skip


_GOOD = re.compile(r"(?i)^(200|ACK$|connect|.*ccinfo 0$|\^DSCI 3$)")
_END = re.compile(
    r"(?i)^(BYE|CANCEL|[3-6]\d\d|release|disconnect|.*ccinfo -1|\^DSCI 6|NO CARRIER|BUSY|NO ANSWER|AT\+CHUP|AT\+QHUP|ATH)"
)


def _tone(label: str, *, over: bool) -> str:
    return "end" if over or _END.match(label) else "good" if _GOOD.match(label) else ""


WAITING, RINGING, SPEAKING, ENDING = ("waiting", ""), ("ringing", ""), ("speaking", "good"), ("ending", "")
_OVER = re.compile(r"(?i)^(BYE|CANCEL|AT\+CHUP|AT\+QHUP|ATH|release)")


def _phase(line: LadderLine, now: tuple[str, str]) -> tuple[str, str]:
    """What goes on after this line: it names the silence that may follow."""
    if line.label.startswith("INVITE"):
        return WAITING
    if _GOOD.match(line.label) and now != ENDING:
        return SPEAKING
    if re.match(r"(?i)alerting|180|183|.*ccinfo 3$|\^DSCI 7", line.label) and now == WAITING:
        return RINGING
    return ENDING if _OVER.match(line.label) and now != WAITING else now


def _span(milliseconds: int) -> str:
    return clock_text(milliseconds / 1000) if milliseconds >= 60_000 else f"{milliseconds / 1000:.1f} s"
