"""Protection that is plain arithmetic: limits of tries, deriving form tokens, response headers."""

import hashlib
import hmac

# A person who mistypes needs a few tries; a machine that guesses gets 5 in a quarter of an hour per account
# and 20 per address (ASVS 5.0, 6.3.1).
ACCOUNT_TRIES, ADDRESS_TRIES = 5, 20
WINDOW_S = 15 * 60

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "X-Frame-Options": "DENY",
}
#: For the one page that may ask for a voice.
MICROPHONE = "camera=(), microphone=(self), geolocation=()"
HSTS = "max-age=31536000"


def digest(purpose: str, token: str) -> str:
    """What the database keeps of a secret; the purpose keeps a cookie from serving as an API token."""
    return hashlib.sha256(f"{purpose}:{token}".encode()).hexdigest()


def form_token(cookie: str) -> str:
    """The token that forms of this session carry (double submit, bound to the cookie)."""
    return hmac.new(cookie.encode(), b"simrack form", hashlib.sha256).hexdigest()


def same(left: str, right: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())
