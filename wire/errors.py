"""Errors of the contracts."""


class WireError(Exception):
    """Something that crossed a process boundary is not what the contract says."""


class BadMessage(WireError):
    """A payload does not fit its model; trying again does not help, the sender must be mended."""


class UnknownVersion(WireError):
    """A message has a version that this release does not speak; upgrade the older side."""


class LinkDown(WireError):
    """The broker can't be reached now; the client goes on trying by itself."""


class CommandFailed(WireError):
    """The receiver of a command refused it or did not answer before the deadline."""


class UserError(Exception):
    """A mistake that a person can mend: what is wrong, where, and what to do about it."""

    def __init__(self, what: str, where: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.todo = what, where, todo

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        todo = f" {self.todo}" if self.todo else ""
        return f"{where}{self.what}.{todo}"
