"""The module's voice on its way to RTP: pieces of any size in, even frames out."""

from simrack.gateway.voice.conceal import Concealer
from simrack.gateway.voice.elastic import Elastic, Regulator
from simrack.gateway.voice.measure import Gaps
from simrack.sip import g711

FRAME_MS = 20
LEAD_MS = 30
IDLE_MS = 200  # nothing for that long: the stream has stopped, the next piece begins anew
MOST_MS = 400
QUIET_DBFS = -50.0


class Capture:
    """Queue with drift compensation and concealment, from the audio port to the ticker."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lead = rate * LEAD_MS // 1000
        self._pcm = Elastic(rate, rate * MOST_MS // 1000)
        self._conceal = Concealer(rate)
        self._regulator = Regulator(rate * FRAME_MS // 1000)
        self._idle_ms = IDLE_MS
        self.samples = self.concealed = self.late = 0
        self.gaps = Gaps()
        self.level = 0

    @property
    def dropped(self) -> int:
        """Samples thrown away because the host was late."""
        return self._pcm.dropped

    @property
    def delay_ms(self) -> float:
        return len(self._pcm) * 1000 / self._rate

    def clear(self) -> None:
        """Forget what waits; the stream begins anew."""
        self._pcm.clear()
        self._conceal.forget()
        self._idle_ms = IDLE_MS
        self._regulator.reset()

    def push(self, pcm: bytes) -> None:
        """What the port gave, whole samples."""
        if self._idle_ms >= IDLE_MS:
            self._idle_ms = 0
            self._regulator.reset()
            self._pcm.push(self._conceal.gap(self._lead))
        self.samples += len(pcm) // g711.WIDTH
        self._pcm.push(self._conceal.good(pcm))

    def pull(self, count: int) -> tuple[bytes, bool]:
        """A frame, and whether it is the module's voice (else it was made up)."""
        margin = len(self._pcm) - count
        if self._idle_ms < IDLE_MS:
            self._regulator.seen(margin)
        if margin < 0:
            return self._starve(count, -margin), False
        self._idle_ms = 0
        self.gaps.end()
        step = self._regulator.step(quiet=g711.to_dbfs(self.level) < QUIET_DBFS)
        if step and self._pcm.allows(count, step):
            self._regulator.done(step)
        else:
            step = 0
        out = self._pcm.take(count, step)
        self.level = g711.rms(out)
        self._conceal.heard_level(g711.to_dbfs(self.level))
        return out, True

    def _starve(self, count: int, missing: int) -> bytes:
        if self._idle_ms < IDLE_MS:
            self.concealed += 1
            self.late += 1
            self.gaps.add(missing)
            self._idle_ms += FRAME_MS
        self._pcm.push(self._conceal.gap(missing))
        out = self._pcm.take(count)
        self.level = g711.rms(out)
        return out
