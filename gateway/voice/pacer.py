"""How many frames the module gets at each tick: its own clock decides, seen by what it delivers."""

WINDOW = 50  # ticks; bursts of 100 ms average out over a second
#: Frames. Deliveries are whole frames: the mean stays, then moves by one while the clocks' phases cross. A module holds 40 ms
#: and must not wait for a second one; at more than half, the correction can't call for its opposite.
MOVED = 0.6


class Pacer:
    """One frame a tick by default; one more or less when the module's clock has moved by a frame.

    A module reads at the clock at which it writes. Without this, a slow module's buffer fills up until it
    drops voice, a fast one's runs empty, some minutes into the call.
    """

    def __init__(self, frame: int) -> None:
        self._frame = frame
        self._ahead = self._sum = self._looks = self._ticks = self._came = 0
        self._base: float | None = None

    def frames(self, read: int, steps: int = 1) -> int:
        """Frames to write now, given the samples that the module delivered in so many ticks; 0 or more."""
        self._came += read
        self._ahead += read - steps * self._frame
        self._sum += self._ahead
        self._looks += 1
        self._ticks += steps
        if self._ticks < WINDOW:
            return steps
        extra = self._judge(self._sum / self._looks)
        self._looks = self._ticks = self._sum = self._came = 0
        self._ahead -= extra * self._frame
        return steps + extra

    def _judge(self, mean: float) -> int:
        # A module that was silent for most of the window tells nothing about its clock.
        if self._came < WINDOW * self._frame * 0.9:
            self._base, self._ahead = None, 0
            return 0
        if self._base is None:
            self._base = mean
            return 0
        moved, most = mean - self._base, self._frame * MOVED
        return 1 if moved > most else -1 if moved < -most else 0
