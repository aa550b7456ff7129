"""A PostgreSQL database as it is before an upgrade: dumped by its own tool, because its tables are of another release.

`simrack backup` knows the tables of its release alone; `pg_dump` takes what is there, and the release before reads it again
with `pg_restore`. SQLite files are kept whole by the migration itself (`controller.store.migrate`).
"""

import os
import shutil
import subprocess
from pathlib import Path

from sqlalchemy.engine import URL

from simrack.controller.store import server
from simrack.controller.store.migrate import head
from simrack.wire.errors import UserError
from simrack.wire.ports import Clock

TOOL = "pg_dump"
#: Ten million records take some minutes; a server that says nothing for longer has a lock on it.
DUMP_S = 3600.0
#: Of a tool's complaint, what a terminal has room for.
SHOWN = 300


def keep_before(url: str, folder: Path, clock: Clock) -> Path | None:
    """Dump the database into `folder` when an upgrade would change it; None when it would not, or when it is empty.

    Raises:
        UserError: no pg_dump, no such folder, or the dump failed; then nothing of it is left.
    """
    before = server.revision(url)
    if before in ("", head()):
        return None
    tool = shutil.which(TOOL)
    if tool is None:
        todo = "Install postgresql-client, or say --no-copy when there is another copy."
        raise UserError(f"{TOOL} is not installed, and the upgrade needs a copy first", "copy", todo)
    if not folder.is_dir():
        raise UserError("this folder is not there", str(folder), "Make it, or name another one with --copy-to.")
    path = folder / f"simrack.version-{before}-{clock.utc():%Y%m%dT%H%M%SZ}.dump"
    _dump(tool, server.postgres_url(url), path)
    return path


def _dump(tool: str, url: URL, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    # Made by us first, so that nobody reads the hashes in it while it grows.
    part.touch(mode=0o600)
    # Its arguments stand in the list of processes; the password goes by the environment.
    plain = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query).render_as_string()
    secret = {"PGPASSWORD": url.password} if url.password else {}
    argv = [tool, "--format=custom", "--no-password", f"--file={part}", f"--dbname={plain}"]
    try:
        done = subprocess.run(
            argv, env={**os.environ, **secret}, capture_output=True, text=True, timeout=DUMP_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        part.unlink(missing_ok=True)
        raise UserError(f"{TOOL} did not end within {DUMP_S / 60:.0f} min", str(path), "Look for locks on the server.") from error
    if done.returncode:
        part.unlink(missing_ok=True)
        todo = f"Mend it, or make the copy yourself with {TOOL} and say --no-copy."
        raise UserError(f"{TOOL} failed: {done.stderr.strip()[:SHOWN]}", str(path), todo)
    part.replace(path)
