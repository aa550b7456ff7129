"""The ban list on disk: `bans.json` in the data folder, written whole and moved into place (ADR 0303)."""

import asyncio
import json
import os
from pathlib import Path

import structlog

from simrack.controller.calls.bans import Ban, BanList
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)
NAME = "bans.json"
#: What a crash may forget; a flood of new bans makes one write in this time.
WRITE_EVERY_S = 5.0
VERSION = 1


def read(folder: Path) -> tuple[Ban, ...]:
    """The bans of an earlier run; a file that can't be read is said and passed over, for it is no call's matter."""
    path = folder / NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.get("version") != VERSION:
            raise ValueError("not a ban list of this version")
        return tuple(Ban.from_json(value) for value in document["bans"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        log.warning("the ban list can't be read; nobody is banned", path=str(path), error=str(error))
        return ()


def write(folder: Path, bans: tuple[Ban, ...]) -> None:
    """Put the list in place. OSError: the disk refuses."""
    text = json.dumps({"version": VERSION, "bans": [ban.to_json() for ban in bans]}, indent=1)
    part = folder / f"{NAME}.part"
    part.write_text(text, encoding="utf-8")
    os.replace(part, folder / NAME)


class BanFile:
    """Keeps the file like the list."""

    def __init__(self, folder: Path, bans: BanList, clock: Clock) -> None:
        self._folder, self._bans, self._clock = folder, bans, clock
        self._news = asyncio.Event()
        bans.changed = self._news.set

    async def load(self) -> None:
        """Take over what an earlier run left."""
        self._bans.load(await asyncio.to_thread(read, self._folder), self._clock.utc())

    async def save(self) -> None:
        """Write the list if it changed; a disk that refuses is asked again with the next change."""
        if not self._news.is_set():
            return
        self._news.clear()
        bans = self._bans.all(self._clock.utc())
        try:
            await asyncio.to_thread(write, self._folder, bans)
        except OSError as error:
            log.warning("the ban list is not written", folder=str(self._folder), error=str(error))

    async def run(self) -> None:
        """Save until cancelled, and once more then."""
        try:
            while True:
                await self._news.wait()
                await asyncio.sleep(WRITE_EVERY_S)
                await self.save()
        finally:
            await self.save()
