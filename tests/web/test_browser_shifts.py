"""Nothing moves by itself while a busy rack reports; `tests/system/shifts.py` measures the same over a whole rack."""

from datetime import datetime

import pytest
import web_shifts
from playwright.sync_api import Page
from sqlalchemy import insert
from sqlalchemy.engine import Engine
from web_browser import Served, behind_port
from web_helpers import Stand

from simrack.controller.store import tables as t
from simrack.controller.store.engine import write_engine
from simrack.wire import topics
from simrack.wire.channel import ChannelState, Mark
from simrack.wire.messages import AlarmSummary, CallInfo, LiveCall, LogLine, LogLines

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
S = ChannelState
BOX = "vienna-01"
CHANNELS = range(1, 7)
PAGES = ("/rack", "/rack/vienna-01/3", "/calls", f"/gateways/{BOX}", "/alarms", "/logs")
#: So many rounds of changes a page, 50 ms apart: more in a second than a rack of this size ever has.
ROUNDS = 18


class Traffic:
    """A busy rack: calls come, speak and go; a module fails and comes back; alarms, lines, figures of a box."""

    def __init__(self, served: Served, engine: Engine) -> None:
        self._served, self._engine, self._round = served, engine, 1000

    def step(self) -> None:
        self._round += 1
        now, turn = self._served.stand.clock.utc(), self._round
        for channel in CHANNELS:
            self._channel(channel, (turn + channel) % 6, now)
        status = self._served.stand.model.snapshot().boxes[BOX]
        self._served.publish(
            topics.box_status(BOX), status.model_copy(update={"seq": turn, "outbox": turn * 7 % 1500, "clock_offset_ms": turn % 40})
        )
        line = LogLine(seq=turn, at=now, level="warning", event=f"something happened for the {turn}th time", box=BOX)
        self._served.publish(topics.log_lines("web"), LogLines(process="web", boot="b7", level="info", lines=(line,)))
        if turn % 10 == 0:
            self._alarm(turn, now)

    def _channel(self, channel: int, phase: int, now: datetime) -> None:
        name = f"shift-{channel}-{self._round // 6}"
        state = (S.DIALLING, S.ACTIVE, S.ACTIVE, S.READY, S.FAULT, S.READY)[phase]
        speaks = state == S.ACTIVE
        call = CallInfo(call=name, attempt="a", direction="out", number="+882100000009", since=now, connected=now if speaks else None)
        self._served.channel(
            BOX, channel, self._round, state=state, since=now, call=call if phase < 3 else None, marks=(Mark.DRAINING,) if phase == 5 else (),
            fault="no module answers on its port" if state == S.FAULT else "",
        )  # fmt: skip
        live = LiveCall(
            boot="c1", seq=self._round, at=now, call=name, sender="alpine", called="+882100000009", started=now, box=BOX, channel=channel,
            answered=now if speaks else None, state=("trying", "speaking", "releasing", "ended", "ended", "ended")[phase], attempt=1,
        )  # fmt: skip
        self._served.publish(topics.controller_call(name), live)

    def _alarm(self, turn: int, now: datetime) -> None:
        with self._engine.begin() as connection:
            connection.execute(insert(t.alarm).values(
                cause=f"box-hot:{turn}", severity="minor", title=f"Box number {turn} is hot", advice="Look at its fan.", opened=now, last=now, count=1,
            ))  # fmt: skip
        self._served.publish(topics.controller_alarms(), AlarmSummary(boot="c1", seq=turn, at=now, critical=1, major=1, minor=turn // 10))


def test_nothing_moves_on_live_pages_of_a_busy_rack(demo: Stand, page: Page) -> None:
    """People would click the neighbour of what they pointed at, or lose the line that they read."""
    engine = write_engine(demo.room.settings.database)
    found: list[str] = []
    with behind_port(demo) as served:
        served.enter(page)
        traffic = Traffic(served, engine)
        for path in PAGES:
            page.goto(served.base + path)
            web_shifts.begin(page)
            for _ in range(ROUNDS):
                traffic.step()
                page.evaluate("new Promise((done) => setTimeout(done, 50))")
            page.wait_for_function("window.drawn > 0")
            seen = web_shifts.end(page)
            found += [f"{path}: {shift}" for shift in seen.shifts]
    engine.dispose()
    assert not found, "\n".join(found)
