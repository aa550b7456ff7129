"""A call that an earlier run of this process has answered: its leg, from what was stored of its dialog.

Theory. A dialog is its identifiers (RFC 3261 12): with them on disk the process that answered may die and its
successor go on, and the far end notices nothing. Only one thing of the dead process's transactions is still
owed: the 2xx, which the user agent itself repeats until the ACK comes (13.3.1.4), because between the moment
when the call was stored as answered and the ACK nobody can say whether the caller has heard it.
"""

import asyncio
import re
from collections.abc import Callable

from simrack.sip.calls import SipLeg, Stage
from simrack.sip.errors import NotOpen
from simrack.sip.legs import DialogIds
from simrack.sip.ports import Address, Line
from simrack.sip.screen import Packet
from simrack.wire.causes import Cause, reason_header

T1_S = 0.5  # RFC 3261 17.1.1.1: round trip estimate, the first interval
T2_S = 4.0  # RFC 3261 17.1.2.2: the longest interval
GIVE_UP_S = 64 * T1_S  # RFC 3261 13.3.1.4: then the session is ended
_VIA = re.compile(r"^via:\s*SIP/2\.0/UDP\s+([^\s;:]+)(?::(\d+))?([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


class AdoptedLeg(SipLeg):
    """An answered leg without a history. With `answer`, the stored 200, it is repeated until the ACK comes."""

    def __init__(
        self, line: Line, dialog: DialogIds, ended: Callable[[SipLeg], None], answer: str = ""
    ) -> None:
        super().__init__(ended, dialog.call_id)
        self._line, self._answer = line, answer
        self._to = return_address(answer)
        self._agent = line.adopt(self, dialog)
        self.stage = Stage.CONNECTED
        self._goodbye: tuple[int, str] | None = None  # hung up before the ACK came
        self._timer: asyncio.TimerHandle | None = None
        if self._to is not None:
            self._repeat_after(T1_S, GIVE_UP_S)

    def hang_up(self, cause: int, text: str = "") -> None:
        if self.stage is not Stage.CONNECTED:
            return
        if self._timer is None:
            self._bye(cause, text)
        else:
            # RFC 3261 15: no BYE before the ACK; a caller that never heard the 200 would not know the dialog.
            self._goodbye = (cause, text)
        self._disconnected(cause, text, "local")

    def acknowledged(self) -> None:
        if self._timer is not None:
            self.log.info("sip answer of an earlier run acknowledged")
        self._stop_repeating()
        if self._goodbye is not None:
            self._bye(*self._goodbye)
            self._goodbye = None

    def repeat(self) -> bool:
        if self._timer is None or self._to is None:
            return False
        self._line.send(self._answer, self._to)
        return True

    def released(self, packet: Packet | None) -> None:
        self._stop_repeating()
        super().released(packet)

    def abandon(self) -> None:
        self._stop_repeating()
        super().abandon()

    def _repeat_after(self, wait_s: float, left_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(wait_s, self._repeat, wait_s, left_s - wait_s)

    def _repeat(self, waited_s: float, left_s: float) -> None:
        try:
            if left_s > 0 and self.repeat():
                self._repeat_after(min(2 * waited_s, T2_S, left_s), left_s)
                return
        except NotOpen:
            self.log.info("sip answer of an earlier run is left to the next one")
            return
        self._timer = None
        self.log.info("sip answer of an earlier run never acknowledged")
        cause, text = self._goodbye or (int(Cause.TIMER_EXPIRED), "no ACK")
        self._goodbye = None
        self._bye(cause, text)
        self._disconnected(cause, text, "remote")

    def _stop_repeating(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _bye(self, cause: int, text: str) -> None:
        assert self._agent is not None, "an adopted leg has its dialog from the start"
        self._agent.release((("Reason", reason_header(cause, text)),))


def return_address(answer: str) -> Address | None:
    """Where a stored response goes: `received` and `rport` of its topmost Via (RFC 3261 18.2.2, RFC 3581 4)."""
    via = _VIA.search(answer)
    if via is None:
        return None
    host, port, parameters = via.groups()
    received = re.search(r";\s*received=([^;,\s]+)", parameters, re.IGNORECASE)
    rport = re.search(r";\s*rport=(\d+)", parameters, re.IGNORECASE)
    return (received.group(1) if received else host, int(rport.group(1) if rport else port or 5060))
