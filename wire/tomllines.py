"""On which line of a TOML text a key stands; `tomllib` keeps no positions.

The text has been parsed before, so it is valid and the scan may be simple: headers, keys, and inside values
only strings, brackets and commas matter. Nothing is decoded but key names.
"""

import re

Loc = tuple[int | str, ...]

_KEY_PART = re.compile(r"""\s*("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)\s*(\.?)""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'", re.DOTALL
)
_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_BARE = re.compile(r"[^\s,\]}#]+(?: [0-9:.]+Z?)?")


def line_of(text: str, loc: Loc) -> int:
    """Line (from 1) of the key or array element at `loc`, or of the nearest thing around it that exists."""
    places = _Scan(text).places
    for length in range(len(loc), 0, -1):
        if loc[:length] in places:
            return text.count("\n", 0, places[loc[:length]]) + 1
    return 1


class _Scan:
    """One pass over the text; `places` maps each path to the offset where it begins."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.places: dict[Loc, int] = {}
        self._counts: dict[Loc, int] = {}  # tables seen so far of each array of tables
        table: Loc = ()
        while self._skip():
            if self.text.startswith("[", self.at):
                table = self._header()
            else:
                self._pair(table)

    def _skip(self) -> bool:
        found = _BLANK.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        return self.at < len(self.text)

    def _note(self, path: Loc, offset: int) -> None:
        self.places.setdefault(path, offset)

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            found = _KEY_PART.match(self.text, self.at)
            assert found is not None, "the text was parsed before"
            parts.append(_plain(found[1]))
            self.at = found.end()
            if not found[2]:
                return parts

    def _header(self) -> Loc:
        start = self.at
        array = self.text.startswith("[[", start)
        self.at += 2 if array else 1
        path: Loc = ()
        keys = self._key()
        for position, key in enumerate(keys):
            path = (*path, key)
            self._note(path, start)
            last = position == len(keys) - 1
            if array and last:
                self._counts[path] = self._counts.get(path, -1) + 1
            if path in self._counts:
                path = (*path, self._counts[path])
                self._note(path, start)
        self.at = self.text.index("]", self.at) + (2 if array else 1)
        return path

    def _pair(self, table: Loc) -> None:
        start = self.at
        path = table
        for key in self._key():
            path = (*path, key)
            self._note(path, start)
        self.at = self.text.index("=", self.at) + 1
        self._value(path)

    def _value(self, path: Loc) -> None:
        self._skip()
        opening = self.text[self.at]
        if opening == "[":
            self._items(path, "]")
        elif opening == "{":
            self._items(path, "}")
        else:
            found = _STRING.match(self.text, self.at) or _BARE.match(self.text, self.at)
            assert found is not None, "the text was parsed before"
            self.at = found.end()

    def _items(self, path: Loc, closing: str) -> None:
        self.at += 1
        index = 0
        while self._skip() and self.text[self.at] != closing:
            if self.text[self.at] == ",":
                self.at += 1
            elif closing == "}":
                self._pair(path)
            else:
                self._note((*path, index), self.at)
                self._value((*path, index))
                index += 1
        self.at += 1


def _plain(key: str) -> str:
    if key[0] == "'":
        return key[1:-1]
    return re.sub(r"\\(.)", r"\1", key[1:-1]) if key[0] == '"' else key
