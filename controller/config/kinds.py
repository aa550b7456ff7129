"""The kinds of configured things: their models, how an entry is called, and its digest.

An entry's digest is over what it says, not over how a release stores it: it is what a change is bound to.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, Literal, Self, get_args

from pydantic import Field, model_validator

from simrack.controller.config.catalogue import CATALOGUE
from simrack.controller.config.models import (
    Agreement,
    Digest,
    Entry,
    Installation,
    Limits,
    Pattern,
    Plan,
    Sender,
    Sim,
    Site,
)

Kind = Literal["installation", "limit", "setting", "site", "agreement", "plan", "sim", "sender", "pattern"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Kinds of which there is exactly one entry, called as its kind.
SINGLE: Final = frozenset({"installation", "limit"})
Key = tuple[Kind, str]


class Setting(Entry):
    """One global option that is set (config/catalogue.py)."""

    name: str = Field(max_length=100, description="Name of the option.")
    value: bool | int | float | str = Field(description="What it is set to.")

    @model_validator(mode="after")
    def _in_catalogue(self) -> Self:
        option = CATALOGUE.get(self.name)
        if option is None:
            raise ValueError(f"there is no option {self.name!r}")
        wrong = option.mistake(self.value)
        if wrong:
            raise ValueError(f"{self.name} {wrong}")
        return self


MODELS: Mapping[Kind, type[Entry]] = {
    "installation": Installation, "limit": Limits, "setting": Setting, "site": Site, "agreement": Agreement,
    "plan": Plan, "sim": Sim, "sender": Sender, "pattern": Pattern,
}  # fmt: skip
#: What people call one of them.
WORDS: Mapping[Kind, str] = {
    "installation": "installation", "limit": "limits", "setting": "option", "site": "site", "agreement": "agreement",
    "plan": "plan", "sim": "SIM", "sender": "sender", "pattern": "pattern",
}  # fmt: skip


def name_of(kind: Kind, entry: Entry) -> str:
    """What an entry is called among its kind."""
    if kind in SINGLE:
        return kind
    if isinstance(entry, Sim):
        return entry.iccid
    if isinstance(entry, Pattern):
        return entry.label
    return str(getattr(entry, "name"))  # noqa: B009 - every other model has one, the base class does not


def body_of(entry: Entry) -> dict[str, Any]:
    """An entry as JSON, without what is at its default: the same text for the same meaning."""
    body: dict[str, Any] = json.loads(entry.model_dump_json(by_alias=True, exclude_defaults=True))
    return body


def digest_of(entry: Entry | None) -> str:
    """What a change of this entry must be based on; "" where there is no entry."""
    if entry is None:
        return ""
    text = json.dumps(body_of(entry), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def shown(entry: Entry) -> dict[str, Any]:
    """An entry's body for people: hashes of a password stay out of pages, answers and logs."""
    body = body_of(entry)
    if "digest" in body:
        body["digest"] = {key: value for key, value in body["digest"].items() if key in ("user", "algorithms")}
    return body


def hides(body: Mapping[str, Any]) -> bool:
    """Whether a sender's body names a digest user without saying its password: the one that is kept stays."""
    given = body.get("digest")
    secrets = ("password", "ha1_md5", "ha1_sha256")
    return isinstance(given, Mapping) and not any(given.get(name) for name in secrets)


def with_kept_secret(body: Mapping[str, Any], kept: Digest | None) -> dict[str, Any]:
    """The body with the hashes that are stored, where it names the same user and no password."""
    whole = dict(body)
    if kept is not None and hides(body) and body["digest"].get("user") == kept.user:
        whole["digest"] = {**body["digest"], "ha1_md5": kept.ha1_md5, "ha1_sha256": kept.ha1_sha256}
    return whole
