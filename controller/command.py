"""`simrack controller`: the centre's process."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def controller(
    config: Annotated[Path, typer.Option(help="TOML of the controller: database, data folder, broker, SIP.")],
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the controller: fleet state, routing, calls, records, alarms."""
    from simrack.controller import app
    from simrack.controller.settings import load
    from simrack.wire import logs

    logs.configure("controller", level=log_level)
    settings = load(config)
    try:
        app.run(settings, _say)
    except* Exception as group:
        # What a person can mend is said plainly; a task group wraps it.
        raise _plain(group) from group


def _plain(group: BaseExceptionGroup[Exception]) -> BaseException:
    from simrack.wire.errors import UserError

    mistakes = group.subgroup(UserError)
    found: BaseException = mistakes or group
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        found = found.exceptions[0]
    return found


def _say(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document))
