"""The pages of the control room in the order of the menu; whoever lacks a page's right doesn't see it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """One row of the menu; `key` goes there after `g`, `near` puts it into a telephone's bottom bar."""

    key: str
    path: str
    title: str
    icon: str
    right: str
    near: bool = False


#: What belongs together, in the order of the menu.
SECTIONS = (
    ("Watch", (
        Page("r", "/rack", "Rack", "grid", "rack.see", near=True),
        Page("c", "/calls", "Calls", "voice", "calls.see", near=True),
        Page("x", "/test-call", "Test call", "phone", "calls.test"),
        Page("b", "/gateways", "Gateways", "tool", "gateways.see"),
        Page("a", "/alarms", "Alarms", "alert", "alarms.see", near=True),
        Page("y", "/analyse", "Analyse", "pulse", "alarms.see"),
    )),
    ("Configure", (
        Page("s", "/sims", "SIMs", "card", "sims.see"),
        Page("n", "/senders", "Senders", "in", "senders.see"),
        Page("m", "/agreements", "Agreements", "paper", "agreements.see"),
        Page("o", "/routing", "Routing", "route", "routing.see"),
    )),
    ("Look back", (
        Page("e", "/records", "Records", "list", "records.see", near=True),
        Page("t", "/statistics", "Statistics", "chart", "statistics.see"),
        Page("q", "/causes", "Release causes", "share", "statistics.see"),
        Page("l", "/logs", "Logs", "lines", "logs.see"),
    )),
    ("Administer", (
        Page("d", "/settings", "Settings", "dials", "settings.see"),
        Page("i", "/audit", "Audit", "lock", "audit.see"),
        Page("u", "/accounts", "Accounts", "people", "accounts.see"),
        Page("p", "/set-up", "Set-up", "tick", "set-up"),
    )),
)  # fmt: skip
PAGES = tuple(page for _, pages in SECTIONS for page in pages)
NEAR = 4  # with "More" as the fifth, each is 70 px wide on a telephone of 390


@dataclass(frozen=True, slots=True)
class Menu:
    """What one person sees of the menu: its sections, and the few pages of a telephone's bottom bar."""

    sections: tuple[tuple[str, tuple[Page, ...]], ...] = ()
    near: tuple[Page, ...] = ()

    @property
    def pages(self) -> tuple[Page, ...]:
        return tuple(page for _, pages in self.sections for page in pages)


def menu(may: Callable[[str], bool]) -> Menu:
    """The menu of somebody with these rights; who lacks a page of the bottom bar has the next one there."""
    whole = tuple((title, tuple(page for page in pages if may(page.right))) for title, pages in SECTIONS)
    seen = Menu(tuple(section for section in whole if section[1]))
    few = sorted(seen.pages, key=lambda page: not page.near)[:NEAR]
    return Menu(seen.sections, tuple(page for page in seen.pages if page in few))


def start_page(may: Callable[[str], bool]) -> str:
    """Where somebody with these rights begins: the first page of the menu that is open to them."""
    return next((page.path for page in PAGES if may(page.right)), "/account")
