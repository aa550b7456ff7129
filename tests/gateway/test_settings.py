"""The box's TOML: mistakes are named with their line, and nothing unsafe is listened on."""

from pathlib import Path

import pytest

from simrack.gateway.settings import BoxSettings, check_link
from simrack.wire.errors import UserError
from simrack.wire.sections import parse_address
from simrack.wire.tomlfile import load, parse

GOOD = """
box = "lab-01"
site = "cellar"
data = "data"
[mqtt]
url = "mqtt://lab-01:word@127.0.0.1:1883"
[sip]
listen = "127.0.0.1:0"
controller = "127.0.0.1:5060"
[[module]]
channel = 1
at = "/dev/a"
audio = "/dev/b"
[[module]]
channel = 2
usb = "1-1.4"
"""


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "box.toml"
    file.write_text(GOOD)
    settings = load(BoxSettings, file, env_prefix="SIMRACK_BOX_")
    assert [row.channel for row in settings.module] == [1, 2]
    assert settings.calls.alone_hours == 2.0
    check_link(settings)


@pytest.mark.parametrize(
    ("wrong", "line", "words"),
    [
        (GOOD.replace("channel = 2", "channel = 1"), 0, "stands twice"),
        (GOOD.replace('at = "/dev/a"', 'att = "/dev/a"'), 12, "at"),
        (GOOD.replace('usb = "1-1.4"', 'usb = "hub 4"'), 16, "usb"),
        (GOOD.replace('usb = "1-1.4"', 'usb = "1-1.4"\nat = "/dev/c"'), 0, "either"),
        (GOOD.replace("127.0.0.1:5060", "controller"), 9, "host:port"),
        (GOOD.replace('"lab-01"', '"Lab 01"', 1), 2, "box"),
        (GOOD + "[rtp]\nfirst = 5000\nlast = 4000\n", 0, "must be above"),
    ],
)
def test_a_mistake_is_named_with_its_place(wrong: str, line: int, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(BoxSettings, wrong, "box.toml")
    assert words in str(caught.value)
    assert caught.value.where.startswith("box.toml")
    if line:
        assert caught.value.where == f"box.toml:{line}"


@pytest.mark.parametrize(
    ("listen", "link", "allowed"),
    [
        ("127.0.0.1:5070", "loopback", True),
        ("10.0.0.4:5070", "loopback", False),
        ("10.0.0.4:5070", "plain", True),
        ("8.8.8.8:5070", "plain", False),
        ("0.0.0.0:5070", "plain", False),
        ("localhost:5070", "loopback", False),
    ],
)
def test_calls_leave_loopback_only_with_the_sites_word(listen: str, link: str, allowed: bool) -> None:
    settings = BoxSettings.model_validate({"box": "b", "data": "d", "link": link, "sip": {"listen": listen}})
    if allowed:
        check_link(settings)
        return
    with pytest.raises(UserError):
        check_link(settings)


@pytest.mark.parametrize("text", ["", "host", ":5060", "host:", "host:x", "host:70000"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        parse_address(text)
