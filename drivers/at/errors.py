"""Errors of the AT engine."""

from simrack.drivers.at.result import Final


class AtError(Exception):
    """An exchange at an AT port did not end with OK."""

    #: The command had left before it went wrong: the module may have done it.
    sent = False


class AtRefused(AtError):
    """The module answered with an error result; asking again gives the same."""

    def __init__(self, command: str, final: Final) -> None:
        super().__init__(f"{command}: {final.text}")
        self.command, self.final = command, final


class AtTimeout(AtError):
    """This command stayed without an answer, but the module is alive and in step again."""


class AtSilent(AtError):
    """The module answers nothing, not even AT; only the recovery ladder helps."""


class AtAborted(AtError):
    """The command was given up from our side before its answer came."""


class AtGone(AtError):
    """The port is closed; the device must be opened anew."""
