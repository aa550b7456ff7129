"""Takes the controller's INVITEs to the channels that they name.

The box is the authority on its channels: what it refuses (taken, not ready, another card) is normal, and the
controller goes on with its next candidate. The order of the checks matters: an attempt id is on disk before
anything is dialled, and a repeated one is told from a channel that is taken by its first use.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from simrack.gateway import calls_logic as logic
from simrack.gateway.attempts import opening
from simrack.gateway.call import LiveCall, Moment, Moments, Ticket, moment
from simrack.gateway.channel import refusal
from simrack.gateway.errors import BadRequest, StoreBroken
from simrack.gateway.module import Module
from simrack.gateway.ports import Rtp, Tools
from simrack.sip import sdp
from simrack.sip.errors import SipError
from simrack.sip.legs import IncomingLeg
from simrack.wire.causes import Cause
from simrack.wire.channel import ChannelState

log = structlog.get_logger(__name__)

_REFUSALS = {
    "taken": "the channel has a call",
    "not-ready": "the channel is not ready",
    "other-sim": "another card is in the channel",
}


@dataclass(slots=True)
class Refused(Exception):
    """The INVITE is answered with this; `refusal` tells the controller that the channel was never touched."""

    status: int
    cause: int
    text: str
    refusal: str = ""
    remembered: str = ""  # the attempt whose row is in the journal


@dataclass(slots=True)
class Switchboard:
    """See the module. `closed` is set when the box stops: running calls go on, new ones are refused."""

    tools: Tools
    modules: Mapping[int, Module]
    closed: bool = False
    #: INVITEs by what became of them: "accepted", or why not.
    attempts: Counter[str] = field(default_factory=Counter)

    async def take(self, leg: IncomingLeg) -> None:
        """Answer one INVITE and carry its call to the end."""
        try:
            module, call = await self._admit(leg)
        except Refused as no:
            self.attempts[no.refusal] += 1
            log.info("call refused", status=no.status, cause=no.cause, reason=no.text, source=leg.request.source)
            headers = [("X-Simrack-Refusal", no.refusal)] if no.refusal else []
            leg.reject(no.status, no.cause, no.text, headers)
            if no.remembered:
                await self.tools.attempts.forget(no.remembered)
            return
        self.attempts["accepted"] += 1
        leg.trying()
        await module.carry(call, ChannelState.DIALLING)

    async def _admit(self, leg: IncomingLeg) -> tuple[Module, LiveCall]:
        tools = self.tools
        invited = moment(tools.clock)
        self._check_open()
        request = self._read(leg)
        chosen = self._negotiate(leg)
        await self._remember(request, invited)
        try:
            # From here on nothing waits, so that two INVITEs can't both find the channel free. The box may have
            # begun to stop while the disk was busy: a call that starts now would hear nothing of it.
            self._check_open()
            return self._assign(leg, request, chosen, invited)
        except Refused as no:
            no.remembered = request.attempt
            raise

    def _check_open(self) -> None:
        if self.closed:
            raise Refused(503, Cause.TEMPORARY_FAILURE, "the box is stopping", "stopping")

    def _assign(
        self, leg: IncomingLeg, request: logic.CallRequest, chosen: sdp.Chosen, invited: Moment
    ) -> tuple[Module, LiveCall]:
        tools, module = self.tools, self._channel(request)
        ticket = Ticket(
            request.call, request.attempt, request.number, request.hide, request.max_ring_s, request.max_call_s,
            request.run,
        )  # fmt: skip
        call = LiveCall(
            tools=tools,
            line=module,
            leg=leg,
            caller=leg,
            ticket=ticket,
            state=logic.Call(early_media=request.early_media),
            rtp=self._bind(),
            chosen=chosen,
            moments=Moments(invited),
            session=int(tools.ids.token(4), 16),
        )
        return module, call

    def _read(self, leg: IncomingLeg) -> logic.CallRequest:
        limits = self.tools.settings.calls
        try:
            return logic.read_request(leg.request, max_ring_s=limits.max_ring_s, max_call_s=limits.max_call_s)
        except BadRequest as error:
            raise Refused(error.status, error.cause, str(error), "request") from error

    def _negotiate(self, leg: IncomingLeg) -> sdp.Chosen:
        # An INVITE without an offer would put ours into the 200, where early media has no place.
        if leg.request.sdp is None:
            raise Refused(488, Cause.BEARER_NOT_IMPLEMENTED, "the INVITE has no SDP", "request")
        try:
            chosen = sdp.negotiate(sdp.parse(leg.request.sdp), self.tools.sound.codecs)
            sdp.check_family(chosen, self.tools.settings.rtp.host)
            return chosen
        except sdp.NoCommonCodec as error:
            raise Refused(488, Cause.BEARER_NOT_IMPLEMENTED, str(error), "request") from error
        except sdp.SdpError as error:
            raise Refused(400, Cause.INTERWORKING, str(error), "request") from error

    async def _remember(self, request: logic.CallRequest, invited: Moment) -> None:
        module = self.modules.get(request.channel)
        row = opening(
            call=request.call,
            attempt=request.attempt,
            number=request.number,
            direction="out",
            number_of_channel=request.channel,
            channel=module.channel if module is not None else None,
            invited=invited.when,
        )
        try:
            fresh = await self.tools.attempts.remember(row)
        except StoreBroken as error:
            log.error("attempt can't be kept", attempt=request.attempt, error=str(error))
            raise Refused(503, Cause.TEMPORARY_FAILURE, "the box can't write its file", "no-store") from error
        if not fresh:
            raise Refused(482, 25, "this attempt was dialled before", "repeated")

    def _channel(self, request: logic.CallRequest) -> Module:
        module = self.modules.get(request.channel)
        why = "not-ready" if module is None else refusal(module.channel, request.iccid)
        if module is None or why:
            raise Refused(503, Cause.CHANNEL_UNAVAILABLE, _REFUSALS[why], why)
        return module

    def _bind(self) -> Rtp:
        try:
            return self.tools.sound.bind()
        except (SipError, OSError) as error:
            log.error("no RTP port", error=str(error))
            raise Refused(503, Cause.RESOURCES, "no RTP port is free", "no-port") from error
