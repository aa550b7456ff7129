"""The real parts behind `ports.py`: drivers, audio ports, RTP sockets, the voice ticker."""

from collections.abc import Callable
from pathlib import Path

from simrack.drivers.modems.base import AtTrace, AudioFormat
from simrack.drivers.registry import open_module
from simrack.gateway.ports import Audio, Bridge, Opened, Rtp
from simrack.gateway.settings import ModuleSettings, RtpSettings
from simrack.gateway.voice import AudioLost, AudioPort, VoiceTicker
from simrack.sip.codecs import available
from simrack.sip.rtp import RtpPort
from simrack.sip.sdp import Chosen
from simrack.wire.ports import Clock, Ids


class Hardware:
    """Sound and modules of this machine; `run` is the voice ticker. Make it before the loop runs.

    `codecs` are the names offered, the preferred first.
    """

    def __init__(self, rtp: RtpSettings, no_media_s: float, clock: Clock, ids: Ids) -> None:
        self._rtp, self._no_media_s, self._clock = rtp, no_media_s, clock
        self.ticker = VoiceTicker(clock, ids)
        # Looking for libopus starts ldconfig, which has no place in a running loop.
        self.codecs: tuple[str, ...] = available()

    async def run(self) -> None:
        """Move the voice of all calls until cancelled."""
        await self.ticker.run()

    def bind(self) -> Rtp:
        """A free RTP port. Raises `SipError`."""
        return RtpPort.bind(self._rtp.host, range(self._rtp.first, self._rtp.last + 1))

    def open_audio(self, path: Path, fmt: AudioFormat) -> Audio:
        """A module's audio port. Raises OSError."""
        try:
            return AudioPort.open(str(path), fmt)
        except AudioLost as error:
            raise OSError(str(error)) from error

    def bridge(self, chosen: Chosen, rtp: Rtp, audio: Audio, gain_db: float) -> Bridge:
        """Let the voice flow."""
        assert isinstance(rtp, RtpPort)
        assert isinstance(audio, AudioPort)
        return self.ticker.open(chosen, rtp, audio, gain_db=gain_db, no_media_s=self._no_media_s)

    async def open_module(self, row: ModuleSettings, trace: Callable[[AtTrace], None]) -> Opened:
        """Open the AT port with the driver that the row names, or that fits. Raises `ModemError`."""
        driver = await open_module(row.at, clock=self._clock, family=row.driver)
        driver.trace = trace
        return Opened(driver, driver.sheet)
