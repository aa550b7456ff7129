"""Errors of the SIP layer."""


class SipError(Exception):
    """Something about SIP went wrong here, not in the call itself (those are events of the leg)."""


class AlreadyOpen(SipError):
    """This process already runs a SIP stack; the library below is a singleton. Stop the first one first."""


class NotOpen(SipError):
    """The stack was never started, or is stopped; trying again does not help."""


class LibraryChanged(SipError):
    """The SIP library is not the version that `sip/engine.py` was written for; look at its internals first."""


class WrongStage(SipError):
    """The leg is not in a stage that allows this; the caller's own book is wrong."""
