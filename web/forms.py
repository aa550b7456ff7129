"""Forms made of the configuration's own models: what stands beside each field, reading it, and what changed (pure).

The model's JSON schema says all that a field has: meaning, unit, default, range, form. So a key that is added to a
model has its field here, and the page, the file and the API can't tell different things.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from pydantic import BaseModel

from simrack.web.text import DASH

#: Lists longer than this are kept by file or CSV; nobody reads them in a box.
MOST_LINES = 5000
# Empty rows at the end of a table of targets.
SPARE_ROWS = 1
MOST_ROWS = 50
LONGEST_LINE = 4000
_BETWEEN = re.compile(r"[\s,;]+")
#: Values that are not told by their own words.
WORDS: Mapping[str, str] = {
    "own-use-voice": "own-use voice", "enterprise-fixed-cellular": "enterprise fixed-cellular",
    "licensed-termination": "licensed termination", "own-use": "own use", "single-customer": "single customer",
    "multiple-customers": "multiple customers under a licence", "test-lab": "test lab", "+": "+49 30 …", "00": "0049 30 …",
    "national": "030 …", "reject": "reject them", "replace": "show the default number", "refuse": "refuse",
    "auto": "when the network sends something", "true": "yes", "false": "no",
}  # fmt: skip


class Given(Protocol):
    """A form as it was sent."""

    def get(self, name: str, default: str, /) -> str: ...
    def getlist(self, name: str, /) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `kind`: text, number, day, secret, flag, choice, choices, lines, rows."""

    name: str  # "digest.user" within the entry
    title: str
    kind: str
    meaning: str = ""
    form: str = ""
    unit: str = ""
    default: str = ""
    required: bool = False
    least: int | None = None
    most: int | None = None
    longest: int | None = None
    refers: str = ""
    choices: tuple[str, ...] = ()
    columns: tuple["Field", ...] = ()

    @property
    def id(self) -> str:
        """For `id` and `for`: no dots, which a selector would take for classes."""
        return self.name.replace(".", "-")

    @property
    def range(self) -> str:
        """What a number may be, in words."""
        if self.least is None and self.most is None:
            return ""
        if self.most is None:
            return f"{self.least:,} or more"
        return f"{self.least or 0:,} to {self.most:,}"

    @property
    def usual(self) -> str:
        """The default as people read it."""
        return f"{int(self.default):,}" if self.kind == "number" and self.default.isdecimal() else self.default


@dataclass(slots=True)
class Read:
    """A form as an entry's body, and what is wrong with it by field; "" holds what concerns no single field."""

    body: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of an entry, as it is and as it would be; of lists only what comes and goes."""

    title: str
    before: str
    after: str
    came: tuple[str, ...] = ()
    went: tuple[str, ...] = ()
    name: str = ""  # of the field


# --- fields -------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def fields_of(model: type[BaseModel]) -> tuple[Field, ...]:
    """The fields of a model in its order; those of an inner table follow as "table.key"."""
    schema = model.model_json_schema()
    return tuple(_fields(schema, schema.get("$defs", {}), ""))


def _fields(schema: Mapping[str, Any], defs: Mapping[str, Any], prefix: str) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, told in schema["properties"].items():
        inner = _part(told, defs)
        if inner.get("type") == "object":
            yield from _fields(inner, defs, f"{prefix}{name}.")
        elif not name.startswith("ha1_") and not (len(_choices(inner)) == 1 and "default" in told and told["default"] is not None):
            yield _field(prefix + name, told, inner, name in required and not prefix, defs)


def _part(told: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """What a value is when it is there: the part of `anyOf` that is not null, references followed."""
    parts = [part for part in told.get("anyOf", (told,)) if part.get("type") != "null" and part.get("const") != ""]
    part = parts[0] if parts else dict(told)
    return {**defs[part["$ref"].rpartition("/")[2]]} if "$ref" in part else dict(part)


def _field(name: str, told: Mapping[str, Any], inner: Mapping[str, Any], required: bool, defs: Mapping[str, Any]) -> Field:
    item = _part(inner["items"], defs) if inner.get("type") == "array" else inner
    hints = {**item, **inner, **told}
    return Field(
        name=name, title=_title(name, str(told.get("title", ""))), kind=_kind(name, told, inner, item),
        meaning=told.get("description", ""), form="" if item.get("refers") else hints.get("form", ""), unit=hints.get("unit", ""),
        default=_default(told.get("default")), required=required or inner.get("minItems", 0) > 0,
        least=item.get("minimum"), most=item.get("maximum"), longest=item.get("maxLength"),
        refers=item.get("refers", ""), choices=_choices(item) or _yes_no(told, inner),
        columns=tuple(_fields(item, defs, "")) if item.get("type") == "object" else (),
    )  # fmt: skip


def _kind(name: str, told: Mapping[str, Any], inner: Mapping[str, Any], item: Mapping[str, Any]) -> str:
    if inner.get("type") == "array":
        return "rows" if item.get("type") == "object" else "choices" if _choices(item) or "refers" in item else "lines"
    if name.rpartition(".")[2] == "password":
        return "secret"
    if _choices(inner) or "refers" in inner or _yes_no(told, inner):
        return "choice"
    if inner.get("format") == "date":
        return "day"
    return {"boolean": "flag", "integer": "number", "number": "number"}.get(str(inner.get("type")), "text")


def _choices(part: Mapping[str, Any]) -> tuple[str, ...]:
    if "const" in part:
        return (str(part["const"]),)
    return tuple(str(value) for value in part.get("enum", ()))


def _yes_no(told: Mapping[str, Any], inner: Mapping[str, Any]) -> tuple[str, ...]:
    """A choice of yes, no and none: a box has two states only."""
    return ("true", "false") if inner.get("type") == "boolean" and "anyOf" in told else ()


def _title(name: str, given: str) -> str:
    own = name.rpartition(".")[2].rstrip("_").replace("_", " ")
    made = own.title()
    title = given if given and given.replace(" ", "") != made.replace(" ", "") else own.capitalize()
    return f"{name.partition('.')[0].capitalize()} {title.lower()}" if "." in name else title


def _default(value: object) -> str:
    if value in (None, "", [], ()):
        return ""
    if isinstance(value, list):
        return ", ".join(map(words, value))
    return words(value)


def words(value: object) -> str:
    """A value as people read it."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return WORDS.get(text, text)


# --- reading ------------------------------------------------------------------------------------------------


def read(model: type[BaseModel], given: Given, fixed: Mapping[str, object] | None = None) -> Read:
    """A sent form as a body; blanks are left out, which means the default. `fixed` values are not asked."""
    found = Read(body=dict(fixed or {}))
    for entry_field in fields_of(model):
        if entry_field.name in found.body:
            continue
        value = _value(entry_field, given, found.wrong)
        if value is not None:
            _put(found.body, entry_field.name, value)
    digest = found.body.get("digest")
    # The algorithms alone are no digest: their boxes are there before anybody names a user.
    if isinstance(digest, dict) and not digest.get("user"):
        del found.body["digest"]
        if digest.get("password"):
            found.wrong["digest.user"] = "A password needs its user."
    return found


def _put(body: dict[str, Any], name: str, value: object) -> None:
    table, dot, key = name.partition(".")
    if dot:
        body.setdefault(table, {})[key] = value
    else:
        body[name] = value


def _value(of: Field, given: Given, wrong: dict[str, str]) -> object | None:
    if of.kind == "flag":
        return bool(given.get(of.name, ""))
    if of.kind == "choices":
        return [value for value in given.getlist(of.name) if value] or None
    if of.kind == "lines":
        return _lines(of, given.get(of.name, ""), wrong)
    if of.kind == "rows":
        return _rows(of, given, wrong)
    text = given.get(of.name, "")
    # A password is what it is; of everything else the blanks around it are an accident.
    text = text if of.kind == "secret" else text.strip()
    if not text:
        return None
    if of.kind == "number":
        return _number(of, text, wrong)
    return {"true": True, "false": False}[text] if of.choices == ("true", "false") and text in ("true", "false") else text


def _number(of: Field, text: str, wrong: dict[str, str]) -> int | None:
    try:
        return int(text) if text.isascii() and len(text) < 20 else int("")
    except ValueError:
        wrong[of.name] = f"A whole number{', ' + of.range if of.range else ''}."
        return None


def _lines(of: Field, text: str, wrong: dict[str, str]) -> list[str] | None:
    found = [part for part in _BETWEEN.split(text) if part]
    if len(found) > MOST_LINES:
        wrong[of.name] = f"At most {MOST_LINES:,} here; these are {len(found):,}. Import them as CSV."
    return found[:MOST_LINES] or None


def _rows(of: Field, given: Given, wrong: dict[str, str]) -> list[dict[str, Any]] | None:
    lists = {column.name: given.getlist(f"{of.name}.{column.name}") for column in of.columns}
    rows: list[dict[str, Any]] = []
    first = of.columns[0].name
    for position in range(min(MOST_ROWS, max((len(values) for values in lists.values()), default=0))):
        cells = {name: values[position].strip() if position < len(values) else "" for name, values in lists.items()}
        if cells[first]:
            rows.append(_row(of, cells, len(rows) + 1, wrong))
    return rows or None


def _row(of: Field, cells: Mapping[str, str], number: int, wrong: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column in of.columns:
        text = cells[column.name]
        if text and column.kind == "number":
            inner: dict[str, str] = {}
            value = _number(column, text, inner)
            row.update({column.name: value} if value is not None else {})
            if inner:
                wrong[of.name] = f"Row {number}: {column.title.lower()}: {inner[column.name]}"
        elif text:
            row[column.name] = text
    return row


# --- mistakes -----------------------------------------------------------------------------------------------


def beside(model: type[BaseModel], mistakes: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Mistakes as (place, what, todo) beside the fields that they concern; "" holds what concerns the whole."""
    found: dict[str, str] = {}
    for place, what, todo in mistakes:
        name, number = _where(model, place)
        text = " ".join(part for part in (_sentence(model, name, what), todo) if part)
        found.setdefault(name or _named(model, what), f"{number}{text}")
    return found


def _where(model: type[BaseModel], place: str) -> tuple[str, str]:
    """("numbers", "No. 3: ") of "numbers.2"."""
    names = {entry_field.name for entry_field in fields_of(model)}
    aliases = {name: told.alias for name, told in model.model_fields.items() if told.alias}
    parts = place.split(".")
    path = [aliases.get(part, part) for part in parts if not part.isdecimal()]
    number = next((part for part in parts if part.isdecimal()), None)
    told = f"No. {int(number) + 1}: " if number is not None else ""
    for length in (2, 1):
        if ".".join(path[:length]) in names:
            return ".".join(path[:length]), told
    return next((name for name in names if path[0] and name.startswith(path[0] + ".")), ""), told


def _named(model: type[BaseModel], message: str) -> str:
    """The field that a rule over several of them speaks of: what is needed, else the first that it names."""
    message = message.partition(" needs ")[2] or message
    places = [
        (found.start(), entry_field.name)
        for entry_field in fields_of(model)
        if (found := re.search(rf"\b{re.escape(entry_field.name.rpartition('.')[2])}\b", message))
    ]
    return min(places)[1] if places else ""


def _sentence(model: type[BaseModel], name: str, message: str) -> str:
    """pydantic's words as a person's."""
    plain = _plain(next((one for one in fields_of(model) if one.name == name), None), message)
    if plain:
        return plain
    text = message
    for entry_field in fields_of(model):
        key = entry_field.name.rpartition(".")[2]
        if "_" in key:
            text = re.sub(rf"(?<![\w'\"-]){re.escape(key)}(?![\w'\"-])", entry_field.title.lower(), text)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _plain(of: Field | None, message: str) -> str:
    """A sentence of our own for what pydantic says of every text, list, number and day; "" for the rules of a model."""
    if message == "is needed" or message.startswith("string should have at least"):
        return "Fill this in."
    if re.match(r"(tuple|list) should have at least", message):
        return "Give at least one."
    if message.startswith("string should match pattern"):
        return f"Not written as it should be{': ' + of.form if of is not None and of.form else ''}."
    most = re.match(r"(string|tuple|list) should have at most (\d+)", message)
    if most:
        return f"At most {int(most[2]):,} {'characters' if most[1] == 'string' else 'entries'}."
    if re.match(r"must be (greater|less) than", message) and of is not None and of.range and of.kind == "number":
        return f"It must be {of.range}{' ' + of.unit if of.unit else ''}."
    if re.match(r"must be a valid (date|integer|number)", message):
        return "A day such as 2026-11-21." if "date" in message else "A whole number."
    return ""


# --- showing ------------------------------------------------------------------------------------------------


def texts(model: type[BaseModel], body: Mapping[str, Any]) -> dict[str, Any]:
    """What each control holds: text, a list of chosen values, rows, or a flag. Secrets are never among them."""
    found: dict[str, Any] = {}
    for entry_field in fields_of(model):
        value = _look_up(body, entry_field.name)
        if entry_field.kind == "secret":
            continue
        if entry_field.kind == "flag":
            found[entry_field.name] = bool(value) if value is not None else entry_field.default == "yes"
        elif entry_field.kind == "lines":
            found[entry_field.name] = "\n".join(map(str, value or ()))
        elif entry_field.kind in ("choices", "rows"):
            found[entry_field.name] = list(value or ())
        else:
            found[entry_field.name] = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return found


def whole(model: type[BaseModel], body: Mapping[str, Any] | None) -> dict[str, Any]:
    """A body with every default in its place, as a form shows it; of nothing, the form of a new entry."""
    schema = model.model_json_schema()
    defs = schema.get("$defs", {})
    filled: dict[str, Any] = {
        name: told["default"] for name, told in schema["properties"].items() if told.get("default") is not None
    }
    filled |= body or {}
    inner = {name: _part(told, defs) for name, told in schema["properties"].items()}
    for name, part in inner.items():
        if part.get("type") == "object":
            own = {key: told["default"] for key, told in part["properties"].items() if told.get("default") is not None}
            filled[name] = {**own, **(filled.get(name) or {})}
    return filled


def typed(model: type[BaseModel], given: Given) -> dict[str, Any]:
    """What each control held when the form was sent, also where it made no sense: nothing is to be typed twice."""
    found: dict[str, Any] = {}
    for of in fields_of(model):
        if of.kind == "flag":
            found[of.name] = bool(given.get(of.name, ""))
        elif of.kind == "choices":
            found[of.name] = [value for value in given.getlist(of.name) if value]
        elif of.kind == "rows":
            lists = {column.name: given.getlist(f"{of.name}.{column.name}") for column in of.columns}
            length = min(MOST_ROWS, max(map(len, lists.values()), default=0))
            rows = ({name: values[at] if at < len(values) else "" for name, values in lists.items()} for at in range(length))
            found[of.name] = [row for row in rows if any(row.values())]
        elif of.kind != "secret":
            found[of.name] = given.get(of.name, "")
    return found


def _look_up(body: Mapping[str, Any], name: str) -> Any:
    table, dot, key = name.partition(".")
    return (body.get(table) or {}).get(key) if dot else body.get(name)


def differences(
    model: type[BaseModel], before: Mapping[str, Any] | None, after: Mapping[str, Any] | None,
    titles: Mapping[str, Mapping[str, str]] | None = None,
) -> tuple[Difference, ...]:
    """What a change does, field by field; a password that is given anew is said, not shown."""
    old, new = whole(model, before) if before else {}, whole(model, after) if after else {}
    found = []
    for entry_field in fields_of(model):
        if entry_field.kind == "secret":
            if (after or {}).get("digest", {}).get("password"):
                found.append(Difference(entry_field.title, "kept as a hash" if old.get("digest", {}).get("user") else DASH, "a new one"))
            continue
        was, will = _look_up(old, entry_field.name), _look_up(new, entry_field.name)
        if _same(was, will):
            continue
        found.append(_difference(entry_field, was, will, (titles or {}).get(entry_field.refers, {})))
    return tuple(found)


def _same(left: object, right: object) -> bool:
    return (left or None) == (right or None) if not isinstance(left, bool) and not isinstance(right, bool) else left == right


def _difference(of: Field, was: Any, will: Any, titles: Mapping[str, str]) -> Difference:
    if of.kind in ("choices", "lines", "rows"):
        old, new = (tuple(_item(of, item, titles) for item in value or ()) for value in (was, will))
        came, went = tuple(item for item in new if item not in set(old)), tuple(item for item in old if item not in set(new))
        return Difference(of.title, _count(old), _count(new), came, went, of.name)
    return Difference(of.title, _shown(of, was, titles), _shown(of, will, titles), name=of.name)


def _count(items: Sequence[str]) -> str:
    return ", ".join(items) if 0 < len(items) <= 3 else f"{len(items):,} entries" if items else "none"


def _item(of: Field, item: Any, titles: Mapping[str, str]) -> str:
    if not isinstance(item, Mapping):
        return titles.get(str(item)) or words(item)
    first, *rest = of.columns
    told = [titles.get(str(item.get(first.name, "")), str(item.get(first.name, "")))]
    told += [f"{column.title.lower()} {item.get(column.name, column.default or 0)}" for column in rest]
    return ", ".join(told)


def _shown(of: Field, value: object, titles: Mapping[str, str]) -> str:
    if value in (None, ""):
        return DASH
    text = titles.get(str(value)) or words(value)
    return f"{text} {of.unit}" if of.unit else text


def slug(title: str, taken: Iterable[str] = ()) -> str:
    """A name made of a title: "Berlin office" -> "berlin-office"; another number where it is taken."""
    folded = re.sub(r"[^a-z0-9]+", "-", title.casefold().replace("ß", "ss")).strip("-")[:60] or "entry"
    used = set(taken)
    name, number = folded, 2
    while name in used:
        name, number = f"{folded}-{number}", number + 1
    return name


def sent_digest(body: Mapping[str, Any]) -> str:
    """What was looked at, so that nothing else is put in force by the button beneath it."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()[:24]
