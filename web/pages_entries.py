"""Lists and forms of everything that is configured: SIMs and plans, senders, agreements, sites, routing.

One set of views for all kinds (`sections.py` has a row for each). A form is checked while somebody types, reviewed
against what runs, and put in force by the controller; nothing changes before the last button.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from zoneinfo import available_timezones

import phonenumbers
from flask import Blueprint, Response, abort, make_response, redirect, render_template, request
from pydantic import BaseModel
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as AnyResponse

from simrack.controller.config.kinds import MODELS, WORDS, Kind
from simrack.controller.config.reading import Stored
from simrack.web import entry as work
from simrack.web import forms
from simrack.web.app import mask, me, room
from simrack.web.entry import Asked, Review, inventory
from simrack.web.facts import Fact, facts_of
from simrack.web.listing import Listing, ask, csv_lines, listed
from simrack.web.needs import needs
from simrack.web.sections import SECTIONS, Section
from simrack.web.services import configuration, drafts, test_calls
from simrack.web.services.inventory import PATHS, Inventory, href, unfinished
from simrack.web.text import number_text
from simrack.wire.rights import actor_name

pages = Blueprint("entries", __name__)

pages.app_template_filter("value_words")(forms.words)
pages.app_template_filter("actor")(actor_name)

COUNTRIES = tuple(sorted(phonenumbers.SUPPORTED_REGIONS))


@pages.app_template_filter("field_title")
def field_title(name: str, kind: Kind) -> str:
    """A field's title by its name."""
    return next((one.title for one in forms.fields_of(MODELS[kind]) if one.name == name), name)


@pages.app_template_filter("shown_number")
def shown_number(number: str) -> str:
    """A number as who is signed in may read it."""
    return mask().number(number_text(number))


def _register(section: Section) -> None:
    """The views of one kind."""
    for rule, name, view, right, methods in _views(section):

        def act(view: Callable[[Section], AnyResponse | str] = view) -> AnyResponse | str:
            _hidden(section)
            return view(section)

        pages.add_url_rule(rule, f"{section.kind}_{name}", needs(right)(act), methods=[methods])


def _views(section: Section) -> list[tuple[str, str, Callable[[Section], AnyResponse | str], str, str]]:
    views: list[tuple[str, str, Callable[[Section], AnyResponse | str], str, str]] = [
        (section.entry, "entry", _entry, section.see, "GET"), (section.entry, "act", _act, section.change, "POST"),
    ]  # fmt: skip
    if not section.single:
        views += [(section.path, "list", _list, section.see, "GET"), (f"{section.path}.csv", "csv", _csv, section.see, "GET")]
    return views


def _hidden(section: Section) -> None:
    """A group of fields that is kept from an account leaves nothing of its own page."""
    if mask().hides({"sim": "iccid", "sender": "sender"}.get(section.kind, "")):
        abort(403)


# --- lists ------------------------------------------------------------------------------------------------------


def _listing(section: Section) -> Listing:
    of = inventory()
    choices = section.choices(of)
    return listed(section.rows(of), section.columns, choices, ask(section.path, request.args, choices))


def _list(section: Section) -> str:
    part = request.headers.get("HX-Target") == "listing"
    return render_template(
        "list_rows.html" if part else "list.html", section=section, listing=_listing(section),
        may_change=me().may(section.change), before=_before(section), done=_done(),
    )  # fmt: skip


def _before(section: Section) -> tuple[str, str, str] | None:
    """What must be there first, so that a newcomer is led in order."""
    first = next(iter(unfinished(inventory())), None)
    return first if first is not None and first[2] != section.entry else None


def _csv(section: Section) -> Response:
    of = inventory()
    choices = section.choices(of)
    rows = section.rows(of)
    wanted = replace(ask(section.path, request.args, choices), page=1, per_page=len(rows) + 1)
    lines = csv_lines(listed(rows, section.columns, choices, wanted))
    name = f"{section.many.lower()}-{room().clock.utc():%Y%m%d-%H%M%S}.csv"
    return Response(lines, mimetype="text/csv", headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _done() -> int | None:
    """The version that a change has just made, of which the page tells."""
    told = request.args.get("done", "")
    return int(told) if told.isdecimal() and len(told) < 10 else None


# --- one entry --------------------------------------------------------------------------------------------------


def _named(section: Section, given: str) -> tuple[str, Stored | None]:
    """The entry that is asked for; 404 where there is none or it is another's."""
    name = section.kind if section.single else given[: work.LONGEST_NAME]
    if not name:
        return "", None
    stored = configuration.entry(section.kind, name)
    if stored is None and not section.single and not (section.kind == "sim" and name in inventory().cards):
        abort(404)
    return name, stored


def _entry(section: Section) -> str:
    name, stored = _named(section, request.args.get("name", ""))
    if not name and not me().may(section.change):
        abort(403)
    body = dict(stored.body) if stored is not None else _first_body(section, name)
    if not name:
        body |= {key: value for key, value in request.args.items() if key in ("plan", "agreement")}
    values = forms.texts(MODELS[section.kind], forms.whole(MODELS[section.kind], body))
    if not name and _for_tests(section):
        # Nobody needs to know it: the control room calls with the hashes that are kept of it.
        values["digest.password"] = room().ids.token(12)
    return _page(section, name, stored, values, {}, stored.digest if stored else "")


def _for_tests(section: Section) -> bool:
    """The form was asked for by the page of test calls."""
    return section.kind == "sender" and request.args.get("for") == "test-calls"


def _first_body(section: Section, name: str) -> dict[str, Any]:
    """What a form of something unwritten begins with: a card that only the rack knows has its plan by its IMSI."""
    if section.kind == "sim" and name:
        plan = inventory().cards[name][2]
        return {"iccid": name, **({"plan": plan.name} if plan is not None else {})}
    if not name and _for_tests(section):
        return test_calls.first_sender(configuration.table(), me().user)
    return {}


def _page(
    section: Section, name: str, stored: Stored | None, values: dict[str, Any], wrong: dict[str, str], base: str,
    shown: Review | None = None, failed: str = "",
) -> str:  # fmt: skip
    of = inventory()
    return render_template(
        "entry.html", section=section, name=name, title=_title(section, name, stored), values=values, wrong=wrong, base=base,
        parts=_parts(section), choices=of.choices(), paths=PATHS, may_change=me().may(section.change), review=shown, failed=failed,
        history=work.history(section.kind, name) if name else (), facts=_facts(of, section, name) if name else (),
        drafts=drafts.open_ones(), secret_kept=bool(stored is not None and stored.body.get("digest")), done=_done(),
        countries=COUNTRIES, zones=sorted(available_timezones()) if section.kind == "site" else (), version=configuration.table().version,
    )  # fmt: skip


def _facts(of: Inventory, section: Section, name: str) -> tuple[Fact, ...]:
    """What the rack knows of it; a SIM can be tried by whoever may place test calls."""
    known = facts_of(of, section.kind, name)
    if section.kind != "sim" or name not in of.cards or not me().may("calls.test"):
        return known
    return (*known, ("Try it", "Test call", f"/test-call?{urlencode({'iccid': name})}", ""))


def _title(section: Section, name: str, stored: Stored | None) -> str:
    if section.single:
        return ""
    if not name:
        return f"New {section.one}"
    return str((stored.body.get("title") if stored is not None else "") or name)


def _parts(section: Section) -> list[tuple[str, list[forms.Field]]]:
    """Fields in their groups; one that no group names stands in a group of its own, so that none is lost."""
    known = {one.name: one for one in forms.fields_of(MODELS[section.kind])}
    parts = [(title, [known.pop(name) for name in names if name in known]) for title, names in section.parts]
    return [*parts, ("More", list(known.values()))] if known else parts


# --- acts -------------------------------------------------------------------------------------------------------


def _act(section: Section) -> AnyResponse | str:
    name, stored = _named(section, request.form.get("_name", ""))
    of = work.asked(section, stored, name)
    act, _, more = request.form.get("act", "review").partition(":")
    if act == "rebase":
        of, act = replace(of, base=more[:64]), "review"
    if act == "theirs":
        return _theirs(of, more[:64])
    acts: dict[str, Callable[[Asked], AnyResponse | str]] = {
        "check": _check, "row": _row, "review": _review, "apply": _apply, "draft": _draft, "remove": _remove, "removed": _removed,
    }  # fmt: skip
    if act not in acts:
        abort(400, description="There is no such button.")
    return acts[act](of)


def _part() -> bool:
    return request.headers.get("HX-Request") == "true"


def _check(of: Asked) -> str:
    """Mistakes beside the fields, while somebody types. What is empty yet is no mistake yet."""
    wrong = {name: text for name, text in work.judge(of).items() if text != "Fill this in." and name}
    return render_template("entry_errors.html", fields=forms.fields_of(of.model), wrong=wrong)


def _row(of: Asked) -> AnyResponse | str:
    """One more row in a table of the form."""
    field = next(one for one in forms.fields_of(of.model) if one.kind == "rows")
    values = _typed(of)
    if _part():
        return render_template("entry_row.html", f=field, value=values[field.name], choices=inventory().choices())
    return _page(of.section, of.name, of.stored, values, {}, of.base)


def _review(of: Asked) -> AnyResponse | str:
    return _told(of, work.review(of))


def _remove(of: Asked) -> AnyResponse | str:
    if of.stored is None or of.section.single:
        abort(404)
    return _told(of, work.removal(of))


def _told(of: Asked, found: Review, failed: str = "") -> AnyResponse | str:
    """The review beside the form as it was typed."""
    if _part():
        return render_template(
            "entry_review.html", section=of.section, name=of.name, review=found, base=of.base, failed=failed,
            fields=forms.fields_of(of.model), drafts=drafts.open_ones(), wanted=of.wanted, titles=inventory(),
            note=request.form.get("_note", "")[:200], secret=_has_secret(of), words=WORDS,
        )  # fmt: skip
    page = _page(of.section, of.name, of.stored, _typed(of), dict(found.wrong), of.base, found, failed)
    return make_response(page, 200 if found.ok else 422)


def _typed(of: Asked) -> dict[str, Any]:
    """The form as it was sent; what is fixed, and therefore not sent, as it is."""
    return {**forms.typed(of.model, request.form), **{name: value for name, value in of.read.body.items() if name in ("name", "iccid") and of.name}}


def _theirs(of: Asked, field: str) -> AnyResponse | str:
    """The form with one field as somebody else has put it in force meanwhile; everything else stays as it was typed."""
    if of.stored is None or field not in {one.name for one in forms.fields_of(of.model)}:
        abort(404)
    now = forms.texts(of.model, forms.whole(of.model, of.stored.body))
    values = {**_typed(of), field: now[field]} if field in now else _typed(of)
    again = replace(of, read=forms.read(of.model, _sent(of.model, values), {key: of.read.body[key] for key in ("name", "iccid") if of.name and key in of.read.body}))
    return _page(of.section, of.name, of.stored, values, {}, of.base, work.review(again))


def _sent(model: type[BaseModel], values: Mapping[str, Any]) -> MultiDict[str, str]:
    """What a browser would send of a form with these values."""
    sent: MultiDict[str, str] = MultiDict()
    for one in forms.fields_of(model):
        value = values.get(one.name, "")
        if one.kind == "rows":
            for row in value:
                sent.update({f"{one.name}.{column.name}": str(row.get(column.name, "")) for column in one.columns})
        elif one.kind == "flag":
            sent.update({one.name: "on"} if value else {})
        else:
            sent.setlist(one.name, value if one.kind == "choices" else [value])
    return sent


def _has_secret(of: Asked) -> bool:
    return bool(of.read.body.get("digest", {}).get("password"))


def _apply(of: Asked) -> AnyResponse | str:
    found = work.review(of, with_impact=False)
    # Only what somebody has looked at goes live: a field that was changed after the review is reviewed first.
    if not found.ok or found.seen != request.form.get("_seen", ""):
        return _told(of, work.review(of))
    return _done_or_told(of, found)


def _removed(of: Asked) -> AnyResponse | str:
    if of.stored is None or of.section.single:
        abort(404)
    found = work.removal(of)
    if not found.ok or request.form.get("_confirm", "").strip() != of.name:
        return _told(of, found, "" if not found.ok else f"Type {of.name} to confirm.")
    return _done_or_told(of, found)


def _done_or_told(of: Asked, found: Review) -> AnyResponse | str:
    done = configuration.apply(found.changes, request.form.get("_note", "")[:200])
    if not done.ok:
        again = work.removal(of) if found.removes else work.review(of, with_impact=False)
        return _told(of, again, f"Nothing was changed: {work.applied_words(done)}.")
    where = of.section.path if found.removes else _address(of)
    return _to(f"{where}{'&' if '?' in where else '?'}{urlencode({'done': done.version})}")


def _address(of: Asked) -> str:
    return of.section.entry if of.section.single else href(of.section.kind, of.wanted)


def _to(address: str) -> AnyResponse:
    return Response(status=204, headers={"HX-Redirect": address}) if _part() else redirect(address, 303)


def _draft(of: Asked) -> AnyResponse | str:
    found = work.review(of, with_impact=False)
    if not found.ok:
        return _told(of, found)
    if _has_secret(of):
        return _told(of, found, "A draft keeps no password: apply this change, or leave the password out.")
    into = request.form.get("_draft", "")
    number = drafts.keep(found.changes, request.form.get("_note", "")[:200], int(into) if into.isdecimal() and len(into) < 10 else None)
    if number is None:
        return _told(of, found, "That draft is not open any more; choose another or a new one.")
    return _to(f"/routing/drafts/{number}")


for _section in SECTIONS:
    _register(_section)
