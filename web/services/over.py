"""What a test call may be bound to: a box, one of its channels, a SIM; as pages offer it, and as people call it."""

from collections.abc import Collection
from dataclasses import dataclass

from simrack.controller.models import Names
from simrack.controller.routing.decision import Over
from simrack.web import cells
from simrack.web.entry import inventory
from simrack.web.errors import BadForm
from simrack.web.masks import Mask
from simrack.web.rack import Rack
from simrack.web.services.live import visible
from simrack.web.text import number_text

#: (value, words) of a choice, under the title of its group.
Group = tuple[str, tuple[tuple[str, str], ...]]
CHANNEL, ICCID = "channel", "iccid"
NOT_THERE = "not-there"
_MOST_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Choice:
    """What a page offers and what is taken of it. `part`: `channel=3` or `iccid=8949…`, "" for any of the box."""

    boxes: tuple[Group, ...]
    parts: tuple[Group, ...]
    box: str = ""
    part: str = ""


def read(box: str, channel: str, iccid: str) -> Over | None:
    """What is meant, out of what who is signed in may see; None for anything. Raises `BadForm`."""
    of = inventory()
    cards = () if of.mask.hides("sim") else of.cards
    return read_in(visible(), cards, box.strip(), channel.strip(), iccid.replace(" ", ""))


def read_in(rack: Rack, cards: Collection[str], box: str, channel: str, iccid: str) -> Over | None:
    """The same in this rack with these cards. Raises `BadForm`."""
    if box and box not in rack.boxes:
        raise BadForm("over.box", f"There is no box {box[:40]}.")
    if iccid and iccid not in cards:
        raise BadForm("over.iccid", "There is no SIM with this ICCID.")
    if not channel:
        return Over(box, None, iccid) if box or iccid else None
    if not (channel.isascii() and channel.isdecimal() and len(channel) <= _MOST_DIGITS):
        raise BadForm("over.channel", "A channel is a number, such as 3.")
    if not box:
        raise BadForm("over.channel", "A channel of which box?")
    if int(channel) not in cells.channels_of(box, rack):
        raise BadForm("over.channel", f"{box} has no channel {int(channel)}.")
    return Over(box, int(channel), iccid)


def read_chosen(box: str, part: str) -> Over | None:
    """What the two fields of the page say; a SIM is meant wherever it is. Raises `BadForm`."""
    kind, _, value = part.partition("=")
    if part and (kind not in (CHANNEL, ICCID) or not value):
        raise BadForm("over.channel", "Choose a channel or a SIM.")
    return read("", "", value) if kind == ICCID else read(box, value, "")


def choice(over: Over | None, box: str, names: Names) -> Choice:
    """What there is to choose from, with this taken; the parts are those of one box, for a rack may have thousands."""
    of, rack = inventory(), visible()
    part = ""
    if over is not None:
        part = f"{ICCID}={over.iccid}" if over.iccid else f"{CHANNEL}={over.channel}" if over.channel is not None else ""
        report = of.live.get(over.iccid)
        box = report.box if report is not None and report.box in rack.boxes else over.box
    box = box if box in rack.boxes else ""
    parts = _parts(rack, box, of.mask, names) if box else ()
    if part and all(part != value for _, group in parts for value, _ in group):
        parts = (*parts, ("In no module now", ((part, f"SIM …{over.iccid[-4:]}" if over is not None else ""),)))
    return Choice(_boxes(rack, names), parts, box, part)


def _boxes(rack: Rack, names: Names) -> tuple[Group, ...]:
    sites: dict[str, list[tuple[str, str]]] = {}
    for box in sorted(rack.boxes):
        site = rack.boxes[box].site
        sites.setdefault(names.sites.get(site, site), []).append((box, box))
    return tuple((title or "No site", tuple(boxes)) for title, boxes in sorted(sites.items()))


def _parts(rack: Rack, box: str, mask: Mask, names: Names) -> tuple[Group, ...]:
    channels, cards = [], []
    for channel in cells.channels_of(box, rack):
        report = rack.channels.get((box, channel))
        plan = cells.plan_of(report, names)
        channels.append((f"{CHANNEL}={channel}", f"{box} / {channel}{f', {plan}' if plan else ''}"))
        if report is not None and report.sim is not None and report.sim.iccid and not mask.hides("sim"):
            number = mask.number(number_text(report.sim.msisdn)) if report.sim.msisdn else ""
            words = (f"SIM …{report.sim.iccid[-4:]}", number, plan)
            cards.append((f"{ICCID}={report.sim.iccid}", ", ".join(word for word in words if word)))
    return tuple((title, tuple(group)) for title, group in (("Channels", channels), ("SIMs in it", cards)) if group)


def words(over: Over) -> str:
    """What people call it."""
    if over.iccid:
        return f"SIM …{over.iccid[-4:]}"
    return over.box if over.channel is None else f"{over.box} / {over.channel}"


def missing_words(over: Over) -> str:
    """Why routing has found nothing of it (`not-there`), in people's words."""
    if over.iccid:
        return f"{words(over)} is in no module now."
    if over.channel is None:
        return f"{over.box} has no channel that could be called over now."
    return f"Channel {words(over)} is not there now."
