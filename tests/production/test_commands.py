"""The commands of docs/production.md, against a real server and a real broker."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from production_parts import (
    PASSWORDS,
    TEMPLATE,
    Mosquitto,
    Postgres,
    accepts,
    as_user,
    free_port,
    wait_for,
)
from sqlalchemy.engine import make_url

from simrack.controller.store import server
from simrack.controller.store.migrate import head, migrate
from simrack.controller.store.rights import CONTROLLER, OWNER, WEB
from simrack.wire.ports import SystemClock

pytestmark = pytest.mark.stack


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """A command as a person types it."""
    command = [sys.executable, "-P", "-m", "simrack.cli", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def fresh(postgres: Postgres) -> Iterator[Postgres]:
    """A server whose roles' passwords the test may change."""
    yield postgres
    postgres.drop("made")
    server.create(postgres.url("postgres"), TEMPLATE, PASSWORDS, SystemClock())


@pytest.mark.timeout(180)
def test_a_database_is_made_used_checked_and_mended(fresh: Postgres, tmp_path: Path) -> None:
    """The installation page's steps must work as they stand."""
    urls = tmp_path / "urls.toml"
    made = run("database", "create", "--admin", fresh.url("postgres"), "--name", "made", "--urls", str(urls), "--renew")
    assert made.returncode == 0, made.stderr
    assert urls.stat().st_mode & 0o077 == 0, "these are passwords"
    found = tomllib.loads(urls.read_text())
    for role in (CONTROLLER, WEB):
        url = make_url(found[role])
        with psycopg.connect(
            host=str(url.query["host"]), dbname=url.database, user=url.username, password=url.password
        ) as connection:
            assert connection.execute("SELECT count(*) FROM cdr").fetchone() == (0,)
    assert run("database", "check", "--url", fresh.url("made")).returncode == 0
    with psycopg.connect(fresh.plain("made"), autocommit=True) as connection:
        connection.execute(f"GRANT DELETE ON cdr TO {WEB}")
    wrong = run("database", "check", "--url", fresh.url("made"))
    assert (wrong.returncode, "simrack_web has DELETE on cdr" in wrong.stderr) == (1, True)
    assert run("database", "grant", "--url", found["simrack_owner"]).returncode == 0
    assert run("database", "migrate", "--url", fresh.url("made")).returncode == 0
    assert run("database", "check", "--url", found["simrack_owner"]).returncode == 0


@pytest.mark.timeout(180)
def test_an_upgrade_keeps_the_database_as_it_was(fresh: Postgres, tmp_path: Path) -> None:
    """The way back: a person who upgrades at night has no other copy."""
    before = fresh.empty()
    try:
        migrate(fresh.url(before, OWNER), SystemClock(), to="0003")
        with psycopg.connect(fresh.plain(before), autocommit=True) as connection:
            connection.execute("INSERT INTO web_user (name, password_hash, created) VALUES ('ada', 'x', now())")
        nowhere = run("database", "migrate", "--url", fresh.url(before), "--copy-to", str(tmp_path / "gone"))
        assert (nowhere.returncode, "not there" in nowhere.stderr) == (2, True)
        assert server.revision(fresh.url(before)) == "0003", "nothing is changed without a copy"
        done = run("database", "migrate", "--url", fresh.url(before), "--copy-to", str(tmp_path))
        assert done.returncode == 0, done.stderr
        (dump,) = tmp_path.iterdir()
        assert dump.name in done.stdout
        assert dump.stat().st_mode & 0o077 == 0, "it holds password hashes"
        assert server.revision(fresh.url(before)) == head()
        again = fresh.empty()
        try:
            restored = subprocess.run(
                ["pg_restore", "--no-owner", "--dbname", fresh.plain(again), str(dump)], capture_output=True, text=True, check=False
            )
            assert restored.returncode == 0, restored.stderr
            assert server.revision(fresh.url(again)) == "0003"
            with psycopg.connect(fresh.plain(again)) as connection:
                assert connection.execute("SELECT name FROM web_user").fetchall() == [("ada",)]
        finally:
            fresh.drop(again)
        assert run("database", "migrate", "--url", fresh.url(before), "--copy-to", str(tmp_path)).returncode == 0
        assert list(tmp_path.iterdir()) == [dump], "nothing to upgrade, nothing to keep"
    finally:
        fresh.drop(before)


def test_debians_own_settings_take_our_files_in(mosquitto: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One line in /etc/mosquitto/mosquitto.conf is all; a stranger and a wrong password are turned away."""
    folder, port = mosquitto.folder / "again", free_port()
    folder.mkdir()
    made = run("mosquitto", "--folder", str(folder), "--listen", f"127.0.0.1:{port}", "--box", "hall-01")
    assert made.returncode == 0, made.stderr
    words = tomllib.loads((folder / "passwords.toml").read_text())
    assert set(words) == {"controller", "web", "cli", "hall-01"}
    main = folder / "main"
    main.write_text(f"persistence true\npersistence_location {folder}/\ninclude_dir {folder}\n")
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, "mosquitto", "mosquitto")
    process = subprocess.Popen(as_user("mosquitto", ["mosquitto", "-c", str(main)], "SIGKILL"), cwd="/")
    try:
        wait_for(lambda: accepts("127.0.0.1", port), "Mosquitto with our files")
        assert told(port, "hall-01", words["hall-01"]) == 0
        assert told(port, "hall-01", "guessed") == 5
        assert told(port, None, None) == 5
    finally:
        process.kill()
        process.wait()


def told(port: int, user: str | None, word: str | None) -> int:
    """The broker's answer to a connect (MQTT 3.1.1, 3.2.2.3)."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
    if user is not None:
        client.username_pw_set(user, word)
    answers: list[int] = []
    client.on_connect = lambda _c, _u, _f, code, _p: answers.append(0 if code == 0 else 5)
    client.connect("127.0.0.1", port)
    while not answers:
        client.loop(0.1)
    client.disconnect()
    return answers[0]
