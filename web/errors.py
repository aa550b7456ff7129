"""Errors of the control room."""


class WebError(Exception):
    """Something that the control room can't do now."""


class LinkSpent(WebError):
    """The set-up link was used, has expired, or an account exists already; a new link may help."""


class SignInRefused(WebError):
    """Name and password do not belong together; trying again with the right ones helps."""


class TooManyTries(WebError):
    """Too many wrong tries; waiting `wait_s` seconds helps."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"too many tries, wait {wait_s} s")
        self.wait_s = wait_s


class BadForm(WebError):
    """A field holds something that can't be taken; `field` names it."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


class Gone(WebError):
    """There is no such thing, or not for this session; nothing helps but another name."""


class Stale(WebError):
    """Somebody else changed the thing since the form was drawn; looking at both helps."""
