"""Acts on boxes and channels for pages, API and command line: what each will touch, and the command that does it.

Everything is decided before anybody presses a button: `outlook` says in one sentence what would happen. The box has
the last word, and answers with the calls that it really found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from simrack.web import cells
from simrack.web.rack import Rack
from simrack.wire.channel import IN_CALL
from simrack.wire.drain import LEAST_LIMIT_S, LIMITS_S, MODES, MOST_LIMIT_S, Mode

Do = Literal["restart-module", "restart-box", "drain", "end-drain", "disable-channel", "enable-channel"]
#: Acts with the three ways of `wire.drain`.
DRAINS = ("restart-module", "restart-box", "drain")
TITLES: Mapping[str, str] = {
    "restart-module": "Restart this module", "restart-box": "Restart the agent of this box", "drain": "Take out of use",
    "end-drain": "Take the order back", "disable-channel": "Disable this channel", "enable-channel": "Enable this channel",
}  # fmt: skip
#: The longest wait that a person may choose, by its words; "" is the usual one of the mode.
LIMITS: Mapping[int, str] = {
    600: "10 min", 1800: "30 min", 3600: "1 h", 7200: "2 h", 21_600: "6 h", 43_200: "12 h", 86_400: "24 h", 259_200: "3 days",
}  # fmt: skip
CONSOLE_S = 300


class Unfit(ValueError):
    """What was asked for makes no sense; `field` says where."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, slots=True)
class Target:
    """A box, or one of its channels."""

    box: str
    channel: int | None = None

    @property
    def name(self) -> str:
        return self.box if self.channel is None else f"{self.box} / {self.channel}"


@dataclass(frozen=True, slots=True)
class Asked:
    """An act with its choices, checked."""

    do: str
    target: Target
    mode: Mode = "now"
    limit_s: int | None = None

    @property
    def args(self) -> dict[str, Any]:
        """Arguments of the command to the controller."""
        args: dict[str, Any] = {"box": self.target.box}
        if self.target.channel is not None:
            args["channel"] = self.target.channel
        if self.do in DRAINS:
            args["mode"] = self.mode
            if self.mode != "now":
                args["limit_s"] = self.limit_s or LIMITS_S[self.mode]
        return args


def read(do: str, target: Target, given: Mapping[str, str], calls: int) -> Asked:
    """What a form or a request asks for. Cutting calls off needs the target's name in `typed`.

    Raises:
        Unfit: something doesn't fit, with the field and a sentence.
    """
    if do not in TITLES:
        raise Unfit("do", f"{do!r} is no act; known are {', '.join(TITLES)}")
    if do in ("restart-module", "disable-channel", "enable-channel") and target.channel is None:
        raise Unfit("channel", "name the channel")
    if do == "restart-box" and target.channel is not None:
        raise Unfit("channel", "a restart of the agent is of the whole box")
    if do not in DRAINS:
        return Asked(do, target)
    mode = next((known for known in MODES if known == given.get("mode", "when-calls-end")), None)
    if mode is None:
        raise Unfit("mode", f"choose one of: {', '.join(MODES)}")
    if mode == "now" and calls and given.get("typed", "").strip() != target.name:
        raise Unfit("typed", f"{_calls(calls)} would be cut off: type {target.name} to confirm")
    return Asked(do, target, mode, _limit(given.get("limit_s", "")))


def _limit(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or len(text) > 7 or not LEAST_LIMIT_S <= int(text) <= MOST_LIMIT_S:
        raise Unfit("limit_s", f"the limit is a number of seconds from {LEAST_LIMIT_S} to {MOST_LIMIT_S}")
    return int(text)


def calls_on(target: Target, rack: Rack) -> int:
    """Calls that the target carries now."""
    numbers = cells.channels_of(target.box, rack) if target.channel is None else [target.channel]
    reports = [rack.channels.get((target.box, number)) for number in numbers]
    return sum(report is not None and report.state in IN_CALL for report in reports)


def _calls(count: int) -> str:
    return f"{count} call{'s' * (count != 1)}"


def outlook(do: str, mode: Mode, calls: int) -> str:
    """What it will touch, for the button: "drains 3 calls, then restarts"."""
    after = {"restart-module": "restarts the module", "restart-box": "restarts the agent"}.get(do, "is out of use")
    if mode == "now":
        return f"cuts off {_calls(calls)} and {after}" if calls else f"{after} at once"
    if mode == "when-calls-end":
        return f"drains {_calls(calls)}, then {after}" if calls else f"{after} at once: no call is on it"
    return f"goes on as usual ({_calls(calls)} now), then {after} in a quiet minute"


def said(do: str, target: Target, result: Mapping[str, Any]) -> str:
    """What the box answered, in a sentence."""
    if do in DRAINS:
        calls = int(result.get("calls", 0))
        waits = f"waits for {_calls(calls)}" if calls and result.get("mode") != "now" else "under way"
        return f"{target.name}: {TITLES[do].lower()}, {waits}"
    done = {"end-drain": "takes calls again", "disable-channel": "takes no new calls", "enable-channel": "takes calls again"}
    return f"{target.name} {done.get(do, 'done')}"
