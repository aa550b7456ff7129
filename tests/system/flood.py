"""A flood from one address, as a process of its own: `python flood.py TARGET SOURCE PER_SECOND SECONDS KIND`.

Prints one JSON line at the end: packets sent, answers by status, answers without Retry-After among the 503s, and how
many 503s came twice though each request is sent once. KIND is `garbage` (all sorts, nothing acknowledged) or
`calls` (right INVITEs, each final answer acknowledged).
"""

import json
import random
import re
import socket
import sys
import time
from collections import Counter

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"
SETTLE_S = 3.0
PIECE_S = 0.01


class Flood:
    """One socket and its books."""

    def __init__(self, target: str, source: str, number: str) -> None:
        host, _, port = target.partition(":")
        self.target, self.text, self.number = (host, int(port)), target, number
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((source, 0))
        self.socket.setblocking(False)
        self.me = "{}:{}".format(*self.socket.getsockname())
        self.sent = self.mute = self.twice = 0
        self.answers: Counter[str] = Counter()
        self.ended: set[str] = set()
        self.dice = random.Random(1)

    def request(self, method: str, number: int, extra: str = "", body: str = "", to_tag: str = "") -> bytes:
        return (
            f"{method} sip:{self.number}@{self.text} SIP/2.0\r\nVia: SIP/2.0/UDP {self.me};branch=z9hG4bKf{number};rport\r\n"
            f"From: <sip:f@{self.me}>;tag=f{number}\r\nTo: <sip:{self.number}@{self.text}>{to_tag}\r\n"
            f"Call-ID: flood-{number}\r\nCSeq: 1 {method}\r\nContact: <sip:f@{self.me}>\r\nMax-Forwards: 70\r\n{extra}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def garbage(self, number: int) -> bytes:
        match number % 6:
            case 0:
                return self.request("INVITE", number, "Content-Type: application/sdp\r\n", SDP)
            case 1:
                return self.request(self.dice.choice(("OPTIONS", "REGISTER", "SUBSCRIBE", "MESSAGE")), number)
            case 2:
                return self.request(self.dice.choice(("BYE", "CANCEL", "INFO")), number, to_tag=";tag=x")
            case 3:
                return self.request("INVITE", number).replace(b"Contact", b"X-Contact")
            case 4:
                return self.dice.randbytes(self.dice.randrange(1, 1200))
        return self.request("INVITE", number, "Via: SIP/2.0/UDP 192.0.2.1\r\n" * 900)

    def run(self, per_second: float, seconds: float, kind: str) -> None:
        begin = time.monotonic()
        while (now := time.monotonic() - begin) < seconds:
            while self.sent < now * per_second:
                self.sent += 1
                call = self.request("INVITE", self.sent, "Content-Type: application/sdp\r\n", SDP)
                self.put(call if kind == "calls" else self.garbage(self.sent))
            self.listen(PIECE_S, acknowledge=kind == "calls")
        self.listen(SETTLE_S, acknowledge=kind == "calls")

    def put(self, data: bytes) -> None:
        try:
            self.socket.sendto(data, self.target)
        except OSError:
            self.answers["not sent"] += 1

    def listen(self, seconds: float, *, acknowledge: bool) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                text = self.socket.recv(65535).decode("utf-8", "replace")
            except BlockingIOError:
                time.sleep(0.002)
                continue
            status = text[8:11]
            if not text.startswith("SIP/2.0 ") or status < "200":
                continue
            self.answers[status] += 1
            self.mute += status == "503" and "retry-after:" not in text.lower()
            found = re.search(r"(?im)^call-id: *flood-(\d+)", text)
            if acknowledge and found:
                tag = re.search(r"(?im)^to:.*(;tag=[^;\r\n]+)", text)
                self.put(self.request("ACK", int(found.group(1)), to_tag=tag.group(1) if tag else ""))
                self.twice += status == "503" and found.group(1) in self.ended
                self.ended.add(found.group(1))


def main() -> None:
    target, source, per_second, seconds, kind = sys.argv[1:6]
    flood = Flood(target, source, sys.argv[6] if len(sys.argv) > 6 else "4930123")
    flood.run(float(per_second), float(seconds), kind)
    books = {"sent": flood.sent, "answers": dict(flood.answers), "mute": flood.mute, "twice": flood.twice, "calls": len(flood.ended)}
    sys.stdout.write(json.dumps(books) + "\n")


if __name__ == "__main__":
    main()
