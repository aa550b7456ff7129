"""Sections that the settings files of several processes share."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from simrack.wire.errors import UserError
from simrack.wire.mqtt import BrokerUrl


def parse_address(text: str) -> tuple[str, int]:
    """`host:port` as a pair; raises ValueError that says what is allowed."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is no address; write host:port, for instance 127.0.0.1:5060")
    return host.strip("[]"), int(port)


def _address(text: str) -> str:
    parse_address(text)
    return text


def _address_or_none(text: str) -> str:
    return _address(text) if text else text


def _broker(url: str) -> str:
    try:
        BrokerUrl.parse(url)
    except (UserError, ValueError) as error:
        raise ValueError(f"{error} Write mqtt://user:password@host:port.") from error
    return url


HostPort = Annotated[str, AfterValidator(_address)]


class Section(BaseModel):
    """A table of a settings file: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class MqttSettings(Section):
    """The broker; the password inside the URL is never logged."""

    url: Annotated[str, AfterValidator(_broker)] = "mqtt://127.0.0.1:1883"


class MetricsSettings(Section):
    """Where Prometheus reads; "" = nowhere."""

    listen: Annotated[str, AfterValidator(_address_or_none)] = ""
