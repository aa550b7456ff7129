"""The page on the controller names what a person can meet: settings, alarms, marks, commands."""

import re
from pathlib import Path

from simrack.controller import calls
from simrack.controller.alarms.catalogue import CATALOGUE
from simrack.controller.calls.commands import FOR_BOXES
from simrack.controller.config.catalogue import CATALOGUE as OPTIONS
from simrack.controller.settings import ControllerSettings

ROOT = Path(calls.__file__).resolve().parent.parent.parent
PAGE = "".join((ROOT / "docs" / name).read_text() for name in ("calls.md", "alarms.md"))


def test_each_alarm_and_setting_stands_on_the_page() -> None:
    """An alarm or a setting that no page explains helps nobody at night."""
    for kind in CATALOGUE.values():
        assert f"| `{kind.kind}` | {kind.severity} |" in PAGE
    for option in OPTIONS:
        if option.startswith(("alarms.", "notices.")):
            assert f"`{option}`" in PAGE
    for name, field in ControllerSettings.model_fields.items():
        inner = getattr(field.annotation, "model_fields", {})
        for key in inner or [field.alias or name]:
            assert re.search(rf"`(\w+\.)?{key}`", PAGE), key


def test_each_command_stands_on_the_page() -> None:
    source = (ROOT / "controller" / "app.py").read_text()
    for action in (*FOR_BOXES, *re.findall(r'^ {12}"([a-z-]+)": self\._', source, re.MULTILINE)):
        assert f"`{action}`" in PAGE


def test_each_mark_stands_on_the_page() -> None:
    """A mark on a record is a word that somebody will look up."""
    for path in (ROOT / "controller" / "calls").glob("*.py"):
        for mark in re.findall(r'(?:\.mark\(|mark=|marks\.append\()"([a-z-]+)"', path.read_text()):
            assert f"`{mark}`" in PAGE, mark
