"""How a box is, in the words of the Gateways page: figures with their units, and what to worry about (pure)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from simrack.controller.models import Names
from simrack.web import cells
from simrack.web.overview import TROUBLE, tile_tones
from simrack.web.rack import Rack
from simrack.web.text import DASH
from simrack.wire.channel import IN_CALL, ChannelState
from simrack.wire.messages import BoxStatus, ChannelReport, DrainInfo, HostFigures

# Below a tenth a disk fills faster than people look; half a gigabyte holds the facts of some days.
DISK_SHARE, DISK_MB = 0.10, 500
MEMORY_SHARE = 0.10
# Voice needs its 20 ms: a box that wants more than one and a half of each processor is late.
LOAD = 1.5
# Small computers slow down at 80 to 85 degrees.
TEMPERATURE_C = 80.0
# A link that was lost more often than once an hour is no link to rely on.
SESSIONS_AN_HOUR = 1.0
State = Literal["healthy", "look", "unreachable", "restarting", "draining", "planned"]
#: (word, tone, icon) of each.
STATES: Mapping[State, tuple[str, str, str]] = {
    "healthy": ("Healthy", "good", "tick"), "look": ("Look at it", "warn", "alert"), "unreachable": ("Unreachable", "bad", "alert"),
    "restarting": ("Restarting", "warn", "power"), "draining": ("Draining", "warn", "drain"), "planned": ("Planned", "warn", "drain"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Health:
    """One box."""

    status: BoxStatus
    site: str  # its title
    state: State
    channels: int
    ready: int
    calls: int
    troubles: int  # channels missing or at fault
    drain: DrainInfo | None
    plan: str  # what is planned, in words
    worries: tuple[str, ...]
    models: tuple[tuple[str, int], ...]  # (model and firmware, modules)

    @property
    def box(self) -> str:
        return self.status.box

    @property
    def host(self) -> HostFigures:
        return self.status.host or HostFigures()

    @property
    def word(self) -> str:
        return STATES[self.state][0]


def health(box: str, rack: Rack, names: Names, now: datetime) -> Health:
    """A box as it stands."""
    status = rack.boxes[box]
    reports = [rack.channels.get((box, number)) for number in cells.channels_of(box, rack)]
    tones = tile_tones(rack.kinds.get(box, {}), len(reports), online=status.online)
    calls = sum(report is not None and report.state in IN_CALL for report in reports)
    troubles = sum(tones[name] for name in TROUBLE)
    worries = tuple(_worries(status, tones, reports))
    drain = status.drain
    return Health(
        status=status, site=names.sites.get(status.site, status.site), state=_state(status, worries, now), channels=len(reports),
        ready=tones["ready"], calls=calls if status.online else 0, troubles=troubles, drain=drain,
        plan=cells.drain_text(drain, calls) if drain is not None and status.online else "", worries=worries, models=_models(reports),
    )  # fmt: skip


def _state(status: BoxStatus, worries: tuple[str, ...], now: datetime) -> State:
    if cells.restarting(status, now):
        return "restarting"
    if not status.online:
        return "unreachable"
    if status.drain is not None:
        return "draining" if status.drain.draining else "planned"
    return "look" if worries else "healthy"


def _worries(status: BoxStatus, tones: Counter[str], reports: list[ChannelReport | None]) -> Iterable[str]:
    if status.trouble:
        yield f"its file can't be written: {status.trouble}"
    for tone, words in (("fault", "at fault"), ("missing", "missing")):
        if tones[tone]:
            yield f"{tones[tone]} channel{'s' * (tones[tone] > 1)} {words}"
    out = sum(report is not None and report.recovery is not None and report.recovery.out for report in reports)
    if out:
        yield f"{out} module{'s' * (out > 1)} given up"
    yield from _host_worries(status.host or HostFigures())
    if status.clock_offset_ms is not None and abs(status.clock_offset_ms) > cells.CLOCK_NOTE_MS:
        yield f"clock {status.clock_offset_ms / 1000:+.1f} s"
    if status.outbox:
        yield f"{status.outbox} facts wait for the controller"
    if status.host and status.host.sessions - 1 > max(1.0, SESSIONS_AN_HOUR * status.uptime_s / 3600):
        yield f"link lost {status.host.sessions - 1} times"
    if status.link == "plain":
        yield "link without tunnel"


def _host_worries(host: HostFigures) -> Iterable[str]:
    if host.disk_free_mb is not None and host.disk_mb and (
        host.disk_free_mb < DISK_MB or host.disk_free_mb < DISK_SHARE * host.disk_mb
    ):
        yield f"disk {size_text(host.disk_free_mb)} free"
    if host.memory_free_mb is not None and host.memory_mb and host.memory_free_mb < MEMORY_SHARE * host.memory_mb:
        yield f"memory {size_text(host.memory_free_mb)} free"
    if host.load is not None and host.load > LOAD:
        yield f"load {host.load:.1f} per processor"
    if host.temperature_c is not None and host.temperature_c >= TEMPERATURE_C:
        yield f"{host.temperature_c:.0f} °C"


def _models(reports: list[ChannelReport | None]) -> tuple[tuple[str, int], ...]:
    found = Counter(
        " ".join(filter(None, (report.module.model, report.module.firmware))) or "unknown"
        for report in reports
        if report is not None and report.module is not None
    )
    return tuple(found.most_common())


def size_text(megabytes: int | None) -> str:
    """912 MB, 14.2 GB."""
    if megabytes is None:
        return DASH
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"


def clock_text(milliseconds: int | None) -> str:
    """The clock's offset from the controller's: +0.012 s."""
    return DASH if milliseconds is None else f"{milliseconds / 1000:+.3f} s"


def uptime_text(seconds: int) -> str:
    """4 d 3 h, 3 h 12 min, 12 min."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def in_service(report: ChannelReport | None) -> bool:
    """Whether a channel works: ready, or in a call."""
    return report is not None and (report.state is ChannelState.READY or report.state in IN_CALL)
