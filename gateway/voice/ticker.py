"""One 20 ms ticker for all calls of a box: sockets and ports are polled, nothing wakes per packet.

Measured (docs/voice.md): polling costs half of what readers in the event loop cost.
"""

import asyncio
from collections import deque

import structlog

from simrack.gateway.voice.audio import AudioPort
from simrack.gateway.voice.bridge import Bridge
from simrack.sip.rtp import RtpPort
from simrack.sip.sdp import Chosen
from simrack.wire.ports import Clock, Ids, SystemIds

TICK_S = 0.02
MOST_CATCH_UP = 5  # ticks made up at once after a stall; a longer one is skipped, buffers take care
#: What came in while the process stood still is read within this time after it.
CAUGHT_UP_S = 0.5
STALLS = 64  # older ones belong to calls whose records are done
SEED_OCTETS = 12

log = structlog.get_logger()


class VoiceTicker:
    """Owner of all bridges of a box."""

    def __init__(self, clock: Clock, ids: Ids | None = None) -> None:
        self._clock, self._ids = clock, ids or SystemIds()
        self._bridges: set[Bridge] = set()
        self.ticks = self.late = self.skipped = 0
        self._stalls: deque[tuple[float, float]] = deque(maxlen=STALLS)
        self._due: float | None = None  # None: not running, so nothing is known of stalls

    def stalled(self, at: float) -> bool:
        """Whether what was noted at `at` (monotonic) may have happened well before: the process stood still over 100 ms."""
        now = self._clock.monotonic()
        here = () if self._due is None else ((self._due, now),)
        return any(
            since <= at <= until + CAUGHT_UP_S and until - since > MOST_CATCH_UP * TICK_S
            for since, until in (*self._stalls, *here)
        )

    def open(
        self,
        chosen: Chosen,
        port: RtpPort,
        audio: AudioPort,
        *,
        gain_db: float = 0.0,
        gain_to_module_db: float = 0.0,
        no_media_s: float = 30.0,
    ) -> Bridge:
        """Start the voice of a call; `gain_db` is from the module to SIP.

        Raises ValueError when the audio port already serves a call, CodecError for a codec not here.
        """
        if audio.busy:
            raise ValueError(f"audio port {audio.path} already serves a call")
        bridge = Bridge(
            chosen, port, audio, seed=self._ids.token(SEED_OCTETS), now=self._clock.monotonic(),
            gain_db=gain_db, gain_to_module_db=gain_to_module_db, no_media_s=no_media_s,
        )  # fmt: skip
        self._bridges.add(bridge)
        return bridge

    @property
    def calls(self) -> int:
        return len(self._bridges)

    def tick(self, steps: int = 1) -> None:
        """One step of all calls, or several that are due; a bridge that fails is closed, its neighbours go on."""
        self.ticks += steps
        now = self._clock.monotonic()
        for bridge in tuple(self._bridges):
            if bridge.closed:
                self._bridges.discard(bridge)
                continue
            try:
                bridge.tick(now, steps)
            except Exception:
                log.exception("voice of a call failed", port=bridge.audio.path)
                bridge.failed.set()
                bridge.close()

    def _skip(self, steps: int) -> None:
        self.skipped += steps
        for bridge in self._bridges:
            bridge.skip(steps)

    async def run(self) -> None:
        """Tick until cancelled."""
        due = self._clock.monotonic()
        while True:
            self._due = due
            behind = int((self._clock.monotonic() - due) / TICK_S)
            if behind > MOST_CATCH_UP:
                self._stalls.append((due, self._clock.monotonic()))
                self._skip(behind - MOST_CATCH_UP)
                due += (behind - MOST_CATCH_UP) * TICK_S
                behind = MOST_CATCH_UP
            self.late += behind > 0
            self.tick(1 + behind)
            due += (1 + behind) * TICK_S
            self._due = due
            await asyncio.sleep(max(0.0, due - self._clock.monotonic()))
