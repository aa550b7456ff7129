"""Encrypts the few secrets that have to be read again: second factors and kept answers of the API."""

import base64
import binascii
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from simrack.wire.errors import UserError
from simrack.wire.ports import Clock, Ids

_KEY_OCTETS = 32
_OTHERS = 0o077  # the bits of everybody but the owner


class SealBroken(Exception):
    """The text was encrypted for another purpose or with a key that is not among ours."""


class KeyBox:
    """Seals texts; the first key seals, all of them open, so that a key can be changed."""

    def __init__(self, keys: Sequence[str], clock: Clock) -> None:
        """ValueError: one of them is no key (32 octets as URL-safe base64)."""
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        self._clock = clock

    def seal(self, purpose: str, text: str) -> str:
        """The text encrypted; it opens for this purpose only, so that one row's can't be put into another's."""
        moment = int(self._clock.utc().timestamp())
        return self._fernet.encrypt_at_time(f"{purpose}\0{text}".encode(), moment).decode()

    def open(self, purpose: str, sealed: str) -> str:
        """What was sealed. Raises `SealBroken`."""
        try:
            was, _, text = self._fernet.decrypt(sealed.encode()).decode().partition("\0")
        except InvalidToken as error:
            raise SealBroken(f"{purpose}: none of the keys fits") from error
        if was != purpose:
            raise SealBroken(f"{purpose}: this was sealed for {was}")
        return text


def new_key(ids: Ids) -> str:
    """A key as the file and the environment hold it."""
    return base64.urlsafe_b64encode(binascii.unhexlify(ids.token(_KEY_OCTETS))).decode()


def load(keys: str, path: Path, clock: Clock, ids: Ids) -> KeyBox:
    """The keys of a text ("new,old"), else of the file at `path`, which is made when it is not there.

    Raises:
        UserError: the file can be read by others, can't be used, or holds no key.
    """
    where = "SIMRACK_WEB_KEYS" if keys else str(path)
    try:
        found = [key for key in (keys or _read(path, ids)).replace(",", " ").split() if key]
        return KeyBox(found, clock)
    except OSError as error:
        raise UserError(f"the key file can't be used: {error.strerror}", where, "Give `key_file` a place that this user may write.") from error
    except ValueError as error:
        todo = "Put the key back from a backup, or reset the second factors: `simrack account reset-second-factor NAME`."
        raise UserError("this holds no key (32 octets as base64)", where, todo) from error


def _read(path: Path, ids: Ids) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.stat().st_mode & _OTHERS:
            raise UserError("others may read this key", str(path), f"chmod 600 {path}") from None
        return path.read_text()
    with os.fdopen(made, "w") as file:
        file.write(new_key(ids) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return path.read_text()
