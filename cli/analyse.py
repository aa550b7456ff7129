"""`simrack analyse`: everything that is wrong now, worst first, each with what to do."""

import asyncio

import typer

from simrack.cli.output import JsonOption, say_json, table
from simrack.cli.places import StateOption, database_url, read_state
from simrack.cli.session import session
from simrack.controller.models import RecordFilter
from simrack.controller.store.queries import Queries
from simrack.web.rack import Rack, RackModel
from simrack.web.services import analyse as service
from simrack.wire import topics
from simrack.wire.errors import UserError
from simrack.wire.messages import BoxStatus, ChannelReport, ControllerStatus
from simrack.wire.mqtt import MqttBus
from simrack.wire.ports import SystemClock, SystemIds

CONNECT_S = 12.0  # long enough for a second try after a session that the broker dropped
QUIET_S = 0.4  # retained state comes in one burst; this long without a message ends it
#: Exit status when calls are lost now, for scripts.
CRITICAL = 1


async def take_rack(url: str) -> Rack:
    """The rack as the broker knows it now; without a broker an empty one that says so."""
    model, news = RackModel(SystemClock()), asyncio.Event()
    bus = MqttBus(url, f"cli-{SystemIds().token(4)}")

    def on_box(_topic: str, payload: bytes) -> None:
        if payload:
            model.box(BoxStatus.decode(payload))
        news.set()

    def on_channel(_topic: str, payload: bytes) -> None:
        model.channel(ChannelReport.decode(payload))
        news.set()

    def on_controller(_topic: str, payload: bytes) -> None:
        model.controller(ControllerStatus.decode(payload))
        news.set()

    bus.subscribe(topics.ALL_BOX_STATUS, on_box)
    bus.subscribe(topics.ALL_CHANNEL_STATE, on_channel)
    bus.subscribe(topics.controller_status(), on_controller)
    try:
        async with session(bus, url, CONNECT_S):
            model.broker(True)
            await _settle(news)
    except UserError:
        model.broker(False)
    return model.snapshot()


async def _settle(news: asyncio.Event) -> None:
    while True:
        try:
            async with asyncio.timeout(QUIET_S):
                await news.wait()
        except TimeoutError:
            return
        news.clear()


def analyse(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show everything that is wrong now, worst first, each with what to do. Ends with 1 when calls are lost."""
    rack = asyncio.run(take_rack(str(read_state(state)["mqtt"])))
    queries = Queries(database_url(state))
    try:
        answered = bool(queries.records(RecordFilter(outcome="answered", per_page=1)).rows)
        facts = service.Facts(SystemClock().utc(), rack, queries.names(), queries.config.table(), queries.alarms(), answered)
    finally:
        queries.close()
    found = service.findings(facts)
    if as_json:
        say_json({"findings": [{name: getattr(one, name) for name in one.__dataclass_fields__} for one in found]})
    else:
        rows = [(one.rank, one.area, one.title, one.todo, one.hand) for one in found]
        table(f"Findings: {len(found)}", ("Rank", "Area", "What", "What to do", "In the hand of"), rows, "Nothing is wrong.")
    if any(one.rank == "critical" and not one.hand for one in found):
        raise typer.Exit(CRITICAL)
