"""Settings of one box: a TOML file, overridden by `SIMRACK_BOX_...` in the environment."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from simrack.wire.errors import UserError
from simrack.wire.messages import BoxId
from simrack.wire.sections import HostPort, MetricsSettings, MqttSettings, Section, parse_address

Link = Literal["loopback", "plain"]


class SipSettings(Section):
    """Where the box takes INVITEs, and the only address that it takes them from."""

    listen: HostPort = "127.0.0.1:0"
    controller: HostPort = "127.0.0.1:5060"


class RtpSettings(Section):
    """Voice: local address and the range of UDP ports, both ends included."""

    host: str = "127.0.0.1"
    first: int = Field(default=20000, ge=1024, le=65534)
    last: int = Field(default=20999, ge=1024, le=65535)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last <= self.first:
            raise ValueError(f"last ({self.last}) must be above first ({self.first})")
        return self


class CallSettings(Section):
    """Limits for every call of the box; the controller may set lower ones per call."""

    max_ring_s: int = Field(default=120, ge=5, le=600)
    max_call_s: int = Field(default=7200, ge=10, le=86400)
    no_media_s: float = Field(default=30.0, ge=1.0, le=3600.0)
    # A box that hears no controller can't be told to end a call, and nobody may be billed for ever.
    alone_hours: float = Field(default=2.0, gt=0.0, le=72.0)


class ModuleSettings(Section):
    """One module: its ports, and the number of the channel that it serves.

    Either `at` (and `audio`) name the ports, or `usb` names the socket where the module is plugged ("1-1.4").
    """

    channel: int = Field(ge=1, le=256)
    at: str = ""
    audio: str = ""
    usb: str = Field(default="", pattern=r"^(\d+-\d+(\.\d+)*)?$")
    driver: str = ""  # "" = ask the module
    gain_db: float = Field(default=0.0, ge=-20.0, le=20.0)
    # The hub ports that feed it, where that is not `usb` itself: both halves of a USB 3 hub, for instance.
    power_ports: tuple[Annotated[str, Field(pattern=r"^\d+-\d+(\.\d+)*$")], ...] = ()

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if bool(self.at) == bool(self.usb):
            raise ValueError('name either at = "/dev/..." or usb = "1-1.4"')
        return self


class BoardSettings(Section):
    """What the site can do for a module that answers nothing: see `docs/channels.md`, recovery.

    `command` is the site's own program with its first arguments.
    """

    usb_reset: Literal["none", "usb", "command"] = "usb"
    power: Literal["none", "hub", "sysfs", "command"] = "none"
    command: tuple[str, ...] = ()
    # The capacitors of a mini PCIe adapter hold an EC25 up for about a second.
    off_s: float = Field(default=5.0, ge=0.1, le=60.0)

    @model_validator(mode="after")
    def _has_its_program(self) -> Self:
        if "command" in (self.usb_reset, self.power) and not self.command:
            raise ValueError('name the program: command = ["/path/to/program"]')
        return self


class BoxSettings(Section):
    """The whole file. `link` "plain" permits SIP and RTP on private addresses outside a tunnel."""

    box: BoxId
    site: str = ""
    data: Path
    link: Link = "loopback"
    mqtt: MqttSettings = MqttSettings()
    sip: SipSettings = SipSettings()
    rtp: RtpSettings = RtpSettings()
    metrics: MetricsSettings = MetricsSettings()
    calls: CallSettings = CallSettings()
    board: BoardSettings = BoardSettings()
    module: tuple[ModuleSettings, ...] = ()

    @model_validator(mode="after")
    def _each_channel_once(self) -> Self:
        for field in ("channel", "at", "audio", "usb"):
            values = [value for row in self.module if (value := getattr(row, field))]
            twice = sorted({str(value) for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"module: {field} {', '.join(twice)} stands twice")
        return self


def check_link(settings: BoxSettings) -> None:
    """Refuse a socket that would carry SIP or RTP outside loopback without the site's word.

    Raises:
        UserError: an address is neither loopback nor permitted by `link`.
    """
    for name, host in (("sip.listen", parse_address(settings.sip.listen)[0]), ("rtp.host", settings.rtp.host)):
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise UserError(f"{name}: {host!r} is no IP address", todo="Write an address, not a name.") from None
        if address.is_loopback:
            continue
        if settings.link != "plain":
            raise UserError(
                f"{name} is {host}, which is neither loopback nor inside a tunnel",
                todo='Set link = "plain" if this network is yours alone; calls then cross it unencrypted.',
            )
        if not address.is_private or address.is_unspecified:
            raise UserError(f"{name} is {host}", todo='link = "plain" permits one private address only.')
