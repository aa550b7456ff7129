"""The lists of configured things and their forms: a row for each kind, which the pages and the menu are made of."""

from collections.abc import Callable
from dataclasses import dataclass

from simrack.controller.config.kinds import Kind
from simrack.web.listing import Choice, Column, Row
from simrack.web.services import inventory as inv
from simrack.web.services.inventory import PATHS, Inventory

Tab = tuple[str, str, str]  # address, title, right

SIM_TABS: tuple[Tab, ...] = (("/sims", "SIMs", "sims.see"), ("/plans", "Plans", "sims.see"))
AGREEMENT_TABS: tuple[Tab, ...] = (
    ("/agreements", "Agreements", "agreements.see"), ("/sites", "Sites", "agreements.see"),
    ("/installation", "Installation", "agreements.see"),
)  # fmt: skip
ROUTING_TABS: tuple[Tab, ...] = (
    ("/routing", "Patterns", "routing.see"), ("/routing/explain", "Explain", "routing.explain"),
    ("/routing/tests", "Tests", "routing.explain"), ("/routing/drafts", "Drafts", "routing.see"),
    ("/routing/limits", "Limits", "routing.see"),
)  # fmt: skip


def _no_choices(_of: Inventory) -> tuple[Choice, ...]:
    return ()


def _no_rows(_of: Inventory) -> list[Row]:
    return []


@dataclass(frozen=True)
class Section:
    """One kind: its list, its form, who may see and change it, and what stands where there is nothing."""

    kind: Kind
    path: str
    title: str
    one: str
    many: str
    icon: str
    see: str
    change: str
    key: str = ""  # the column that leads to the entry
    columns: tuple[Column, ...] = ()
    rows: Callable[[Inventory], list[Row]] = _no_rows
    choices: Callable[[Inventory], tuple[Choice, ...]] = _no_choices
    tabs: tuple[Tab, ...] = ()
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    blank: str = ""
    blank_why: str = ""
    switch: bool = False
    live: bool = False
    sheet: str = ""  # where a file with many of them goes in

    @property
    def entry(self) -> str:
        """Where an entry's form is, and a new one's."""
        return PATHS[self.kind]

    @property
    def single(self) -> bool:
        """There is exactly one entry, and no list."""
        return self.kind in ("installation", "limit")

    @property
    def add(self) -> str:
        return "" if self.single else self.entry

    @property
    def add_words(self) -> str:
        return f"New {self.one}"


SECTIONS: tuple[Section, ...] = (
    Section(
        "sim", "/sims", "SIMs", "SIM", "SIMs", "card", "sims.see", "sims.change", "iccid", inv.SIM_COLUMNS, inv.sims,
        inv.sim_choices, SIM_TABS,
        (("Card", ("iccid", "plan", "enabled", "title", "holder", "note", "priority")),),
        "No SIM yet", "Cards show here when a module reports them, or when a plan names them.", switch=True, live=True,
        sheet="/sims/import",
    ),
    Section(
        "plan", "/plans", "Plans", "plan", "plans", "card", "sims.see", "agreements.change", "plan", inv.PLAN_COLUMNS,
        inv.plans, _no_choices, SIM_TABS,
        (
            ("Plan", ("title", "name", "agreement", "enabled", "country", "owner")),
            ("Its SIMs", ("sims", "imsi_prefixes")),
            ("Calls", ("dial", "early_media", "hide_number", "max_ring_s", "max_call_s")),
            ("Limits of its tariff", ("max_concurrent", "sim_calls_day", "sim_minutes_day", "sim_minutes_month")),
        ),
        "No plan yet", "A plan is a kind of SIM: its cards, what its agreement permits, how its network wants numbers.",
    ),
    Section(
        "sender", "/senders", "Senders", "sender", "senders", "in", "senders.see", "senders.change", "sender",
        inv.SENDER_COLUMNS, inv.senders, _no_choices, (),
        (
            ("Who it is", ("title", "name", "enabled", "legal_name", "contact", "country", "purpose", "use", "listening")),
            ("How it is recognised", ("addresses", "digest.user", "digest.password", "digest.algorithms")),
            ("Verified numbers", ("numbers", "default_number", "other_numbers", "area_code")),
            ("Limits", ("max_calls", "max_rate", "max_call_s", "allowed_prefixes", "blocked_prefixes", "plans")),
        ),
        "No sender yet", "Calls are taken only from senders that are entered here, each with the numbers that it may present.",
    ),
    Section(
        "agreement", "/agreements", "Agreements", "agreement", "agreements", "paper", "agreements.see",
        "agreements.change", "agreement", inv.AGREEMENT_COLUMNS, inv.agreements, _no_choices, AGREEMENT_TABS,
        (
            ("Agreement", ("title", "name", "operator", "reference", "document_sha256", "lab")),
            ("What it permits", ("uses", "sites", "origins", "valid_from", "valid_until")),
        ),
        "No agreement yet", "A plan carries no call until an agreement with its operator is attached.",
    ),
    Section(
        "site", "/sites", "Sites", "site", "sites", "grid", "agreements.see", "settings.change", "site",
        inv.SITE_COLUMNS, inv.sites, _no_choices, AGREEMENT_TABS,
        (("Site", ("title", "name", "country", "time_zone", "emergency")),),
        "No site yet", "A site is where boxes stand; its country decides what is an emergency number.",
    ),
    Section(
        "pattern", "/routing", "Routing", "pattern", "patterns", "route", "routing.see", "routing.change", "pattern",
        inv.PATTERN_COLUMNS, inv.patterns, inv.pattern_choices, ROUTING_TABS,
        (
            ("Called numbers", ("name", "prefixes", "senders")),
            ("Where they go", ("action", "targets", "priority", "stop")),
        ),
        "No pattern yet", "A pattern says which called numbers go to which plans. A number that no pattern fits is refused.",
    ),
    Section(
        "installation", "/installation", "Installation", "installation", "installations", "lock", "agreements.see",
        "settings.change", tabs=AGREEMENT_TABS,
        parts=(("What this rack is", ("class", "owner", "country")), ("Licence", ("licence", "licence_issuer", "licence_until"))),
    ),
    Section(
        "limit", "/routing/limits", "Limits", "limits", "limits", "tool", "routing.see", "settings.change",
        tabs=ROUTING_TABS, parts=(("Every call", ("max_attempts", "max_ring_s", "max_call_s", "rested_s", "order")),),
    ),
)  # fmt: skip
BY_KIND = {section.kind: section for section in SECTIONS}
