"""`simrack call`: places one test call over SIP, speaks a tone, reports what happened and what it heard."""

import asyncio
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simrack.cli.output import JsonOption, say, say_json
from simrack.cli.places import StateOption, parse_address, read_state
from simrack.wire import causes
from simrack.wire.errors import UserError
from simrack.wire.ports import SystemClock, SystemIds

if TYPE_CHECKING:
    from simrack.sip.legs import OutgoingLeg
    from simrack.sip.sdp import Chosen
    from simrack.sip.tone import RtpTalker

RTP_PORTS = range(40000, 40400)
CODECS = ("PCMA", "PCMU")
RING_S = 60.0
LAB_CALLER = "+882109009999"  # nobody answers it: a number that calls itself is refused
EVENT_S = 75.0  # longer than the ring time-out, which ends the call by itself
NO_RESPONSE_S = 5.0  # a controller that starts up answers within seconds
NOBODY_THERE = 408  # what our own side reports for an INVITE without any response
SETTLE_S = 0.3  # the first packets after answer are still on their way


@dataclass(slots=True)
class CallReport:
    """What one test call did. Times in ms since the INVITE; levels in dBFS."""

    number: str
    answered: bool = False
    status: int = 0
    cause: int = 0
    cause_text: str = ""
    ringing_ms: int | None = None
    answered_ms: int | None = None
    talk_ms: int = 0
    codec: str = ""
    sent_hz: float = 0.0
    heard_hz: float = 0.0
    heard_dbfs: float | None = None
    digits_heard: str = ""


class TestCall:
    """One call from the built-in caller."""

    __test__ = False  # its name is a telephonist's word, not a test's

    def __init__(self, number: str, controller: tuple[str, int], user: str, password: str, tone_hz: float) -> None:
        self.report = CallReport(number, sent_hz=tone_hz)
        self._number, self._controller = number, controller
        self._user, self._password, self._tone_hz = user, password, tone_hz
        self._clock, self._ids = SystemClock(), SystemIds()
        self._talker: RtpTalker | None = None

    async def place(self, seconds: float, caller: str, local: str = "127.0.0.1") -> CallReport:
        """Dial, talk for `seconds` after the answer, hang up."""
        from simrack.sip import sdp
        from simrack.sip.legs import Dial
        from simrack.sip.rtp import RtpPort
        from simrack.sip.stack import Admission, SipStack

        stack = SipStack(
            listen=(local, 0), on_invite=lambda leg: leg.reject(486, 17), clock=self._clock, ids=self._ids,
            trusted=lambda _source: False, admit=lambda _source: Admission.ACCEPT, user_agent="simrack-call",
        )  # fmt: skip
        port = RtpPort.bind(local, RTP_PORTS)
        await stack.start()
        try:
            offer = sdp.offer(CODECS, port.address, 1)
            leg = stack.dial(
                Dial(
                    self._controller, self._number, caller, offer, username=self._user, password=self._password,
                    no_response_s=NO_RESPONSE_S, ring_s=RING_S,
                )
            )  # fmt: skip
            await self._follow(leg, port, seconds)
        finally:
            await stack.stop()
            port.close()
        return self.report

    async def _follow(self, leg: "OutgoingLeg", port: Any, seconds: float) -> None:
        from simrack.sip.legs import Connected, Disconnected, Failed, Progress, Ringing

        began = self._clock.monotonic()
        async with asyncio.TaskGroup() as group:
            talk: asyncio.Task[None] | None = None
            while True:
                async with asyncio.timeout(EVENT_S + seconds):
                    event = await leg.events.get()
                now_ms = round((self._clock.monotonic() - began) * 1000)
                match event:
                    case Ringing() | Progress():
                        self.report.ringing_ms = self.report.ringing_ms or now_ms
                    case Connected():
                        self.report.answered, self.report.answered_ms, self.report.status = True, now_ms, 200
                        talk = group.create_task(self._talk(leg, port, event.sdp, seconds))
                    case Failed():
                        self.report.status, self.report.cause = event.status, event.cause
                        self.report.cause_text = event.text or causes.name(event.cause)
                        return
                    case Disconnected():
                        self.report.cause, self.report.cause_text = event.cause, causes.name(event.cause)
                        self.report.talk_ms = now_ms - (self.report.answered_ms or now_ms)
                        if talk is not None:
                            talk.cancel()
                        return

    async def _talk(self, leg: "OutgoingLeg", port: Any, answer: bytes | None, seconds: float) -> None:
        from simrack.sip import sdp
        from simrack.sip.tone import RtpTalker, Sine

        chosen: Chosen = sdp.read_answer(CODECS, answer or b"")
        self.report.codec = chosen.codec
        talker = self._talker = RtpTalker(port, chosen, Sine(self._tone_hz), clock=self._clock, ids=self._ids)
        run = asyncio.create_task(talker.run())
        try:
            await asyncio.sleep(seconds + SETTLE_S)
            leg.hang_up(int(causes.Cause.NORMAL))
        finally:
            run.cancel()
            # Before any await: the end of the call cancels this task too.
            self.report.heard_hz, self.report.heard_dbfs = talker.heard_tone(1.0)
            self.report.digits_heard = "".join(talker.digits)
            await asyncio.gather(run, return_exceptions=True)


def place_call(
    state: dict[str, Any], number: str, *, tone_hz: float, seconds: float, caller: str = "", user: str = "", password: str = ""
) -> CallReport:
    """Place one call with the credentials of the state file's digest caller, unless others are given.

    Raises:
        UserError: the controller's address leads nowhere.
    """
    lab = {} if user else state.get("callers", {}).get("builtin", {})
    controller, local = _ends(str(state["sip"]))
    call = TestCall(number, controller, user or lab.get("user", ""), password or lab.get("password", ""), tone_hz)
    presented = caller or (LAB_CALLER if lab else user or "anonymous")
    return asyncio.run(call.place(seconds, presented, lab.get("from", local)))


def _ends(sip: str) -> tuple[tuple[str, int], str]:
    """The controller's address as numbers, and our own address on the way there."""
    host, port = parse_address(sip, "--sip")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, port))
            return (str(probe.getpeername()[0]), port), str(probe.getsockname()[0])
    except OSError as error:
        raise UserError(f"{host} can't be reached ({error.strerror})", "--sip", "Write the controller's address, host:port.") from error


def random_tone() -> float:
    """A frequency that survives every codec and is nobody's signalling tone."""
    return 400.0 + int(SystemIds().token(2), 16) % 130 * 20


def _resolve(number: str, state: dict[str, Any]) -> str:
    """A lab number by its name (`answer`, `busy`, ...), or the number itself."""
    return str(state.get("numbers", {}).get(number, number))


def call(
    number: Annotated[str, typer.Argument(help="Number to call; in a lab also the name of a test number (answer, busy, echo, ...).")],
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="Talk time after the answer, in seconds.")] = 3.0,
    tone: Annotated[float, typer.Option(min=0, max=3800, help="Tone to speak in Hz; 0 draws one at random.")] = 0.0,
    caller: Annotated[str, typer.Option(help="Calling number to present; default: a lab number in a lab, else the digest user.")] = "",
    sip: Annotated[str, typer.Option(help="Controller's SIP address (host:port), instead of the state file's.")] = "",
    user: Annotated[str, typer.Option(help="Digest user of your sender, instead of the lab's.")] = "",
    password: Annotated[str, typer.Option(envvar="SIMRACK_CALL_PASSWORD", help="Digest password.")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Place a test call and report it.

    Reports progress, answer, the tone that was heard, and the cause of the end. Exit status 1: not answered.
    """
    facts = {"sip": sip} if sip else read_state(state)
    target = _resolve(number, facts)
    if not any(character.isdigit() for character in target):
        names = ", ".join(sorted(facts.get("numbers", {})))
        raise UserError(f"{number!r} is no number", "NUMBER", f"Known test numbers: {names}." if names else "Write digits.")
    report = place_call(
        facts, target, tone_hz=tone or random_tone(), seconds=seconds, caller=caller, user=user, password=password
    )
    if as_json:
        say_json(asdict(report))
    else:
        say(report_text(report))
    if not report.answered:
        raise SystemExit(1)


def _hint(report: CallReport) -> str:
    if report.status == NOBODY_THERE:
        return "\nNo controller answers at this address. `simrack doctor` shows where it listens."
    if report.status in (401, 403) and report.cause == causes.Cause.REJECTED:
        return "\nCheck --user, --password and --caller against the sender (page Senders, or its routing file)."
    return ""


def report_text(report: CallReport) -> str:
    """The report in a few lines."""
    if not report.answered:
        return f"{report.number}: not answered, SIP {report.status}, cause {report.cause} ({report.cause_text}){_hint(report)}"
    heard = f"heard {report.heard_hz:.0f} Hz at {report.heard_dbfs:.0f} dBFS" if report.heard_dbfs else "heard nothing"
    return (
        f"{report.number}: answered after {(report.answered_ms or 0) / 1000:.2f} s, talked {report.talk_ms / 1000:.2f} s ({report.codec})\n"
        f"sent {report.sent_hz:.0f} Hz, {heard}\n"
        f"ended with cause {report.cause} ({report.cause_text})"
    )
