"""Which notice goes out when: opening, repetition, escalation, closing, and what quiet times hold back (pure).

A notice that waits is dropped when its reason is gone: nobody is woken at six for what was over at two.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from simrack.controller.alarms.board import AlarmNews
from simrack.controller.alarms.rules import NO_RULES, RANK, Rules, Target

Event = Literal["opened", "repeated", "closed", "test"]


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one target."""

    target: Target
    event: Event
    news: AlarmNews
    at: datetime


@dataclass(slots=True)
class _Entry:
    """What one target knows of one alarm, and when it is to hear more; `due` None: nothing more for now."""

    news: AlarmNews
    due: datetime | None
    told: bool = False
    closing: bool = False


class NoticePlan:
    """Keeps what was told, takes news, and says at each turn what is due."""

    def __init__(self) -> None:
        self.rules: Rules = NO_RULES
        self._entries: dict[tuple[str, str], _Entry] = {}

    @property
    def waiting(self) -> int:
        """Notices that quiet times and delays hold back."""
        return sum(entry.due is not None for entry in self._entries.values())

    def change(self, rules: Rules) -> None:
        """Other rules from now on: targets that are gone are told nothing more."""
        self.rules = rules
        names = {target.name for target in rules.targets}
        self._entries = {key: entry for key, entry in self._entries.items() if key[0] in names}

    @property
    def busy(self) -> bool:
        """Whether anything may become due by time alone."""
        return bool(self._entries)

    def take(self, news: AlarmNews) -> None:
        """Note what became of an alarm."""
        for target in self.rules.targets:
            self._take(target, news)

    def resume(self, news: AlarmNews, now: datetime) -> None:
        """An alarm that an earlier run left open: it was told then, and may be told again later."""
        for target in self._wanting(news):
            repeat = self.rules.repeat
            self._entries[target.name, news.cause] = _Entry(news, now + repeat if repeat else None, told=True)

    def due(self, now: datetime) -> Iterator[Notice]:
        """What goes out now."""
        targets = {target.name: target for target in self.rules.targets}
        for key, entry in list(self._entries.items()):
            if entry.due is None or entry.due > now:
                continue
            later = self._quiet_until(entry.news, now)
            if later is not None:
                entry.due = later
                continue
            notice = Notice(targets[key[0]], self._event(entry), entry.news, now)
            self._sent(key, entry, now)
            yield notice

    def _sent(self, key: tuple[str, str], entry: _Entry, now: datetime) -> None:
        if entry.closing:
            del self._entries[key]
            return
        entry.told = True
        entry.due = now + self.rules.repeat if self.rules.repeat else None

    @staticmethod
    def _event(entry: _Entry) -> Event:
        if entry.closing:
            return "closed"
        return "repeated" if entry.told else "opened"

    def _take(self, target: Target, news: AlarmNews) -> None:
        key = target.name, news.cause
        entry = self._entries.get(key)
        match news.what:
            case "opened" if target in self._wanting(news):
                self._entries[key] = _Entry(news, news.at + target.after)
            case "changed" if entry is not None:
                entry.news = replace(news, what="opened")
            case "acknowledged" if entry is not None:
                entry.due = None
            case "released" if entry is not None and not entry.told:
                entry.due = news.at + target.after
            case "closed" if entry is not None:
                self._close(key, entry, news)

    def _close(self, key: tuple[str, str], entry: _Entry, news: AlarmNews) -> None:
        if entry.told and self.rules.closings:
            entry.news, entry.due, entry.closing = news, news.at, True
        else:
            del self._entries[key]

    def _wanting(self, news: AlarmNews) -> list[Target]:
        if news.kind in self.rules.muted:
            return []
        subject = news.cause.partition(":")[2]
        return [target for target in self.rules.targets if target.wants(news.severity, news.kind, subject)]

    def _quiet_until(self, news: AlarmNews, now: datetime) -> datetime | None:
        quiet = self.rules.quiet
        if quiet is None or RANK[news.severity] <= RANK[quiet.passes]:
            return None
        return quiet.ends(now)
