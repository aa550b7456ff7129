"""The SIP stack's front door without a network: the library's own parser and transactions behind the screen."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from fuzz.targets import FixedIds
from sippy.Core.EventDispatcher import ED2
from sippy.Network_server import Remote_address
from sippy.SipConf import SipConf
from sippy.Time.MonoTime import MonoTime
from sippy.Udp_server import Udp_server_opts

from simrack.sip import engine
from simrack.sip.ports import Address, Arrival
from simrack.sip.screen import Packet, Refusal
from simrack.sip.udp import Quiet

FORGET_EVERY = 200  # inputs; timers that never run would fill the memory
LARGEST = 16 * 1024


class NoUdp:
    """A socket that sends nothing and counts."""

    transport = "udp"
    sent = 0

    def __init__(self, _config: object, uopts: Udp_server_opts) -> None:
        self.uopts = uopts.getCopy()

    def getSIPaddr(self) -> tuple[Address, str]:
        return ("192.0.2.1", 5060), "udp"

    def addr2str(self, address: Address) -> str:
        return str(address)

    def send_to(self, data: str | bytes, _address: Address, _delayed: bool = False) -> None:
        assert len(data) < 4 * LARGEST
        self.sent += 1

    def shutdown(self) -> None:
        return


class Ear:
    """A `Sink` that hears everything and does nothing."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args, **_more: None


class Front:
    """Takes every call, one way or another, by the length of its Call-ID."""

    def hears(self, source: Address) -> bool:
        return True

    def trusted(self, source: Address) -> bool:
        return False

    def answers(self, source: Address) -> bool:
        return True

    def suspect(self, source: Address, problem: str) -> None:
        return

    def lag(self, late_s: float) -> None:
        return

    def outside(self, packet: Packet, source: Address) -> Refusal:
        return Refusal(405, "Method Not Allowed", "")

    def judge(self, packet: Packet, source: Address) -> Refusal | None:
        return None if packet.method == "INVITE" else self.outside(packet, source)

    def arrived(self, inbound: Arrival) -> None:
        way = len(inbound.packet.first("call-id")) % 3
        if way == 0:
            inbound.refuse(Refusal(486, "Busy Here", ""))
            return
        ear: Any = Ear()
        inbound.listen(ear)
        dialog = inbound.accept(ear)
        if way == 1:
            dialog.ring()
        else:
            dialog.answer(b"v=0\r\n", ())


@contextmanager
def strict_log() -> Iterator[None]:
    """What the door would log with a traceback is raised."""
    kept, engine.log = engine.log, Strict()
    try:
        yield
    finally:
        engine.log = kept


class Strict:
    """The engine's logger, for which a traceback is no mere line."""

    def exception(self, event: str, **_more: object) -> None:
        error = sys.exc_info()[1]
        assert error is not None
        raise error

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args, **_more: None


class DoorTarget:
    """One manager for many inputs, as in a process that runs for months."""

    def __init__(self) -> None:
        SipConf.autoconvert_tel_url = True
        ED2.my_ident = get_ident()
        self._count = 0
        self._fresh()

    def _fresh(self) -> None:
        for listener in ED2.tlisteners:
            listener.cleanup()
        ED2.tlisteners, ED2.twasted = [], 0
        manager_type: Any = type("Fuzzed", (engine.Manager,), {"model_udp_server": (NoUdp, Udp_server_opts)})
        config: dict[str, Any] = {
            "_sip_address": "192.0.2.1", "_sip_port": 5060, "_sip_logger": Quiet(), "user_agent": "t",
        }  # fmt: skip
        self._manager = config["_sip_tm"] = manager_type(config, Front(), FixedIds())

    def __call__(self, data: bytes) -> None:
        self._count += 1
        if self._count % FORGET_EVERY == 0:
            self._fresh()
        manager = self._manager
        with strict_log():
            manager.handleIncoming(data, Remote_address(("192.0.2.9", 5070), "udp"), manager.server, MonoTime())
