"""Alarms and notices as Prometheus figures; the shipped alert rules stand on them."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from simrack.controller.alarms.board import AlarmBoard
from simrack.controller.alarms.notifier import Notifier

ALARMS, NOTICES, HELD = "simrack_alarms", "simrack_notices", "simrack_notices_held"


class AlarmFigures(Collector):
    """Read when they are asked for."""

    def __init__(self, board: AlarmBoard, notifier: Notifier) -> None:
        self._board, self._notifier = board, notifier

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        """One reading."""
        alarms = GaugeMetricFamily(ALARMS, "Alarms that are open, acknowledged or not.", labels=["kind", "severity"])
        for (kind, severity), count in self._board.open_by_kind.items():
            alarms.add_metric([kind, severity], count)
        yield alarms
        notices = CounterMetricFamily(NOTICES, "Notices of alarms, by target and result.", labels=["target", "result"])
        for (target, result), count in self._notifier.counts.items():
            notices.add_metric([target, result], count)
        yield notices
        yield GaugeMetricFamily(HELD, "Notices that quiet times and delays hold back.", value=self._notifier.plan.waiting)
