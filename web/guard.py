"""Protection that is plain arithmetic: counting tries, deriving form tokens, response headers."""

import hashlib
import hmac
import threading
from collections import OrderedDict, deque

from simrack.wire.ports import Clock

# A person who mistypes needs a few tries; a machine that guesses gets 5 in a quarter of an hour per account
# and 20 per address (ASVS 5.0, 6.3.1).
ACCOUNT_TRIES, ADDRESS_TRIES = 5, 20
WINDOW_S = 15 * 60
# Names are the guesser's choice, so the table of counters has an end.
MOST_KEYS = 10_000

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
HSTS = "max-age=31536000"


class Throttle:
    """Counts wrong tries per key inside a sliding window."""

    def __init__(self, clock: Clock, tries: int, window_s: float = WINDOW_S) -> None:
        self._clock, self._tries, self._window_s = clock, tries, window_s
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, key: str) -> int:
        """Seconds until the next try is heard; 0 when it is heard now."""
        with self._lock:
            times = self._current(key)
            if len(times) < self._tries:
                return 0
            return max(1, round(times[0] + self._window_s - self._clock.monotonic()))

    def wrong(self, key: str) -> None:
        with self._lock:
            times = self._current(key)
            times.append(self._clock.monotonic())
            self._wrong[key] = times
            self._wrong.move_to_end(key)
            while len(self._wrong) > MOST_KEYS:
                self._wrong.popitem(last=False)

    def right(self, key: str) -> None:
        with self._lock:
            self._wrong.pop(key, None)

    def _current(self, key: str) -> deque[float]:
        times = self._wrong.get(key, deque(maxlen=self._tries))
        while times and times[0] <= self._clock.monotonic() - self._window_s:
            times.popleft()
        return times


def digest(purpose: str, token: str) -> str:
    """What the database keeps of a secret; the purpose keeps a cookie from serving as an API token."""
    return hashlib.sha256(f"{purpose}:{token}".encode()).hexdigest()


def form_token(cookie: str) -> str:
    """The token that forms of this session carry (double submit, bound to the cookie)."""
    return hmac.new(cookie.encode(), b"simrack form", hashlib.sha256).hexdigest()


def same(left: str, right: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())
