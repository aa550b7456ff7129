"""What a command has left behind, however it was run."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """What a command has left, named as by `subprocess`."""

    returncode: int
    stdout: str
    stderr: str


Here = Callable[..., Ended]
