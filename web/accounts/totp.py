"""The second factor: codes by time (RFC 6238), six digits, 30 s, SHA-1, as every authenticator app has them (pure)."""

import base64
import binascii
import hmac
from datetime import datetime

import pyotp

from simrack.wire.ports import Ids

ISSUER = "simrack"
PERIOD_S = 30
# RFC 6238 5.2: one step back for slow fingers; one ahead for a phone whose clock is fast.
DRIFT_STEPS = 1
SECRET_OCTETS = 20  # RFC 4226, 4: 160 bits
CODES, CODE_OCTETS = 10, 8


def new_secret(ids: Ids) -> str:
    """A shared secret as base32."""
    return base64.b32encode(binascii.unhexlify(ids.token(SECRET_OCTETS))).decode()


def uri(secret: str, name: str) -> str:
    """What an authenticator app reads from the QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)


def step_at(now: datetime) -> int:
    return int(now.timestamp()) // PERIOD_S


def fits(code: str, secret: str, now: datetime, after: int | None) -> int | None:
    """The step whose code this is, later than the step `after`, so that a code serves once; None: no such step."""
    given = code.replace(" ", "")
    if len(given) != 6 or not given.isascii() or not given.isdigit():
        return None
    generator, here = pyotp.TOTP(secret), step_at(now)
    for step in range(here - DRIFT_STEPS, here + DRIFT_STEPS + 1):
        if hmac.compare_digest(generator.generate_otp(step), given) and (after is None or step > after):
            return step
    return None


def new_codes(ids: Ids) -> tuple[str, ...]:
    """Recovery codes as people write them down: "3f2a-91bc-07de-55a1"."""
    return tuple(grouped(ids.token(CODE_OCTETS)) for _ in range(CODES))


def grouped(token: str) -> str:
    return "-".join(token[index : index + 4] for index in range(0, len(token), 4))


def squeezed(code: str) -> str:
    """A recovery code as it was given: without the signs that only help reading."""
    return "".join(sign for sign in code.lower() if sign.isalnum())
