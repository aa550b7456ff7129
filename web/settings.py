"""Settings of the control room: one TOML file, environment variables on top (`docs/web.md`)."""

from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator

from simrack.controller.store.engine import sqlite_path
from simrack.wire.installation import data_folder
from simrack.wire.sections import HostPort, MetricsSettings, MqttSettings, Section, parse_address

__all__ = ["MqttSettings", "WebSettings"]

# Event streams hold a thread each; pages need some more beside them (components: threads must exceed streams).
PAGE_THREADS = 16


class PhoneSettings(Section):
    """Limits of test calls that people place from the control room."""

    at_a_time: int = Field(default=2, ge=0, le=20, description="in the whole installation; 0: nobody places any")
    seconds: int = Field(default=120, ge=5, le=3600, description="a test call ends so long after its answer")
    a_day: int = Field(default=200, ge=1, le=100_000, description="test calls of all people from 00:00 to 24:00 UTC")


class WebSettings(Section):
    """What `simrack web --config FILE` reads."""

    database: str = Field(description="SQLAlchemy URL of the centre's database")
    mqtt: MqttSettings
    listen: HostPort = Field(default="127.0.0.1:8080", description="address:port; port 0 takes a free one")
    controller_sip: str = Field(
        default="", description="address:port of the controller, shown to people, and where test calls go; empty: 127.0.0.1:5060"
    )
    public_url: str = Field(
        default="", description="https://… as browsers see it; needed behind a proxy, makes cookies secure"
    )
    trusted_proxy: str = Field(default="", description="address of the proxy whose X-Forwarded-* are believed")
    time_zone: str = Field(default="UTC", description="IANA zone in which pages show times; UTC is on hover")
    session_hours: int = Field(default=12, ge=1, le=24 * 90, description="a session without a request ends")
    setup_link_hours: int = Field(default=24, ge=1, le=24 * 7, description="life of a set-up link")
    key_file: str = Field(
        default="", description="file with the key that encrypts second factors; default: web.key beside the database"
    )
    keys: str = Field(default="", repr=False, description="the keys themselves, newest first, instead of the file")
    media_host: str = Field(
        default="127.0.0.1", description="address of this machine to which boxes send the voice of a call that is listened to"
    )
    test_calls: PhoneSettings = Field(default=PhoneSettings(), description="limits of test calls")
    metrics: MetricsSettings = Field(default=MetricsSettings(), description="where Prometheus reads; none unless named")
    streams: int = Field(default=100, ge=1, le=1000, description="live pages open at the same time")

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("write an IANA zone, for instance Europe/Vienna")
        return value

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str) -> str:
        if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("write the address as browsers see it, for instance https://noc.example")
        return value.rstrip("/")

    @property
    def address(self) -> tuple[str, int]:
        return parse_address(self.listen)

    @property
    def key_path(self) -> Path:
        """The key file: as set, else beside the SQLite database, else in the data folder."""
        if self.key_file:
            return Path(self.key_file)
        beside = sqlite_path(self.database)
        return (beside.parent if beside is not None else data_folder()) / "web.key"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def secure(self) -> bool:
        """Browsers come by HTTPS."""
        return self.public_url.startswith("https://")

    @property
    def threads(self) -> int:
        return self.streams + PAGE_THREADS
