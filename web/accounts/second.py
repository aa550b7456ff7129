"""The second factor of an account: enrolment, the code at the door, recovery codes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from simrack.controller.store import tables as t
from simrack.web.accounts import totp
from simrack.web.accounts.base import Base, Who
from simrack.web.accounts.keybox import SealBroken
from simrack.web.errors import BadForm
from simrack.web.guard import digest

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SecondState:
    """What an account has: since when codes are asked for, how many recovery codes are left."""

    since: datetime | None
    codes_left: int
    pending: bool


class SecondFactor:
    """Enrolment and proof of a second factor."""

    def __init__(self, base: Base) -> None:
        self._base = base

    def state(self, user_id: int) -> SecondState:
        columns = t.web_recovery.c
        with self._base.begin() as connection:
            user = _user(connection, user_id)
            left = connection.execute(
                select(func.count()).select_from(t.web_recovery).where(columns.user_id == user_id, columns.used.is_(None))
            ).scalar_one()
        return SecondState(user.totp_since, left, bool(user.totp_secret) and user.totp_since is None)

    def begin(self, user_id: int) -> None:
        """Make a new secret that nothing asks for before it is confirmed. BadForm: one is in use."""
        base = self._base
        with base.begin() as connection:
            if _user(connection, user_id).totp_since is not None:
                raise BadForm("code", "A second factor is in use. Turn it off first.")
            sealed = base.keys.seal(_purpose(user_id), totp.new_secret(base.ids))
            _set(connection, user_id, totp_secret=sealed, totp_step=None)

    def pending(self, user_id: int) -> str:
        """The secret that waits for its first code; "" when none does."""
        with self._base.begin() as connection:
            user = _user(connection, user_id)
        return self._secret(user) if user.totp_since is None else ""

    def confirm(self, who: Who, user_id: int, code: str) -> tuple[str, ...]:
        """Take the first code: from now on it is asked for. Returns the recovery codes, which are shown once."""
        base, now = self._base, self._base.clock.utc()
        with base.begin() as connection:
            user = _user(connection, user_id)
            secret = self._secret(user) if user.totp_since is None else ""
            step = totp.fits(code, secret, now, None) if secret else None
            if step is None:
                raise BadForm("code", "This is not the code that the app shows now. Check the clock of the phone.")
            _set(connection, user_id, totp_since=now, totp_step=step)
            base.act(connection, who, "second-factor-on", user.name)
            codes = self._new_codes(connection, user_id)
        base.forget(user_id)
        return codes

    def renew_codes(self, who: Who, user_id: int) -> tuple[str, ...]:
        """New recovery codes; the old ones end."""
        with self._base.begin() as connection:
            user = _user(connection, user_id)
            if user.totp_since is None:
                raise BadForm("code", "There is no second factor to recover.")
            self._base.act(connection, who, "recovery-codes-new", user.name)
            return self._new_codes(connection, user_id)

    def turn_off(self, who: Who, user_id: int) -> None:
        """Ask for no second factor any more."""
        with self._base.begin() as connection:
            user = _user(connection, user_id)
            _set(connection, user_id, totp_secret="", totp_since=None, totp_step=None)
            connection.execute(delete(t.web_recovery).where(t.web_recovery.c.user_id == user_id))
            self._base.act(connection, who, "second-factor-off", user.name)
        self._base.forget(user_id)

    def prove(self, connection: Connection, user: Row[Any], code: str) -> str:
        """Take a code of the app or a recovery code, each once. Returns "app", "recovery", or "" for neither."""
        now = self._base.clock.utc()
        secret = self._secret(user)
        step = totp.fits(code, secret, now, user.totp_step) if secret else None
        if step is not None:
            columns = t.web_user.c
            # The condition again: of two requests with one code, one is late.
            taken = connection.execute(
                update(t.web_user)
                .where(columns.id == user.id, (columns.totp_step.is_(None)) | (columns.totp_step < step))
                .values(totp_step=step)
            ).rowcount
            return "app" if taken else ""
        return "recovery" if self._recover(connection, user.id, code, now) else ""

    def _recover(self, connection: Connection, user_id: int, code: str, now: datetime) -> bool:
        columns = t.web_recovery.c
        taken = connection.execute(
            update(t.web_recovery)
            .where(columns.user_id == user_id, columns.code_hash == _code_hash(user_id, code), columns.used.is_(None))
            .values(used=now)
        ).rowcount
        return taken == 1

    def _new_codes(self, connection: Connection, user_id: int) -> tuple[str, ...]:
        codes = totp.new_codes(self._base.ids)
        connection.execute(delete(t.web_recovery).where(t.web_recovery.c.user_id == user_id))
        rows = [{"user_id": user_id, "code_hash": _code_hash(user_id, code)} for code in codes]
        connection.execute(insert(t.web_recovery), rows)
        return codes

    def _secret(self, user: Row[Any]) -> str:
        if not user.totp_secret:
            return ""
        try:
            return self._base.keys.open(_purpose(user.id), user.totp_secret)
        except SealBroken as error:
            # A lost key must not open the door: recovery codes and `simrack account` still help.
            log.error("a second factor can't be read: its key is gone", user=user.name, error=str(error))
            return ""


def _purpose(user_id: int) -> str:
    return f"totp:{user_id}"


def _code_hash(user_id: int, code: str) -> str:
    return digest(f"recovery:{user_id}", totp.squeezed(code))


def _user(connection: Connection, user_id: int) -> Row[Any]:
    return connection.execute(select(t.web_user).where(t.web_user.c.id == user_id)).one()


def _set(connection: Connection, user_id: int, **values: object) -> None:
    connection.execute(update(t.web_user).where(t.web_user.c.id == user_id).values(**values))
