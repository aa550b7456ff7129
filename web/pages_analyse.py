"""Analyse: one page with everything that is wrong now, worst first, each with what to do."""

from flask import Blueprint, render_template, request

from simrack.web.app import room, wants_part
from simrack.web.needs import needs
from simrack.web.services import analyse as service
from simrack.web.services import configuration

pages = Blueprint("analyse", __name__)

AREAS = ("alarms", "calls", "rack", "configuration", "set-up")


@pages.get("/analyse")
@needs("alarms.see")
def analyse() -> str:
    area = request.args.get("area", "")
    everything = service.findings(facts_now())
    found = tuple(one for one in everything if area in ("", one.area))
    return render_template(
        "analyse_rows.html" if wants_part("findings") else "analyse.html", found=found, counts=service.counts(everything),
        area=area, areas=AREAS, ranks=service.RANKS, words=service.RANK_WORDS, total=len(everything),
    )  # fmt: skip


def facts_now() -> service.Facts:
    """What there is to look at, as it is now. Raises `StoreDown`."""
    desk = room().desk
    return service.Facts(
        desk.clock.utc(), desk.model.snapshot(), desk.names(), configuration.table(), desk.queries.alarms(), desk.ever_answered()
    )
