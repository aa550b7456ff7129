"""Walks the control room as somebody who follows every link, and knows every form that stands there.

What is added to the pages later is found by itself: nothing here names a page or a field.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from flask import Flask
from web_helpers import Browser
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

#: Event streams never end, and signing out would end the walk.
NEVER = frozenset({"rack.stream", "api_events.events", "access.sign_out"})
#: Addresses of one view that differ only in values are one page, looked at so often.
ALIKE = 1


@dataclass(frozen=True, slots=True)
class Form:
    """One form with what it would send if nobody touched it."""

    page: str
    action: str
    method: str
    fields: tuple[tuple[str, str | None], ...]  # None: there, and not sent unless somebody chooses it
    target: str = ""  # of htmx: the part of the page that takes the answer
    button: tuple[str, str] | None = None
    written: frozenset[str] = frozenset()  # fields that take words, so that words must not get lost

    @property
    def names(self) -> tuple[str, ...]:
        """Fields that people fill, and hidden ones that they could."""
        return tuple(dict.fromkeys(name for name, _ in self.fields if name != "csrf"))

    def sent(self, **changed: str | None) -> list[tuple[str, str]]:
        """The fields with some of them changed, or left out by None."""
        kept = [(name, changed.get(name) if name in changed else value) for name, value in self.fields]
        kept += [(name, value) for name, value in changed.items() if name not in dict(self.fields)]
        kept += [self.button] if self.button and self.button[0] not in changed else []
        return [(name, value) for name, value in kept if value is not None]


@dataclass
class Sight:
    """What stands on one page."""

    links: list[tuple[str, str]] = field(default_factory=list)  # (address, htmx target)
    forms: list[Form] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # words of warnings


class Eyes(HTMLParser):
    """Reads a page for its links, its forms and its warnings."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sight, self._page = Sight(), page
        self._open: tuple[str, str, str] | None = None
        self._fields: list[tuple[str, str | None]] = []
        self._written: set[str] = set()
        self._buttons: list[tuple[str, str, str]] = []
        self._select: list[tuple[str, bool]] | None = None
        self._select_name = self._area_name = ""
        self._area: list[str] | None = None
        self._warned = 0
        self._depth: list[bool] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        of = {name: value or "" for name, value in attributes}
        if tag == "form":
            self._open = (of.get("hx-post") or of.get("action", ""), of.get("method", "get").lower(), of.get("hx-target", ""))
            self._fields, self._buttons, self._written = [], [], set()
        for name in ("href", "hx-get"):
            if of.get(name):
                self.sight.links.append((of[name], of.get("hx-target", "").lstrip("#") if name == "hx-get" else ""))
        if tag == "input":
            self._input(of)
        elif tag == "select":
            self._select, self._select_name = [], of.get("name", "")
        elif tag == "option" and self._select is not None:
            self._select.append((of.get("value", ""), "selected" in of))
        elif tag == "textarea":
            self._area, self._area_name = [], of.get("name", "")
        elif tag == "button" and of.get("name") and self._open:
            self._buttons.append((of["name"], of.get("value", ""), of.get("hx-target", "").lstrip("#")))
        if tag not in VOID:
            self._depth.append(of.get("role") == "alert" or bool({"wrong", "problem", "why"} & set(of.get("class", "").split())))

    def _input(self, of: Mapping[str, str]) -> None:
        kind, name = of.get("type", "text"), of.get("name", "")
        if not name or self._open is None or "disabled" in of:
            return
        if kind not in ("checkbox", "radio") or "checked" in of:
            self._fields.append((name, of.get("value", "on" if kind in ("checkbox", "radio") else "")))
        elif name not in dict(self._fields):
            self._fields.append((name, None))
        if kind in ("text", "search", "number", "email", "date", "datetime-local") and of.get("autocomplete") != "one-time-code":
            self._written.add(name)

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self._area.append(data)
        if any(self._depth) and data.strip():
            self.sight.said.append(data.strip())

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and self._depth:
            self._depth.pop()
        if tag == "select" and self._select is not None:
            chosen = [value for value, now in self._select if now] or [value for value, _ in self._select[:1]]
            self._fields += [(self._select_name, value) for value in chosen[:1]] if self._open else []
            self._select = None
        elif tag == "textarea" and self._area is not None:
            self._fields.append((self._area_name, "".join(self._area).removeprefix("\n")))
            self._written.add(self._area_name)
            self._area = None
        elif tag == "form" and self._open is not None:
            self._close(*self._open)
            self._open = None

    def _close(self, action: str, method: str, target: str) -> None:
        fields = tuple((name, value) for name, value in self._fields if name)
        for name, value, of in dict.fromkeys(self._buttons) or {("", "", ""): None}:
            button = (name, value) if name else None
            self.sight.forms.append(Form(self._page, action or self._page, method, fields, (of or target).lstrip("#"), button, frozenset(self._written)))


VOID = frozenset({"input", "img", "br", "hr", "meta", "link", "use", "path", "circle", "rect", "line", "col", "wbr", "source"})


def look(address: str, page: str) -> Sight:
    """What a reader finds on a page."""
    eyes = Eyes(address)
    eyes.feed(page)
    return eyes.sight


class Walk:
    """Goes from page to page until nothing new is linked."""

    def __init__(self, app: Flask, browser: Browser, also: Iterable[str] = ()) -> None:
        self.app, self.browser = app, browser
        self.forms: dict[tuple[str, tuple[str, ...], tuple[str, str] | None], Form] = {}
        self.parameters: dict[str, set[str]] = {}  # names that the pages themselves put into an address, by path
        self.pages: dict[str, TestResponse] = {}
        self._seen: dict[tuple[str, tuple[str, ...]], int] = {}
        self._todo = [("/", ""), *((address, "") for address in also), *((rule.rule, "") for rule in app.url_map.iter_rules() if not rule.arguments and "GET" in (rule.methods or ()))]

    def __iter__(self) -> Iterator[tuple[str, TestResponse]]:
        """Each page with its address, once."""
        while self._todo:
            address, target = self._todo.pop(0)
            if self._new(address, target):
                answer = self.visit(address, target)
                yield address, answer

    def visit(self, address: str, target: str = "") -> TestResponse:
        headers = {"HX-Request": "true", "HX-Target": target} if target else {}
        answer = self.browser.client.get(address, headers=headers, buffered=True)
        if answer.mimetype == "text/html":
            self._learn(address, look(address, answer.text))
        elif answer.location:
            self._todo.append((answer.location, ""))
        return answer

    def _learn(self, address: str, sight: Sight) -> None:
        self._todo += sight.links
        for found in sight.forms:
            path, kind = urlsplit(found.action).path, self.endpoint(found.action, found.method.upper())
            if found.method == "get":
                self.parameters.setdefault(path, set()).update(found.names)
            elif kind and kind not in NEVER:
                self.forms.setdefault((kind, found.names, found.button), found)

    def _new(self, address: str, target: str) -> bool:
        parts = urlsplit(address)
        if parts.netloc or not parts.path.startswith("/") or parts.path.startswith(("/static/", "/api/")):
            return False
        names = tuple(sorted(dict(parse_qsl(parts.query, keep_blank_values=True))))
        self.parameters.setdefault(parts.path, set()).update(names)
        kind = self.endpoint(address)
        key = (f"{kind} {target}", names)
        self._seen[key] = self._seen.get(key, 0) + 1
        return bool(kind) and kind not in NEVER and self._seen[key] <= ALIKE

    def endpoint(self, address: str, method: str = "GET") -> str:
        """The view behind an address; "" if there is none."""
        try:
            return str(self.app.url_map.bind("localhost").match(urlsplit(address).path, method)[0])
        except HTTPException:
            return ""


def send(browser: Browser, form: Form, fields: Iterable[tuple[str, str]], *, part: bool = False) -> TestResponse:
    """Send a form as a browser does, with the token of the page that it stands on."""
    headers = {"HX-Request": "true", "HX-Target": form.target} if part else {}
    body = urlencode(list(fields), errors="surrogatepass").encode()
    return browser.client.post(form.action, data=body, content_type="application/x-www-form-urlencoded", headers=headers, buffered=True)


def with_query(path: str, name: str, value: str) -> str:
    """An address with one parameter; surrogates go as the octets that a broken program would send."""
    return f"{path}?{quote(name)}={quote(value, errors='surrogatepass')}"


def asked_names(source: str) -> set[str]:
    """Names of parameters that a module reads from an address."""
    return set(re.findall(r"args(?:\.get|\.getlist|\[)?\(?\s*[\"']([a-z_]+)[\"']", source)) | set(re.findall(r"given\.get\([\"']([a-z_]+)[\"']", source))

