"""The controller's side of a test call, in a thread: answers an INVITE as told, speaks a tone, hears what comes."""

import asyncio
import math
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sip_peer import Message, Peer

RATE, FRAME = 8000, 160
#: What the page's analyser of the far end says is loudest, in Hz (its bins are some 20 wide).
LOUDEST = """() => {
    const analyser = document.getElementById('test-call').analysers.heard;
    if (!analyser) return 0;
    const bins = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(bins);
    let best = 0;
    bins.forEach((value, at) => { if (value > bins[best]) best = at; });
    return bins[best] > -60 ? best * analyser.context.sampleRate / analyser.fftSize : 0;
}"""
SILENT = frozenset((0xD5, 0x55))  # the softest of A-law, up and down
BEGIN_S = 10.0


def alaw(sample: int) -> int:
    """One sample as A-law (ITU-T G.711, table 1a)."""
    sign, height = (0x80, sample) if sample >= 0 else (0x00, -sample - 1)
    height = min(height >> 4, 0x7FF)
    segment = max(height.bit_length() - 5, 0)
    step = (height >> max(segment - 1, 0) if segment else height) & 0x0F if segment < 2 else (height >> (segment - 1)) & 0x0F
    return (sign | segment << 4 | step) ^ 0x55


class FarEnd:
    """Answers each INVITE with `status`; after a 200 it speaks `hertz` until the BYE, whose coming `ended` tells."""

    def __init__(self, status: int = 200, hertz: int = 600, reason: str = "") -> None:
        self.invites: list[Message] = []
        self.ended = threading.Event()
        self.loud = threading.Event()
        self.address = ""
        self._status, self._hertz, self._reason = status, hertz, reason
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        peer = await Peer.open(("127.0.0.1", 9))
        self.address = peer.hostport
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as voice:
            voice.bind(("127.0.0.1", 0))
            voice.setblocking(False)
            self._ready.set()
            number, to = 0, 0
            while not self._stop.is_set():
                while peer.unread:
                    to = self._take(peer, peer.unread.pop(0), voice, to)
                if to:
                    self._speak(voice, to, number)
                    number += 1
                await asyncio.sleep(0.02)
        peer.close()

    def _take(self, peer: Peer, message: Message, voice: socket.socket, to: int) -> int:
        """What a message leads to; where voice goes from now on, 0 for nowhere."""
        if message.start.startswith("INVITE "):
            self.invites.append(message)
            if self._status != 200:
                peer.reply(message, self._status, extra=self._reason)
                return 0
            peer.reply(message, 180, "Ringing")
            peer.reply(message, 200, "OK", body=(
                b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 8\r\n" % voice.getsockname()[1]
            ))  # fmt: skip
            found = re.search(rb"m=audio (\d+)", message.body)
            return int(found[1]) if found else 0
        if message.start.startswith("BYE "):
            peer.reply(message, 200)
            self.ended.set()
            return 0
        return to

    def _speak(self, voice: socket.socket, to: int, number: int) -> None:
        turn = 2 * math.pi * self._hertz / RATE
        said = bytes(alaw(round(12_000 * math.sin(turn * (number * FRAME + at)))) for at in range(FRAME))
        head = bytes((0x80, 8)) + (number & 0xFFFF).to_bytes(2, "big") + (number * FRAME).to_bytes(4, "big")
        voice.sendto(head + b"ssrc" + said, ("127.0.0.1", to))
        try:
            while data := voice.recv(2048):
                if set(data[12:]) - SILENT:
                    self.loud.set()
        except BlockingIOError:
            return

    def open(self) -> None:
        self._thread.start()
        assert self._ready.wait(BEGIN_S)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(BEGIN_S)


@contextmanager
def far_end(status: int = 200, hertz: int = 600, reason: str = "") -> Iterator[FarEnd]:
    """One for the length of a block."""
    made = FarEnd(status, hertz, reason)
    made.open()
    try:
        yield made
    finally:
        made.close()
