"""The routing file as pydantic models (`docs/configuration.md` has a line for each key).

The same models are the JSON bodies of the config tables, and the compiled table holds them; they are frozen.
What can be judged within one entry is judged here, what needs two entries in `checks.py`.
"""

import ipaddress
from datetime import date
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

import phonenumbers
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from simrack.controller.routing.decision import EarlyMedia

InstallationClass = Literal["own-use", "single-customer", "multiple-customers", "operator", "test-lab"]
Algorithm = Literal["SHA-256", "MD5"]
Use = Literal["own-use-voice", "enterprise-fixed-cellular", "licensed-termination", "messaging", "test"]
DialFormat = Literal["+", "00", "national"]

# No country: numbers of international networks (+882 ...), which the lab's are.
NO_COUNTRY = "001"
# ITU-T E.212: 001 and 999 belong to no operator and are used by test networks.
LAB_NETWORKS = ("001", "999")


def _country(value: str) -> str:
    if value != NO_COUNTRY and value not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f'{value!r} is no ISO 3166 country; write it as "DE", or "001" for none')
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f'{value!r} is no time zone; write it as "Europe/Berlin"') from error
    return value


def _number_range(value: str) -> str:
    first, dash, last = value.partition("-")
    if dash and (len(first) != len(last) or first > last):
        raise ValueError(f"{value!r}: both ends of a range have the same length, the smaller first")
    return value


def _address(value: str) -> str:
    host, port = split_address(value)
    try:
        ipaddress.ip_network(host, strict=False)
    except ValueError as error:
        raise ValueError(
            f'{value!r}: {error}; write "192.0.2.1", "192.0.2.0/24" or "192.0.2.1:5060"'
        ) from error
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"{value!r}: a port is 1 to 65535")
    return value


def split_address(value: str) -> tuple[str, int | None]:
    """("192.0.2.0/24", None) or ("192.0.2.1", 5060); IPv6 with a port stands in brackets."""
    if value.startswith("["):
        host, _, port = value[1:].partition("]")
        return host, int(port[1:]) if port[1:].isdecimal() else None
    host, colon, port = value.rpartition(":")
    if colon and ":" not in host:
        return host, int(port) if port.isdecimal() else -1
    return value, None


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Country = Annotated[str, AfterValidator(_country)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Iccid = Annotated[str, StringConstraints(pattern=r"^\d{18,20}$")]
Prefix = Annotated[str, StringConstraints(pattern=r"^(\+\d{0,15}|\d{1,8})$")]
ImsiPrefix = Annotated[str, StringConstraints(pattern=r"^\d{3,15}$")]
E164 = Annotated[str, StringConstraints(pattern=r"^\+\d{3,15}$")]
# "+4930123" exactly, "+4930123*" with anything behind, "+4930100-+4930199" a range.
Numbers = Annotated[
    str, StringConstraints(pattern=r"^\+\d{1,15}(\*|-\+\d{1,15})?$"), AfterValidator(_number_range)
]
Address = Annotated[str, AfterValidator(_address)]
Ha1 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Ha1Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[int, Field(ge=1, le=86400)]


class Entry(BaseModel):
    """Anything that has keys in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Installation(Entry):
    """What this rack is, as declared at set-up."""

    class_: InstallationClass = Field(alias="class")
    owner: str = Field(min_length=1)
    country: Country
    licence: str = ""
    licence_issuer: str = ""
    licence_until: date | None = None

    @model_validator(mode="after")
    def _licensed(self) -> Self:
        if self.class_ == "multiple-customers" and not (
            self.licence and self.licence_issuer and self.licence_until
        ):
            raise ValueError("class multiple-customers needs licence, licence_issuer and licence_until")
        return self


class Site(Entry):
    """A place where boxes stand."""

    name: Name
    title: str = ""
    country: Country
    time_zone: TimeZone = "UTC"
    # Without the owner's choice the site takes no traffic (lawful use: emergency).
    emergency: Literal["refuse"] | None = None

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class Agreement(Entry):
    """What an operator permits with the SIMs of a plan."""

    name: Name
    title: str = ""
    operator: str = Field(min_length=1)
    reference: str = Field(min_length=1)
    lab: bool = False
    uses: tuple[Use, ...] = Field(min_length=1)
    origins: tuple[Country, ...] = ()
    sites: tuple[Name, ...] = Field(min_length=1)
    valid_from: date
    valid_until: date
    document_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_until < self.valid_from:
            raise ValueError("valid_until lies before valid_from")
        return self


class Plan(Entry):
    """A kind of SIM: its cards, what the network allows, how it dials."""

    name: Name
    title: str = ""
    agreement: Name
    enabled: bool = True
    country: Country
    sims: tuple[Iccid, ...] = ()
    imsi_prefixes: tuple[ImsiPrefix, ...] = ()
    dial: DialFormat = "+"
    early_media: EarlyMedia = "auto"
    hide_number: bool | None = None
    max_ring_s: Seconds | None = None
    max_call_s: Seconds | None = None
    max_concurrent: Count | None = None
    sim_calls_day: Count | None = None
    sim_minutes_day: Count | None = None
    sim_minutes_month: Count | None = None


class Sim(Entry):
    """One card, where it needs a line of its own."""

    iccid: Iccid
    plan: Name
    title: str = ""
    enabled: bool = True
    priority: int = 0
    holder: str = ""


class Digest(Entry):
    """User and password of SIP digest; the password is never stored, only its hashes with the realm."""

    user: Annotated[str, StringConstraints(pattern=r'^[^\s:"\\]{1,64}$')]
    password: str = Field(default="", repr=False)
    ha1_md5: Ha1 | None = Field(default=None, repr=False)
    ha1_sha256: Ha1Sha256 | None = Field(default=None, repr=False)
    # Some phones give up at a SHA-256 challenge even when one with MD5 stands beside it (baresip before 2.0).
    algorithms: tuple[Algorithm, ...] = Field(default=("SHA-256", "MD5"), min_length=1)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.password) == bool(self.ha1_md5 or self.ha1_sha256):
            raise ValueError("give either password, or ha1_md5 and ha1_sha256")
        return self


class Sender(Entry):
    """Who may send calls, how it is recognised, what it may do."""

    name: Name
    title: str = ""
    enabled: bool = True
    legal_name: str = ""
    contact: str = ""
    country: Country
    purpose: str = ""
    use: Use
    addresses: tuple[Address, ...] = ()
    digest: Digest | None = None
    numbers: tuple[Numbers, ...] = ()
    default_number: E164 | None = None
    other_numbers: Literal["reject", "replace"] = "reject"
    area_code: str = Field(default="", pattern=r"^\d{0,6}$")
    max_calls: Count | None = None
    max_rate: Count | None = None
    max_call_s: Seconds | None = None
    allowed_prefixes: tuple[Prefix, ...] = ()
    blocked_prefixes: tuple[Prefix, ...] = ()
    plans: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [key for key in ("legal_name", "contact", "purpose", "numbers") if not getattr(self, key)]
        if self.enabled and missing:
            raise ValueError(f"an enabled sender needs {', '.join(missing)}")
        if not self.addresses and self.digest is None:
            raise ValueError("a sender needs addresses or digest, or nothing identifies it")
        if self.other_numbers == "replace" and self.default_number is None:
            raise ValueError('other_numbers = "replace" needs default_number')
        if self.default_number is not None and not presents(self, self.default_number):
            raise ValueError(f"default_number {self.default_number} is none of numbers")
        return self


def presents(sender: Sender, number: str) -> bool:
    """Whether the sender has the right to present this E.164 number."""
    return any(_within(allowed, number) for allowed in sender.numbers)


def _within(allowed: str, number: str) -> bool:
    if allowed.endswith("*"):
        return number.startswith(allowed[:-1])
    first, dash, last = allowed.partition("-")
    if not dash:
        return number == allowed
    return len(number) == len(first) and first <= number <= last


class Target(Entry):
    """Where a pattern sends calls; a negative priority is a reserve."""

    plan: Name
    priority: int = 0


class Pattern(Entry):
    """Called prefixes and where they go."""

    name: str = ""
    prefixes: tuple[Prefix, ...] = Field(min_length=1)
    priority: int = 0
    senders: tuple[Name, ...] = ()
    times: Literal["always"] = "always"
    action: Literal["route", "refuse"] = "route"
    stop: bool = False
    targets: tuple[Target, ...] = ()

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if (self.action == "route") != bool(self.targets):
            raise ValueError('action "route" needs targets, action "refuse" has none')
        return self

    @property
    def label(self) -> str:
        return self.name or self.prefixes[0]


class Limits(Entry):
    """What holds for the whole installation unless an entry says otherwise."""

    max_attempts: Count = 6
    max_ring_s: Seconds = 90
    max_call_s: Seconds = 14400
    rested_s: Seconds = 10
    order: tuple[str, ...] = ()


class RoutingFile(Entry):
    """The whole file."""

    installation: Installation
    site: tuple[Site, ...] = Field(min_length=1)
    agreement: tuple[Agreement, ...] = ()
    plan: tuple[Plan, ...] = ()
    sim: tuple[Sim, ...] = ()
    sender: tuple[Sender, ...] = ()
    pattern: tuple[Pattern, ...] = ()
    limits: Limits = Limits()
