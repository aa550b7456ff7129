"""SIP messages of the demo's telling call: two legs, a failed attempt, script in a header, octets that are no text."""

from datetime import datetime, timedelta

from simrack.controller.tracing.messages import TraceMessage, pack

HERE, PBX, BOX = ("10.20.0.2", 5060), ("198.51.100.24", 5060), ("10.20.1.12", 5062)
SCRIPT = "<script>alert(1)</script>"
_SDP = "v=0\r\no=- 1 1 IN IP4 198.51.100.24\r\ns=-\r\nc=IN IP4 198.51.100.24\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8 101\r\n"
# ms, leg, sent by the controller, start line, method
_WIRE = (
    (0.0, 0, False, "INVITE sip:882101234567@10.20.0.2 SIP/2.0", "1 INVITE"),
    (2.1, 0, True, "SIP/2.0 100 Trying", "1 INVITE"),
    (6.4, 1, True, "INVITE sip:+882101234567@10.20.1.12:5062 SIP/2.0", "1 INVITE"),
    (9.8, 1, False, "SIP/2.0 100 Trying", "1 INVITE"),
    (1312.0, 1, False, "SIP/2.0 503 Service Unavailable", "1 INVITE"),
    (1312.5, 1, True, "ACK sip:+882101234567@10.20.1.12:5062 SIP/2.0", "1 ACK"),
    (1320.2, 2, True, "INVITE sip:+882101234567@10.20.1.12:5062 SIP/2.0", "1 INVITE"),
    (1820.9, 2, True, "INVITE sip:+882101234567@10.20.1.12:5062 SIP/2.0", "1 INVITE"),
    (1824.1, 2, False, "SIP/2.0 100 Trying", "1 INVITE"),
    (3158.0, 2, False, "SIP/2.0 180 Ringing", "1 INVITE"),
    (3158.8, 0, True, "SIP/2.0 180 Ringing", "1 INVITE"),
    (7436.9, 2, False, "SIP/2.0 200 OK", "1 INVITE"),
    (7437.6, 2, True, "ACK sip:+882101234567@10.20.1.12:5062 SIP/2.0", "1 ACK"),
    (7439.0, 0, True, "SIP/2.0 200 OK", "1 INVITE"),
    (7461.3, 0, False, "ACK sip:10.20.0.2:5060 SIP/2.0", "1 ACK"),
    (229717.0, 0, False, "BYE sip:10.20.0.2:5060 SIP/2.0", "2 BYE"),
    (229717.6, 0, True, "SIP/2.0 200 OK", "2 BYE"),
    (229718.0, 2, True, "BYE sip:+882101234567@10.20.1.12:5062 SIP/2.0", "2 BYE"),
    (229763.0, 2, False, "SIP/2.0 200 OK", "2 BYE"),
)


def messages(started: datetime) -> list[TraceMessage]:
    """Everything of the call, beginning then."""
    found = []
    for ms, leg, sent, start, cseq in _WIRE:
        far = PBX if leg == 0 else BOX
        body = _SDP if start.startswith("INVITE") or (start.endswith("200 OK") and "INVITE" in cseq) else ""
        extra = f"Authorization: Digest username=\"alpine\", response=\"{'0' * 32}\"\r\n" if leg == 0 and "INVITE sip" in start else ""
        text = (
            f"{start}\r\nVia: SIP/2.0/UDP {far[0]}:{far[1]};branch=z9hG4bK{leg}{cseq.split()[0]}\r\n"
            f"From: <sip:+882107000001@{far[0]}>;tag=f{leg}\r\nTo: <sip:+882101234567@{HERE[0]}>\r\n"
            f"Call-ID: leg-{leg}@{far[0]}\r\nCSeq: {cseq}\r\nUser-Agent: {SCRIPT}\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}"
        )
        found.append(TraceMessage(started + timedelta(milliseconds=ms), leg, sent, HERE, far, text.encode()))
    # What a broken client may put into a header.
    found[-1] = TraceMessage(found[-1].at, 2, False, HERE, BOX, found[-1].data + b"\xff\xfe")
    return found


def stored(started: datetime) -> bytes:
    """As the database keeps it."""
    return pack(messages(started), HERE, left_out=2)
