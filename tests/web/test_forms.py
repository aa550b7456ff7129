"""Forms made of the models: what stands beside a field is what the check says, nothing typed is lost or shown again."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from werkzeug.datastructures import MultiDict

from simrack.controller.config.models import (
    Agreement,
    Installation,
    Limits,
    Pattern,
    Plan,
    Sender,
    Sim,
    Site,
)
from simrack.web import forms
from simrack.web.text import DASH

MODELS: tuple[type[BaseModel], ...] = (Installation, Site, Agreement, Plan, Sim, Sender, Pattern, Limits)


def sent(**values: str | list[str]) -> MultiDict[str, str]:
    """A form as a browser sends it; "__" stands for the dot in a name."""
    return MultiDict([
        (name.replace("__", "."), one)
        for name, value in values.items()
        for one in (value if isinstance(value, list) else [value])
    ])


def field(model: type[BaseModel], name: str) -> forms.Field:
    return next(one for one in forms.fields_of(model) if one.name == name)


@pytest.mark.parametrize("model", MODELS)
def test_every_field_says_what_it_means(model: type[BaseModel]) -> None:
    """Else a person stands before a box with a bare word beside it."""
    bare = [one.name for one in forms.fields_of(model) if not one.meaning]
    assert bare == []


def test_a_duration_shows_its_unit_and_range() -> None:
    """Else 90 could be seconds or minutes."""
    ring = field(Plan, "max_ring_s")
    assert (ring.kind, ring.unit, ring.range) == ("number", "s", "1 to 86,400")


def test_references_are_choices_of_what_exists() -> None:
    """Else names would be typed, and mistyped."""
    assert field(Plan, "agreement").refers == "agreement"
    assert field(Agreement, "sites").kind == "choices"
    assert [column.refers for column in field(Pattern, "targets").columns] == ["plan", ""]


def test_a_filled_form_becomes_the_entry() -> None:
    """Else what is applied is not what was typed."""
    found = forms.read(Sender, sent(
        name="pbx", enabled="on", legal_name=" Example Ltd ", contact="x", country="DE", purpose="calls",
        use="own-use-voice", digest__user="pbx", digest__password=" s p ", digest__algorithms=["MD5"],
        numbers="+4930123456\n+4930200*, +4930100-+4930199", max_calls="12",
    ))  # fmt: skip
    assert found.wrong == {}
    sender = Sender.model_validate(found.body)
    assert sender.legal_name == "Example Ltd"
    assert sender.numbers == ("+4930123456", "+4930200*", "+4930100-+4930199")
    assert sender.digest is not None
    assert sender.digest.password == " s p "
    assert sender.max_calls == 12


def test_targets_are_rows_and_empty_rows_are_nothing() -> None:
    """Else the spare row of the form would be a target without a plan."""
    found = forms.read(Pattern, sent(
        name="x", prefixes="+49", action="route", targets__plan=["a", "", "b"], targets__priority=["", "3", "-1"],
    ))  # fmt: skip
    assert found.body["targets"] == [{"plan": "a"}, {"plan": "b", "priority": -1}]


def test_a_word_where_a_number_belongs_is_told_with_its_range() -> None:
    """Else the form answers with a code of the program."""
    assert forms.read(Plan, sent(max_ring_s="soon")).wrong == {"max_ring_s": "A whole number, 1 to 86,400."}
    assert "targets" in forms.read(Pattern, sent(targets__plan=["a"], targets__priority=["x"])).wrong


def test_algorithms_alone_are_no_digest_and_a_password_needs_its_user() -> None:
    """Else a sender by address would get a digest user without a name."""
    assert "digest" not in forms.read(Sender, sent(digest__algorithms=["MD5", "SHA-256"])).body
    assert forms.read(Sender, sent(digest__password="x")).wrong == {"digest.user": "A password needs its user."}


@pytest.mark.parametrize(("place", "what", "name", "text"), [
    ("numbers.2", "string should match pattern '^x$'", "numbers", "No. 3: Not written as it should be: +4930123456, +4930123* or +4930100-+4930199."),
    ("", "an enabled sender needs legal_name, contact", "legal_name", "An enabled sender needs legal name, contact."),
    ("digest.user", "is needed", "digest.user", "Fill this in."),
    ("country", "'XX' is no ISO 3166 country", "country", "'XX' is no ISO 3166 country."),
    ("nonsense", "there is no such field", "", "There is no such field."),
    ("legal_name", "string should have at most 200 characters", "legal_name", "At most 200 characters."),
    ("numbers", "tuple should have at most 100000 items after validation, not 100001", "numbers", "At most 100,000 entries."),
    ("max_calls", "must be greater than or equal to 1", "max_calls", "It must be 1 or more calls."),
])  # fmt: skip
def test_a_mistake_stands_beside_its_field(place: str, what: str, name: str, text: str) -> None:
    """Else people search for the box that a sentence speaks of."""
    assert forms.beside(Sender, [(place, what, "")]) == {name: text}


def test_a_class_is_found_under_the_name_that_the_file_has() -> None:
    """The key `class` is a word of Python; a mistake in it must still find its box."""
    assert list(forms.beside(Installation, [("class_", "bad", "")])) == ["class"]


def test_differences_name_what_comes_and_goes_and_never_a_password() -> None:
    """Else a review hides what it does, or shows a secret on the screen."""
    before = {"name": "pbx", "country": "DE", "use": "test", "numbers": ["+491", "+492"], "digest": {"user": "pbx"}}
    after = {**before, "numbers": ["+492", "+493"], "max_calls": 5, "digest": {"user": "pbx", "password": "hidden-word"}}
    found = {one.title: one for one in forms.differences(Sender, before, after)}
    assert (found["Numbers"].came, found["Numbers"].went) == (("+493",), ("+491",))
    assert (found["Most calls at a time"].before, found["Most calls at a time"].after) == (DASH, "5 calls")
    assert "hidden-word" not in repr(found)
    assert found["Digest password"].after == "a new one"


def test_a_default_left_out_and_a_default_said_are_the_same() -> None:
    """Else every review would list fields that nobody touched."""
    assert forms.differences(Plan, {"name": "a"}, {"name": "a", "enabled": True, "dial": "+", "sims": []}) == ()


@given(st.text(max_size=80), st.sets(st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True), max_size=5))
def test_a_title_always_makes_a_name_that_is_allowed_and_free(title: str, taken: set[str]) -> None:
    """Else a person who wrote only a title is asked for letters and digits."""
    name = forms.slug(title, taken)
    Site.model_validate({"name": name, "country": "DE"})
    assert name not in taken


BODIES: Mapping[type[BaseModel], dict[str, object]] = {
    Sender: {"name": "x", "enabled": False, "country": "DE", "use": "test", "addresses": ["192.0.2.1"], "max_calls": 3},
    Plan: {"name": "x", "agreement": "a", "country": "DE", "hide_number": False, "sims": ["890000000000000000"]},
    Pattern: {"name": "x", "prefixes": ["+4", "+5"], "targets": [{"plan": "a"}, {"plan": "b", "priority": -2}], "stop": True},
}  # fmt: skip


@pytest.mark.parametrize("model", BODIES)
def test_a_form_sent_as_it_was_shown_changes_nothing(model: type[BaseModel]) -> None:
    """Else opening and saving an entry would alter it."""
    body = BODIES[model]
    shown = forms.texts(model, forms.whole(model, body))
    pairs: list[tuple[str, str]] = []
    for one in forms.fields_of(model):
        value = shown.get(one.name, [])
        if one.kind == "rows":
            pairs += [(f"{one.name}.{column.name}", str(row.get(column.name, ""))) for row in value for column in one.columns]
        elif one.kind == "choices":
            pairs += [(one.name, str(item)) for item in value]
        elif one.kind == "flag":
            pairs += [(one.name, "on")] if value else []
        elif one.kind != "secret":
            pairs.append((one.name, str(value)))
    found = forms.read(model, MultiDict(pairs))
    assert found.wrong == {}
    assert forms.differences(model, body, found.body) == ()
