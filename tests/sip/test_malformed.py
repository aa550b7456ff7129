"""Bad input from the network, after RFC 4475: a clear answer or silence, never a traceback or a call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sip_peer import SDP, Peer, Rig

from simrack.sip.screen import MAX_MESSAGE, Packet, encode, screen, tag_of, uri_of, user_of

# What to replace in a good INVITE, and the status that must come (0: silence).
CASES: list[tuple[str, str, str, int]] = [
    ("no From", "From: <sip:+4940999@test>;tag=TAG\r\n", "", 400),
    ("no To", "To: <sip:+4930123@test>\r\n", "", 400),
    ("two To", "To: <sip:+4930123@test>\r\n", "To: <sip:a@b>\r\nt: <sip:c@d>\r\n", 400),
    ("From without tag", ";tag=TAG", "", 400),
    ("From with an open quote", "From: <", 'From: "Joe <', 400),
    ("From without a bracket", "From: <sip:+4940999@test>", "From: <sip:+4940999@test", 400),
    ("From without a URI", "From: <sip:+4940999@test>", "From: <joe>", 400),
    ("CSeq over 2^31 (4475 3.1.2.4)", "CSeq: 1 ", "CSeq: 3789323290 ", 400),
    ("CSeq not a number", "CSeq: 1 ", "CSeq: one ", 400),
    ("CSeq of another method (4475 3.1.2.17)", "CSeq: 1 INVITE", "CSeq: 1 OPTIONS", 400),
    ("negative Content-Length (4475 3.1.2.3)", "Content-Length: LEN", "Content-Length: -999", 400),
    ("Content-Length over the end (4475 3.1.2.2)", "Content-Length: LEN", "Content-Length: 9999", 400),
    ("Content-Length not a number", "Content-Length: LEN", "Content-Length: 0x10", 400),
    ("two Content-Length", "Content-Length: LEN", "Content-Length: LEN\r\nl: 3", 400),
    ("Max-Forwards over 255", "Max-Forwards: 70", "Max-Forwards: 256", 400),
    ("Max-Forwards not a number", "Max-Forwards: 70", "Max-Forwards: many", 400),
    ("no hop is left (7332 4)", "Max-Forwards: 70", "Max-Forwards: 0", 483),
    ("tag that is no token", "tag=TAG", "tag=\xff", 400),
    ("header without colon", "Max-Forwards: 70", "Max-Forwards 70", 400),
    ("header name with a space", "Max-Forwards: 70", "Max Forwards: 70", 400),
    ("NUL in a header", "Max-Forwards: 70", "Subject: a\0b", 400),
    ("line break of another alphabet in a header", "Max-Forwards: 70", "Subject: a\u2028Via: x", 400),
    ("URI in brackets (4475 3.1.2.8)", "INVITE sip:+4930123@H SIP", "INVITE <sip:+4930123@H> SIP", 400),
    ("URI with a space (4475 3.1.2.9)", "INVITE sip:+4930123@H SIP", "INVITE sip:+4930123@H; lr SIP", 400),
    ("URI without host", "INVITE sip:+4930123@H SIP", "INVITE sip:+4930123@ SIP", 400),
    ("unknown scheme (4475 3.3.4)", "INVITE sip:+4930123@H SIP", "INVITE nobodyKnows:totallyopaque SIP", 416),
    ("tel scheme", "INVITE sip:+4930123@H SIP", "INVITE tel:+4930123 SIP", 416),
    ("version 7 (4475 3.1.2.16)", "@H SIP/2.0", "@H SIP/7.0", 505),
    ("Contact is a star", "Contact: <sip:me@ME>", "Contact: *", 400),
    ("two Contacts", "Contact: <sip:me@ME>", "Contact: <sip:a@b>\r\nm: <sip:c@d>", 400),
    ("Contact with half a header", "Contact: <sip:me@ME>", "Contact: <sip:me@ME?subject>", 400),
    ("Record-Route with half a header", "Contact: <sip:me@ME>", "Contact: <sip:me@ME>\r\nRecord-Route: <sip:p;lr?x>", 400),
    ("Contact of no URI", "Contact: <sip:me@ME>", "Contact: me", 400),
    ("unknown extension (4475 3.3.2)", "Max-Forwards: 70", "Require: nothingSupportsThis", 420),
    ("unknown body (4475 3.3.6)", "application/sdp", "application/unknownformat", 415),
    ("packed body", "Content-Type: ", "Content-Encoding: gzip\r\nContent-Type: ", 415),
    ("larger than any call needs", "Max-Forwards: 70", "X-Padding: " + "x" * MAX_MESSAGE, 513),
    ("no Via", "Via: SIP/2.0/UDP ME;branch=BRANCH;rport\r\n", "", 0),
    ("Via of nothing", "Via: SIP/2.0/UDP ME;", "Via: ;;,", 0),
    ("no Call-ID", "Call-ID: ID\r\n", "", 0),
    ("no end of headers", "\r\n\r\n", "\r\n", 0),
    ("start line of one word", "INVITE sip:+4930123@H SIP/2.0", "INVITE", 0),
]


def spoil(peer: Peer, old: str, new: str) -> bytes:
    """A good INVITE with one thing changed; the words in capitals stand for what differs from call to call."""
    call = peer.new_call()
    data = peer.build("INVITE", call, body=SDP).decode()
    names = {
        "tag=TAG": f"tag={call.from_tag}", "Call-ID: ID": f"Call-ID: {call.call_id}", "=BRANCH": f"={call.branch}",
        "UDP ME": f"UDP {peer.hostport}", "@ME": f"@{peer.hostport}", ": LEN": f": {len(SDP)}",
        "@H": "@{}:{}".format(*peer.far),
    }  # fmt: skip
    for name, value in names.items():
        old, new = old.replace(name, value), new.replace(name, value)
    assert old in data, old
    return data.replace(old, new, 1).encode("latin-1" if new.endswith("\xff") else "utf-8")


@pytest.mark.parametrize(("old", "new", "status"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
async def test_malformed_invite(rig: Rig, peer: Peer, old: str, new: str, status: int) -> None:
    peer.send(spoil(peer, old, new))
    await peer.fence()
    assert [message.status for message in peer.heard[:-1]] == ([status] if status else [])  # the last is the fence's
    assert len(rig.suspects) == 1
    assert rig.offered.empty()


async def test_repeat_of_a_malformed_request_gets_the_same_answer(rig: Rig, peer: Peer) -> None:
    data = spoil(peer, "Max-Forwards: 70", "Max-Forwards: many")
    peer.send(data)
    first = await peer.next()
    peer.send(data)
    assert (await peer.next()).raw == first.raw
    assert first.to_tag
    assert first.one("from").startswith("<sip:+4940999@test>")


@pytest.mark.parametrize("junk", [b"", b"\r\n\r\n", b"\0" * 40, b"hello", b"\xff\xfe" * 30, b"SIP/2.0 200 OK\r\n\r\n"])
async def test_noise_is_ignored(rig: Rig, peer: Peer, junk: bytes) -> None:
    peer.send(junk)
    await peer.fence()
    assert len(peer.heard) == 1
    assert rig.offered.empty()


async def test_malformed_ack_is_never_answered(rig: Rig, peer: Peer) -> None:
    call = peer.new_call()
    peer.send(peer.build("ACK", call).replace(b"CSeq: 1", b"CSeq: x"))
    await peer.fence()
    assert len(peer.heard) == 1


async def test_a_tortuous_but_right_invite_is_a_call(rig: Rig, peer: Peer) -> None:
    """After RFC 4475 3.1.1.1: folding, compact names, odd white space, unknown headers, escapes."""
    text = (
        "INVITE sip:%2B4930123@{}:{};unknown=x SIP/2.0\r\n".format(*peer.far)
        + "TO :\r\n sip:vivekg@chair-dnrc.example.com ;   x    = y\r\n"
        + 'f: "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n'
        + f"MaX-fOrWaRdS: 0068\r\nCall-ID: wsinv.ndaksdj@192.0.2.1\r\nContent-Length   : {len(SDP)}\r\n"
        + f"cseq: 0009\r\n  INVITE\r\nv  : SIP  / 2.0  / UDP\r\n    {peer.hostport};rport;branch=390skdjuw\r\n"
        + "s :\r\nNewFangledHeader:   newfangled value\r\n continued newfangled value\r\n"
        + "c: application/sdp\r\nRoute:\r\n <sip:services.example.com;lr>\r\n"
        + f'm:"Quoted string \\"\\"" <sip:jdrosen@{peer.hostport}> ; newparam = newvalue\r\n\r\n'
    )
    peer.send(text.encode() + SDP)
    leg = await rig.leg()
    assert (leg.request.called, leg.request.calling, leg.request.from_tag) == ("+4930123", "jdrosen", "98asjd8")
    assert leg.request.sdp == SDP
    leg.answer(SDP)
    ok = await peer.status(200)
    assert ok.from_tag == "98asjd8"
    leg.hang_up(16)


async def test_sdp_inside_a_multipart_body_is_found(rig: Rig, peer: Peer) -> None:
    parts = b"--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b\r\nContent-Type: application/sdp\r\n\r\n" + SDP + b"--b--\r\n"
    peer.invite(body=parts, kind="multipart/mixed;boundary=b")
    leg = await rig.leg()
    assert leg.request.sdp is not None
    assert leg.request.sdp.startswith(b"v=0\r\n")


async def test_tel_uri_in_from_is_a_caller(rig: Rig, peer: Peer) -> None:
    call = peer.new_call()
    peer.send(peer.build("INVITE", call).replace(b"<sip:+4940999@test>", b"<tel:+4940999>"))
    leg = await rig.leg()
    assert leg.request.calling == "+4940999"
    leg.ring()
    assert (await peer.status(180)).from_tag == call.from_tag


async def test_octets_after_the_body_are_not_the_body(rig: Rig, peer: Peer) -> None:
    """RFC 4475 3.1.1.6: what follows Content-Length in a datagram is dropped."""
    call = peer.new_call()
    peer.send(peer.build("INVITE", call, body=SDP) + b"trailing")
    assert (await rig.leg()).request.sdp == SDP


HEADER_TEXT = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=30)


@given(st.binary(max_size=400))
def test_screen_never_raises_on_octets(data: bytes) -> None:
    screen(data, trusted=False)
    screen(b"INVITE sip:a@b SIP/2.0\r\n" + data + b"\r\n\r\n", trusted=False)


@given(st.lists(st.tuples(st.sampled_from(["via", "from", "to", "call-id", "cseq", "contact", "subject"]), HEADER_TEXT)))
def test_screen_never_raises_on_headers(headers: list[tuple[str, str]]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    screen(f"INVITE sip:a@b SIP/2.0\r\n{lines}\r\n".encode(), trusted=True)


GOOD = (
    "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9\r\nFrom: {}<sip:a@b>;tag=1\r\nTo: <sip:b@b>\r\n"
    "Call-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:a@b>\r\nSubject: {}\r\n{}Content-Length: {}\r\n\r\n"
)


@given(HEADER_TEXT.map(str.strip), st.binary(max_size=60))
def test_plain_form_means_the_same(subject: str, body: bytes) -> None:
    """What the library reads is what was screened: screening the plain form again changes nothing."""
    kind = "Content-Type: application/sdp\r\n" if body else ""
    data = GOOD.format("", subject, kind, len(body)).encode() + body
    first = screen(data, trusted=True)
    assert first.refusal is None
    assert first.packet is not None
    again = screen(encode(first.packet.text()), trusted=True)
    assert again.packet is not None

    def essence(packet: Packet) -> tuple[object, ...]:
        headers = [header for header in packet.headers if header[0] != "content-length"]
        return packet.method, packet.uri, headers, packet.body

    assert essence(again.packet) == essence(first.packet)


@given(st.sampled_from(["X-Simrack-Call", "x-simrack-call", "X-SIMRACK-NEW"]), st.booleans())
def test_our_headers_count_from_trusted_sources_only(name: str, trusted: bool) -> None:
    data = GOOD.format("", "s", f"{name}: forged\r\n", 0).encode()
    packet = screen(data, trusted=trusted).packet
    assert packet is not None
    assert any(key.startswith("x-simrack-") for key, _ in packet.headers) is trusted


@pytest.mark.parametrize(
    ("address", "uri", "user", "tag"),
    [
        ("<sip:+49@h>;tag=a", "sip:+49@h", "+49", "a"),
        ("sip:+49@h;tag=a", "sip:+49@h", "+49", "a"),
        ('"x;tag=no" <sip:%2b49;p=1@h;user=phone>;x=y;tag=b', "sip:%2b49;p=1@h;user=phone", "+49", "b"),
        ("<tel:+49;phone-context=x>", "tel:+49;phone-context=x", "+49", ""),
        ("<sip:h>", "sip:h", "", ""),
        ("<sip:u:pw@h>", "sip:u:pw@h", "u", ""),
    ],
)
def test_addresses_are_read(address: str, uri: str, user: str, tag: str) -> None:
    assert (uri_of(address), user_of(uri_of(address)), tag_of(address)) == (uri, user, tag)
