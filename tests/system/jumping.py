"""Starts a simrack command whose wall clock can be moved: `jumping.py STEP,STEP,... controller --config ...`.

Each SIGUSR2 moves it by the next step, in seconds. Durations stay what they are, as on a machine whose clock
somebody sets: nothing but `SystemClock.utc` reads the wall clock (ruff bans the functions everywhere else).
"""

import itertools
import signal
import sys
from datetime import datetime, timedelta

from simrack.wire.ports import SystemClock


def main() -> None:
    steps = itertools.cycle([timedelta(seconds=float(step)) for step in sys.argv.pop(1).split(",")])
    true, moved = SystemClock.utc, timedelta()

    def jump(_number: int, _frame: object) -> None:
        nonlocal moved
        moved += next(steps)

    def utc(self: SystemClock) -> datetime:
        return true(self) + moved

    SystemClock.utc = utc  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR2, jump)
    from simrack.cli.main import main as simrack

    simrack()


if __name__ == "__main__":
    main()
