"""The lab's HTTP interface: the ledger to read, numbers, calls, faults and quirks to set."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simrack.lab.emulator import faults
from simrack.lab.emulator.ec25.module import Module
from simrack.lab.emulator.ledger import Row, wav
from simrack.lab.emulator.network import Subscriber
from simrack.lab.emulator.numbers import Behaviour, Kind, Landline
from simrack.lab.emulator.oddities import Fault, Quirk
from simrack.lab.emulator.rack import Lab

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
M = TypeVar("M", bound=BaseModel)
#: Rows of the ledger that one answer holds at most.
ROWS = 1000


class NumberOrder(Behaviour):
    """A behaviour for a number; without a number a free one is taken."""

    number: str = Field(default="", pattern=r"^(\+88210\d{4,10})?$")


class CallOrder(BaseModel):
    """A call to a module; the caller is a landline that says `voice` once answered."""

    model_config = ConfigDict(extra="forbid")

    to_msisdn: str
    caller: str = Field(default="+882109005000", alias="from")
    ring_s: float = Field(default=30.0, gt=0)
    voice: Kind = "tone"
    tone_hz: int | None = Field(default=None, ge=100, le=3800)
    hang_up_after_s: float | None = Field(default=None, gt=0)
    dtmf: str = Field(default="", pattern=r"^[0-9A-D*#]*$")


class SignalOrder(BaseModel):
    """The signal that a module receives, as the rssi of 27.007 +CSQ."""

    model_config = ConfigDict(extra="forbid")

    box: str
    channel: int
    rssi: int = Field(ge=0, le=31)


class BoardOrder(BaseModel):
    """What somebody does to a module's place from outside: reset its USB port, switch its power."""

    model_config = ConfigDict(extra="forbid")

    box: str
    channel: int
    act: Literal["usb-reset", "off", "on"]


class QuirkOrder(BaseModel):
    """The quirks that a module shall have from now on."""

    model_config = ConfigDict(extra="forbid")

    box: str
    channel: int
    quirks: set[Quirk]


def make_app(lab: Lab) -> web.Application:
    """Build the application."""
    api = _Api(lab)
    app = web.Application(middlewares=[_explain])
    app.add_routes(
        [
            web.get("/ledger/calls", api.calls),
            web.get("/calls/{id}", api.call),
            web.get("/calls/{id}/audio.wav", api.audio),
            web.delete("/calls/{id}", api.hang_up),
            web.post("/calls", api.place),
            web.post("/numbers", api.number),
            web.get("/numbers", api.numbers),
            web.get("/subscribers", api.subscribers),
            web.get("/modules", api.modules),
            web.post("/faults", api.fault),
            web.delete("/faults", api.clear),
            web.post("/quirks", api.quirks),
            web.post("/signal", api.signal),
            web.post("/board", api.board),
        ]
    )
    return app


@web.middleware
async def _explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn mistakes of the caller into answers that say what is wrong."""
    try:
        return await handler(request)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        return web.json_response({"error": f"{where}: {first['msg']}"}, status=400)
    except json.JSONDecodeError as error:
        return web.json_response({"error": f"body: not JSON: {error}"}, status=400)


def _missing(what: str) -> web.HTTPNotFound:
    return web.HTTPNotFound(text=json.dumps({"error": what}), content_type="application/json")


async def _body(request: web.Request, model: type[M]) -> M:
    return model.model_validate(await request.json())


class _Api:
    """The handlers, around one lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    async def calls(self, request: web.Request) -> web.Response:
        """List rows, oldest first, at most 1,000; `after` gives those with a larger id only.

        With `heard=no` nothing is computed of their voice, which costs the network's own ticker dearly while calls talk.
        """
        after = request.query.get("after", "0")
        first = int(after) if after.isdecimal() else 0
        heard = request.query.get("heard", "yes") != "no"
        rows = self._lab.network.ledger.newest(first, ROWS)
        return web.json_response([row if isinstance(row, dict) else await row.as_json(heard=heard) for row in rows])

    async def call(self, request: web.Request) -> web.Response:
        number = request.match_info["id"]
        aged = self._lab.network.ledger.aged(int(number)) if number.isdecimal() else None
        return web.json_response(aged or await self._row(request).as_json())

    async def audio(self, request: web.Request) -> web.Response:
        """Return what one side heard, as WAV: side=landline (default) or side=mobile."""
        row = self._row(request)
        side = request.query.get("side", "landline")
        recorder = row.to_mobile if side == "mobile" else row.from_mobile
        return web.Response(body=wav(recorder.pcm()), content_type="audio/wav")

    async def hang_up(self, request: web.Request) -> web.Response:
        """End a running call from the network's side; the cause is normal clearing unless `cause` is given."""
        row = self._row(request)
        cause = request.query.get("cause", "16")
        for call in [call for call in self._lab.network.calls if call.row is row]:
            call.release(None, int(cause) if cause.isdecimal() else 16)
        return web.json_response(await row.as_json())

    def _row(self, request: web.Request) -> Row:
        number = request.match_info["id"]
        row = self._lab.network.ledger.row(int(number)) if number.isdecimal() else None
        if row is None:
            raise _missing(f"no call {number}, or its voice is no longer kept")
        return row

    async def place(self, request: web.Request) -> web.Response:
        order = await _body(request, CallOrder)
        behaviour = Behaviour(
            behaviour="dtmf" if order.dtmf else order.voice,
            tone_hz=order.tone_hz, hang_up_after_s=order.hang_up_after_s, dtmf=order.dtmf,
        )  # fmt: skip
        end = Landline(behaviour, self._lab.network.dice)
        call = self._lab.network.ring(self._subscriber(order.to_msisdn), end, order.caller)
        end.wait_for_answer(call, order.ring_s)
        return web.json_response({"id": call.row.number}, status=201)

    def _subscriber(self, msisdn: str) -> Subscriber:
        found = self._lab.network.subscribers.get(msisdn)
        if found is None:
            raise _missing(f"no subscriber {msisdn}")
        return found

    async def number(self, request: web.Request) -> web.Response:
        order = await _body(request, NumberOrder)
        behaviour = Behaviour.model_validate(order.model_dump(exclude={"number"}))
        return web.json_response({"number": self._lab.numbers.set(order.number, behaviour)}, status=201)

    async def numbers(self, _request: web.Request) -> web.Response:
        table = self._lab.numbers.table
        return web.json_response({number: item.model_dump(exclude_none=True) for number, item in table.items()})

    async def subscribers(self, _request: web.Request) -> web.Response:
        return web.json_response(
            [
                {
                    "imsi": one.imsi, "iccid": one.iccid, "msisdn": one.msisdn, "seat": one.home,
                    "registered": one.end is not None,
                }
                for one in self._lab.network.subscribers.values()
            ]
        )  # fmt: skip

    async def modules(self, _request: web.Request) -> web.Response:
        return web.json_response([_module(module) for module in self._lab.modules.values()])

    async def fault(self, request: web.Request) -> web.Response:
        fault = await _body(request, Fault)
        faults.begin(self._module(fault.box, fault.channel), fault)
        return web.json_response({"begun": fault.fault}, status=201)

    async def clear(self, _request: web.Request) -> web.Response:
        for module in self._lab.modules.values():
            faults.clear(module)
        return web.json_response({"cleared": True})

    async def quirks(self, request: web.Request) -> web.Response:
        order = await _body(request, QuirkOrder)
        self._module(order.box, order.channel).set_quirks(order.quirks)
        return web.json_response({"quirks": sorted(order.quirks)})

    async def signal(self, request: web.Request) -> web.Response:
        order = await _body(request, SignalOrder)
        self._module(order.box, order.channel).receive(order.rssi)
        return web.json_response({"rssi": order.rssi})

    async def board(self, request: web.Request) -> web.Response:
        order = await _body(request, BoardOrder)
        module = self._module(order.box, order.channel)
        if order.act == "usb-reset":
            module.usb_reset()
        else:
            module.power(on=order.act == "on")
        return web.json_response({"done": order.act})

    def _module(self, box: str, channel: int) -> Module:
        module = self._lab.modules.get((box, channel))
        if module is None:
            raise _missing(f"no module at {box}/{channel}")
        return module


def _module(module: Module) -> dict[str, Any]:
    return {
        "box": module.seat[0], "channel": module.seat[1], "plugged": module.at.plugged, "stat": module.stat,
        "card": str(module.card()), "quirks": sorted(module.quirks), "hung": module.silent,
        "calls": [leg.row() for leg in module.handset.legs], "voice_on": module.settings.pcm == 1,
        "frames_dropped": module.handset.dropped_frames, "frames_starved": module.handset.starved_frames,
    }  # fmt: skip
