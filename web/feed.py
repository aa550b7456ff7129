"""Live changes for any number of event streams: one bounded ring that every stream reads at its own pace.

A change is rendered once, however many browsers watch. Each stream keeps its place in the ring; one that
falls off the tail (a slow line, a laptop that slept) is told to fetch the page part again instead of
getting the missed changes. So a slow browser costs nothing, and nobody ever sees a state that is not so.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

# About a minute of a busy rack; a stream that is further behind starts anew.
RING = 512
# Every stream gets these; live.py sends a heartbeat as one of them.
EVERYBODY = "*"
# The heartbeat comes every 10 s. A feed that nobody feeds any more still has to find dead browsers.
SILENCE_S = 15.0


@dataclass(frozen=True, slots=True)
class Item:
    """One event; `topic` decides which pages get it."""

    seq: int
    topic: str
    name: str
    data: str


class Feed:
    """The ring; `epoch` changes with each run of the process, so that old places are known as such."""

    def __init__(self, epoch: str, size: int = RING) -> None:
        self.epoch = epoch
        self._ring: deque[Item] = deque(maxlen=size)
        self._changed = threading.Condition()
        self._seq = 0
        self._streams = 0
        self._watched: Counter[str] = Counter()
        self._touched = 0
        self._from: dict[str, int] = {}
        self._closed = False

    @property
    def place(self) -> str:
        """Where a page that is drawn now begins to listen."""
        with self._changed:
            return f"{self.epoch}-{self._seq}"

    @property
    def streams(self) -> int:
        return self._streams

    @property
    def closed(self) -> bool:
        return self._closed

    def publish(self, topic: str, name: str, data: str) -> None:
        with self._changed:
            self._seq += 1
            self._ring.append(Item(self._seq, topic, name, data))
            self._changed.notify_all()

    def skip(self) -> None:
        """Something changed that nobody watches: a page drawn before it must be fetched again."""
        with self._changed:
            self._seq += 1
            self._ring.clear()
            self._changed.notify_all()

    def touch(self) -> None:
        """Something changed of which only watched topics get their piece: other pages drawn before it lack it."""
        with self._changed:
            self._touched = self._seq + 1

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def watched(self) -> frozenset[str]:
        """Topics that somebody listens to: nothing else needs to be drawn."""
        with self._changed:
            return frozenset(self._watched)

    def enter(self, most: int, topics: frozenset[str] = frozenset()) -> bool:
        """Count one stream in; False when `most` are open."""
        with self._changed:
            if self._streams >= most:
                return False
            self._streams += 1
            self._from.update({topic: self._touched for topic in topics if not self._watched[topic]})
            self._watched.update(topics)
            return True

    def leave(self, topics: frozenset[str] = frozenset()) -> None:
        with self._changed:
            self._streams -= 1
            self._watched -= Counter(topics)

    def read(self, place: str, topics: frozenset[str], silence_s: float = SILENCE_S) -> Iterator[Item | None]:
        """Items after `place` without end; None after a silence; an item named "resync" says: fetch again."""
        seq = self._start(place, topics)
        if seq is None:
            seq = self._seq
            yield Item(seq, "", "resync", "")
        while not self._closed:
            items, lost = self._after(seq, silence_s)
            if lost:
                seq = self._seq
                yield Item(seq, "", "resync", "")
            elif not items:
                yield None
            else:
                seq = items[-1].seq
                yield from (item for item in items if item.topic in topics or item.topic == EVERYBODY)

    def some(self, place: str, topics: frozenset[str], silence_s: float) -> tuple[list[Item], int]:
        """What there is after `place`, waiting so long for the first item; and the place that this comes up to."""
        seq = self._start(place, topics)
        items, lost = self._after(seq, silence_s) if seq is not None else ([], True)
        if lost or seq is None:
            return [Item(self._seq, "", "resync", "")], self._seq
        chosen = [item for item in items if item.topic in topics or item.topic == EVERYBODY]
        return chosen, items[-1].seq if items else seq

    def _start(self, place: str, topics: frozenset[str]) -> int | None:
        epoch, _, number = place.rpartition("-")
        if epoch != self.epoch or not (number.isascii() and number.isdigit() and len(number) < 16) or int(number) > self._seq:
            return None
        if any(int(number) < self._from.get(topic, 0) for topic in topics):
            # Nobody watched this for a while, so that its pieces were not drawn.
            return None
        return int(number)

    def _after(self, seq: int, timeout_s: float) -> tuple[list[Item], bool]:
        with self._changed:
            if self._seq == seq and not self._closed:
                self._changed.wait(timeout_s)
            items = [item for item in self._ring if item.seq > seq]
            return items, self._seq > seq + len(items)
