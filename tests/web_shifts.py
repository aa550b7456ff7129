"""What moves on a live page by itself: the browser's own count (layout shift), and that there was something to draw."""

from dataclasses import dataclass
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

_BEGIN = """() => {
  window.moved = [];
  window.drawn = 0;
  const name = (node) => node ? (node.outerHTML || node.textContent || '').slice(0, 120) : '';
  new PerformanceObserver((list) => list.getEntries().forEach((entry) =>
    window.moved.push([entry.value, ...entry.sources.map((source) => name(source.node))]))).observe({type: 'layout-shift', buffered: false});
  new MutationObserver((list) => { window.drawn += list.length; }).observe(document.getElementById('main'), {childList: true, subtree: true});
}"""
_END = """() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => done([window.moved, window.drawn]), 50)))"""


@dataclass(frozen=True)
class Seen:
    """What was seen of one page: shifts as (score, where), and how often something was drawn anew."""

    shifts: tuple[tuple[Any, ...], ...]
    drawn: int

    @property
    def score(self) -> float:
        """The sum of all scores; nothing is left out of it."""
        return float(sum(one[0] for one in self.shifts))


def begin(page: Page) -> None:
    """Watch from now on, once the page is live."""
    expect(page.locator("#live-word")).to_have_text("live", timeout=60_000)
    # What the page itself draws last (icons, its clock) is not the traffic's.
    page.evaluate("document.fonts.ready")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate(_BEGIN)


def end(page: Page) -> Seen:
    shifts, drawn = page.evaluate(_END)
    return Seen(tuple(map(tuple, shifts)), drawn)


def listen(context: BrowserContext) -> list[str]:
    """Errors of the browser's console, of all pages of this context, as they come."""
    errors: list[str] = []
    context.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: errors.append(str(error.error)))
    return errors
