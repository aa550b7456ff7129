"""The library's UDP server, replaced: one socket, read by the event loop, no thread (fault 1)."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from sippy.Network_server import Remote_address
from sippy.Time.MonoTime import MonoTime
from sippy.Udp_server import Udp_server_opts

from simrack.sip.forms import is_address
from simrack.sip.ports import Address
from simrack.sip.screen import encode
from simrack.sip.trace import Tapes

log = structlog.get_logger(__name__)

# At one wake-up packets are read for this long, so that timers run under a flood. As many as there are, because what
# stays in the socket waits for a whole turn of the loop, and calls that are refused late are asked for again.
READ_FOR_S = 0.1
RECEIVE_BUFFER = 1 << 20  # octets; a second of INVITEs at ten times the admitted rate


class AioUdp:
    """The library's UDP server, read by the event loop: one socket, no thread, no reordering (fault 1)."""

    transport = "udp"

    def __init__(self, config: Mapping[str, Any], uopts: Udp_server_opts) -> None:
        self.uopts = uopts.getCopy()
        self.skt = socket.socket(uopts.family, socket.SOCK_DGRAM)
        try:
            self.skt.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self.skt.setblocking(False)
            self.skt.bind(self.uopts.laddress)
        except OSError:
            self.skt.close()
            raise
        self.uopts.laddress = self.skt.getsockname()[:2]
        self._read_for_s = float(config.get("_read_for_s", READ_FOR_S))
        self._tapes: Tapes | None = config.get("_tapes")
        self._unsent = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.skt.fileno(), self._readable)

    def getSIPaddr(self) -> tuple[Address, str]:
        return self.uopts.laddress, self.transport

    def addr2str(self, address: Address) -> str:
        return f"udp:{address[0]}:{address[1]}"

    def send_to(self, data: str | bytes, address: Address, _delayed: bool = False) -> None:
        octets = encode(data) if isinstance(data, str) else data
        if not is_address(address[0]):
            self._unsent += 1
            if self._unsent & (self._unsent - 1) == 0:  # the 1st, 2nd, 4th ...: a stranger can make many
                log.warning("sip packet to a host name not sent", to=self.addr2str(address), count=self._unsent)
            return
        if self._tapes is not None:
            self._tapes.note(octets, address, sent=True)
        try:
            self.skt.sendto(octets, address)
        except OSError as error:
            # UDP: the transaction's retransmissions and time-out deal with what was not sent.
            log.warning("sip packet not sent", to=self.addr2str(address), error=str(error))

    def shutdown(self) -> None:
        if self.skt.fileno() >= 0:
            self._loop.remove_reader(self.skt.fileno())
            self.skt.close()

    def _readable(self) -> None:
        began = now = MonoTime()
        while now - began < self._read_for_s:
            try:
                data, address = self.skt.recvfrom(65535)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # ICMP errors of earlier sends arrive here; no-response timers decide, not they.
                log.debug("sip socket", error=str(error))
                continue
            self.uopts.data_callback(data, Remote_address(address[:2], "udp"), self, now)
            if self.skt.fileno() < 0:
                return
            now = MonoTime()


class OneSocket:
    """The library's table of sockets, of which we have one; its own leaks a socket and binds each port twice."""

    ploss_out_rate = pdelay_out_max = 0.0  # the library sets them; they are for its own tests

    def __init__(
        self, config: Mapping[str, Any], received: Callable[..., None], server: type[AioUdp],
        options: type[Udp_server_opts],
    ) -> None:  # fmt: skip
        self.server = server(config, options((config["_sip_address"], config["_sip_port"]), received))

    def getServer(self, _address: Address, is_local: bool = False) -> AioUdp:
        return self.server

    def rotateCache(self) -> None:
        """Nothing is cached."""

    def shutdown(self) -> None:
        self.server.shutdown()


class Quiet:
    """The library's message log, switched off: the legs log what matters, with the call's ids."""

    def write(self, *_: object, **__: object) -> None:
        return
