"""A module's audio port: signed 16 bit PCM over a serial line or PTY, never waited for."""

import asyncio
import contextlib
import os
import termios

import serial
import structlog

from simrack.drivers.modems.base import AudioFormat
from simrack.sip.g711 import WIDTH

BAUD = 921_600  # only a real UART cares: 8 kHz of 16 bit need 160 kbit/s
DRAIN_S = 0.1  # a kernel buffer of 4 kB holds 256 ms of voice: an idle port is emptied before that
LARGEST_READ = 8192
MOST_READS = 16  # at once: a port that never runs dry must not hold up the others
MOST_PAUSE_S = 1.0  # a module plays out in real time what it holds: one that is full for longer lost its word
MOST_WAITING = 1600  # octets to the module, 100 ms at 8 kHz: beyond that the oldest are dropped

log = structlog.get_logger()


class AudioLost(Exception):
    """The audio port can't be opened or is gone; open it anew when the module is back."""


class AudioPort:
    """Non-blocking PCM port. While no bridge uses it, it drains itself, so that no call hears old voice."""

    def __init__(self, line: serial.Serial, path: str, fmt: AudioFormat) -> None:
        self._line, self._fd = line, line.fileno()
        self.path, self.format = path, fmt
        self.lost = asyncio.Event()
        self.reason = ""
        self._odd = b""
        self._waiting = bytearray()
        self._busy = False
        self._pause: asyncio.TimerHandle | None = None
        self.dropped = 0  # octets that the module did not take in time
        self._loop = asyncio.get_running_loop()
        self._drainer: asyncio.TimerHandle | None = None
        self._watching = False
        self._watch()

    @classmethod
    def open(cls, path: str, fmt: AudioFormat) -> "AudioPort":
        """Open a device; call it inside the event loop. Raises AudioLost."""
        try:
            # inter_byte_timeout=0 makes VMIN 1: an empty read then means hang-up, not "nothing yet".
            line = serial.Serial(
                path, BAUD, timeout=0, write_timeout=0, inter_byte_timeout=0, exclusive=True
            )
        except (OSError, ValueError) as error:
            raise AudioLost(f"{path}: {error}") from error
        return cls(line, path, fmt)

    @property
    def frame(self) -> int:
        """Samples of 20 ms."""
        return self.format.rate // 50

    def acquire(self) -> None:
        """A bridge takes the port; what lies in it is thrown away."""
        self._busy = True
        self._stop_watching()
        self.drain()

    def release(self) -> None:
        self._busy = False
        self.resume()
        self._waiting.clear()
        self._watch()

    @property
    def busy(self) -> bool:
        return self._busy

    def read(self) -> bytes:
        """Whole samples that have come; empty when none, or when the port is lost."""
        if self.lost.is_set():
            return b""
        try:
            data = os.read(self._fd, LARGEST_READ)
        except BlockingIOError:
            return b""
        except OSError as error:
            self._lose(str(error))
            return b""
        if not data:
            self._lose("hang-up")
            return b""
        data = self._odd + data
        whole = len(data) - len(data) % WIDTH
        self._odd = data[whole:]
        return data[:whole]

    def write(self, pcm: bytes) -> None:
        """Send now what the port takes; the rest waits, at most 100 ms of it."""
        if self.lost.is_set():
            return
        self._waiting += pcm
        if not self.paused:
            self._flush()
        excess = len(self._waiting) - MOST_WAITING
        if excess > 0:
            # Even, or all later samples would be split between their octets.
            excess += excess % WIDTH
            del self._waiting[:excess]
            self.dropped += excess

    def pause(self) -> None:
        """The module says that its buffer is full (`+QPCMV: 0,0`); believed for `MOST_PAUSE_S` at the most."""
        if self._busy and self._pause is None:
            self._pause = asyncio.get_running_loop().call_later(MOST_PAUSE_S, self.resume)

    def resume(self) -> None:
        """It has room again (`+QPCMV: 1,0`)."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    @property
    def paused(self) -> bool:
        return self._pause is not None

    def drain(self) -> int:
        """Throw away all that waits in either direction, the kernel's buffers included; octets read and thrown away."""
        count = 0
        for _ in range(MOST_READS):
            data = self.read()
            if not data:
                break
            count += len(data)
        self._waiting.clear()
        self._odd = b""
        if not self.lost.is_set():
            with contextlib.suppress(termios.error):
                # A port that went away this moment is found by the next read.
                termios.tcflush(self._fd, termios.TCOFLUSH)
        return count

    def close(self) -> None:
        self._stop_watching()
        self.resume()
        if self._line.is_open:
            self._line.close()
        if not self.lost.is_set():
            self.reason = "closed"
            self.lost.set()

    def _flush(self) -> None:
        if not self._waiting:
            return
        try:
            sent = os.write(self._fd, self._waiting)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(str(error))
            return
        del self._waiting[:sent]

    def _lose(self, reason: str) -> None:
        self.reason = reason
        self.lost.set()
        self._stop_watching()
        self._line.close()
        log.warning("audio port lost", port=self.path, reason=reason)

    # Between calls: nothing is asked of a port that is quiet, and one that is not is emptied ten times a second.

    def _watch(self) -> None:
        self._drainer = None
        if not self._busy and not self.lost.is_set():
            self._watching = True
            self._loop.add_reader(self._fd, self._drain_idle)

    def _stop_watching(self) -> None:
        if self._drainer is not None:
            self._drainer.cancel()
            self._drainer = None
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._fd)

    def _drain_idle(self) -> None:
        self._stop_watching()
        self.drain()
        if not self.lost.is_set():
            self._drainer = self._loop.call_later(DRAIN_S, self._watch)
