"""What a packet is worth, before the SIP library sees it: bytes in, a decision out, no I/O.

The library raises, prints or stays silent on much of what the network brings (reference: faults 2 and 4).
So every packet is taken apart here first. A request that RFC 3261 forbids is answered from its own headers;
one that passes is written anew in one plain form (no folding, no compact names, no doubled headers), so that
the library can't read it in another way than this check did.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

MAX_LINES = 200  # header lines; carriers' INVITEs have at most 60
MAX_VALUE = 2048  # octets of a From, To or Via line, which are looked at more than once
MAX_PARTS, MAX_NESTING = 8, 2  # of a multipart body: SDP beside ISUP or a location, in one envelope more
MAX_VIAS = 70  # each hop adds one and takes one off Max-Forwards, which begins at 70
MAX_MESSAGE = 16 * 1024  # four times the largest INVITE that carriers are known to send
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO"
SUPPORTED: frozenset[str] = frozenset()  # option tags we honour: 100rel, timer and the like are the edge's
ACCEPT = "application/sdp"
OURS = "x-simrack-"

_COMPACT = {
    "i": "call-id", "m": "contact", "e": "content-encoding", "l": "content-length", "c": "content-type",
    "f": "from", "s": "subject", "k": "supported", "t": "to", "v": "via", "o": "event", "r": "refer-to",
    "x": "session-expires", "b": "referred-by", "u": "allow-events",
}  # fmt: skip
_ONCE = ("from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type")
# Credentials are judged by `sip.digest`; the library would read them once more, and raises on other schemes.
KEPT_BACK = ("content-length", "authorization", "proxy-authorization")
_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_START = re.compile(r"([A-Za-z0-9\-.!%*_+`'~]+) +(\S+(?: \S+)*?) +(SIP/[0-9.]+) *", re.IGNORECASE)
_STATUS = re.compile(r"SIP/2\.0 ([1-6][0-9]{2})(?: (.*))?", re.IGNORECASE)
_URI = re.compile(r"(?i:sips?):(?:[^\s<>\"@]*@)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.\-]+)(?::[0-9]{1,5})?(?:[;?][^\s<>\"]*)?")
# RFC 3261 25.1, headers of a SIP URI: name=value pairs, and nothing else behind the question mark.
_URI_HEADERS = re.compile(r"[^=&?]+=[^=&?]*(?:&[^=&?]+=[^=&?]*)*")
_VIA = re.compile(
    r"SIP\s*/\s*[0-9]\.[0-9]\s*/\s*[A-Za-z0-9]+\s+(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.\-]+)\s*(?::\s*([0-9]{1,5}))?\s*(?:;.*)?",
    re.IGNORECASE | re.DOTALL,
)
# C0 controls but tab, DEL, and what Python's splitlines() takes for line ends.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
_AROUND = re.compile(r"\s*([;=])\s*")


@dataclass(frozen=True, slots=True)
class Packet:
    """One SIP message taken apart. Names are lower case and long; values unfolded, in their order."""

    method: str  # "" for a response
    uri: str
    status: int  # 0 for a request
    phrase: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    version: str = "SIP/2.0"

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def first(self, name: str) -> str:
        for key, value in self.headers:
            if key == name:
                return value
        return ""

    @property
    def to_tag(self) -> str:
        return tag_of(self.first("to"))

    @property
    def sdp(self) -> bytes | None:
        """The session description, also when it is one part of several (RFC 3261 7.4.1)."""
        kind = media_type(self.first("content-type"))
        if not self.body or kind == ACCEPT:
            return self.body or None
        if kind.startswith("multipart/"):
            return _part(self.first("content-type"), self.body)
        return None

    def text(self) -> str:
        """The message in its plain form; each octet of the body is one character (`encode` undoes it)."""
        start = f"{self.method} {self.uri} SIP/2.0" if self.method else f"SIP/2.0 {self.status} {self.phrase}"
        lines = [start, *(f"{name}: {value}" for name, value in self.headers if name not in KEPT_BACK)]
        return "\r\n".join([*lines, f"content-length: {len(self.body)}", "", self.body.decode("latin-1")])


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that must not go further. Status 0: say nothing."""

    status: int
    phrase: str
    problem: str
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Screened:
    """A packet (None when not even its lines could be read) and the reason not to use it, if any."""

    packet: Packet | None
    refusal: Refusal | None = None


@dataclass
class _Bad(Exception):
    problem: str
    status: int = 400
    phrase: str = ""
    extra: tuple[tuple[str, str], ...] = field(default=())


def screen(data: bytes, *, trusted: bool) -> Screened:
    """Take `data` apart and check it (RFC 3261 7, 8.2, 18.3); strip `X-Simrack-*` unless `trusted`."""
    if not data.strip(b"\r\n\x00 "):
        return Screened(None, _silence("keep-alive"))
    try:
        packet = _take_apart(data, trusted)
    except _Bad as bad:
        return Screened(None, _silence(bad.problem))
    try:
        if packet.method:
            _check_request(packet, len(data))
        else:
            _check_response(packet)
    except _Bad as bad:
        if not packet.method or packet.method == "ACK" or not _answerable(packet):
            return Screened(packet, _silence(bad.problem))
        phrase = bad.phrase or f"Bad Request - {bad.problem}"
        return Screened(packet, Refusal(bad.status, phrase, bad.problem, bad.extra))
    return Screened(packet)


def reply(
    packet: Packet, source: tuple[str, int], refusal: Refusal, tag: str
) -> tuple[bytes, tuple[str, int]]:
    """The response to a request, from its own headers alone, and where it goes (RFC 3261 8.2.6, 18.2.2)."""
    vias = packet.all("via")
    to = packet.first("to")
    lines = [f"SIP/2.0 {refusal.status} {refusal.phrase}", f"Via: {mark_via(vias[0], source)}"]
    lines += [f"Via: {via}" for via in vias[1:]]
    lines += [f"From: {packet.first('from')}", f"To: {to if tag_of(to) else to + ';tag=' + tag}"]
    lines += [f"Call-ID: {packet.first('call-id')}", f"CSeq: {packet.first('cseq')}"]
    lines += [f"{name}: {value}" for name, value in refusal.extra]
    data = "\r\n".join([*lines, "Content-Length: 0", "", ""]).encode("utf-8", "replace")
    return data, _return_address(vias[0], source)


def encode(text: str) -> bytes:
    """The octets of a message of the library: headers are UTF-8, the body has one character per octet."""
    head, separator, body = text.partition("\r\n\r\n")
    return (head + separator).encode("utf-8", "replace") + body.encode("latin-1", "replace")


def tag_of(address: str) -> str:
    """The tag of a From or To value."""
    match = re.search(r";\s*tag\s*=\s*([^\s;,>]+)", address.rpartition(">")[2], re.IGNORECASE)
    return match.group(1) if match else ""


def uri_of(address: str) -> str:
    """The URI inside a name-addr or addr-spec."""
    match = re.search(r"<([^>]*)>", address)
    return match.group(1).strip() if match else address.split(";")[0].strip()


def user_of(uri: str) -> str:
    """The user part of a sip or tel URI, percent escapes undone, without its parameters."""
    scheme, _, rest = uri.partition(":")
    user = rest if scheme.lower() == "tel" else rest.rpartition("@")[0].partition(":")[0]
    plain = re.sub(r"%([0-9A-Fa-f]{2})", lambda found: chr(int(found.group(1), 16)), user.partition(";")[0])
    return _CONTROL.sub("", plain)


def media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()


def mark_via(via: str, source: tuple[str, int]) -> str:
    """The topmost Via with `received` and `rport` filled in (RFC 3261 18.2.1, RFC 3581 4)."""
    marked = re.sub(r";\s*rport\s*(?==|;|$)(=[0-9]*)?", f";rport={source[1]}", via, flags=re.IGNORECASE)
    host = _VIA.fullmatch(via)
    if (host and host.group(1) != source[0]) or marked != via:
        marked = re.sub(r";\s*received\s*=[^;]*", "", marked, flags=re.IGNORECASE) + f";received={source[0]}"
    return marked


def _return_address(via: str, source: tuple[str, int]) -> tuple[str, int]:
    match = _VIA.fullmatch(via)
    if re.search(r";\s*rport\b", via, re.IGNORECASE) or not match:
        return source
    return source[0], int(match.group(2) or 5060)


def _silence(problem: str) -> Refusal:
    return Refusal(0, "", problem)


def _take_apart(data: bytes, trusted: bool) -> Packet:
    head, body = _halves(data)
    if head.count(b"\n") > MAX_LINES:
        raise _Bad("too many lines")
    if len(data) > MAX_MESSAGE:
        # It is refused whatever it says: enough is kept of it to say so.
        head, body = b"\n".join(line for line in head.split(b"\n") if len(line) <= MAX_VALUE), b""
    start, *lines = (_text(line) for line in head.split(b"\n"))
    headers = tuple(
        (name, value)
        for name, value in _headers(_unfolded(line.removesuffix("\r") for line in lines))
        if trusted or not name.startswith(OURS)
    )
    start = start.removesuffix("\r")
    length = next((value for name, value in headers if name == "content-length"), "")
    if length.isascii() and length.isdigit():
        body = body[: int(length)]  # RFC 3261 18.3: what follows in the datagram is not the message's
    status = _STATUS.fullmatch(start)
    if status:
        return Packet("", "", int(status.group(1)), _CONTROL.sub(" ", status.group(2) or ""), headers, body)
    request = _START.fullmatch(start)
    if not request:
        raise _Bad("start line")
    return Packet(request.group(1), request.group(2), 0, "", headers, body, request.group(3).upper())


def _text(line: bytes) -> str:
    """A line as text; old clients write names in Latin-1, and no text of ours may hold what UTF-8 can't say."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _halves(data: bytes) -> tuple[bytes, bytes]:
    """Head and body; leading empty lines are allowed (RFC 3261 7.5)."""
    data = data.lstrip(b"\r\n")
    match = re.search(rb"\r?\n\r?\n", data)
    if not match:
        raise _Bad("no end of headers")
    return data[: match.start()], data[match.end() :]


def _unfolded(lines: Iterator[str]) -> Iterator[str]:
    held = ""
    for line in lines:
        if line[:1] in (" ", "\t") and held:
            held += " " + line.strip()
            continue
        if held:
            yield held
        held = line
    if held:
        yield held


def _headers(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Name and value of each line; a line without either becomes the name "", which the checks refuse."""
    for line in lines:
        word, colon, value = line.partition(":")
        name = "" if not colon else _known(word) if len(word) <= LONGEST_KNOWN else _name(word)
        if not name or _CONTROL.search(value):
            yield "", _CONTROL.sub(" ", line)
            continue
        value = value.strip()
        if len(value) > MAX_VALUE and name in ("via", "from", "to"):
            yield "", name
        elif name == "via":
            plain = (re.sub(r"\s*/\s*", "/", part.strip(), count=2) for part in value.split(","))
            yield from ((name, _AROUND.sub(r"\1", part)) for part in plain)
        else:
            yield name, _tidy(value) if name in ("from", "to") else value


def _name(word: str) -> str:
    """A header's name, lower case and long; "" when it is none."""
    name = word.strip().lower()
    return _COMPACT.get(name, name) if _TOKEN.fullmatch(name) else ""


# Honest clients write a few dozen short names; a flood of others must not fill the memory.
LONGEST_KNOWN = 40
_known = lru_cache(maxsize=256)(_name)


def _tidy(address: str) -> str:
    """An address whose parameters have no white space around `;` and `=`: the library keeps it in the name."""
    head, bracket, parameters = address.rpartition(">")
    return head + bracket + _AROUND.sub(r"\1", parameters).strip()


def _answerable(packet: Packet) -> bool:
    """A response needs these to find its way (RFC 3261 8.2.6.2)."""
    vias = packet.all("via")
    return bool(vias and _VIA.fullmatch(vias[0]) and packet.first("cseq") and packet.first("call-id"))


def _check_request(packet: Packet, size: int) -> None:
    if packet.version != "SIP/2.0":
        raise _Bad("version", 505, "Version Not Supported")
    if size > MAX_MESSAGE:
        raise _Bad("size", 513, "Message Too Large")
    if not re.match(r"(?i:sips?):", packet.uri) and re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", packet.uri):
        raise _Bad("request URI scheme", 416, "Unsupported URI Scheme")
    if not _URI.fullmatch(packet.uri) or "?" in packet.uri.rpartition("@")[2]:
        raise _Bad("request URI")  # headers have no place in it (RFC 3261 19.1.1)
    _check_common(packet)
    _check_length(packet)
    if _cseq(packet)[1] != packet.method:
        raise _Bad("CSeq method")
    if not tag_of(packet.first("from")):
        raise _Bad("From tag")
    hops = packet.first("max-forwards")
    if hops and not (hops.isascii() and hops.isdigit() and int(hops) <= 255):
        raise _Bad("Max-Forwards")
    if packet.method not in ("ACK", "CANCEL"):
        _check_require(packet)
    if packet.method == "INVITE":
        _check_invite(packet)


def _check_response(packet: Packet) -> None:
    _check_common(packet)
    _check_length(packet)
    _cseq(packet)
    if len(packet.all("via")) != 1:
        raise _Bad("not one Via")  # RFC 3261 8.1.3.3: it was meant for somebody else
    if 200 <= packet.status < 300 and _cseq(packet)[1] == "INVITE":
        _check_contact(packet)
        if not packet.to_tag:
            raise _Bad("To tag")  # no dialog can be made of it (RFC 3261 12.1)


def _check_common(packet: Packet) -> None:
    if not all(name for name, _ in packet.headers):
        raise _Bad("header line")
    for name in _ONCE:
        if len(packet.all(name)) > 1:
            raise _Bad(f"two {name} headers")
    for name in ("via", "from", "to", "call-id", "cseq"):
        if not packet.first(name):
            raise _Bad(f"no {name} header")
    _check_vias(packet.all("via"))
    for name in ("from", "to"):
        _check_address(packet.first(name), name)
    if not re.fullmatch(r"[!-~]+", packet.first("call-id")):
        raise _Bad("Call-ID")


def _check_vias(vias: list[str]) -> None:
    if len(vias) > MAX_VIAS:
        raise _Bad("Via headers")
    for via in vias:
        if not _VIA.fullmatch(via) or not via.isascii() or not via[3:].lstrip(" /").startswith("2.0"):
            raise _Bad("Via")


def _check_address(value: str, name: str) -> None:
    outside = re.sub(r"<[^>]*>", "", value)
    if re.sub(r"\\.", "", outside).count('"') % 2 or value.count("<") != value.count(">"):
        raise _Bad(f"{name} address")
    if not re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:[^\s<>]+$", uri_of(value)):
        raise _Bad(f"{name} URI")
    if not _sound_tail(uri_of(value)):
        raise _Bad(f"{name} URI")
    if not tag_of(value).isascii():
        raise _Bad(f"{name} tag")


def _sound_tail(uri: str) -> bool:
    """Whether what stands behind a question mark is made of headers."""
    _, asked, headers = uri.rpartition("@")[2].partition("?")
    return not asked or _URI_HEADERS.fullmatch(headers) is not None


def _check_contact(packet: Packet) -> None:
    contacts = packet.all("contact")
    if not contacts:
        raise _Bad("no Contact header")
    uri = uri_of(contacts[0])
    if len(contacts) > 1 or not _URI.fullmatch(uri) or not _sound_tail(uri):
        raise _Bad("Contact")
    if not all(map(_sound_tail, map(uri_of, packet.all("record-route")))):
        raise _Bad("Record-Route")


def _cseq(packet: Packet) -> tuple[int, str]:
    match = re.fullmatch(r"([0-9]{1,10})\s+(\S+)", packet.first("cseq"))
    if not match or int(match.group(1)) >= 2**31:  # RFC 3261 8.1.1.5
        raise _Bad("CSeq")
    return int(match.group(1)), match.group(2)


def _check_length(packet: Packet) -> None:
    length = packet.first("content-length")
    if not length:
        return
    if not (length.isascii() and length.isdigit()):
        raise _Bad("Content-Length")
    if int(length) > len(packet.body):
        raise _Bad("Content-Length larger than the message")


def _check_require(packet: Packet) -> None:
    asked = [tag.strip() for value in packet.all("require") for tag in value.split(",") if tag.strip()]
    unknown = [tag for tag in asked if tag.lower() not in SUPPORTED]
    if unknown:
        raise _Bad("Require", 420, "Bad Extension", (("Unsupported", ", ".join(unknown)),))


def _check_invite(packet: Packet) -> None:
    if packet.first("max-forwards") == "0" and not packet.to_tag:
        # We pass calls on: without this, two such servers that point at each other never end (RFC 7332 4).
        raise _Bad("Max-Forwards is 0", 483, "Too Many Hops")
    _check_contact(packet)
    _check_accept(packet)
    if not packet.body:
        return
    encoding = packet.first("content-encoding").lower()
    if encoding not in ("", "identity"):
        raise _Bad("Content-Encoding", 415, "Unsupported Media Type", (("Accept-Encoding", "identity"),))
    kind = media_type(packet.first("content-type"))
    if kind != ACCEPT and not (kind.startswith("multipart/") and packet.sdp):
        raise _Bad("Content-Type", 415, "Unsupported Media Type", (("Accept", ACCEPT),))


def _check_accept(packet: Packet) -> None:
    """Whoever can't read SDP can't have an answer (RFC 3261 20.1; RFC 4475 3.3.15)."""
    values = [media_type(kind) for value in packet.all("accept") for kind in value.split(",")]
    if any(values) and not {ACCEPT, "application/*", "*/*"} & set(values):
        raise _Bad("Accept", 406, "Not Acceptable")


def _part(content_type: str, body: bytes, depth: int = 0) -> bytes | None:
    """The SDP among the parts (RFC 2046 5.1.1). Octets are taken as they are: SIP is 8-bit clean (RFC 3261 7.4.1)."""
    found = re.search(r';\s*boundary\s*=\s*(?:"([^"]{1,70})"|([^\s;"]{1,70}))', content_type, re.IGNORECASE)
    if not found or depth == MAX_NESTING:
        return None
    line = b"\r\n--" + (found.group(1) or found.group(2)).encode("utf-8", "replace")
    for part in (b"\r\n" + body).split(line, MAX_PARTS + 1)[1 : MAX_PARTS + 1]:
        head, _, content = part.partition(b"\r\n\r\n")
        kind = re.search(rb"(?im)^content-type[ \t]*:[ \t]*([^\r\n]*)", head)
        value = kind.group(1).decode("latin-1") if kind else ""
        if media_type(value) == ACCEPT:
            return content
        nested = _part(value, content, depth + 1) if media_type(value).startswith("multipart/") else None
        if nested is not None:
            return nested
    return None
