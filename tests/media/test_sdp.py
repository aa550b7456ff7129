"""SDP offers and answers: a table of real-life bodies, and properties."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simrack.sip import codecs, sdp

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
G711 = ("PCMA", "PCMU")


def body(*lines: str, head: str = HEAD) -> bytes:
    return (head + "".join(line + "\r\n" for line in lines)).encode()


def choose(*lines: str, allowed: tuple[str, ...] = G711, head: str = HEAD) -> sdp.Chosen:
    return sdp.negotiate(sdp.parse(body(*lines, head=head)), allowed)


ACCEPTED = [
    # what is offered, codec, payload type, dtmf, ptime, (sends, receives)
    (("m=audio 4000 RTP/AVP 0 8",), "PCMU", 0, None, 20, (True, True)),
    (("m=audio 4000 RTP/AVP 8 0",), "PCMA", 8, None, 20, (True, True)),
    (("m=audio 4000 RTP/AVP 18 8",), "PCMA", 8, None, 20, (True, True)),
    (
        ("m=audio 4000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16"),
        "PCMU", 0, 101, 20, (True, True),
    ),
    (("m=audio 4000 RTP/AVP 97", "a=rtpmap:97 pcmu/8000/1"), "PCMU", 97, None, 20, (True, True)),
    (("m=audio 4000 RTP/AVP 0", "a=ptime:30"), "PCMU", 0, None, 30, (True, True)),
    (("m=audio 4000 RTP/AVP 0", "a=ptime:25"), "PCMU", 0, None, 20, (True, True)),
    (("m=audio 4000 RTP/AVP 0", "a=ptime:20.0"), "PCMU", 0, None, 20, (True, True)),
    (("m=audio 4000 RTP/AVP 0", "a=maxptime:10"), "PCMU", 0, None, 10, (True, True)),
    (("m=audio 4000 RTP/AVP 0", "a=sendonly"), "PCMU", 0, None, 20, (False, True)),
    (("m=audio 4000 RTP/AVP 0", "a=recvonly"), "PCMU", 0, None, 20, (True, False)),
    (("m=audio 4000 RTP/AVP 0", "a=inactive"), "PCMU", 0, None, 20, (False, False)),
    (("m=audio 4000 RTP/AVP 0", "c=IN IP4 0.0.0.0"), "PCMU", 0, None, 20, (False, True)),
    (("m=audio 4000/2 RTP/AVP 0", "x=unknown line"), "PCMU", 0, None, 20, (True, True)),
    (("m=audio 4000 RTP/AVPF 0",), "PCMU", 0, None, 20, (True, True)),
    # the event's clock must be the codec's (RFC 4733 2.1)
    (
        ("m=audio 4000 RTP/AVP 0 96", "a=rtpmap:96 telephone-event/48000"),
        "PCMU", 0, None, 20, (True, True),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "codec", "kind", "dtmf", "ptime", "ways"), ACCEPTED)
def test_offers_that_we_take(
    lines: tuple[str, ...], codec: str, kind: int, dtmf: int | None, ptime: int, ways: tuple[bool, bool]
) -> None:
    """Breaks: a call from a client that writes its SDP this way has no voice or the wrong one."""
    chosen = choose(*lines)
    assert (chosen.codec, chosen.payload_type, chosen.dtmf_type) == (codec, kind, dtmf)
    assert (chosen.ptime_ms, (chosen.sends, chosen.receives)) == (ptime, ways)
    assert chosen.remote[1] == 4000


@pytest.mark.parametrize(
    "lines",
    [
        ("m=audio 4000 RTP/AVP 18 3",),
        ("m=audio 0 RTP/AVP 0",),
        ("m=audio 4000 RTP/SAVP 0",),
        ("m=video 4000 RTP/AVP 31",),
        ("m=image 4000 udptl t38",),
        ("m=audio 4000 RTP/AVP 97",),
        ("m=audio 4000 RTP/AVP 97", "a=rtpmap:97 PCMU/16000"),
        ("m=audio 4000 RTP/AVP 99999",),
    ],
)
def test_offers_without_a_codec_of_ours(lines: tuple[str, ...]) -> None:
    """Breaks: instead of 488 the caller gets an answered call without voice."""
    with pytest.raises(sdp.NoCommonCodec):
        choose(*lines)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\0\0\0", b"v=1\r\nm=audio 1 RTP/AVP 0\r\n", b"v=0\r\n", b"m=audio\r\n", b"m=audio x RTP/AVP 0\r\n",
        b"m=audio 70000 RTP/AVP 0\r\n", b"hello world", b"v=0\r\nc=IP4 1.2.3.4\r\nm=audio 1 RTP/AVP 0\r\n",
        b"v=0\r\n" + b"m=audio 1 RTP/AVP 0\r\n" * 17, b"v=0\r\n" + b"a=x\r\n" * 9000,
        b"m=audio -1 RTP/AVP 0\r\n", "m=audio ٤٠٠٠ RTP/AVP 0\r\n".encode(),
    ],
)  # fmt: skip
def test_bodies_that_are_no_sdp(text: bytes) -> None:
    """Breaks: a malformed body ends in a traceback instead of a clear refusal."""
    with pytest.raises(sdp.SdpError):
        sdp.parse(text)


@pytest.mark.parametrize("target", ["pbx.example.org", "localhost", "1", "127.0.0.1.5", "224.0.0.1", "255.255.255.255"])
def test_voice_goes_to_the_address_of_one_host_only(target: str) -> None:
    """Breaks: a name is looked up for each packet while all calls of the box wait; a group hears a call."""
    with pytest.raises(sdp.SdpError):
        choose("m=audio 4000 RTP/AVP 0", f"c=IN IP4 {target}")
    assert choose("m=video 5000 RTP/AVP 31", f"c=IN IP4 {target}", "m=audio 4 RTP/AVP 0", "c=IN IP4 127.0.0.1")


def test_line_feeds_alone_and_blank_lines_are_read() -> None:
    """Breaks: clients that end lines with LF can't call."""
    text = body("m=audio 4000 RTP/AVP 0").replace(b"\r\n", b"\n\n")
    assert sdp.negotiate(sdp.parse(text), G711).codec == "PCMU"


def test_other_media_are_refused_in_place() -> None:
    """Breaks: RFC 3264 6, a video phone drops the call because an m-line is missing in the answer."""
    chosen = choose(
        "m=video 5000 RTP/AVP 31 34", "m=audio 4000 RTP/AVP 0", "m=audio 4002 RTP/AVP 8", "m=image 9 udptl t38"
    )
    text = sdp.answer(chosen, ("198.51.100.1", 10_000), 7).decode()
    lines = [line for line in text.split("\r\n") if line.startswith("m=")]
    assert lines == [
        "m=video 0 RTP/AVP 31 34", "m=audio 10000 RTP/AVP 0", "m=audio 0 RTP/AVP 8", "m=image 0 UDPTL t38",
    ]  # fmt: skip


def test_answer_mirrors_hold() -> None:
    """Breaks: music on hold goes the wrong way or hold never ends."""
    for offered, mirrored in [("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")]:
        chosen = choose("m=audio 4000 RTP/AVP 0", f"a={offered}")
        assert f"a={mirrored}\r\n" in sdp.answer(chosen, ("198.51.100.1", 10_000), 7).decode()


def test_session_direction_and_address_are_inherited() -> None:
    """Breaks: clients that write a= and c= once for all lines are never on hold."""
    chosen = choose("m=audio 4000 RTP/AVP 0", head=HEAD + "a=sendonly\r\n")
    assert not chosen.sends
    chosen = choose("m=audio 4000 RTP/AVP 0", "c=IN IP4 203.0.113.9/127")
    assert chosen.remote == ("203.0.113.9", 4000)


def test_ipv6() -> None:
    """Breaks: IPv6 sites."""
    head = "v=0\r\no=- 1 1 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\n"
    chosen = choose("m=audio 4000 RTP/AVP 0", head=head)
    assert chosen.remote == ("2001:db8::1", 4000)
    assert b"c=IN IP6 2001:db8::2\r\n" in sdp.answer(chosen, ("2001:db8::2", 10), 7)


def test_opus_with_its_event_clock() -> None:
    """Breaks: digits of an Opus caller are not heard."""
    lines = ("m=audio 4000 RTP/AVP 96 0 101 110", "a=rtpmap:96 OPUS/48000/2", "a=rtpmap:101 telephone-event/8000",
             "a=rtpmap:110 telephone-event/48000", "a=ptime:30")  # fmt: skip
    chosen = choose(*lines, allowed=("PCMU", "opus"))
    assert (chosen.codec, chosen.payload_type, chosen.dtmf_type, chosen.ptime_ms) == ("opus", 96, 110, 20)


def test_late_offer_is_answered_by_the_ack() -> None:
    """Breaks: INVITE without SDP; our 200 offers and the ACK's body answers."""
    ours = sdp.offer(("PCMA", "PCMU", "G722"), ("198.51.100.1", 10_000), 7)
    theirs = sdp.negotiate(sdp.parse(ours), ("PCMU",))
    chosen = sdp.read_answer(("PCMA", "PCMU", "G722"), sdp.answer(theirs, ("192.0.2.9", 4000), 1))
    assert (chosen.codec, chosen.remote, chosen.dtmf_type) == ("PCMU", ("192.0.2.9", 4000), 101)


def test_an_answer_that_refuses_is_no_voice() -> None:
    """Breaks: we would send voice to port 0."""
    with pytest.raises(sdp.NoCommonCodec):
        sdp.read_answer(G711, body("m=audio 0 RTP/AVP 8"))
    with pytest.raises(sdp.NoCommonCodec):
        sdp.read_answer(("PCMA",), body("m=audio 4000 RTP/AVP 0"))


@given(
    st.lists(st.sampled_from(codecs.available()), min_size=1, unique=True),
    st.integers(1, 65535),
    st.integers(0, 2**62),
    st.sampled_from(sdp.DIRECTIONS),
)
@settings(deadline=None)
def test_our_own_offer_is_always_answered(names: list[str], port: int, session: int, direction: str) -> None:
    """Breaks: two boxes of ours don't understand each other."""
    offered = sdp.offer(names, ("192.0.2.1", port), session, direction=direction)
    chosen = sdp.negotiate(sdp.parse(offered), codecs.available())
    assert chosen.codec == names[0]
    assert chosen.remote == ("192.0.2.1", port)
    assert chosen.dtmf_type is not None
    back = sdp.read_answer(names, sdp.answer(chosen, ("192.0.2.2", 4000), session))
    assert (back.codec, back.payload_type, back.dtmf_type) == (chosen.codec, chosen.payload_type, chosen.dtmf_type)
    assert (back.sends, back.receives) == (chosen.receives, chosen.sends)


LINES = st.sampled_from(
    ["v=0", "s=-", "o=x", "c=IN IP4 1.2.3.4", "c=", "m=audio 4000 RTP/AVP 0 101", "m=audio 0 RTP/AVP 8", "a=ptime:",
     "a=rtpmap:0 ", "a=rtpmap:101 telephone-event", "a=rtpmap:8 PCMA/x", "a=sendonly", "a=fmtp", "m=", "a", "b=AS:64",
     "m=audio 4000 RTP/AVP \N{SUPERSCRIPT TWO}"]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=300), st.lists(LINES, max_size=12).map(lambda x: "\r\n".join(x).encode())))
@settings(deadline=None)
def test_any_body_is_parsed_or_refused(text: bytes) -> None:
    """Breaks: a hostile body crashes the call logic."""
    with contextlib.suppress(sdp.SdpError):
        assert sdp.negotiate(sdp.parse(text), codecs.available()).codec
