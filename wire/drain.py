"""Taking something out of use without cutting off who speaks: the three ways, and their limits in time."""

from collections.abc import Mapping
from typing import Literal, get_args

Mode = Literal["now", "when-calls-end", "when-convenient"]
#: What follows once nothing carries a call any more.
Then = Literal["restart-module", "restart-box", "keep"]

MODES: tuple[Mode, ...] = get_args(Mode)
TITLES: Mapping[Mode, str] = {
    "now": "Now", "when-calls-end": "When its calls end", "when-convenient": "When convenient",
}  # fmt: skip
#: What each way means for calls, for whoever chooses; "" where the act itself says it.
MEANINGS: Mapping[Mode, str] = {
    "now": "",
    "when-calls-end": "no new calls from now on",
    "when-convenient": "as soon as no call has been on it for a minute",
}
#: Until then at the latest, in seconds, where nobody says otherwise: the longest call, and a day.
LIMITS_S: Mapping[Mode, int] = {"now": 0, "when-calls-end": 7200, "when-convenient": 86_400}
LEAST_LIMIT_S, MOST_LIMIT_S = 60, 7 * 86_400
#: Without a call for so long it is convenient: longer than callers take to try the same line again.
QUIET_S = 60.0
#: In this last part of the time for "when convenient" no new call is taken, so that few are cut off at its end.
LAST_CALLS_S = 600.0
