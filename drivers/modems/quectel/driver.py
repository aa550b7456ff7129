"""Quectel EC2x, EG9x, EG2x and EP06: the differences to the standard.

Call states come unsolicited in one of two dialects, `ccinfo` or `^DSCI`; which one the firmware has is found
by asking for the first (EP06 refuses it). Either tells the answer at the moment of the network's connect, so
that it is this family's proven answer signal; a call may skip alerting.
"""

from dataclasses import replace

from simrack.drivers.at.chat import Chat
from simrack.drivers.at.command import AtCommand, Priority
from simrack.drivers.at.fields import split_fields
from simrack.drivers.at.framing import Line
from simrack.drivers.modems.base import AudioFlow, AudioFormat, DtmfHeard, ModemRefused, Sheet
from simrack.drivers.modems.generic.calls import Over, Row
from simrack.drivers.modems.generic.driver import GenericDriver
from simrack.drivers.modems.generic.replies import Registration, iccid, signal_dbm
from simrack.drivers.modems.quectel import replies
from simrack.wire.messages import NetworkInfo
from simrack.wire.ports import Clock

# The manual allows 90 s; a hang-up that takes longer than this is worth trying another way.
QHUP_S = 10.0
# With unsolicited states the list is only asked against lost ends of calls ("zombie" sessions), and to notice a
# module that hangs in a call: within this, the list's time and the resynchronising, 8 s in all.
ZOMBIE_POLL_S = 2.0


class QuectelDriver(GenericDriver):
    """EC25 and its relatives."""

    start_up = (
        *GenericDriver.start_up,
        # Named another port, the module answers but never rings.
        AtCommand('AT+QURCCFG="urcport","usbat"'),
        AtCommand('AT+QINDCFG="csq",1,0'),
        AtCommand('AT+QINDCFG="act",1,0'),
        AtCommand("AT+QSIMSTAT=1"),
        AtCommand("AT+QTONEDET=1"),
    )

    # The manual says 300 ms; a loaded USB hub was seen to need seconds.
    dial_s = 5.0

    def __init__(self, chat: Chat, sheet: Sheet, clock: Clock) -> None:
        super().__init__(chat, sheet, clock)
        #: The dialect in use: "ccinfo", "dsci", or "" = asking only.
        self.dialect = ""
        self._voice_on = False
        self._urcs.update(
            {
                "+QIND": self._indication,
                "^DSCI": self._dsci,
                "+QTONEDET": self._tone,
                "+QPCMV": self._flow,
                "+QSIMSTAT": self._card_news,
                "+QUSIM": self._card_news,
            }
        )

    async def _run_start_up(self) -> None:
        await super()._run_start_up()
        await self._choose_dialect()

    async def _choose_dialect(self) -> None:
        if await self._try('AT+QINDCFG="ccinfo",1,0') is not None:
            self.dialect = "ccinfo"
            await self._try("AT^DSCI=0")
        elif await self._try("AT^DSCI=1") is not None:
            self.dialect = "dsci"
        if self.dialect:
            self.poll_setup_s = self.poll_call_s = ZOMBIE_POLL_S

    async def audio_on(self) -> AudioFormat:
        if not self._voice_on:
            # The voice shares a port with the GNSS sentences, which must leave it first.
            await self._try('AT+QGPSCFG="outport","none"')
            try:
                await self._run("AT+QPCMV=1,0")
            except ModemRefused as error:
                raise ModemRefused(f"{error}: voice over USB is not in this variant", 65) from error
            self._voice_on = True
        return self.sheet.audio

    async def audio_off(self) -> None:
        if self._voice_on:
            self._voice_on = False
            await self._run("AT+QPCMV=0")

    def _hang_up_commands(self, cause: int) -> tuple[AtCommand, ...]:
        qhup = AtCommand(f"AT+QHUP={replies.qhup_cause(cause)}", timeout_s=QHUP_S)
        return (qhup, *super()._hang_up_commands(cause))

    def _dtmf_command(self, digit: str) -> str:
        return f'AT+VTS="{digit}"'

    def _indication(self, line: Line) -> None:
        fields = split_fields(line.text)
        if fields[0] == "ccinfo" and self.dialect == "ccinfo":
            self._state_news(replies.ccinfo(line.text))
        elif fields[0] == "csq" and len(fields) > 1:
            self._signal_news(signal_dbm(f"+CSQ: {fields[1]}"))
        elif fields[0] == "act":
            self._network_due.set()

    def _dsci(self, line: Line) -> None:
        if self.dialect == "dsci":
            self._state_news(replies.dsci(line.text))

    def _state_news(self, news: Row | Over | None) -> None:
        if isinstance(news, Row):
            self._do(self.view.row(news))
        elif news is not None:
            self._do(self.view.gone(news))

    def _tone(self, line: Line) -> None:
        digit = replies.tone(line.text)
        if digit:
            self._emit(DtmfHeard(digit))

    def _flow(self, line: Line) -> None:
        go = replies.audio_flow(line.text)
        if go is not None:
            self._emit(AudioFlow(go))

    async def _read_iccid(self) -> str:
        answer = await self._try(AtCommand("AT+QCCID", ("+QCCID:",)), Priority.IDLE)
        return iccid(answer.first) if answer is not None else ""

    async def _read_network(self) -> NetworkInfo:
        network = await super()._read_network()
        answer = await self._try(AtCommand("AT+QNWINFO", ("+QNWINFO:",)), Priority.IDLE)
        access = replies.technology(answer.first) if answer is not None and answer.first else ""
        return network.model_copy(update={"technology": access or network.technology})

    async def _voice_registration(self, cs: Registration, ps: Registration) -> Registration:
        """Packet registration carries calls when IMS voice is registered (at-dialects 9.1, 9.3)."""
        answer = await self._try(AtCommand('AT+QCFG="ims"', ("+QCFG:",)), Priority.IDLE)
        if answer is not None and replies.ims_voice(answer.first):
            return replace(ps, reject="")
        return await super()._voice_registration(cs, ps)
