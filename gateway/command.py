"""`simrack box`: one gateway box."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


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


def _run(settings: Any) -> None:
    import asyncio

    try:
        import uvloop
    except ImportError:
        # uvloop has no build for every machine; it saves a third of the CPU, nothing else.
        asyncio.run(_serve(settings))
    else:
        uvloop.run(_serve(settings))


async def _serve(settings: Any) -> None:
    import asyncio
    import signal

    from simrack.gateway.agent import Box
    from simrack.gateway.hardware import Hardware
    from simrack.wire.mqtt import MqttBus
    from simrack.wire.ports import SystemClock, SystemIds

    clock, ids = SystemClock(), SystemIds()
    hardware = Hardware(settings.rtp, settings.calls.no_media_s, clock, ids)
    agent = Box(
        settings=settings,
        clock=clock,
        ids=ids,
        make_bus=lambda name, will: MqttBus(settings.mqtt.url, name, will=will),
        sound=hardware,
        opener=hardware.open_module,
        background=(hardware.run,),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, agent.stop)
    await agent.run(_say)


def _say(document: Mapping[str, Any]) -> None:
    typer.echo(json.dumps(dict(document)))
