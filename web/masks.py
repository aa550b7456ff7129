"""What of a row somebody may read: subscriber numbers masked, groups of fields left out, the way not told.

The one place for pages, CSV, reports and the API: each of them passes rows through `Mask` before it draws or
writes them, so that none can show what another hides.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

from simrack.controller.models import (
    AttemptRow,
    Explanation,
    LadderLine,
    Names,
    OpenCallRow,
    Own,
    RecordRow,
    Story,
)
from simrack.wire.messages import ChannelReport, LiveCall
from simrack.wire.rights import FIELD_GROUPS

# The last digits name the subscriber, those before them country, network and region, which routing is about.
MASKED_DIGITS = 4
DOT = "\u2022"
# Shorter ones are service and emergency numbers, which nobody has to himself.
SHORTEST = 6
_NUMBERS = re.compile(rf"\+?\d{{{SHORTEST},}}")
#: Groups of fields, and the names that records, calls and attempts have for them.
SIM, SENDER = "sim", "sender"
HIDDEN_FIELDS: dict[str, frozenset[str]] = {
    SIM: frozenset({"box", "channel", "iccid", "imsi", "egress", "place", "sim"}),
    SENDER: frozenset({"sender", "ingress", "sip_call_id", "from_tag"}),
}
#: What the rack chose, for those who may know the way (right `records.plan`).
WAY_FIELDS = frozenset({"plan", "pattern"})


def number(text: str) -> str:
    """A number whose last digits are dots; short ones as they are. Its length stays."""
    digits = sum(sign.isdecimal() for sign in text)
    if digits < SHORTEST:
        return text
    left, shown = digits - MASKED_DIGITS, []
    for sign in text:
        if sign.isdecimal():
            left -= 1
            sign = sign if left >= 0 else DOT
        shown.append(sign)
    return "".join(shown)


def numbers_in(text: str) -> str:
    """Free text (a module's line, a sentence) with every number in it masked."""
    return _NUMBERS.sub(lambda found: number(found[0]), text)


@dataclass(frozen=True, slots=True)
class Mask:
    """What one session may read.

    `whole`: numbers unmasked (right `numbers.whole`). `hidden`: groups of fields kept from the account.
    `way`: plan and pattern (right `records.plan`). `why`: the explanation (right `records.route`).
    `trace`: SIP and AT lines (right `records.trace`).
    """

    whole: bool = True
    hidden: frozenset[str] = frozenset()
    way: bool = True
    why: bool = True
    trace: bool = True

    def __post_init__(self) -> None:
        unknown = self.hidden - FIELD_GROUPS.keys()
        if unknown:
            raise ValueError(f"no such group of fields: {', '.join(sorted(unknown))}")

    @property
    def nothing(self) -> bool:
        """Everything is shown: rows pass as they are."""
        return self == Mask()

    def hides(self, field: str) -> bool:
        """Whether a field (of a record, a filter, a column, a grouping) is kept from this session altogether."""
        way = not self.way and field in WAY_FIELDS
        return way or any(field == group or field in HIDDEN_FIELDS[group] for group in self.hidden)

    def number(self, text: str) -> str:
        """One telephone number."""
        return text if self.whole else number(text)

    def text(self, text: str) -> str:
        """A sentence or a line that may have numbers in it."""
        return text if self.whole else numbers_in(text)

    def record(self, row: RecordRow) -> RecordRow:
        """A record with only what may be read."""
        if self.nothing:
            return row
        row = replace(
            row,
            calling=self.number(row.calling), calling_received=self.number(row.calling_received),
            called=self.number(row.called), called_received=self.number(row.called_received),
            dialled=self.number(row.dialled), cause_original=self.text(row.cause_original),
        )  # fmt: skip
        if SIM in self.hidden:
            row = replace(row, box="", channel=None, iccid="", imsi="", egress="")
        if SENDER in self.hidden:
            row = replace(row, sender="", ingress="")
        if not self.way:
            row = replace(row, plan="", pattern="", iccid="", imsi="")
        return row

    def live(self, call: LiveCall) -> LiveCall:
        """A call in progress with only what may be read."""
        return call if self.nothing else call.model_copy(update=self._parties(call))

    def open_call(self, row: OpenCallRow) -> OpenCallRow:
        """A call in progress as the database knows it."""
        return row if self.nothing else replace(row, **self._parties(row))

    def report(self, report: ChannelReport) -> ChannelReport:
        """A channel: the number that it is calling."""
        if self.whole or report.call is None:
            return report
        masked = report.call.model_copy(update={"number": self.number(report.call.number)})
        return report.model_copy(update={"call": masked})

    def names(self, names: Names) -> Names:
        """Titles of what may be named."""
        if SENDER in self.hidden:
            names = replace(names, senders={})
        return names if self.way else replace(names, plans={}, sim_plans={}, imsi_plans={}, plan_owners={})

    def story(self, story: Story, own: Own, names: Names) -> Story:
        """A call's story: of its attempts only those over their own plans, with the arrows that belong to them."""
        if self.nothing and own.everything:
            return story
        attempts = tuple(a for a in story.attempts if own.plans is None or _plan(a, story, names) in own.plans)
        gone = {a.number for a in story.attempts} - {a.number for a in attempts}
        return Story(
            record=self.record(story.record),
            explanation=self._explanation(story.explanation),
            ladder=tuple(self._line(line) for line in story.ladder if line.attempt not in gone),
            attempts=tuple(map(self._attempt, attempts)),
        )

    def _parties(self, call: LiveCall | OpenCallRow) -> dict[str, Any]:
        changed: dict[str, Any] = {"calling": self.number(call.calling), "called": self.number(call.called)}
        if SIM in self.hidden:
            changed |= {"box": "", "channel": None}
        if SENDER in self.hidden:
            changed["sender"] = ""
        if not self.way:
            changed["plan"] = ""
        return changed

    def _attempt(self, row: AttemptRow) -> AttemptRow:
        changed: dict[str, object] = {"cause_text": self.text(row.cause_text)}
        if not self.way or SIM in self.hidden:
            changed["iccid"] = ""
        if SIM in self.hidden:
            changed |= {"box": "", "channel": 0}
        # A module's lines name the card as well.
        show = self.trace and SIM not in self.hidden
        lines = tuple(line.model_copy(update={"text": self.text(line.text)}) for line in row.at_log) if show else ()
        return row.model_copy(update={**changed, "at_log": lines})

    def _line(self, line: LadderLine) -> LadderLine:
        return line.model_copy(update={"label": self.text(line.label)})

    def _explanation(self, told: Explanation | None) -> Explanation | None:
        # Its steps name boxes, SIMs and senders by name and in sentences: whoever may not know them gets none of it.
        if told is None or not self.why or self.hidden:
            return None
        if self.whole:
            return told
        steps = tuple(
            step.model_copy(update={
                "note": self.text(step.note),
                "dropped": tuple(d.model_copy(update={"reason": self.text(d.reason)}) for d in step.dropped),
            })
            for step in told.steps
        )  # fmt: skip
        numbers = {name: self.number(getattr(told, name)) for name in _TOLD_NUMBERS}
        notes = tuple(map(self.text, told.notes))
        refusal = told.refusal and told.refusal.model_copy(update={"text": self.text(told.refusal.text)})
        return told.model_copy(update={**numbers, "steps": steps, "notes": notes, "refusal": refusal})


def _plan(attempt: AttemptRow, story: Story, names: Names) -> str:
    # A card without a line of its own is known by its IMSI, which only the record has.
    return story.record.plan if attempt.iccid == story.record.iccid else names.plan_of(attempt.iccid, "")


_TOLD_NUMBERS = ("called_received", "called", "calling_received", "calling")
