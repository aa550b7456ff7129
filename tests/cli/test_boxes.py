"""A box of one's own beside `simrack up`: its file is complete, its password stays, nothing of it is overwritten."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import StartProcess

from simrack.cli.boxes import OwnBoxes, box_file, check_broker, check_name, site_of
from simrack.gateway.settings import BoxSettings, check_link
from simrack.wire.errors import UserError
from simrack.wire.tomlfile import load


def written(tmp_path: Path, sockets: list[str], sip: str = "127.0.0.1:5060") -> BoxSettings:
    path = tmp_path / "office-01.toml"
    path.write_text(
        box_file(
            "office-01", site="office", data=tmp_path / "office-01", mqtt="mqtt://office-01:secret@127.0.0.1:1883",
            sip=sip, rtp_first=20000, rtp_last=20199, sockets=sockets,
        )
    )  # fmt: skip
    return load(BoxSettings, path)


def test_the_file_is_what_the_box_reads(tmp_path: Path) -> None:
    settings = written(tmp_path, ["1-1.3", "1-1.4"])
    assert (settings.box, settings.site, settings.sip.controller) == ("office-01", "office", "127.0.0.1:5060")
    assert [(module.channel, module.usb) for module in settings.module] == [(1, "1-1.3"), (2, "1-1.4")]


def test_senders_that_reach_the_controller_reach_the_voice(tmp_path: Path) -> None:
    """A box that offers its voice on loopback is mute for every PBX on another machine."""
    settings = written(tmp_path, [], sip="192.168.7.5:5060")
    assert settings.rtp.host == "192.168.7.5"
    check_link(settings)


def test_without_a_module_in_sight_the_file_is_still_valid(tmp_path: Path) -> None:
    assert written(tmp_path, []).module == ()


@pytest.mark.parametrize("name", ["controller", "web", "cli", "lab-01", "Office", "a:b", "", "a/b", "x" * 41])
def test_names_that_cannot_be_broker_users_are_refused(name: str) -> None:
    with pytest.raises(UserError) as refused:
        check_name(name)
    assert "office-01" in refused.value.todo


def test_the_embedded_broker_stays_on_loopback() -> None:
    assert check_broker(("127.0.0.1", 1883)) == ("127.0.0.1", 1883)
    with pytest.raises(UserError, match="loopback only"):
        check_broker(("0.0.0.0", 1883))


def test_the_only_site_of_the_routing_file_is_the_box_s(tmp_path: Path) -> None:
    routing = tmp_path / "routing.toml"
    routing.write_text('[[site]]\nname = "office"\n')
    assert site_of(routing) == "office"
    routing.write_text('[[site]]\nname = "a"\n[[site]]\nname = "b"\n')
    assert site_of(routing) == ""
    routing.write_text("no toml")
    assert site_of(routing) == ""


def test_a_broken_list_of_boxes_says_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "boxes" / "broker.json"
    path.parent.mkdir()
    path.write_text("[]")
    with pytest.raises(UserError) as refused:
        OwnBoxes.load(tmp_path)
    assert refused.value.where == str(path)


@pytest.mark.system
def test_a_box_connects_and_still_does_after_a_restart(start_process: StartProcess, tmp_path: Path) -> None:
    """Whoever restarts the centre must not have to write new passwords into the files of his boxes."""
    common = ["--data", str(tmp_path / "centre"), "--sip", "127.0.0.1:0", "--web", "127.0.0.1:0", "--json"]
    first = start_process("up", *common, "--mqtt", "127.0.0.1:0", "--box", "office-01")
    state = json.loads(Path(first.ready["state"]).read_text())
    path = Path(state["box_files"]["office-01"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    mine = path.read_text() + "# mine\n"
    path.write_text(mine)
    first.stop()
    again = start_process("up", *common)
    assert path.read_text() == mine
    box = start_process("box", "--config", str(path))
    rack = rack_once_told(again.ready["state"])
    assert rack["boxes"][0]["box"] == "office-01"
    assert rack["boxes"][0]["online"] is True
    assert box.stop(signal.SIGINT) == 0


def rack_once_told(state: str) -> dict[str, list[dict[str, object]]]:
    """`simrack rack --json`, once the box has told its birth."""
    end = time.monotonic() + 20
    while True:
        argv = [sys.executable, "-P", "-m", "simrack.cli", "rack", "--json", "--state", state]
        result = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, env=dict(os.environ))
        document: dict[str, list[dict[str, object]]] = json.loads(result.stdout)
        if document.get("boxes") or time.monotonic() > end:
            return document
        threading.Event().wait(0.2)
