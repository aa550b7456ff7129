"""`simrack module`: look at modules by hand."""

from dataclasses import asdict
from typing import Annotated

import typer

app = typer.Typer(help="Modules: which driver fits, and is it well.", no_args_is_help=True)


@app.callback()
def _module() -> None:
    """Keep `probe` a sub-command while it is the only one."""


@app.command()
def probe(
    ports: Annotated[list[str], typer.Argument(help="AT ports, such as /dev/ttyUSB2.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document for programs.")] = False,
) -> None:
    """Say which driver fits the module behind each port, and run a self-check. Changes no setting."""
    import asyncio
    import json

    from simrack.drivers.modems.base import ModemError
    from simrack.drivers.registry import identify

    found, failed = [], {}
    for port in ports:
        try:
            found.append(asdict(asyncio.run(identify(port))))
        except ModemError as error:
            failed[port] = str(error)
    if as_json:
        typer.echo(json.dumps({"modules": found, "failed": failed}))
    for module in [] if as_json else found:
        checks = ", ".join(f"{name} {value}" for name, value in module["checks"].items())
        typer.echo(f"{module['at_path']}: driver {module['family']}; {module['manufacturer']} {module['model']}")
        typer.echo(f"  firmware {module['firmware']}, IMEI {module['imei']}")
        typer.echo(f"  {checks}")
    for port, reason in failed.items() if not as_json else ():
        typer.echo(f"{port}: {reason}", err=True)
    if failed:
        raise typer.Exit(1)
