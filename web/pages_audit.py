"""The audit log: who did what and what policy refused; its check, one entry, CSV."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from itertools import chain
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, render_template, request

from simrack.controller.audit.chain import Entry
from simrack.web.app import mask, room, wants_part
from simrack.web.columns import harmless
from simrack.web.masks import Mask
from simrack.web.needs import needs
from simrack.web.services import audit as service

pages = Blueprint("audit", __name__)

FILTERS = ("text", "actor", "action", "subject", "sim", "since", "until")
CSV_HEADING = ("number", "at", "who", "from", "action", "about", "outcome", "detail", "hash")


@pages.get("/audit")
@needs("audit.see")
def audit() -> str:
    given = {name: value for name, value in request.args.items() if value}
    wanted, wrong = service.read_filter(given)
    log, hidden = room().desk.queries.audit, mask()
    page = log.audit_page(wanted)
    kept = {name: given[name] for name in FILTERS if given.get(name)}
    return render_template(
        "audit_rows.html" if wants_part("audit-rows") else "audit.html",
        rows=[service.view(entry, hidden) for entry in page.entries], next=page.next, wanted=wanted, wrong=wrong, given=kept,
        link=_link(kept), titles=service.TITLES, title_of=service.title_of, times=room().times, head=log.audit_head(),
    )  # fmt: skip


@pages.get("/audit/check")
@needs("audit.see")
def check() -> str:
    verdict = service.check()
    part = "audit_check_part.html" if wants_part("audit-check") else "audit_check.html"
    return render_template(part, verdict=verdict, most=service.MOST_CHECKED)


@pages.get("/audit/<int:number>")
@needs("audit.see")
def entry(number: int) -> str:
    log = room().desk.queries.audit
    found = log.audit_entry(number) if number < 2**63 else None
    if found is None:
        abort(404)
    head = log.audit_head()
    return render_template("audit_entry.html", view=service.view(found, mask()), last=head.seq if head else 0)


@pages.get("/audit.csv")
@needs("audit.see")
def export() -> Response:
    wanted, wrong = service.read_filter(dict(request.args.items()))
    if wrong:
        abort(400, description="; ".join(f"{name}: {text}" for name, text in wrong.items()))
    lines = _csv(room().desk.queries.audit.audit_all(wanted), mask())
    first = next(lines)  # an error of the database shows before the first octet is sent
    headers = {"Content-Disposition": f'attachment; filename="audit-{room().clock.utc():%Y%m%d-%H%M%S}.csv"'}
    return Response(_chain(first, lines), mimetype="text/csv", headers=headers)


def _link(kept: Mapping[str, str]) -> Callable[..., str]:
    def link(path: str = "/audit", **changed: object) -> str:
        values = {**kept, **{name: str(value) for name, value in changed.items()}}
        query = urlencode([(name, value) for name, value in values.items() if value])
        return f"{path}?{query}" if query else path

    return link


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _csv(entries: Iterator[Entry], hidden: Mask) -> Iterator[str]:
    first = next(entries, None)
    buffer = io.StringIO()
    csv.writer(buffer).writerow(CSV_HEADING)
    yield buffer.getvalue()
    for found in chain(() if first is None else (first,), entries):
        shown = service.view(found, hidden)
        buffer = io.StringIO()
        at = found.at.astimezone(UTC).isoformat(timespec="milliseconds")
        row = (str(found.seq), at, shown.who, found.address, found.action, found.subject, shown.outcome, shown.summary, found.hash)
        csv.writer(buffer).writerow([harmless(value) for value in row])
        yield buffer.getvalue()
