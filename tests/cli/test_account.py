"""`simrack account`: people of the control room from the centre's own machine."""

import json
from pathlib import Path
from typing import Any

import pytest
import web_helpers as helpers
from production_parts import SqliteDatabase
from typer.testing import CliRunner

from simrack.cli.account import app
from simrack.web.accounts import PersonForm
from simrack.wire import rights
from simrack.wire.errors import UserError


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command makes a hash that nobody's password fits, and hashing is slow on purpose."""
    monkeypatch.setattr("simrack.web.accounts.base.PasswordHasher", lambda: helpers.FAST)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a control room whose tables are made."""
    url = SqliteDatabase(tmp_path / "web.db").url
    path = tmp_path / "web.toml"
    path.write_text(f'database = "{url}"\nkeys = "{helpers.KEY}"\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n')
    return path


def run(config: Path, *words: str) -> str:
    """Its output. Raises what the command raises."""
    done = CliRunner().invoke(app, [*words, *(() if words[0] == "roles" else ("--config", str(config)))], catch_exceptions=False)
    if done.exception is not None:
        raise done.exception
    return done.output


def as_json(config: Path, *words: str) -> Any:
    return json.loads(run(config, *words, "--json"))


def test_an_account_is_made_changed_reset_and_closed(config: Path) -> None:
    """When nobody can sign in any more, nobody could be let in."""
    first = as_json(config, "add", "Ada", "--role", "administrator")["password"]
    room = helpers.stand(f"sqlite:///{config.parent / 'web.db'}")
    browser = room.browser()
    assert browser.sign_in("Ada", first).status_code == 303
    assert "Bob: " in run(config, "add", "Bob", "--role", "noc", "--email", "bob@example.net")
    assert "support" in run(config, "change", "Bob", "--role", "support")
    (bob,) = as_json(config, "list", "bob")["accounts"]
    assert (bob["role"], bob["email"]) == ("support", "bob@example.net")
    second = as_json(config, "reset-password", "Bob")["password"]
    assert room.browser().sign_in("Bob", second).status_code == 303
    assert "1 sessions" in run(config, "disable", "Bob")
    assert room.browser().sign_in("Bob", second).status_code == 403
    run(config, "enable", "Bob")
    assert room.browser().sign_in("Bob", second).status_code == 303
    room.close()


def test_sessions_and_tokens_are_listed_and_revoked(config: Path) -> None:
    """A stolen token could not be ended from the machine itself."""
    run(config, "add", "Ada", "--role", "administrator")
    said, token = run(config, "token", "Ada", "report", "--right", "alarms.see").strip().splitlines()
    assert "change the first password" in said
    assert len(token) == 64
    (row,) = as_json(config, "sessions")["sessions"]
    assert (row["name"], row["kind"], row["rights"]) == ("report", "token", ["alarms.see"])
    run(config, "revoke", row["public"])
    assert "Nobody is signed in" in run(config, "sessions", "Ada")
    with pytest.raises(UserError, match="no session"):
        run(config, "revoke", row["public"])


def test_acts_name_who_did_them(config: Path) -> None:
    """An account made from the shell would be nobody's act."""
    run(config, "add", "Ada", "--role", "administrator")
    room = helpers.stand(f"sqlite:///{config.parent / 'web.db'}")
    (act,) = room.room.accounts.people.acts("Ada")
    room.close()
    assert act.actor.startswith("cli:")


def test_a_locked_out_colleague_is_let_in(config: Path) -> None:
    """They would have to wait a quarter of an hour in the middle of trouble."""
    run(config, "add", "Ada", "--role", "administrator")
    room = helpers.stand(f"sqlite:///{config.parent / 'web.db'}")
    for _ in range(5):
        room.browser().sign_in("Ada", "wrong wrong wrong")
    assert room.browser().sign_in("Ada", "wrong wrong wrong").status_code == 429
    assert "may try again" in run(config, "unlock", "ADA")
    assert room.browser().sign_in("Ada", "wrong wrong wrong").status_code == 403
    room.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "ada", "--role", "noc"), "There is an account"),
        (("add", "Bob", "--role", "king"), "Choose one of"),
        (("add", "Bob", "--role", "sender"), "Choose at least one"),
        (("add", "Bob", "--role", "sender", "--sees", "nobody"), "No such name"),
        (("add", "Bob", "--role", "noc", "--hide", "all"), "No such group"),
        (("disable", "Ada"), "last administrator"),
        (("change", "Ada", "--role", "noc"), "last administrator"),
        (("reset-password", "Nobody"), "There is no account"),
        (("token", "Ada", "x", "--right", "accounts.change"), "no right"),
    ],
)
def test_mistakes_are_sentences(config: Path, words: tuple[str, ...], said: str) -> None:
    """A stack trace would be all that is shown."""
    run(config, "add", "Ada", "--role", "administrator")
    with pytest.raises(UserError, match=said):
        run(config, *words)


def test_roles_are_the_whole_table(config: Path) -> None:
    """An auditor could not read who may do what."""
    told = as_json(config, "roles")
    assert told["rights"].keys() == rights.RIGHTS.keys()
    assert PersonForm("noc").checked(None).role in told["roles"]
