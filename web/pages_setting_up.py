"""The first-run page: what is there already, what comes next, and the way to it."""

from flask import Blueprint, render_template

from simrack.web.app import room
from simrack.web.needs import needs
from simrack.web.services import configuration, setting_up

pages = Blueprint("setting_up", __name__)


@pages.get("/set-up")
@needs("set-up")
def set_up() -> str:
    known = known_now()
    steps = setting_up.steps(known)
    return render_template(
        "setting_up.html", steps=steps, coming=setting_up.next_step(steps), done=sum(step.done for step in steps),
        regulator=setting_up.regulator(known),
    )  # fmt: skip


def known_now() -> setting_up.Known:
    """What set-up is judged by, as it is now. Raises `StoreDown`."""
    desk = room().desk
    return setting_up.Known(configuration.table(), desk.model.snapshot(), desk.ever_answered())
