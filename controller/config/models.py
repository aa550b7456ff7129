"""The routing file as pydantic models (`docs/configuration.md` has a line for each key).

The same models are the JSON bodies of the config tables, and the compiled table holds them; they are frozen.
What can be judged within one entry is judged here, what needs two entries in `checks.py`.
"""

import ipaddress
from datetime import date
from typing import Annotated, Any, Literal, Self
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


def _form(form: str, unit: str = "") -> Any:
    """How a value is written and its unit, for forms and messages (`json_schema_extra`)."""
    return Field(json_schema_extra={"form": form, **({"unit": unit} if unit else {})})


def _refers(kind: str) -> Any:
    """The value is the name of another entry."""
    return Field(json_schema_extra={"refers": kind})


Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$"),
    _form("lower-case letters, digits, . _ -, up to 64"),
]
Country = Annotated[str, AfterValidator(_country), _form("ISO 3166 code such as DE; 001 for none")]
TimeZone = Annotated[str, AfterValidator(_time_zone), _form("such as Europe/Berlin")]
Iccid = Annotated[
    str, StringConstraints(pattern=r"^\d{18,20}$"), _form("18 to 20 digits, as printed on the card")
]
Prefix = Annotated[
    str,
    StringConstraints(pattern=r"^(\+\d{0,15}|\d{1,8})$"),
    _form("+49, + for every number, or a short code such as 115"),
]
ImsiPrefix = Annotated[
    str, StringConstraints(pattern=r"^\d{3,15}$"), _form("3 to 15 digits, MCC and MNC first")
]
E164 = Annotated[str, StringConstraints(pattern=r"^\+\d{3,15}$"), _form("+4930123456")]
# "+4930123" exactly, "+4930123*" with anything behind, "+4930100-+4930199" a range.
Numbers = Annotated[
    str, StringConstraints(pattern=r"^\+\d{1,15}(\*|-\+\d{1,15})?$"), AfterValidator(_number_range),
    _form("+4930123456, +4930123* or +4930100-+4930199"),
]  # fmt: skip
Address = Annotated[
    str, AfterValidator(_address), _form("192.0.2.1, 192.0.2.0/24, 192.0.2.1:5060 or 2001:db8::/64")
]
Ha1 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Ha1Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[int, Field(ge=1, le=86400), _form("", "s")]
# Words for people; none of ours needs more, and a list must stay a list.
Text = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
SiteName = Annotated[Name, _refers("site")]
AgreementName = Annotated[Name, _refers("agreement")]
PlanName = Annotated[Name, _refers("plan")]
SenderName = Annotated[Name, _refers("sender")]


class Entry(BaseModel):
    """Anything that has keys in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Installation(Entry):
    """What this rack is, as declared at set-up."""

    class_: InstallationClass = Field(
        alias="class",
        title="Class",
        description="What this rack is; own use and single customer carry the traffic of one legal entity only.",
    )
    owner: Text = Field(min_length=1, description="Legal name of who runs it.")
    country: Country = Field(description="Where it stands.")
    licence: Text = Field("", description="Number of the licence; multiple customers need one.")
    licence_issuer: Text = Field("", description="Who issued the licence.")
    licence_until: date | None = Field(None, description="Last day of the licence.")

    @model_validator(mode="after")
    def _licensed(self) -> Self:
        if self.class_ == "multiple-customers" and not (
            self.licence and self.licence_issuer and self.licence_until
        ):
            raise ValueError("class multiple-customers needs licence, licence_issuer and licence_until")
        return self


class Site(Entry):
    """A place where boxes stand."""

    name: Name = Field(description="What a box names as its site.")
    title: Text = Field("", description="Shown on pages instead of the name.")
    country: Country = Field(description="Its emergency numbers are never carried by a shared SIM.")
    time_zone: TimeZone = Field("UTC", description="Days of agreements are counted in it.")
    # Without the owner's choice the site takes no traffic (lawful use: emergency).
    emergency: Literal["refuse"] | None = Field(
        None, description="What happens to emergency calls; a site without this choice takes no traffic."
    )

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class Agreement(Entry):
    """What an operator permits with the SIMs of a plan."""

    name: Name = Field(description="Short name that plans use; it can't be changed later.")
    title: Text = Field("", description="Shown on pages instead of the name.")
    operator: Text = Field(min_length=1, description="With whom it was made.")
    reference: Text = Field(
        min_length=1, description="Where to find the paper: number and day of the contract."
    )
    lab: bool = Field(
        False, title="Lab", description="An emulated or test network; it covers SIMs of MCC 001 and 999 only."
    )
    uses: tuple[Use, ...] = Field(min_length=1, description="What the operator permits.")
    origins: tuple[Country, ...] = Field(
        (), description="Countries whose senders and calling numbers may use it; none: the site's country."
    )
    sites: tuple[SiteName, ...] = Field(min_length=1, description="Sites where its SIMs may work.")
    valid_from: date = Field(description="First day.")
    valid_until: date = Field(description="Last day; after it its SIMs carry nothing.")
    document_sha256: str = Field(
        default="", pattern=r"^([0-9a-f]{64})?$", title="Document hash",
        description="SHA-256 of the signed document, 64 hexadecimal digits.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_until < self.valid_from:
            raise ValueError("valid_until lies before valid_from")
        return self


class Plan(Entry):
    """A kind of SIM: its cards, what the network allows, how it dials."""

    name: Name = Field(description="Short name that patterns use; it can't be changed later.")
    title: Text = Field("", description="Shown on pages instead of the name.")
    agreement: AgreementName = Field(
        description="What the operator permits; without one a plan carries nothing."
    )
    # Whose SIMs these are, where they aren't the rack's own; an account of role owner names it.
    owner: Name | Literal[""] = Field("", description="Whose SIMs these are, where they aren't the rack's own.")
    enabled: bool = Field(True, description="Off: none of its SIMs takes a new call.")
    country: Country = Field(description="Country of its network, for national dialling.")
    sims: tuple[Iccid, ...] = Field((), title="SIMs", description="ICCIDs of its cards.")
    imsi_prefixes: tuple[ImsiPrefix, ...] = Field(
        (),
        title="IMSI prefixes",
        description="Cards by the beginning of their IMSI; the longest prefix wins, a card's own line over all.",
    )
    dial: DialFormat = Field("+", description="How its network wants numbers.")
    early_media: EarlyMedia = Field(
        "auto", description="Whether the caller hears the network before the answer."
    )
    hide_number: bool | None = Field(
        None, description="Whether the SIM's number is hidden; no choice: as the caller asks."
    )
    max_ring_s: Seconds | None = Field(
        None, title="Longest ringing", description="None: as the installation's limit."
    )
    max_call_s: Seconds | None = Field(
        None, title="Longest call", description="The shortest of sender, plan and installation holds."
    )
    max_concurrent: Count | None = Field(
        None,
        title="Most calls at a time",
        description="Over all its SIMs; none: no limit.",
        json_schema_extra={"unit": "calls"},
    )
    sim_calls_day: Count | None = Field(
        None,
        title="Calls per SIM and day",
        description="Then the SIM rests until the next day (UTC).",
        json_schema_extra={"unit": "calls"},
    )
    sim_minutes_day: Count | None = Field(
        None,
        title="Minutes per SIM and day",
        description="Then the SIM rests until the next day (UTC).",
        json_schema_extra={"unit": "min"},
    )
    sim_minutes_month: Count | None = Field(
        None,
        title="Minutes per SIM and month",
        description="Then the SIM rests until the next month (UTC).",
        json_schema_extra={"unit": "min"},
    )


class Sim(Entry):
    """One card, where it needs a line of its own."""

    iccid: Iccid = Field(title="ICCID", description="The number on the card.")
    plan: PlanName = Field(description="The plan that the card belongs to.")
    title: Text = Field("", description="Shown on pages beside the number.")
    enabled: bool = Field(True, description="Off: the card takes no new call; a call in progress goes on.")
    priority: int = Field(0, ge=-1000, le=1000, description="A higher one is preferred.")
    holder: Text = Field("", description="Who the card is registered to.")
    note: Text = Field("", description="What people should know of this card.")


class Digest(Entry):
    """User and password of SIP digest; the password is never stored, only its hashes with the realm."""

    user: Annotated[str, StringConstraints(pattern=r'^[^\s:"\\]{1,64}$')] = Field(
        description="User of SIP digest, unique among senders."
    )
    password: str = Field(
        default="", max_length=256, repr=False, description="Never shown again: only hashes of it are kept."
    )
    ha1_md5: Ha1 | None = Field(default=None, repr=False)
    ha1_sha256: Ha1Sha256 | None = Field(default=None, repr=False)
    # Some phones give up at a SHA-256 challenge even when one with MD5 stands beside it (baresip before 2.0).
    algorithms: tuple[Algorithm, ...] = Field(
        default=("SHA-256", "MD5"),
        min_length=1,
        description="Hashes that it is challenged with; some phones need MD5 alone.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.password) == bool(self.ha1_md5 or self.ha1_sha256):
            raise ValueError("give either password, or ha1_md5 and ha1_sha256")
        return self


class Sender(Entry):
    """Who may send calls, how it is recognised, what it may do."""

    name: Name = Field(description="Short name that patterns use; it can't be changed later.")
    title: Text = Field("", description="Shown on pages instead of the name.")
    enabled: bool = Field(True, description="Off: its calls are refused with SIP 403.")
    legal_name: Text = Field("", description="Legal entity whose traffic it is.")
    contact: Text = Field("", description="Whom to call at night.")
    country: Country = Field(
        description="For numbers without a country code; its emergency numbers are known too."
    )
    purpose: Text = Field("", description="What the calls are for.")
    use: Use = Field(description="Only plans whose agreement permits it carry its calls.")
    addresses: tuple[Address, ...] = Field(
        (), description="Where its calls come from; without digest the address alone identifies it."
    )
    digest: Digest | None = Field(
        None, description="User and password; with addresses as well, both are asked for."
    )
    numbers: tuple[Numbers, ...] = Field(
        (), description="Verified numbers that it may present; no other is ever shown."
    )
    default_number: E164 | None = Field(
        None, description="One of them, for calls that present no verified number."
    )
    other_numbers: Literal["reject", "replace"] = Field(
        "reject", description="Calls with another number: rejected, or shown with the default number."
    )
    area_code: str = Field(
        default="",
        pattern=r"^\d{0,6}$",
        description="Put before local numbers, without trunk prefix.",
        json_schema_extra={"form": "up to 6 digits"},
    )
    max_calls: Count | None = Field(
        None, title="Most calls at a time", description="None: no limit.", json_schema_extra={"unit": "calls"}
    )
    max_rate: Count | None = Field(
        None, title="Most new calls", description="None: no limit.", json_schema_extra={"unit": "calls per s"}
    )
    max_call_s: Seconds | None = Field(
        None, title="Longest call", description="The shortest of sender, plan and installation holds."
    )
    allowed_prefixes: tuple[Prefix, ...] = Field((), description="Only these called numbers; none: all.")
    blocked_prefixes: tuple[Prefix, ...] = Field((), description="Not these called numbers.")
    plans: tuple[PlanName, ...] = Field((), description="Only these plans; none: all.")
    listening: Text = Field(
        "",
        title="Legal basis for listening",
        description="On what ground staff may hear its calls, for instance the contract's clause; empty: nobody may.",
    )

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

    plan: PlanName = Field(description="The plan whose SIMs carry the call.")
    priority: int = Field(0, ge=-1000, le=1000, description="Higher first; below zero it is a reserve.")


class Pattern(Entry):
    """Called prefixes and where they go."""

    name: Text = Field("", description="Shown in explanations; left out, its first prefix.")
    prefixes: tuple[Prefix, ...] = Field(min_length=1, description="Called numbers that begin so.")
    priority: int = Field(
        0, ge=-1000, le=1000, description="A higher one is tried first, whatever its length."
    )
    senders: tuple[SenderName, ...] = Field((), description="For these senders only; none: all.")
    times: Literal["always"] = Field("always", description="When it holds.")
    action: Literal["route", "refuse"] = Field(
        "route", description="Route to the targets, or refuse with SIP 403, cause 21."
    )
    stop: bool = Field(False, title="Last", description="No other pattern is looked at after this one.")
    targets: tuple[Target, ...] = Field((), description="Plans whose SIMs carry the call.")

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

    max_attempts: Count = Field(
        6,
        title="Most attempts",
        description="Candidates handed to one call.",
        json_schema_extra={"unit": "attempts"},
    )
    max_ring_s: Seconds = Field(90, title="Longest ringing", description="Unless the plan says otherwise.")
    max_call_s: Seconds = Field(
        14400, title="Longest call", description="The shortest of sender, plan and installation holds."
    )
    rested_s: Seconds = Field(
        10, title="Rest of a SIM", description="It counts as rested this long after its last call."
    )
    order: tuple[str, ...] = Field(
        (), description="Criteria that order candidates, to leave some out or move them."
    )


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
    #: Global options by area and name (config/catalogue.py).
    settings: dict[str, dict[str, bool | int | float | str]] = Field(default_factory=dict)
