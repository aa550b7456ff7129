"""Copies that are made by themselves."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from production_parts import SqliteDatabase
from store.values import NOW, FixedClock

from simrack.controller.config.catalogue import Values
from simrack.controller.keeping import schedule
from simrack.controller.keeping.copyfile import CopyReader
from simrack.controller.keeping.schedule import BackupSchedule, newest_in
from simrack.controller.keeping.thinning import name_of
from simrack.wire.errors import UserError


class Heard:
    """What the alarm board was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []

    def set(self, kind: str, active: bool, subject: str = "", detail: str = "") -> None:
        del subject, detail
        self.told.append((kind, active))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return SqliteDatabase(tmp_path / "simrack.db").url


async def test_a_copy_is_made_when_one_is_due_and_not_before(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is all that a person has to do."""
    monkeypatch.setattr(schedule, "LOOK_EVERY_S", 0.01)
    folder, heard = tmp_path / "copies", Heard()
    backups = BackupSchedule(url, lambda: Values({"backup.folder": str(folder)}), heard, FixedClock())
    running = asyncio.create_task(backups.run())
    async with asyncio.timeout(50):
        while not heard.told:  # noqa: ASYNC110  (what is awaited is another process's work)
            await asyncio.sleep(0.02)
    running.cancel()
    assert heard.told == [("backup-failed", False)]
    [copy] = await asyncio.to_thread(lambda: list(folder.glob("*.backup")))
    with await asyncio.to_thread(CopyReader, copy) as reader:
        assert reader.manifest.tables


def test_the_newest_copy_decides_whether_one_is_due(tmp_path: Path) -> None:
    """A restart of the controller must not copy everything again."""
    assert newest_in(tmp_path / "nowhere") is None
    for hours in (1, 5):
        (tmp_path / name_of(NOW - timedelta(hours=hours))).touch()
    (tmp_path / "notes.txt").touch()
    assert newest_in(tmp_path) == NOW - timedelta(hours=1)


async def test_a_failure_opens_the_alarm_and_says_why(url: str, tmp_path: Path) -> None:
    """A backup that fails silently is found on the day it is needed."""
    blocked, heard = tmp_path / "file", Heard()
    blocked.touch()
    backups = BackupSchedule(url, lambda: Values({"backup.folder": f"{blocked}/copies"}), heard, FixedClock())
    with pytest.raises(UserError, match="can't be written"):
        await backups.now()
    assert heard.told == [("backup-failed", True)]


async def test_without_a_folder_nothing_is_made(url: str) -> None:
    """An installation that was never set up must not fill its own disk."""
    backups = BackupSchedule(url, Values, Heard(), FixedClock())
    with pytest.raises(UserError, match="no folder"):
        await backups.now()
