"""Configuration files of every process: mistakes are shown where they are, the environment overrides."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from simrack.wire.errors import UserError
from simrack.wire.tomlfile import load, parse
from simrack.wire.tomllines import line_of


class Sip(BaseModel):
    """A table."""

    model_config = ConfigDict(extra="forbid")
    listen: str = "127.0.0.1:5060"
    port: int = Field(default=1, ge=1)


class Module(BaseModel):
    """An entry of an array of tables."""

    model_config = ConfigDict(extra="forbid")
    channel: int
    at: str = ""


class Box(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid")
    box: str
    sip: Sip = Sip()
    module: tuple[Module, ...] = Field(default=(), min_length=0)
    names: list[str] = []
    import_: str = Field(default="", alias="import")


def _refused(text: str, environ: dict[str, str] | None = None) -> UserError:
    with pytest.raises(UserError) as refused:
        parse(Box, text, "box.toml", env_prefix="SIMRACK_BOX_", environ=environ or {})
    return refused.value


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ('box = "a"\n\n[sip]\nlisten = 5', "box.toml:4", "sip.listen must be a valid string (it is 5)"),
        ('box = "a"\nsip.port = 0', "box.toml:2", "greater than or equal to 1"),
        ('box = "a"\nsip = { listen = "x",\nprot = 0 }', "box.toml:2", "this is not TOML"),
        ('# only a comment\n[sip]\nport = 1', "box.toml:1", "'box' is missing"),
        ('box = "a"\n[[module]]\nchannel = 1\n[[module]]\nat = "x"', "box.toml:4", "'module.channel' is missing"),
        ('box = "a"\n[[module]]\nchannel = 1\n[[module]]\nchanel = 2\nchannel=2', "box.toml:5", "Did you mean 'channel'"),
        ('box = "a"\nnames = [\n  "one",\n  2,\n]', "box.toml:4", "names must be a valid string"),
        ('box = "a"\nimprot = "x"', "box.toml:2", "Did you mean 'import'"),
        ('box = "a', "box.toml:1", "this is not TOML"),
        ('box = "a"\n[sip', "box.toml:2", "this is not TOML"),
        ('box = """\n[sip]\nport = 0\n"""\n[sip]\nport = 0', "box.toml:6", "greater than"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_where_it_is(text: str, where: str, words: str) -> None:
    """File and line, what is wrong, what is allowed."""
    error = _refused(text)
    assert error.where == where
    assert words in str(error)


def test_several_mistakes_are_told_at_once() -> None:
    """Nobody mends a file one start at a time."""
    error = _refused('box = 1\n[sip]\nport = "x"\nlisten = 2\n')
    assert error.where == "box.toml:1"
    assert "box.toml:3: sip.port" in error.todo
    assert "box.toml:4: sip.listen" in error.todo


def test_the_environment_overrides_single_values(tmp_path: Path) -> None:
    """Containers set one address without a file of their own."""
    path = tmp_path / "box.toml"
    path.write_text('box = "a"\n[sip]\nlisten = "x"\n', encoding="utf-8")
    environ = {
        "SIMRACK_BOX_SIP__PORT": "7", "SIMRACK_BOX_NAMES": '["a", "b"]', "SIMRACK_BOX_IMPORT": "r.toml",
        "SIMRACK_OTHER": "no", "SIMRACK_BOX_MODULE": '[{"channel": 3}]',
    }  # fmt: skip
    box = load(Box, path, env_prefix="SIMRACK_BOX_", environ=environ)
    assert (box.sip.listen, box.sip.port, box.names, box.import_) == ("x", 7, ["a", "b"], "r.toml")
    assert box.module[0].channel == 3


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SIMRACK_BOX_SIP__PORT", "many", "sip.port must be a valid integer"),
        ("SIMRACK_BOX_SIP__PROT", "1", "Did you mean 'port'"),
        ("SIMRACK_BOX_NAMES", "[1", "not JSON"),
        ("SIMRACK_BOX_BOX__NAME", "1", "'box' is no table"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(variable: str, value: str, words: str) -> None:
    """Otherwise one searches the file in vain."""
    error = _refused('box = "a"\n[sip]\nlisten = "x"\n', {variable: value})
    assert error.where == f"environment variable {variable}"
    assert words in str(error)


def test_without_a_prefix_the_environment_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A routing file means the same everywhere."""
    monkeypatch.setenv("BOX", "b")
    assert parse(Box, 'box = "a"', "x").box == "a"


KEYS = st.sampled_from(["a", "b", "c-1", '"d e"', "'f#'"])
SCALARS = st.sampled_from(['"x # [y]"', "'''p\n[q]\n'''", "1", "true", "2026-01-01 10:00:00Z", '"""\nk = 1\n"""', "1.5"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: "[ # c\n" + ",\n".join(parts) + "\n]"),
    max_leaves=5,
)


@given(st.lists(st.tuples(st.sampled_from(["[[t]]", "[[t.u]]", "[s]", ""]), st.dictionaries(KEYS, VALUES, max_size=4))))
def test_every_key_is_found_on_its_own_line(tables: list[tuple[str, dict[str, str]]]) -> None:
    """Whatever the forms of TOML around it, the line that is told holds the key."""
    lines: list[str] = []
    for header, pairs in tables:
        lines += [header, *(f"{key} = {value}" for key, value in pairs.items())]
    text = "\n".join(lines)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    for path in _paths(data, ()):
        line = text.split("\n")[line_of(text, path) - 1]
        assert isinstance(path[-1], int) or str(path[-1]) in line or str(path[-1]) in ("t", "u", "s")


def _paths(data: Any, path: tuple[int | str, ...]) -> list[tuple[int | str, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [p for key, value in items for p in ((*path, key), *_paths(value, (*path, key)))]
