"""Renders `docs/asyncapi.json` (AsyncAPI 3.0) from the topics and the message models.

`python -m simrack.wire.asyncapi FILE` writes it; a test holds the file against the models.
"""

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from simrack.wire import messages, topics
from simrack.wire.messages import Message


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic: who writes it, what is in it, and whether the broker keeps it."""

    name: str
    topic: Callable[..., str]
    message: type[Message]
    writer: str
    retained: bool
    qos: int = 1

    @property
    def address(self) -> str:
        """The topic with its parameters in braces."""
        names = inspect.signature(self.topic).parameters
        return self.topic(*("{" + name + "}" for name in names))

    @property
    def parameters(self) -> list[str]:
        return list(inspect.signature(self.topic).parameters)


CHANNELS = (
    Channel("boxStatus", topics.box_status, messages.BoxStatus, "box", retained=True),
    Channel("channelState", topics.channel_state, messages.ChannelReport, "box", retained=True),
    Channel("channelConsole", topics.channel_console, messages.ConsoleLines, "box", retained=False, qos=0),
    Channel("boxEvent", topics.box_event, messages.BoxEvent, "box", retained=False),
    Channel("boxEventAck", topics.box_event_ack, messages.EventAck, "controller", retained=False),
    Channel("boxCommand", topics.box_command, messages.Command, "controller", retained=False),
    Channel("controllerStatus", topics.controller_status, messages.ControllerStatus, "controller", retained=True),
    Channel("controllerTime", topics.controller_time, messages.ControllerTime, "controller", retained=False),
    Channel("controllerCall", topics.controller_call, messages.LiveCall, "controller", retained=False, qos=0),
    Channel("controllerAlarms", topics.controller_alarms, messages.AlarmSummary, "controller", retained=True),
    Channel("controllerConfig", topics.controller_config, messages.ConfigChanged, "controller", retained=True),
    Channel("controllerCommand", topics.controller_command, messages.Command, "web, CLI, API", retained=False),
    Channel("logLines", topics.log_lines, messages.LogLines, "every process", retained=False, qos=0),
    Channel("logWish", topics.log_wish, messages.LogWish, "controller, web, CLI", retained=False),
    Channel("reply", topics.reply, messages.CommandReply, "whoever was asked", retained=False),
)


def _channel(channel: Channel) -> dict[str, Any]:
    name = channel.message.__name__
    return {
        "address": channel.address,
        "description": inspect.getdoc(channel.topic) or "",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "parameters": {parameter: {} for parameter in channel.parameters},
        "bindings": {"mqtt": {}},
        "x-simrack": {"writer": channel.writer, "retained": channel.retained, "qos": channel.qos},
    }


def _message(model: type[Message]) -> dict[str, Any]:
    return {
        "name": model.__name__,
        "summary": (inspect.getdoc(model) or "").split("\n")[0],
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }


def document() -> dict[str, Any]:
    """The whole document."""
    _, schemas = models_json_schema(
        [(model, "validation") for model in messages.MESSAGES], ref_template="#/components/schemas/{model}"
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "simrack over MQTT",
            "version": str(messages.VERSION),
            "description": (
                "State is retained and carries (boot, seq); facts are acknowledged by the application; commands "
                "are never retained. Unknown fields are ignored, unknown versions refused."
            ),
        },
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "components": {
            "messages": {model.__name__: _message(model) for model in messages.MESSAGES},
            "schemas": schemas.get("$defs", {}),
        },
    }


def text() -> str:
    """The document as it stands in the file."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())
