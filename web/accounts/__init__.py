"""Accounts of the control room: who gets in, as whom, and what people may change about it (`docs/accounts.md`).

Secrets are kept as digests, second factors encrypted: a copied database signs nobody in.
"""

from simrack.web.accounts.base import Who
from simrack.web.accounts.desk import Accounts
from simrack.web.accounts.keybox import KeyBox
from simrack.web.accounts.people import Person, PersonForm
from simrack.web.accounts.rules import NAME_MOST, PASSWORD_LEAST, PASSWORD_MOST
from simrack.web.accounts.session import Session

__all__ = [
    "NAME_MOST", "PASSWORD_LEAST", "PASSWORD_MOST", "Accounts", "KeyBox", "Person", "PersonForm", "Session", "Who",
]  # fmt: skip
