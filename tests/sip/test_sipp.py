"""SIPp (Debian's sip-tester) as caller and called: an independent stack's opinion of ours."""

from __future__ import annotations

import asyncio
import csv
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from sip_peer import SDP, SDP2, Rig, event

from simrack.sip.legs import Connected, Dial, Disconnected, Event, Failed, IncomingLeg, Update

pytestmark = pytest.mark.skipif(shutil.which("sipp") is None, reason="needs Debian's package sip-tester")
LIMIT_S = 25.0
HEAD = '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<scenario name="test">\n'
FROM = "From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]s[call_number]\n"
COMMON = "Call-ID: [call_id]\nContact: <sip:sipp@[local_ip]:[local_port];transport=UDP>\nMax-Forwards: 70\n"
BODY = (
    "v=0\no=- 5 1 IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0\nm=audio {port} RTP/AVP 8\na=rtpmap:8 PCMA/8000\n"
)


def request(method: str, number: int, *, inside: bool = False, port: int = 0, more: str = "") -> str:
    """A request as SIPp's scenario language writes it."""
    to = "To: <sip:4930123@[remote_ip]>" + ("[peer_tag_param]" if inside else "")
    kind = "Content-Type: application/sdp\n" if port else ""
    body = "\n" + BODY.format(port=port) if port else "\n"
    again = ' retrans="500"' if method in ("INVITE", "BYE") else ""
    return (
        f"<send{again}><![CDATA[\n"
        f"{method} sip:4930123@[remote_ip]:[remote_port] SIP/2.0\nVia: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]\n"
        f"{FROM}{to}\nCSeq: {number} {method}\n{COMMON}{more}{kind}Content-Length: [len]\n{body}]]></send>\n"
    )


def expect(*statuses: int, optional: tuple[int, ...] = (100, 180, 183)) -> str:
    lines = [f'<recv response="{status}" optional="true"/>' for status in optional if status not in statuses]
    return "\n".join([*lines, *(f'<recv response="{status}"/>' for status in statuses)]) + "\n"


def response(status: int, *, port: int = 0) -> str:
    kind = "Content-Type: application/sdp\n" if port else ""
    body = "\n" + BODY.format(port=port) if port else "\n"
    tag = ";tag=[pid]u[call_number]" if status > 100 else ""
    again = ' retrans="500"' if status >= 200 and port else ""
    return (
        f"<send{again}><![CDATA[\nSIP/2.0 {status} Words\n"
        f"[last_Via:]\n[last_From:]\n[last_To:]{tag}\n[last_Call-ID:]\n[last_CSeq:]\n"
        f"Contact: <sip:[local_ip]:[local_port];transport=UDP>\n{kind}Content-Length: [len]\n{body}]]></send>\n"
    )


CALLER = request("INVITE", 1, port=6000) + expect(200) + request("ACK", 1, inside=True)
SCENARIOS = {
    "caller hangs up": CALLER + request("BYE", 2, inside=True) + expect(200),
    "called hangs up": CALLER + '<recv request="BYE"/>\n' + response(200),
    "re-INVITE": CALLER + request("INVITE", 2, inside=True, port=6002) + expect(200, optional=(100,))
    + request("ACK", 2, inside=True) + request("BYE", 3, inside=True) + expect(200),
    "UPDATE and PRACK": CALLER + request("UPDATE", 2, inside=True) + expect(200)
    + request("PRACK", 3, inside=True) + expect(405) + request("BYE", 4, inside=True) + expect(200),
    "refused": request("INVITE", 1, port=6000) + expect(486) + request("ACK", 1, inside=True),
    "cancel": request("INVITE", 1, port=6000) + expect(180, optional=(100,))
    + request("CANCEL", 1).replace("branch=[branch]", "branch=[branch-3]") + expect(200, 487, optional=())
    + request("ACK", 1, inside=True).replace("branch=[branch]", "branch=[branch-6]"),
    "no ACK": request("INVITE", 1, port=6000) + expect(200) + expect(200, optional=()) + request("ACK", 1, inside=True)
    + request("BYE", 2, inside=True) + expect(200),
}  # fmt: skip


async def sipp(folder: Path, scenario: str, far: tuple[str, int] | None, *options: str) -> tuple[int, str]:
    """Run SIPp to its end; its status and what it complained of."""
    script = folder / "scenario.xml"
    script.write_text(HEAD + scenario + "</scenario>\n")
    target = ["{}:{}".format(*far)] if far else []
    process = await asyncio.create_subprocess_exec(
        "sipp", *target, "-sf", str(script), "-i", "127.0.0.1", "-nostdin", "-trace_err", "-trace_stat",
        "-timeout", f"{LIMIT_S:.0f}s", "-timeout_error", *options,
        cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LIMIT_S + 5):
            status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return status, left_behind(folder, "*errors.log")


def left_behind(folder: Path, pattern: str) -> str:
    """The text of the files that SIPp wrote."""
    return "".join(path.read_text() for path in sorted(folder.glob(pattern)))


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


async def serve(rig: Rig, behave: Callable[[IncomingLeg], object], finish: Callable[[IncomingLeg], object]) -> None:
    """Play the application: `behave` on a new call, `finish` when it stands."""

    async def one(leg: IncomingLeg) -> None:
        behave(leg)
        while not isinstance(heard := await leg.events.get(), Failed | Disconnected):
            if isinstance(heard, Connected):
                finish(leg)
            elif isinstance(heard, Update) and not heard.answers:
                leg.accept_update(SDP)

    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(one(await rig.offered.get()))


def answer(leg: IncomingLeg) -> None:
    leg.trying()
    leg.ring()
    leg.answer(SDP)


def ring(leg: IncomingLeg) -> None:
    leg.ring()


def keep(_leg: IncomingLeg) -> None:
    """Let the caller end it."""


async def as_called(
    rig: Rig, folder: Path, scenario: str, behave: Callable[[IncomingLeg], object] = answer,
    finish: Callable[[IncomingLeg], object] = keep, *options: str,
) -> None:  # fmt: skip
    serving = asyncio.create_task(serve(rig, behave, finish))
    try:
        status, errors = await sipp(
            folder, SCENARIOS[scenario], rig.stack.address, "-p", str(free_port()), *(options or ("-m", "5", "-r", "50"))
        )
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    assert (status, errors) == (0, "")


async def test_sipp_calls_and_hangs_up(rig: Rig, tmp_path: Path) -> None:
    await as_called(rig, tmp_path, "caller hangs up")


async def test_sipp_calls_and_we_hang_up(rig: Rig, tmp_path: Path) -> None:
    await as_called(rig, tmp_path, "called hangs up", finish=lambda leg: leg.hang_up(16))


async def test_sipp_changes_the_session(rig: Rig, tmp_path: Path) -> None:
    await as_called(rig, tmp_path, "re-INVITE")


async def test_sipp_refreshes_by_update(rig: Rig, tmp_path: Path) -> None:
    await as_called(rig, tmp_path, "UPDATE and PRACK")


async def test_sipp_is_refused(rig: Rig, tmp_path: Path) -> None:
    await as_called(rig, tmp_path, "refused", lambda leg: leg.reject(486, 17))


async def test_sipp_cancels(rig: Rig, tmp_path: Path) -> None:
    await as_called(rig, tmp_path, "cancel", ring)


async def test_sipp_misses_an_answer(rig: Rig, tmp_path: Path) -> None:
    """The ACK comes after the second 200 only."""
    await as_called(rig, tmp_path, "no ACK", answer, keep, "-m", "2", "-r", "10", "-nr")


async def test_burst_of_callers_without_a_failure(rig: Rig, tmp_path: Path) -> None:
    """80 calls a second is what one process admits (architecture); a second of it, all answered and ended."""
    await as_called(rig, tmp_path, "caller hangs up", answer, keep, "-m", "80", "-r", "80")


CALLED = '<recv request="INVITE"/>\n' + response(100) + response(180) + response(200, port=6000) + '<recv request="ACK"/>\n'


@pytest.mark.parametrize("ending", ["ours", "theirs"])
async def test_we_call_sipp(rig: Rig, tmp_path: Path, ending: str) -> None:
    bye = '<recv request="BYE"/>\n' + response(200)
    theirs = (
        '<send retrans="500"><![CDATA[\nBYE [next_url] SIP/2.0\nVia: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]\n'
        "[last_To:]\n[last_From:]\nCall-ID: [call_id]\nCSeq: 7 BYE\nMax-Forwards: 70\nContent-Length: 0\n\n]]></send>\n"
        '<recv response="200"/>\n'
    ).replace("[last_To:]", "From: <sip:sipp@[local_ip]>;tag=[pid]u[call_number]").replace(
        "[last_From:]", "To: [$caller]"
    )
    remember = '<recv request="INVITE" rrs="true"><action><ereg regexp=".*" search_in="hdr" header="From:" assign_to="caller"/></action></recv>\n'
    called = CALLED.replace('<recv request="INVITE"/>\n', remember) if ending == "theirs" else CALLED
    port = free_port()
    running = asyncio.create_task(
        sipp(tmp_path, called + (bye if ending == "ours" else theirs), None, "-p", str(port), "-m", "3")
    )
    for _ in range(3):
        async with asyncio.timeout(LIMIT_S):
            while True:
                leg = rig.stack.dial(Dial(("127.0.0.1", port), "4930123", "4940999", SDP2, no_response_s=5))
                first = await event(leg)
                if not isinstance(first, Failed):
                    break
        heard: Event = first
        while not isinstance(heard, Connected):
            heard = await event(leg)
        if ending == "ours":
            leg.hang_up(16)
        assert isinstance(await event(leg), Disconnected)
    assert await running == (0, "")


async def test_sipp_statistics_agree(rig: Rig, tmp_path: Path) -> None:
    """Both sides' books say the same: so many calls placed, so many answered."""
    calls: list[IncomingLeg] = []

    def count(leg: IncomingLeg) -> None:
        calls.append(leg)
        answer(leg)

    await as_called(rig, tmp_path, "caller hangs up", count, keep, "-m", "20", "-r", "40")
    rows = list(csv.DictReader(left_behind(tmp_path, "*_.csv").splitlines(), delimiter=";"))
    assert (rows[-1]["SuccessfulCall(C)"], rows[-1]["FailedCall(C)"], len(calls)) == ("20", "0", 20)
