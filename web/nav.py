"""The pages of the control room in the order of the menu; whoever lacks a page's right doesn't see it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """One row of the menu; `key` goes there after `g`."""

    key: str
    path: str
    title: str
    icon: str
    right: str


PAGES = (
    Page("r", "/rack", "Rack", "grid", "rack.see"),
    Page("c", "/calls", "Calls", "voice", "calls.see"),
    Page("b", "/gateways", "Gateways", "tool", "gateways.see"),
    Page("s", "/sims", "SIMs", "card", "sims.see"),
    Page("n", "/senders", "Senders", "in", "senders.see"),
    Page("m", "/agreements", "Agreements", "paper", "agreements.see"),
    Page("o", "/routing", "Routing", "route", "routing.see"),
    Page("e", "/records", "Records", "list", "records.see"),
    Page("t", "/statistics", "Statistics", "chart", "statistics.see"),
    Page("q", "/causes", "Release causes", "end", "statistics.see"),
    Page("a", "/alarms", "Alarms", "alert", "alarms.see"),
    Page("y", "/analyse", "Analyse", "pulse", "alarms.see"),
    Page("l", "/logs", "Logs", "lines", "logs.see"),
    Page("d", "/settings", "Settings", "dials", "settings.see"),
    Page("i", "/audit", "Audit", "lock", "audit.see"),
    Page("u", "/accounts", "Accounts", "people", "accounts.see"),
    Page("p", "/set-up", "Set-up", "tick", "set-up"),
)


def start_page(may: Callable[[str], bool]) -> str:
    """Where somebody with these rights begins: the first page of the menu that is open to them."""
    return next((page.path for page in PAGES if may(page.right)), "/account")
