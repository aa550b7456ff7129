"""`simrack box`: one gateway box."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from simrack.gateway.hardware import Hardware
    from simrack.gateway.settings import BoxSettings
    from simrack.wire.ports import Clock, Ids


def box(
    config: Annotated[Path, typer.Option(help="TOML of this box: name, folder, broker, SIP, RTP, modules.")],
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run one gateway box: all its modules, their calls and voice."""
    from simrack.gateway.settings import BoxSettings
    from simrack.wire import logs
    from simrack.wire.tomlfile import load

    logs.configure("box", level=log_level)
    _run(load(BoxSettings, config, env_prefix="SIMRACK_BOX_"))


def _run(settings: "BoxSettings") -> None:
    import asyncio
    from importlib.metadata import version

    from simrack.gateway.hardware import Hardware
    from simrack.wire.ports import SystemClock, SystemIds

    clock, ids = SystemClock(), SystemIds()
    hardware = Hardware(settings.rtp, settings.calls.no_media_s, clock, ids)
    work = _serve(settings, hardware, clock, ids, f"simrack {version('simrack')}")
    try:
        import uvloop
    except ImportError:
        # uvloop has no build for every machine; it saves a third of the CPU, nothing else.
        asyncio.run(work)
    else:
        uvloop.run(work)


async def _serve(
    settings: "BoxSettings", hardware: "Hardware", clock: "Clock", ids: "Ids", software: str
) -> None:
    import asyncio
    import signal

    import structlog

    from simrack.gateway.agent import Box
    from simrack.gateway.hands import site_hands
    from simrack.gateway.host import linux_host
    from simrack.wire import tuning
    from simrack.wire.logship import LogShip
    from simrack.wire.mqtt import MqttBus

    if not settings.module:
        structlog.get_logger(__name__).warning("this box has no [[module]] yet: it serves, and carries no call", box=settings.box)
    agent = Box(
        settings=settings,
        clock=clock,
        ids=ids,
        make_bus=lambda name, will: MqttBus(settings.mqtt.url, name, will=will),
        sound=hardware,
        opener=hardware.open_module,
        background=(hardware.run, tuning.keep),
        pace=hardware.ticker,
        software=software,
        hands=site_hands(settings.board),
        host=linux_host(settings.data),
        ship=LogShip,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, agent.stop)

    def ready(document: Mapping[str, Any]) -> None:
        # A full search for cycles takes 100 ms, in which no voice goes and each end of a call is seen late.
        tuning.settle()
        _say(document)

    await agent.run(ready)


def _say(document: Mapping[str, Any]) -> None:
    typer.echo(json.dumps(dict(document)))
