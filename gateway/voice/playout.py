"""Jitter buffer: RTP packets in, an even stream of PCM out, played by RTP time stamp.

Each packet's *margin* is how far ahead of its playing time it came. The regulator keeps the smallest
margin of the last seconds inside a band by stretching frames, so that the delay follows the jitter and a
clock drift never builds up. When nothing is left, the gap is concealed *on account*: if the missing packet
then comes it is played (the delay has grown by what was concealed), if a later one comes the account is
settled and the delay stays as it was. A time stamp that jumps (a sender that restarts, a switch from an
announcement to a person) is shifted so that the stream goes on.
"""

import heapq

from simrack.gateway.voice.conceal import Concealer
from simrack.gateway.voice.elastic import AFTER, MOST_STEP, Elastic, Regulator
from simrack.gateway.voice.measure import Gaps
from simrack.sip import g711
from simrack.sip.codecs import Codec, CodecError
from simrack.sip.rtp import Packet

FRAME_MS = 20
LEAD_MS = 30  # wait before the first packet of a talk spurt plays
SPURT_MS = 200  # a silence that long begins a new talk spurt: the lead is waited for again
MOST_MS = 400  # voice that waits longer is a burst after a stall; the oldest is skipped
KEEP_MS = 60  # what a skip leaves
JUMP_MS = 2000  # a time stamp that far off is a new clock, not a gap
MOST_MISSED = 1000  # sequence numbers; RFC 3550 A.1 has 3000 for the same purpose
MOST_DISORDER = 100  # packets; RFC 3550 A.1: further back is no disorder of the network
MOST_LATE_MS = 200  # a packet later than that says nothing about jitter
QUIET_DBFS = -50.0
DOUBLES_WINDOW = 256  # packets back in which doubles are known


class Sequence:
    """Counts what came and what did not (RFC 3550 A.1, A.3), and knows doubles."""

    def __init__(self) -> None:
        self.received = self.doubles = 0
        self._past = 0  # expected in runs that ended with a jump
        self._first = self._top = 0  # extended over the wrap; meaningful once `_begun`
        self._begun = False
        self._seen = 0  # bit i: top - i has come

    @property
    def expected(self) -> int:
        return self._past + (self._top - self._first + 1 if self._begun else 0)

    @property
    def lost(self) -> int:
        return max(0, self.expected - self.received)

    def restart(self) -> None:
        """A new sender: its numbers say nothing about the old one's."""
        self._past, self._begun = self.expected, False

    def behind(self, number: int) -> int:
        """How many packets back a number lies; 0 for a new one."""
        ahead = (number - self._top + 0x8000 & 0xFFFF) - 0x8000
        return -ahead if self._begun and -MOST_MISSED < ahead < 0 else 0

    def feed(self, number: int) -> int | None:
        """Distance to the newest before (1 is the next in order, below 1 an older one); None for a double."""
        if self._begun:
            ahead = (number - self._top + 0x8000 & 0xFFFF) - 0x8000
            if abs(ahead) < MOST_MISSED:
                return self._step(ahead)
            self.restart()
        self._first = self._top = number
        self._begun, self._seen = True, 1
        self.received += 1
        return 1

    def _step(self, ahead: int) -> int | None:
        if ahead > 0:
            self._top += ahead
            self._seen = (self._seen << ahead | 1) & ((1 << DOUBLES_WINDOW) - 1)
        elif self._seen >> -ahead & 1 or -ahead >= DOUBLES_WINDOW:
            self.doubles += 1
            return None
        else:
            self._seen |= 1 << -ahead
            # Packets that overtook the first one belong to the count as well.
            self._first = min(self._first, self._top + ahead)
        self.received += 1
        return ahead


class Playout:
    """One direction of one call, from RTP to PCM at `rate` Hz."""

    def __init__(self, codec: Codec, rate: int, clock: int) -> None:
        self._codec, self._rate, self._clock = codec, rate, clock
        self._frame = rate * FRAME_MS // 1000
        self._heap: list[tuple[int, int, bytes]] = []
        self._pcm = Elastic(rate, rate)
        self._conceal = Concealer(rate)
        self._regulator = Regulator(self._frame)
        self._sequence = Sequence()
        self._ssrc: int | None = None
        self._odd: Packet | None = None  # so old that it may be the first of a stream that began anew
        self._anew = True
        self._jump = JUMP_MS * clock // 1000
        self._order = 0
        self._shift = 0
        self._next = 0  # extended time stamp that is decoded next
        self._account = 0  # samples concealed while nothing was there
        self._idle_ms = SPURT_MS
        self._transit: float | None = None
        self.stamp = 0  # extended time stamp of the newest packet, jumps taken out
        self.octets = self.late = self.damaged = self.frames = 0
        self.gaps = Gaps()
        self.jitter_ms = 0.0
        self.level = 0  # rms of the frame pulled last

    @property
    def received(self) -> int:
        return self._sequence.received

    @property
    def lost(self) -> int:
        return self._sequence.lost

    @property
    def doubles(self) -> int:
        return self._sequence.doubles

    @property
    def concealed(self) -> int:
        """Frames of 20 ms that were made up."""
        return -(-self.gaps.total // self._frame)

    @property
    def speaking(self) -> bool:
        """Whether the frame pulled last was what the sender said."""
        return not self._idle_ms and bool(self.received)

    @property
    def delay_ms(self) -> float:
        """How long a packet that comes now waits."""
        return self._waiting() * 1000 / self._rate

    def put(self, packet: Packet, now: float) -> None:
        """Take a packet that came at `now` (monotonic seconds)."""
        if packet.ssrc != self._ssrc:
            self._begin_anew(packet.ssrc)
        elif self._is_odd(packet):
            before, self._odd = self._odd, packet
            if before is None or packet.sequence != (before.sequence + 1) & 0xFFFF:
                self.late += before is not None
                return
            self._begin_anew(packet.ssrc)
            self._take_in(before, now)
        elif self._odd is not None:
            self.late, self._odd = self.late + 1, None
        self._take_in(packet, now)

    def _is_odd(self, packet: Packet) -> bool:
        """Too old to be late: two of them in a row are a sender that began anew (RFC 3550 A.1)."""
        behind = self._sequence.behind(packet.sequence)
        return behind >= MOST_DISORDER or (behind > 0 and abs(self._moved(packet.timestamp)) > self._jump)

    def _begin_anew(self, ssrc: int) -> None:
        self._sequence.restart()
        self._ssrc, self._transit, self._odd, self._anew = ssrc, None, None, True

    def _take_in(self, packet: Packet, now: float) -> None:
        ahead = self._sequence.feed(packet.sequence)
        if ahead is None:
            return
        self.octets += len(packet.payload)
        stamp = self._extend(packet.timestamp, ahead)
        if stamp is None:
            self.late += 1
            return
        if ahead > 0:
            self._measure_jitter(stamp, now)
            if self._idle_ms >= SPURT_MS:
                self._begin_spurt(stamp)
        self._note_margin(stamp)
        if stamp < self._next:
            self.late += 1
        else:
            self._order += 1
            heapq.heappush(self._heap, (stamp, self._order, packet.payload))

    def clear(self) -> None:
        """Forget what waits; the next packet begins a new talk spurt. Counts go on."""
        self._heap.clear()
        self._pcm.clear()
        self._conceal.forget()
        self._account, self._idle_ms = 0, SPURT_MS
        self._regulator.reset()

    def pause_noise(self, dbov: int) -> None:
        """A comfort-noise packet (RFC 3389): the level of the other side's pauses."""
        self._conceal.told_level(float(-dbov))

    def pull(self, count: int) -> bytes:
        """The next `count` samples, whatever has come."""
        self._skip_stale()
        while len(self._pcm) < count and self._heap:
            self._decode_or_bridge()
        if len(self._pcm) < count:
            self._starve(count - len(self._pcm))
        else:
            self._idle_ms = 0
        self._look_ahead(count + MOST_STEP + AFTER + 1)
        return self._take(count)

    def _take(self, count: int) -> bytes:
        step = 0 if self._idle_ms else self._regulator.step(quiet=g711.to_dbfs(self.level) < QUIET_DBFS)
        if step and self._pcm.allows(count, step):
            self._regulator.done(step)
        else:
            step = 0
        out = self._pcm.take(count, step)
        self.frames += 1
        self.level = g711.rms(out)
        return out

    def _decode_or_bridge(self) -> None:
        gap = self._to_samples(self._heap[0][0] - self._next)
        if gap <= 0:
            self._decode()
        elif self._account > 0:
            settled = min(gap, self._account)
            self._account -= settled
            self._next += self._to_units(settled)
        else:
            self._conceal_gap(min(gap, self._frame))

    def _conceal_gap(self, piece: int) -> None:
        self._pcm.push(self._conceal.gap(piece))
        self.gaps.add(piece)
        slack = self._regulator.slack
        if slack is not None and slack < 0:
            # Packets come too late: the gap is a good place to wait longer, the missing one may still come.
            self._regulator.done(-piece)
        else:
            self._next += self._to_units(piece)

    def _decode(self) -> None:
        stamp, _, payload = heapq.heappop(self._heap)
        try:
            pcm = self._codec.decode(payload)
        except CodecError:
            self.damaged += 1
            return
        self._account = 0
        self.gaps.end()
        end = stamp + self._to_units(len(pcm) // g711.WIDTH)
        if end <= self._next:
            return
        self._next = end
        self._conceal.heard_level(g711.level_dbfs(pcm))
        self._pcm.push(self._conceal.good(pcm))

    def _look_ahead(self, count: int) -> None:
        """Decode what the interpolation may want to see, but never make voice up for it."""
        while self._heap and len(self._pcm) < count and self._heap[0][0] <= self._next:
            self._decode()

    def _starve(self, missing: int) -> None:
        self._pcm.push(self._conceal.gap(missing))
        self._account += missing
        if self._idle_ms < SPURT_MS:
            # A pause of the other side is no loss: only the beginning counts.
            self.gaps.add(missing)
            self._idle_ms += FRAME_MS

    def _begin_spurt(self, stamp: int) -> None:
        self._heap.clear()
        self._next, self._account, self._idle_ms = stamp, 0, 0
        self._regulator.reset()
        self._pcm.push(self._conceal.gap(self._rate * LEAD_MS // 1000))

    def _skip_stale(self) -> None:
        """After a stall everything comes at once: the oldest voice is skipped, the delay stays human."""
        if not self._heap or self._waiting() <= self._rate * MOST_MS // 1000:
            return
        newest = max(self._heap)[0]
        keep = newest - self._to_units(self._rate * KEEP_MS // 1000)
        fresh = [entry for entry in self._heap if entry[0] >= keep]
        self.late += len(self._heap) - len(fresh)
        heapq.heapify(fresh)
        self._heap = fresh
        self._next, self._account = fresh[0][0], 0
        self._pcm.push(self._conceal.gap(self._frame // 4))
        self._regulator.reset()

    def _waiting(self) -> int:
        ahead = self._to_samples(max(0, self.stamp - self._next)) if self._heap else 0
        return ahead + len(self._pcm)

    def _note_margin(self, stamp: int) -> None:
        gap = self._to_samples(stamp - self._next)
        if gap > 0:
            gap -= min(gap, self._account)
        margin = gap + len(self._pcm) if gap >= 0 else gap
        self._regulator.seen(max(margin, -self._rate * MOST_LATE_MS // 1000))

    def _moved(self, timestamp: int) -> int:
        """How far a time stamp lies from the newest one, jumps taken out."""
        return (timestamp + self._shift - self.stamp + 0x80000000 & 0xFFFFFFFF) - 0x80000000

    def _extend(self, timestamp: int, ahead: int) -> int | None:
        """The time stamp on one endless scale; None for an old packet from before a jump."""
        anew, self._anew = self._anew, False
        if not self.received - 1:
            self.stamp = timestamp
            return timestamp
        moved = self._moved(timestamp)
        if anew or abs(moved) > self._jump:
            if ahead <= 0:
                return None
            expected = self._clock * FRAME_MS // 1000 * min(ahead, 10)
            self._shift += expected - moved
            self._transit = None
            moved = expected
        stamp = self.stamp + moved
        self.stamp = max(self.stamp, stamp)
        return stamp

    def _measure_jitter(self, stamp: int, now: float) -> None:
        """RFC 3550 A.8."""
        transit = now - stamp / self._clock
        if self._transit is not None:
            self.jitter_ms += (abs(transit - self._transit) * 1000 - self.jitter_ms) / 16
        self._transit = transit

    def _to_samples(self, units: int) -> int:
        return units * self._rate // self._clock

    def _to_units(self, samples: int) -> int:
        return samples * self._clock // self._rate
