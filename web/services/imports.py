"""SIMs from a file: looked at as often as wanted, put in force once as one change, by page, API and command line.

A file waits in memory between its review and the last button: it holds nothing that is not somebody's to send again.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import structlog
from flask import Flask, current_app, g

from simrack.controller.config.changes import Change
from simrack.controller.config.impact import Impact
from simrack.controller.config.models import Sim
from simrack.web import sim_sheet
from simrack.web.app import me, own, room
from simrack.web.entry import inventory
from simrack.web.services import configuration
from simrack.web.services.configuration import APPLY_TIMEOUT_S, Applied
from simrack.web.sim_sheet import Against, Outcome

log = structlog.get_logger(__name__)
#: Files of up to 16 MB each; one more ends the oldest, and each person has one.
MOST_WAITING = 8
#: A review that nobody came back to.
WAITING_S = 3600.0
#: What one more card adds to the time that a version takes, on a slow disk (docs/configured.md).
PER_CARD_S = 0.1
#: The impact is asked of changes that a person can look through.
MOST_ASKED = 200
#: Most changes are done by then; of longer ones the page tells how it goes.
AT_ONCE_S = 3.0


@dataclass
class Upload:
    """One file that somebody has sent and not yet put in force."""

    key: str
    user: int
    name: str
    data: bytes
    plan: str
    at: float
    begun: float | None = None
    cards: int = 0
    result: Applied | None = None
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def running(self) -> bool:
        return self.begun is not None and not self.done.is_set()


@dataclass
class Waiting:
    """Files between their review and the last button."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    known: OrderedDict[str, Upload] = field(default_factory=OrderedDict)

    def put(self, upload: Upload) -> None:
        with self.lock:
            for key, one in list(self.known.items()):
                if not one.running and (one.user == upload.user or upload.at - one.at > WAITING_S):
                    del self.known[key]
            self.known[upload.key] = upload
            while len(self.known) > MOST_WAITING:
                self.known.popitem(last=False)

    def get(self, key: str, user: int, now: float) -> Upload | None:
        """Somebody's own file; None when it is not there any more."""
        with self.lock:
            found = self.known.get(key)
        return found if found is not None and found.user == user and now - found.at <= WAITING_S else None


def waiting() -> Waiting:
    """The files of this control room."""
    return cast(Waiting, current_app.extensions.setdefault("simrack.imports", Waiting()))


def keep(name: str, data: bytes, plan: str) -> Upload:
    """Keep a file for its review."""
    here = room()
    made = Upload(here.ids.token(12), me().user_id, name[:200], data, plan, here.clock.monotonic())
    waiting().put(made)
    return made


def kept(key: str) -> Upload | None:
    """One's own file; None when it is gone: another was sent, an hour is over, or the control room was restarted."""
    return waiting().get(key, me().user_id, room().clock.monotonic())


def look(data: bytes, plan: str) -> Outcome:
    """What a file would do. Raises `BadSheet`."""
    of = inventory()
    cards = of.live if of.own.everything else ()
    return sim_sheet.outcome(sim_sheet.read(data), Against(of.table, plan, cards, of.own))


def impact(found: Outcome) -> Impact | None:
    """What it would do to recent calls; None where that is not asked."""
    asked = 0 < len(found.after) <= MOST_ASKED and not found.mistakes and me().may("routing.explain")
    return configuration.impact(found.changes) if asked else None


def refused(found: Outcome, without: int | None, seen: str | None) -> str:
    """Why it can't go in force as somebody has looked at it; "" when it can."""
    if found.mistakes:
        first = found.mistakes[0]
        return f"{first.kind} {first.name}: {first.what}. {first.todo}".strip()
    if found.wrong and without != len(found.wrong):
        return f"{len(found.wrong):,} of its lines can't be taken. Mend them, or leave exactly these out."
    if seen is not None and seen != found.seen:
        return "Somebody has changed SIMs meanwhile, so that it would do something else now. Look at it once more."
    return ""


def apply(changes: Sequence[Change], note: str) -> Applied:
    """Put cards in force together as one version, and wait for it."""
    return configuration.apply(changes, note, APPLY_TIMEOUT_S + PER_CARD_S * len(changes))


def begin(upload: Upload, found: Outcome, note: str) -> None:
    """Put a file in force beside the page; the first moments are waited for."""
    upload.begun, upload.cards, upload.result = room().clock.monotonic(), len(found.after), None
    upload.done.clear()
    app, session, changes = cast(Flask, current_app._get_current_object()), g.session, found.changes  # type: ignore[attr-defined]

    def work() -> None:
        try:
            with app.app_context():
                g.session = session
                upload.result = apply(changes, note)
        except Exception:
            # Whoever waits for it is told, whatever it was.
            log.exception("SIMs of a file could not be put in force", file=upload.name)
            upload.result = Applied(error="the control room made a mistake; it is in its log")
        finally:
            upload.done.set()

    threading.Thread(target=work, name=f"import-{upload.key[:6]}", daemon=True).start()
    upload.done.wait(AT_ONCE_S)


def exported() -> list[Sim]:
    """Every configured card that this account sees, for a sheet."""
    bounds, table = own(), configuration.table()
    return [sim for sim in table.sims.values() if bounds.everything or bounds.sees_plan(sim.plan)]
