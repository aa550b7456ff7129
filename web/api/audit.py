"""The audit log."""

from datetime import UTC, datetime
from typing import Any

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from simrack.controller.audit.chain import Entry
from simrack.controller.store.audit import AuditFilter
from simrack.web.api.common import as_json, part
from simrack.web.app import mask, problem, room
from simrack.web.needs import needs
from simrack.web.services import audit as service

api = part("audit", "audit")


class AuditQuery(BaseModel):
    """Which entries, newest first."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field("", max_length=200, description="words anywhere in an entry")
    actor: str = Field("", max_length=200, description="user:NAME, cli:NAME or controller")
    action: str = Field("", max_length=100)
    subject: str = Field("", max_length=200)
    sim: str = Field("", max_length=30, description="an ICCID, wherever it stands")
    since: datetime | None = Field(None, description="at or after; RFC 3339")
    until: datetime | None = Field(None, description="before; RFC 3339")
    after: int = Field(0, ge=0, lt=2**63, description="`next` of the answer before")
    limit: int = Field(50, ge=1, le=1000)


class AuditEntryOut(BaseModel):
    """One entry; subscriber numbers in `detail` are masked for roles without need."""

    seq: int
    at: datetime
    actor: str
    address: str
    action: str
    subject: str
    detail: dict[str, Any]
    previous: str
    hash: str


class AuditOut(BaseModel):
    """Entries; `next` is 0 when no more follow. `head`: number and hash of the last entry of all, to be kept elsewhere."""

    entries: list[AuditEntryOut]
    next: int
    head: str


class VerdictOut(BaseModel):
    """Whether every entry holds; `seq` and `kind` name the first that does not."""

    ok: bool
    entries: int
    head: str
    seq: int | None = None
    kind: str = ""
    text: str = ""


@api.get("/audit", responses={"200": AuditOut}, summary="Who did what, and what policy refused, newest first")
@needs("audit.see")
def audit(query: AuditQuery) -> Response:
    since, until = (_aware(moment) for moment in (query.since, query.until))
    wanted = AuditFilter(query.text, query.actor, query.action, query.subject, query.sim, since, until, query.after, query.limit)
    log = room().desk.queries.audit
    page = log.audit_page(wanted)
    return as_json(AuditOut(entries=[_out(entry) for entry in page.entries], next=page.next, head=str(log.audit_head() or "")))


@api.get("/audit/check", responses={"200": VerdictOut}, summary="Check the whole chain")
@needs("audit.see")
def check() -> Response:
    verdict = service.check()
    if verdict is None:
        what = f"It has more than {service.MOST_CHECKED} entries; run `simrack audit verify`."
        return problem(422, "The log is too long to be checked here", what)
    fault = verdict.fault
    told = VerdictOut(ok=verdict.ok, entries=verdict.entries, head=str(verdict.head or ""))
    return as_json(told.model_copy(update={"seq": fault.seq, "kind": fault.kind, "text": fault.text} if fault else {}))


def _out(entry: Entry) -> AuditEntryOut:
    return AuditEntryOut(
        seq=entry.seq, at=entry.at, actor=entry.actor, address=entry.address, action=entry.action, subject=entry.subject,
        detail=service.masked(service.told(entry), mask()), previous=entry.previous, hash=entry.hash,
    )  # fmt: skip


def _aware(moment: datetime | None) -> datetime | None:
    """A moment without zone is UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
