"""Settings of the controller: addresses, ports, URLs. A TOML file, overridden by `SIMRACK_CONTROLLER_...`.

What operators change day by day (senders, plans, agreements, patterns, limits) is not here but in the
database; `import` names a file that is put there at start when it changed.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from simrack.wire import tomlfile
from simrack.wire.sections import HostPort, MetricsSettings, MqttSettings, Section

__all__ = ["ControllerSettings", "MetricsSettings", "MqttSettings", "SipSettings", "TraceSettings", "load"]

ENV_PREFIX = "SIMRACK_CONTROLLER_"


class SipSettings(Section):
    """Where calls come in, how senders are challenged, and how many calls are admitted."""

    listen: HostPort = "127.0.0.1:5060"
    realm: str = Field(default="simrack", pattern=r'^[^"\\\s]{1,64}$')
    #: Measured on 2 cores (sip-and-media): above 150 a process falls behind; 80 leaves room for the rest.
    calls_per_second: float = Field(default=80.0, gt=0, le=10_000)
    #: Unanswered calls of one sender; a sender that leaves calls ringing must not use up the others' memory.
    setup_per_sender: int = Field(default=500, ge=1, le=100_000)
    failures: int = Field(default=20, ge=3, le=100_000)
    failures_within_s: float = Field(default=300.0, gt=0, le=86_400)
    ban_hours: float = Field(default=12.0, gt=0, le=24 * 365)


class TraceSettings(Section):
    """Of which calls the SIP messages are kept, and which collector may be given them."""

    keep: Literal["all", "failed", "off"] = "all"
    #: Address of a HEP3 collector ("host:port", UDP); empty: none.
    hep: HostPort | Literal[""] = ""
    #: Our number at the collector, which tells several installations apart.
    agent: int = Field(default=2001, ge=1, le=0xFFFF_FFFF)


class NoticeSettings(Section):
    """Secrets of notices; where they go stands among the global options (`docs/alarms.md`)."""

    webhook_secret: str = ""
    smtp_password: str = ""


class ControllerSettings(Section):
    """The whole file."""

    database: str
    #: A role that may read everything, for copies; empty: the same as `database` (enough on SQLite).
    backup_url: str = Field(default="", repr=False)
    data: Path = Path()
    import_: Path | None = Field(default=None, alias="import")
    #: What SIGTERM does with answered calls: end them, or leave them to a successor. SIGUSR1 always leaves them.
    on_stop: Literal["end", "hand-over"] = "end"
    mqtt: MqttSettings = MqttSettings()
    sip: SipSettings = SipSettings()
    metrics: MetricsSettings = MetricsSettings()
    notices: NoticeSettings = NoticeSettings()
    trace: TraceSettings = TraceSettings()


def load(path: Path) -> ControllerSettings:
    """Read the file and the environment. Raises `UserError` that names file, line and what is allowed."""
    settings = tomlfile.load(ControllerSettings, path, env_prefix=ENV_PREFIX)
    if settings.import_ is not None and not settings.import_.is_absolute():
        settings = settings.model_copy(update={"import_": path.parent / settings.import_})
    return settings
