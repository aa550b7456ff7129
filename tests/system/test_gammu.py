"""Third-party tools take the emulated modules for real ones."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import processes


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, str]]]:
    import json

    folder = tmp_path_factory.mktemp("lab")
    with processes(folder) as begin:
        begin("lab", "up", "--boxes", "2", "--channels", "4", "--state", str(folder / "lab.json"))
        boxes = json.loads((folder / "lab.json").read_text())["boxes"]
        yield [module for box in boxes for module in box["modules"]]


def identify(module: dict[str, str], config: Path) -> "subprocess.Popen[str]":
    config.write_text(f"[gammu]\ndevice = {module['at']}\nconnection = at115200\nuse_locking = no\n")
    return subprocess.Popen(["gammu", "-c", str(config), "--identify"], stdout=subprocess.PIPE, text=True)


def test_gammu_identifies_every_module(modules: list[dict[str, str]], tmp_path: Path) -> None:
    """All at once: gammu waits several seconds between its own commands."""
    assert len(modules) == 8
    running = [identify(module, tmp_path / f"gammu-{index}") for index, module in enumerate(modules)]
    for module, gammu in zip(modules, running, strict=True):
        shown, _ = gammu.communicate(timeout=45)
        assert module["imei"] in shown, shown
        assert "Quectel" in shown
        assert "EC25" in shown
