"""`simrack monitoring`: a Grafana board and Prometheus alert rules, made of the metrics and the alarm catalogue."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from simrack.controller.alarms.catalogue import CATALOGUE
from simrack.wire.errors import UserError

BOARD, RULES = "simrack-board.json", "simrack-alerts.yml"
#: Columns of a Grafana board, and the height of a row of panels.
WIDE, HIGH = 24, 8
#: (title, unit, width, [(query, legend)]); a row's title stands alone.
_PANELS: tuple[str | tuple[str, str, int, tuple[tuple[str, str], ...]], ...] = (
    "Calls",
    ("Calls in progress", "none", 8, (("sum(simrack_calls_in_progress)", "controller"), ("sum(simrack_box_calls_in_progress)", "boxes"))),
    ("Calls ended per second", "cps", 8, (("sum by (outcome) (rate(simrack_calls_total[5m]))", "{{outcome}}"),)),
    ("ASR, 1 h", "percentunit", 8, ((
        ('sum(increase(simrack_calls_total{direction="out",outcome="answered"}[1h])) / '
         'sum(increase(simrack_calls_total{direction="out",outcome!="refused"}[1h]))'), "answered of seized",
    ),)),
    ("Delay to ring", "s", 8, (
        ("histogram_quantile(0.5, sum by (le) (rate(simrack_call_setup_seconds_bucket[5m])))", "p50"),
        ("histogram_quantile(0.95, sum by (le) (rate(simrack_call_setup_seconds_bucket[5m])))", "p95"),
    )),
    ("Causes per minute", "none", 8, (("topk(8, 60 * sum by (cause, side) (rate(simrack_call_causes_total[5m])))", "{{cause}} {{side}}"),)),
    ("Refusals per minute", "none", 8, (("60 * sum by (reason) (rate(simrack_refusals_total[5m]))", "{{reason}}"),)),
    "Boxes",
    ("Channels by state", "none", 12, (("sum by (state) (simrack_box_channels)", "{{state}}"),)),
    ("Late voice steps per second", "none", 6, (("sum by (instance) (rate(simrack_box_voice_ticks_late_total[5m]))", "{{instance}}"),)),
    ("Facts that wait", "none", 6, (("simrack_box_outbox", "{{instance}}"),)),
    ("Recovery steps per hour", "none", 12, (("sum by (instance, step) (increase(simrack_box_recovery_steps_total[1h]))", "{{instance}} {{step}}"),)),
    ("Calls with dead voice per hour", "none", 12, (("sum by (instance, trouble) (increase(simrack_box_voice_troubles_total[1h]))", "{{instance}} {{trouble}}"),)),
    "Centre",
    ("Alarms open", "none", 6, (("sum by (severity) (simrack_alarms)", "{{severity}}"),)),
    ("Part of the rate that is admitted", "percentunit", 6, (("simrack_admitted_part", "{{instance}}"),)),
    ("Pages: p95 of the time to answer", "s", 6, (("histogram_quantile(0.95, sum by (le) (rate(simrack_web_request_seconds_bucket[5m])))", "p95"),)),
    ("Pages that failed per minute", "none", 6, (('60 * sum by (view) (rate(simrack_web_requests_total{status=~"5.."}[5m]))', "{{view}}"),)),
    ("Notices per hour", "none", 8, (("sum by (target, result) (increase(simrack_notices_total[1h]))", "{{target}} {{result}}"),)),
    ("Live pages", "none", 8, (("simrack_web_streams", "{{instance}}"),)),
    ("Packets not looked at per second", "pps", 8, (("sum by (reason) (rate(simrack_unheard_total[5m]))", "{{reason}}"),)),
)  # fmt: skip
#: Rules beside the catalogue's: what a process can't say of itself. (name, severity, expression, for, summary, what to do)
_OUTSIDE = (
    ("SimrackProcessDown", "critical", 'up{job=~"simrack.*"} == 0', "1m", "{{ $labels.instance }} does not answer",
     "Look whether the process runs and what its last log line says."),
    ("SimrackNoController", "critical", "absent(simrack_calls_in_progress)", "2m", "No controller is seen",
     "No call is taken without one. Start it, or mend the scrape configuration."),
    ("SimrackVoiceLate", "major", "rate(simrack_box_voice_ticks_late_total[5m]) > 1", "5m", "{{ $labels.instance }} is late with voice",
     "The box's computer is too busy; calls sound broken. Look at its load and temperature."),
    ("SimrackPagesFail", "minor", 'sum(rate(simrack_web_requests_total{status=~"5.."}[5m])) > 0.1', "5m",
     "The control room answers with errors", "Look at the Logs page, process web, at least error."),
    ("SimrackTasksGrow", "minor", "simrack_asyncio_tasks > 20000", "30m", "{{ $labels.instance }} has very many tasks",
     "It may leak. Note the figure, restart the process when it is quiet, and report it."),
)  # fmt: skip


def board() -> dict[str, Any]:
    """The board as Grafana imports it; its data source is asked for then."""
    return {
        "__inputs": [{"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus", "pluginName": "Prometheus"}],
        "title": "simrack", "uid": "simrack", "schemaVersion": 39, "version": 1, "editable": True, "refresh": "30s", "tags": ["simrack"],
        "time": {"from": "now-6h", "to": "now"}, "timezone": "browser", "panels": list(_panels()),
    }  # fmt: skip


def _panels() -> Iterator[dict[str, Any]]:
    x = y = 0
    for number, panel in enumerate(_PANELS, 1):
        if isinstance(panel, str):
            y, x = y + (HIGH if x else 0), 0
            yield {"id": number, "type": "row", "title": panel, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": y, "w": WIDE, "h": 1}}
            y += 1
            continue
        title, unit, width, queries = panel
        if x + width > WIDE:
            x, y = 0, y + HIGH
        source = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
        targets = [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend, "datasource": source}
            for index, (query, legend) in enumerate(queries)
        ]
        yield {
            "id": number, "type": "timeseries", "title": title, "datasource": source, "targets": targets,
            "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []}, "gridPos": {"x": x, "y": y, "w": width, "h": HIGH},
        }  # fmt: skip
        x += width


def rules() -> str:
    """The alert rules: one for each kind of alarm, and what a process can't say of itself."""
    lines = ["# Made by `simrack monitoring`; a test holds it against the alarm catalogue and the metrics.", "groups:", "  - name: simrack", "    rules:"]
    for name, severity, expression, wait, summary, todo in (*_OUTSIDE, *_of_alarms()):
        lines += [
            f"      - alert: {name}", f"        expr: {_quoted(expression)}", f"        for: {wait}", "        labels:",
            f"          severity: {severity}", "        annotations:", f"          summary: {_quoted(summary)}", f"          description: {_quoted(todo)}",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _of_alarms() -> Iterator[tuple[str, str, str, str, str, str]]:
    for kind in CATALOGUE.values():
        name = "SimrackAlarm" + "".join(word.capitalize() for word in kind.kind.split("-"))
        title = kind.title.format(subject="…")
        yield name, kind.severity, f'sum(simrack_alarms{{kind="{kind.kind}"}}) > 0', "0m", title, kind.advice


def _quoted(text: str) -> str:
    """A YAML scalar in double quotes is written as in JSON."""
    return json.dumps(text, ensure_ascii=False)


def write(folder: Path) -> tuple[Path, Path]:
    """Write both files. Raises `UserError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / BOARD).write_text(json.dumps(board(), indent=1, ensure_ascii=False) + "\n")
        (folder / RULES).write_text(rules())
    except OSError as error:
        raise UserError(f"the files can't be written ({error.strerror})", str(folder), "Name another folder.") from error
    return folder / BOARD, folder / RULES


def monitoring(folder: Annotated[Path, typer.Argument(help="Where the files go.")] = Path()) -> None:
    """Write a Grafana board and Prometheus alert rules for this release."""
    for path in write(folder):
        typer.echo(str(path))
