"""SIPp (Debian's package sip-tester) as a traffic sender."""

import contextlib
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from system.baresip import free_port

HEAD = '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<scenario name="simrack">\n'

INVITE = """
<send retrans="500"><![CDATA[
INVITE sip:{number}@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK[pid]-[call_number]-invite
From: <sip:{caller}@[local_ip]:[local_port]>;tag=[pid]T[call_number]
To: <sip:{number}@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:{caller}@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=user1 53655765 2353687637 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio {rtp} RTP/AVP {formats}
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15

]]></send>
"""

PROVISIONAL = """
<recv response="100" optional="true"></recv>
<recv response="180" optional="true"></recv>
<recv response="183" optional="true"></recv>
"""

IN_DIALOG = """
{method} [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:{caller}@[local_ip]:[local_port]>;tag=[pid]T[call_number]
To: <sip:{number}@[remote_ip]:[remote_port]>[peer_tag_param]
[routes]
Call-ID: [call_id]
CSeq: {cseq} {method}
Contact: <sip:{caller}@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Length: 0

"""

TO_REQUEST_URI = """
{method} sip:{number}@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK[pid]-[call_number]-invite
From: <sip:{caller}@[local_ip]:[local_port]>;tag=[pid]T[call_number]
To: <sip:{number}@[remote_ip]:[remote_port]>{to_tag}
Call-ID: [call_id]
CSeq: 1 {method}
Max-Forwards: 70
Content-Length: 0

"""


AWAIT_BYE = """
<recv request="BYE"></recv>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
"""


@dataclass(frozen=True)
class Result:
    """What SIPp counted: calls that went exactly as the scenario says, and the messages it saw."""

    status: int
    messages: str
    errors: str

    @property
    def ok(self) -> bool:
        return self.status == 0


def invite(number: str, caller: str, formats: str = "0 8 101", rtp: str = "[media_port]") -> str:
    return INVITE.format(number=number, caller=caller, formats=formats, rtp=rtp)


def failure(number: str, caller: str, status: int) -> str:
    """Expect the final response `status`, and acknowledge it."""
    ack = TO_REQUEST_URI.format(method="ACK", number=number, caller=caller, to_tag="[peer_tag_param]")
    # The ACK of a failure belongs to the INVITE's transaction (RFC 3261 17.1.1.3).
    return PROVISIONAL + f'<recv response="{status}"></recv>\n<send><![CDATA[{ack}]]></send>\n'


def ack(number: str, caller: str) -> str:
    return f"<send><![CDATA[{IN_DIALOG.format(method='ACK', number=number, caller=caller, cseq=1)}]]></send>\n"


def bye(number: str, caller: str) -> str:
    text = IN_DIALOG.format(method="BYE", number=number, caller=caller, cseq=2)
    return f'<send retrans="500"><![CDATA[{text}]]></send>\n<recv response="200"></recv>\n'


def cancel(number: str, caller: str) -> str:
    text = TO_REQUEST_URI.format(method="CANCEL", number=number, caller=caller, to_tag="")
    return (
        f'<send retrans="500"><![CDATA[{text}]]></send>\n<recv response="200"></recv>\n'
        + failure(number, caller, 487)
    )


def pause(ms: int) -> str:
    return f'<pause milliseconds="{ms}"/>\n'


def media_port(host: str) -> int:
    """The first of the ports that SIPp binds for voice and video, RTP and RTCP."""
    for _ in range(100):
        first = free_port(socket.SOCK_DGRAM, host) // 2 * 2
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            for port in range(first, first + 4):
                held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind((host, port))
            return first
    raise AssertionError(f"no four free ports in a row at {host}")


class Sipp:
    """Runs scenarios from one address against one controller."""

    def __init__(self, folder: Path, target: str, host: str) -> None:
        self.folder, self.target, self.host = folder, target, host
        self._runs = 0

    def start(self, scenario: str, *options: str) -> "Running":
        self._runs += 1
        place = self.folder / f"sipp-{self.host}-{self._runs}"
        place.mkdir(parents=True)
        (place / "scenario.xml").write_text(HEAD + scenario + "</scenario>\n")
        media = media_port(self.host)
        argv = [
            "sipp", self.target, "-sf", "scenario.xml", "-i", self.host, "-mi", self.host, "-mp", str(media), "-m", "1",
            "-nd", "-nostdin", "-timeout", "50s", "-timeout_error", "-trace_msg", "-message_file", "messages.log",
            "-trace_err", "-error_file", "errors.log", "-recv_timeout", "40000", *options,
        ]  # fmt: skip
        return Running(place, argv)

    def run(self, scenario: str, *options: str) -> Result:
        return self.start(scenario, *options).result()


class Running:
    """A SIPp that runs in the background."""

    def __init__(self, place: Path, argv: list[str]) -> None:
        self.place = place
        self._log = (place / "screen.log").open("wb")
        self._process = subprocess.Popen(argv, cwd=place, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL)

    def messages(self) -> str:
        path = self.place / "messages.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for(self, words: str, seconds: float = 20.0) -> None:
        """Until SIPp's message trace holds `words`."""
        end = time.monotonic() + seconds
        while words not in self.messages():
            if time.monotonic() > end:
                raise AssertionError(f"SIPp never saw {words!r}\n{self.messages()[-3000:]}")
            threading_wait(0.05)

    def result(self, seconds: float = 55.0) -> Result:
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._log.close()
        errors = self.place / "errors.log"
        return Result(status, self.messages(), errors.read_text(errors="replace") if errors.exists() else "")


def threading_wait(seconds: float) -> None:
    """Let another process get on."""
    import threading

    threading.Event().wait(seconds)
