"""The board and the alert rules name metrics that exist, and every alarm: an alert on a mistyped name never rings."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, cast

import yaml
from production_parts import SqliteDatabase
from prometheus_client import CollectorRegistry
from web_helpers import Stand, stand

from simrack.cli import monitoring
from simrack.controller.alarms.board import AlarmBoard
from simrack.controller.alarms.catalogue import CATALOGUE
from simrack.controller.alarms.metrics import AlarmFigures
from simrack.controller.alarms.notifier import Notifier
from simrack.controller.calls.metrics import Metrics
from simrack.gateway.figures import Figures, Sources, Tally
from simrack.gateway.ports import NoPace
from simrack.web.metrics import WebMetrics

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
#: Prometheus's own, and what the page of each process adds (`wire/metrics.py`).
FOREIGN = {"simrack_asyncio_tasks"}


def names_of(registry: CollectorRegistry) -> set[str]:
    """Every series that a registry can have, with its suffix."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {family.name + suffix for family in registry.collect() for suffix in suffixes.get(family.type, ("",))}


def all_names(room: Stand) -> set[str]:
    controller = Metrics()
    # Figures need no running board or box: their names are what is asked for.
    board = cast(AlarmBoard, type("NoAlarms", (), {"open_by_kind": Counter()})())
    notifier = cast(Notifier, type("NoNotices", (), {"counts": Counter(), "plan": type("Plan", (), {"waiting": 0})})())
    controller.registry.register(AlarmFigures(board, notifier))
    outbox = cast(Any, type("Outbox", (), {"waiting": 0})())
    box = Figures(Sources({}, Tally(cast(Any, None)), Counter(), NoPace(), outbox))
    web = WebMetrics(room.model, room.room.feed, room.room.live)
    return names_of(controller.registry) | names_of(box.registry) | names_of(web.registry) | FOREIGN


def test_files_are_current() -> None:
    assert json.loads((FOLDER / monitoring.BOARD).read_text()) == monitoring.board(), "run `simrack monitoring docs/monitoring`"
    assert (FOLDER / monitoring.RULES).read_text() == monitoring.rules(), "run `simrack monitoring docs/monitoring`"


def test_every_metric_that_is_named_exists(tmp_path: Path) -> None:
    room = stand(SqliteDatabase(tmp_path / "web.db").url)
    try:
        known = all_names(room)
    finally:
        room.close()
    rules = yaml.safe_load(monitoring.rules())["groups"][0]["rules"]
    queries = [rule["expr"] for rule in rules]
    queries += [target["expr"] for panel in monitoring.board()["panels"] for target in panel.get("targets", ())]
    named = {name for query in queries for name in re.findall(r"\bsimrack_\w+", query)}
    assert len(named) > 15
    assert named <= known, named - known


def test_every_alarm_has_a_rule_with_its_advice() -> None:
    rules = {rule["alert"]: rule for rule in yaml.safe_load(monitoring.rules())["groups"][0]["rules"]}
    for kind in CATALOGUE.values():
        rule = rules["SimrackAlarm" + "".join(word.capitalize() for word in kind.kind.split("-"))]
        assert f'kind="{kind.kind}"' in rule["expr"]
        assert rule["annotations"]["description"] == kind.advice
        assert rule["labels"]["severity"] == kind.severity


def test_panels_do_not_cover_each_other() -> None:
    """A board whose panels overlap is rearranged by Grafana at each load."""
    taken: set[tuple[int, int]] = set()
    for panel in monitoring.board()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= monitoring.WIDE
        taken |= cells


def test_command_writes_both_files(tmp_path: Path) -> None:
    paths = monitoring.write(tmp_path / "new")
    assert all(path.exists() for path in paths)
