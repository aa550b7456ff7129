"""What an EC25 remembers: settings lost at a reset, settings kept, and the card."""

from dataclasses import dataclass, field
from enum import StrEnum

# AT+QINDCFG as a module leaves the factory.
INDICATIONS = {"all": 1, "csq": 0, "smsfull": 0, "ring": 1, "smsincoming": 1, "act": 0, "ccinfo": 0}


@dataclass(slots=True)
class Settings:
    """Settings that a reset returns to their defaults."""

    echo: bool = True
    verbose: bool = True
    quiet: bool = False
    cmee: int = 1  # Quectel's default; 27.007 says 0
    creg: int = 0
    cgreg: int = 0
    cereg: int = 0
    cops_format: int = 0
    clip: bool = False
    colp: bool = False
    clir: int = 0
    cring: bool = False
    call_waiting: bool = False
    dsci: bool = False
    tone_detection: bool = False
    sim_notices: bool = False
    pcm: int = 0
    charset: str = "GSM"
    sms_text: bool = False
    indications: dict[str, int] = field(default_factory=lambda: dict(INDICATIONS))
    plain: dict[str, str] = field(default_factory=dict)  # values that are stored and shown, nothing more


@dataclass(slots=True)
class Kept:
    """Settings in the module's own memory: they outlive a reset."""

    gps_port: str = "usbnmea"
    urc_port: str = "usbat"
    clvl: int = 3
    audio_mode: int = 0
    usb_config: str = "0x2C7C,0x125,1,1,1,1,1,0,0"
    ims: int = 0
    indications: dict[str, int] = field(default_factory=lambda: dict(INDICATIONS))
    values: dict[str, str] = field(default_factory=dict)


class Card(StrEnum):
    """State of the SIM as +CPIN words it."""

    READY = "READY"
    PIN = "SIM PIN"
    PUK = "SIM PUK"
    ABSENT = "NOT INSERTED"
    BUSY = "NOT READY"


@dataclass(slots=True)
class Identity:
    """Who the module is. The IMEI has no setter and no command writes it."""

    imei: str
    manufacturer: str = "Quectel"
    model: str = "EC25"
    firmware: str = "EC25EFAR06A04M4G"


#: Registration states of 27.007 +CREG.
IDLE, HOME, SEARCHING, DENIED = 0, 1, 2, 3
