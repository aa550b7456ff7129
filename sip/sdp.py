"""SDP bodies: parse (RFC 4566), offer and answer (RFC 3264) for one voice stream per call.

Tolerant in what it reads (line ends, unknown lines, missing session lines), strict in what it uses: a port
or an address that can't be right is an error. Of several m-lines the first usable audio line is taken and
the others are refused with port 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from simrack.sip import codecs
from simrack.sip.codecs import TELEPHONE_EVENT, available
from simrack.sip.errors import SipError

__all__ = ["Chosen", "Media", "NoCommonCodec", "SdpError", "Session", "answer", "available", "check_family", "negotiate",
           "offer", "parse", "read_answer"]  # fmt: skip

LARGEST = 16_384  # octets; honest bodies are under 2 kB
MOST_MEDIA = 16
DTMF_TYPE = 101  # by custom
PTIME_MS = 20
PROFILES = ("RTP/AVP", "RTP/AVPF")
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
NOWHERE = ("0.0.0.0", "::", "")  # noqa: S104  hold of RFC 2543, not a bind address
# RFC 3551 table 4: the static types that need no rtpmap and that we have.
STATIC = {0: "PCMU/8000", 8: "PCMA/8000", 9: "G722/8000"}


class SdpError(SipError):
    """The body is not an SDP that we can use; 400 fits, trying again does not help."""


class NoCommonCodec(SdpError):
    """The offer holds no audio line with a codec of ours; 488 fits."""


@dataclass(frozen=True, slots=True)
class Media:
    """One m-line with its attributes; `address` already falls back to the session's."""

    kind: str
    port: int
    profile: str
    formats: tuple[str, ...]
    address: str
    direction: str
    rtpmap: dict[int, str] = field(default_factory=dict)
    fmtp: dict[int, str] = field(default_factory=dict)
    ptime_ms: int | None = None
    maxptime_ms: int | None = None

    @property
    def types(self) -> tuple[int, ...]:
        """Payload types in the order of preference."""
        return tuple(int(f) for f in self.formats if f.isdecimal() and int(f) < 128)

    def encoding(self, payload_type: int) -> str:
        return self.rtpmap.get(payload_type) or STATIC.get(payload_type, "")


@dataclass(frozen=True, slots=True)
class Session:
    """A parsed body."""

    media: tuple[Media, ...]
    origin: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What both sides agreed on. `sends` and `receives` are ours; `layout` are the refused m-lines.

    `layout` has one entry for each m-line of the offer: "" for the voice line, else the line to refuse with.
    """

    codec: str
    payload_type: int
    dtmf_type: int | None
    remote: tuple[str, int]
    ptime_ms: int
    sends: bool
    receives: bool
    layout: tuple[str, ...] = ("",)
    profile: str = "RTP/AVP"


@dataclass(slots=True)
class _Open:
    """An m-line while its attributes are still being read."""

    kind: str
    port: int
    profile: str
    formats: tuple[str, ...]
    address: str = ""
    direction: str = ""
    rtpmap: dict[int, str] = field(default_factory=dict)
    fmtp: dict[int, str] = field(default_factory=dict)
    ptime: int | None = None
    maxptime: int | None = None


def parse(body: bytes) -> Session:
    """Read a body.

    Raises:
        SdpError: it is too large, not text, or a line that we need is malformed.
    """
    if len(body) > LARGEST:
        raise SdpError(f"the SDP has {len(body)} octets, at most {LARGEST} are read")
    text = body.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    session, media, fields = _Open("session", 0, "", ()), list[_Open](), dict[str, str]()
    for key, value in _lines(text):
        if key == "m":
            media.append(_media_line(value))
        elif key in ("v", "o", "s"):
            fields.setdefault(key, value)
        else:
            _detail(media[-1] if media else session, key, value)
    if fields.get("v", "0") != "0":
        raise SdpError(f"SDP version {fields['v']!r} is not 0")
    if not media:
        raise SdpError("the SDP has no m-line")
    if len(media) > MOST_MEDIA:
        raise SdpError(f"the SDP has {len(media)} m-lines, at most {MOST_MEDIA} are read")
    closed = tuple(_close(m, session) for m in media)
    return Session(closed, fields.get("o", ""), fields.get("s", ""))


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\0")
        if not line:
            continue
        if len(line) < 2 or line[1] != "=":
            raise SdpError(f"SDP line {number} is not of the form x=value")
        yield line[0], line[2:].strip()


def _media_line(value: str) -> _Open:
    parts = value.split()
    if len(parts) < 4:
        raise SdpError(f"m={value!r} needs kind, port, profile and formats")
    port = _number(parts[1].partition("/")[0], 0, 65535, "m-line port")
    return _Open(parts[0].lower(), port, parts[2].upper(), tuple(parts[3:]))


def _number(text: str, low: int, high: int, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high):
        raise SdpError(f"{what} {text!r} is not a number from {low} to {high}")
    return int(text)


def _detail(target: _Open, key: str, value: str) -> None:
    if key == "c":
        parts = value.split()
        if len(parts) < 3 or parts[0].upper() != "IN" or parts[1].upper() not in ("IP4", "IP6"):
            raise SdpError(f"c={value!r} is not IN IP4 or IN IP6 with an address")
        target.address = parts[2].partition("/")[0]
    elif key == "a":
        name, _, rest = value.partition(":")
        _attribute(target, name.strip().lower(), rest.strip())


def _attribute(target: _Open, name: str, rest: str) -> None:
    if name in DIRECTIONS:
        target.direction = name
    elif name in ("rtpmap", "fmtp"):
        kind, _, text = rest.partition(" ")
        if kind.isascii() and kind.isdecimal() and len(kind) <= 3:
            (target.rtpmap if name == "rtpmap" else target.fmtp)[int(kind)] = text.strip()
    elif name in ("ptime", "maxptime"):
        # Some senders write "20.0"; a nonsense value only loses the wish.
        whole = rest.partition(".")[0]
        if whole.isascii() and whole.isdecimal() and 0 < len(whole) < 5:
            setattr(target, name, int(whole) or None)


def _close(media: _Open, session: _Open) -> Media:
    address = media.address or session.address
    if media.kind == "audio" and media.port:
        _check_target(address)
    return Media(
        media.kind, media.port, media.profile, media.formats, address,
        media.direction or session.direction or "sendrecv", media.rtpmap, media.fmtp,
        media.ptime or session.ptime, media.maxptime or session.maxptime,
    )  # fmt: skip


def _check_target(address: str) -> None:
    # A name would be looked up once per packet, in the loop that carries the voice of all calls.
    if address in NOWHERE:
        return
    try:
        target = ip_address(address)
    except ValueError:
        raise SdpError(f"c= names {address!r}, which is no IP address; host names are not resolved") from None
    if target.is_multicast or (target.version == 4 and target.is_reserved):
        raise SdpError(f"voice can't be sent to {address}: it is no address of one host")


def negotiate(offered: Session, allowed: Sequence[str]) -> Chosen:
    """Choose from an offer; the offerer's order decides (RFC 3264 6.1).

    Raises:
        NoCommonCodec: no audio line holds one of the `allowed` codecs.
    """
    for index, media in enumerate(offered.media):
        chosen = _choose(media, allowed)
        if chosen:
            layout = tuple(
                "" if i == index else f"m={m.kind} 0 {m.profile} {' '.join(m.formats)}"
                for i, m in enumerate(offered.media)
            )
            return _with_layout(chosen, layout)
    heard = ", ".join(_names(offered)) or "nothing"
    raise NoCommonCodec(f"no common codec: {heard} offered, {', '.join(allowed)} allowed")


def check_family(chosen: Chosen, local: str) -> None:
    """Raise NoCommonCodec (488 fits) when voice can't get from `local` to where the other side wants it."""
    remote = chosen.remote[0]
    if remote not in NOWHERE and (":" in remote) != (":" in local):
        raise NoCommonCodec(f"no way for voice from {local} to {remote}: IPv4 and IPv6 don't meet")


def read_answer(offered: Sequence[str], sdp: bytes) -> Chosen:
    """Read the answer to an `offer` of ours.

    Raises:
        SdpError: the body is malformed.
        NoCommonCodec: the voice line was refused or holds nothing that we offered.
    """
    session = parse(sdp)
    chosen = _choose(session.media[0], offered)
    if chosen is None:
        raise NoCommonCodec(f"the answer takes none of {', '.join(offered)}")
    return chosen


def _choose(media: Media, allowed: Sequence[str]) -> Chosen | None:
    if media.kind != "audio" or media.profile not in PROFILES or not media.port or not media.address:
        return None
    wanted = {name.lower(): codecs.row(name) for name in allowed}
    for payload_type in media.types:
        row = wanted.get(_name(media.encoding(payload_type)))
        if row and _clock(media.encoding(payload_type)) == row.clock:
            sends, receives = _ways(media)
            return Chosen(
                row.name, payload_type, _dtmf_type(media, row.clock), (media.address, media.port),
                _ptime(media, row), sends, receives, ("",), media.profile,
            )  # fmt: skip
    return None


def _with_layout(chosen: Chosen, layout: tuple[str, ...]) -> Chosen:
    return Chosen(
        chosen.codec, chosen.payload_type, chosen.dtmf_type, chosen.remote, chosen.ptime_ms,
        chosen.sends, chosen.receives, layout, chosen.profile,
    )  # fmt: skip


def _ways(media: Media) -> tuple[bool, bool]:
    """(we send, we receive): the mirror of the other side's direction."""
    held = media.address in NOWHERE
    sends = media.direction in ("sendrecv", "recvonly") and not held
    return sends, media.direction in ("sendrecv", "sendonly")


def _ptime(media: Media, row: codecs.CodecRow) -> int:
    wish = media.ptime_ms or PTIME_MS
    if wish not in row.ptimes:
        wish = PTIME_MS
    fitting = [p for p in row.ptimes if media.maxptime_ms is None or p <= media.maxptime_ms]
    return wish if wish in fitting else max(fitting, default=PTIME_MS)


def _dtmf_type(media: Media, clock: int) -> int | None:
    """The telephone-event type at the codec's clock (RFC 4733 2.1), else one at 8000."""
    found = {
        _clock(encoding): kind
        for kind in reversed(media.types)
        if _name(encoding := media.encoding(kind)) == TELEPHONE_EVENT
    }
    return found.get(clock)


def _name(encoding: str) -> str:
    return encoding.partition("/")[0].strip().lower()


def _clock(encoding: str) -> int:
    rate = encoding.partition("/")[2].partition("/")[0].strip()
    return int(rate) if rate.isascii() and rate.isdecimal() and len(rate) < 8 else 0


def _names(session: Session) -> list[str]:
    audio = [m for m in session.media if m.kind == "audio"]
    return [_name(m.encoding(t)) or f"type {t}" for m in audio for t in m.types]


def offer(
    offered: Sequence[str],
    local: tuple[str, int],
    session_id: int,
    *,
    version: int | None = None,
    direction: str = "sendrecv",
) -> bytes:
    """An offer of these codecs in this order, with telephone events at each clock among them.

    `version` grows by one with each new body of a session (RFC 3264 8); it starts as `session_id`.
    """
    rows = [codecs.row(name) for name in offered]
    lines = [line for row in rows for line in _codec_lines(row.name, row.payload_type)]
    events = {clock: DTMF_TYPE - i for i, clock in enumerate(dict.fromkeys(row.clock for row in rows))}
    for clock, kind in events.items():
        lines += _event_lines(kind, clock)
    kinds = " ".join(str(k) for k in [*(row.payload_type for row in rows), *events.values()])
    voice = [f"m=audio {local[1]} RTP/AVP {kinds}", *lines, f"a=ptime:{PTIME_MS}", f"a={direction}"]
    return _body(local, session_id, version, voice)


def answer(
    chosen: Chosen, local: tuple[str, int], session_id: int, *, version: int | None = None
) -> bytes:
    """The answer that fits `chosen`: one codec, telephone events if offered, other m-lines refused."""
    row = codecs.row(chosen.codec)
    kinds, lines = str(chosen.payload_type), _codec_lines(chosen.codec, chosen.payload_type)
    if chosen.dtmf_type is not None:
        kinds += f" {chosen.dtmf_type}"
        lines += _event_lines(chosen.dtmf_type, row.clock)
    voice = [f"m=audio {local[1]} {chosen.profile} {kinds}", *lines]
    voice += [f"a=ptime:{chosen.ptime_ms}", f"a={_direction(chosen)}"]
    body: list[str] = []
    for refused in chosen.layout:
        body += [refused] if refused else voice
    return _body(local, session_id, version, body)


def _direction(chosen: Chosen) -> str:
    if chosen.sends:
        return "sendrecv" if chosen.receives else "sendonly"
    return "recvonly" if chosen.receives else "inactive"


def _codec_lines(name: str, payload_type: int) -> list[str]:
    row = codecs.row(name)
    fmtp = [f"a=fmtp:{payload_type} {row.fmtp}"] if row.fmtp else []
    return [f"a=rtpmap:{payload_type} {row.rtpmap}", *fmtp]


def _event_lines(payload_type: int, clock: int) -> list[str]:
    return [f"a=rtpmap:{payload_type} {TELEPHONE_EVENT}/{clock}", f"a=fmtp:{payload_type} 0-15"]


def _body(local: tuple[str, int], session_id: int, version: int | None, media: list[str]) -> bytes:
    family = "IP6" if ":" in local[0] else "IP4"
    head = [
        "v=0",
        f"o=simrack {session_id} {session_id if version is None else version} IN {family} {local[0]}",
        "s=-",
        f"c=IN {family} {local[0]}",
        "t=0 0",
    ]
    return "".join(line + "\r\n" for line in head + media).encode()
