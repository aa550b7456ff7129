"""`simrack broker`: the embedded MQTT broker, for the boxes of one machine only.

amqtt sends a newly connected client retained messages that match other clients' subscriptions, and binds
every address unless told otherwise, so it stays on loopback and knows its users by password. As soon as a
box is elsewhere, use Mosquitto or a clustered broker (docs/dependencies.md).
"""

import asyncio
import ipaddress
import json
import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict

from simrack.wire.errors import UserError


class BrokerSettings(BaseModel):
    """The broker's file: where to listen, and the argon2 hash of each user's password."""

    model_config = ConfigDict(extra="forbid")

    listen: str = "127.0.0.1:1883"
    users: Path


def _amqtt_config(settings: BrokerSettings) -> dict[str, Any]:
    return {
        "listeners": {"default": {"type": "tcp", "bind": settings.listen}},
        "plugins": {
            "amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(settings.users)},
        },
    }


class Steady(dict[str, list[Any]]):
    """A dictionary that may be changed while somebody walks over it: the walk sees it as it was.

    amqtt 0.12 walks over its table of subscriptions with an await in the loop, at each new connection. A
    subscription that comes in between raises there, and the new client's SUBSCRIBE is never answered.
    """

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self.keys()))


def _in_one_line(record: logging.LogRecord) -> bool:
    """Log a client that stalls or goes away without amqtt's traceback: the client is at fault, not the code."""
    if record.exc_info and isinstance(record.exc_info[1], TimeoutError | ConnectionError):
        record.msg, record.args = f"a client does not answer: {record.exc_info[1]}", ()
        record.exc_info = record.exc_text = None
    return True


async def _serve(settings: BrokerSettings) -> None:
    from amqtt.broker import Broker

    logging.getLogger("amqtt.broker").addFilter(_in_one_line)
    broker = Broker(_amqtt_config(settings))
    broker._subscriptions = Steady(broker._subscriptions)
    await broker.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    typer.echo(json.dumps({"ready": True, "mqtt": settings.listen}))
    await stop.wait()
    await broker.shutdown()


def broker(
    config: Annotated[Path, typer.Option(help="TOML with `listen` and `users`, a file of name:argon2-hash lines.")],
) -> None:
    """Run the embedded MQTT broker (loopback only)."""
    from simrack.wire import logs
    from simrack.wire.tomlfile import load

    logs.configure("broker", level="warning")
    settings = load(BrokerSettings, config, env_prefix="SIMRACK_BROKER_")
    host = settings.listen.rpartition(":")[0]
    if not ipaddress.ip_address(host).is_loopback:
        raise UserError(
            f"the embedded broker listens on loopback only, not on {host}",
            str(config),
            "Use Mosquitto for boxes on other machines.",
        )
    asyncio.run(_serve(settings))
