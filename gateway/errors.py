"""Errors of the box: one tree, a sentence each."""


class GatewayError(Exception):
    """Something at the box went wrong."""


class IllegalMove(GatewayError):
    """A channel was to make a move that the table doesn't allow: a fault in our code, never in the field's data."""


class StoreBroken(GatewayError):
    """The box's file can't be written or read now (disk full, read-only, gone); trying again may help."""


class BadRequest(GatewayError):
    """The controller's INVITE lacks something; trying the same again never helps."""

    def __init__(self, text: str, status: int, cause: int) -> None:
        super().__init__(text)
        self.status, self.cause = status, cause


class CommandRefused(GatewayError):
    """A command can't be done; the text goes back to whoever sent it."""
