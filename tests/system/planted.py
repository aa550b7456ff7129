"""Starts a simrack command with one bug planted: `planted.py NAME controller --config ...`.

The judge of the kills has to find each of them; nothing of this can be reached from the product.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any


def open_row_skipped() -> None:
    """100 Trying before anything is on disk."""
    from simrack.controller.store.writer import Writer

    async def open_call(self: Writer, call: Any) -> None:
        """Say that it is written."""

    Writer.open_call = open_call  # type: ignore[method-assign]


def record_doubled() -> None:
    """A try of the closing transaction whose answer was lost is taken for one that never ran."""
    from simrack.controller.store.writer import Writer

    finish = Writer.finish

    async def twice(self: Writer, finished: Any) -> None:
        await finish(self, finished)
        again = replace(finished.record, call=f"{finished.record.call}-2")
        await finish(self, replace(finished, record=again, attempts=()))

    Writer.finish = twice  # type: ignore[method-assign]


def acknowledged_before_stored() -> None:
    """The box may delete facts that no disk holds."""
    from simrack.controller.store.writer import Writer

    async def store(self: Writer, events: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(events)

    Writer.store_events = store  # type: ignore[method-assign]


def talk_rounded_up() -> None:
    """The box counts whole seconds begun."""
    from simrack.gateway.call import LiveCall

    part = LiveCall._part

    def rounded(self: LiveCall, figures: Any) -> Any:
        made = part(self, figures)
        return made.model_copy(update={"talk_ms": -(-made.talk_ms // 1000) * 1000})

    LiveCall._part = rounded  # type: ignore[method-assign]


def talks_not_resumed() -> None:
    """A restarted controller closes all that it finds open, also what still speaks."""
    from simrack.controller import app

    app._goes_on = lambda left: False


def strays_go_on() -> None:
    """Boxes go on ringing for a controller that has forgotten the call, and it does not look what they carry."""
    from simrack.controller.calls.strays import Strays
    from simrack.gateway.uplink import Uplink

    Uplink._met = lambda self, boot: None  # type: ignore[method-assign]
    Strays.look = lambda self: []  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {
    found.__name__.replace("_", "-"): found
    for found in (
        open_row_skipped, record_doubled, acknowledged_before_stored, talk_rounded_up, talks_not_resumed, strays_go_on,
    )
}


def main() -> None:
    BUGS[sys.argv.pop(1)]()
    from simrack.cli.main import main as simrack

    simrack()


if __name__ == "__main__":
    main()
