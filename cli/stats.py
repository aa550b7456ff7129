"""`simrack stats`: the figures of a period by any field, as the Statistics page shows them."""

from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from simrack.cli.output import JsonOption, say_json, table
from simrack.cli.places import StateOption, database_url
from simrack.wire.errors import UserError
from simrack.wire.ports import SystemClock, iso_ms

app = typer.Typer(help="Statistics and release causes from the records.", no_args_is_help=True)

PeriodOption = Annotated[str, typer.Option(help="hour, today, yesterday, 7d or 30d.")]
SinceOption = Annotated[str, typer.Option(help="From: 2026-11-21 or 2026-11-21T14:30 (UTC, or with +01:00).")]
UntilOption = Annotated[str, typer.Option(help="Until, in the same form.")]
SenderOption = Annotated[str, typer.Option(help="Only this sender's calls.")]
PlanOption = Annotated[str, typer.Option(help="Only calls over this plan.")]
BoxOption = Annotated[str, typer.Option(help="Only this box's calls.")]


@app.command("show")
def show(
    by: Annotated[str, typer.Option(help="What to group by: sender, plan, owner, box, country, cause, hour, day ...")] = "sender",
    period: PeriodOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    sender: SenderOption = "",
    plan: PlanOption = "",
    box: BoxOption = "",
    least_s: Annotated[int, typer.Option("--least", min=1, max=3600, help="s that an answer of ASR-B lasts at least.")] = 10,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Calls, minutes, ASR, ASR-B, NER, ACD, PDD and calls at once of each group, with ASR a week ago."""
    from simrack.controller.models import Own
    from simrack.controller.store.queries import Queries
    from simrack.web.services import statistics as service
    from simrack.web.text import Times

    given = {"by": by, "period": period, "since": since, "until": until, "sender": sender, "plan": plan, "box": box, "least_s": str(least_s)}
    asked = _asked(given)
    queries = Queries(database_url(state))
    view = service.count(queries, asked, Own(), queries.names(), Times(ZoneInfo("UTC")), charts=False)
    if as_json:
        say_json(_json(view))
        return
    total = service.Line("", "Total", view.total, view.before, {})
    width = service.seconds_of(asked)
    rows = [
        (line.name, *(figure.text(line.now, seconds) for figure in service.FIGURES), _ratio(line.before))
        for line, seconds in (*((line, width) for line in view.lines), (total, asked.seconds))
        if view.lines
    ]
    title = f"{iso_ms(asked.since)[:16]} to {iso_ms(asked.until)[:16]} UTC, ASR-B: {asked.least_s} s"
    heads = (service.GROUPINGS[asked.by], *(figure.title for figure in service.FIGURES), "ASR week ago")
    table(title, heads, rows, "No call in this time. Choose a longer period, for instance --period 30d.")


@app.command("causes")
def causes(
    period: PeriodOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    sender: SenderOption = "",
    plan: PlanOption = "",
    box: BoxOption = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Why calls ended, by direction and by who ended them."""
    from simrack.controller.models import Own
    from simrack.controller.store.queries import Queries
    from simrack.web.services import release_causes

    asked = _asked({"period": period, "since": since, "until": until, "sender": sender, "plan": plan, "box": box})
    view = release_causes.count(Queries(database_url(state)), asked, Own())
    lines = [line for way in view for line in way.lines]
    if as_json:
        found = [
            {"direction": line.direction, "cause": line.cause, "name": line.name, "calls": line.calls, "share": line.share,
             "ended_by": dict(zip(release_causes.SIDES, line.sides, strict=True)), "week_ago": line.before}
            for line in lines
        ]  # fmt: skip
        say_json({"since": asked.since, "until": asked.until, "causes": found})
        return
    rows = [(line.direction, line.name, line.calls, f"{line.share * 100:.1f} %", *line.sides, line.before, line.blame) for line in lines]
    heads = ("Way", "Cause", "Calls", "Share", "Calling", "Called", "Rack", "Week ago", "Failure of")
    table("Release causes", heads, rows, "No call ended in this time. Choose a longer period, for instance --period 30d.")


def _asked(given: dict[str, str]) -> Any:
    """The question; its author's mistake becomes a sentence."""
    from simrack.web.masks import Mask
    from simrack.web.services import statistics as service
    from simrack.web.text import Times

    asked = service.read(given, Times(ZoneInfo("UTC")), Mask(), SystemClock().utc())
    for name, text in asked.wrong.items():
        known = f"Known: {', '.join(service.GROUPINGS)}." if name == "by" else ""
        raise UserError(f"{given.get(name, '')!r} was not understood", f"--{'least' if name == 'least_s' else name}", f"{text} {known}".strip())
    return asked


def _ratio(counts: Any) -> str:
    from simrack.web.services.statistics import FIGURES

    return next(f for f in FIGURES if f.id == "asr").text(counts, 0.0) if counts is not None else ""


def _json(view: Any) -> dict[str, Any]:
    from simrack.web.services.statistics import seconds_of

    width = seconds_of(view.asked)

    def figures(counts: Any, seconds: float = view.asked.seconds) -> dict[str, Any] | None:
        if counts is None:
            return None
        named = ("calls", "minutes", "asr", "asr_b", "ner", "acd_s", "pdd_ms")
        return {**{name: getattr(counts, name) for name in named}, "at_once": counts.at_once(seconds)}

    return {
        "since": view.asked.since, "until": view.asked.until, "by": view.asked.by, "cut": view.cut,
        "groups": [{"key": line.key, "name": line.name, "now": figures(line.now, width), "week_ago": figures(line.before, width)} for line in view.lines],
        "total": figures(view.total), "week_ago": figures(view.before),
    }  # fmt: skip
