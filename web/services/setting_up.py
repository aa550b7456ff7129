"""From an empty installation to a first call: the steps, each with what is there already and where to go on (pure).

Nothing is remembered: a step is done when the rack and the configuration show it, so that set-up can be left at any
moment and taken up by somebody else.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from simrack.controller.routing.table import RoutingTable
from simrack.web.rack import Rack
from simrack.wire.channel import IN_CALL, ChannelState

#: Who answers for such gateways where it is known; a country that is not named has its regulator all the same.
REGULATORS = {
    "DE": ("Bundesnetzagentur", "https://www.bundesnetzagentur.de"),
    "FR": ("Arcep", "https://www.arcep.fr"),
    "GB": ("Ofcom", "https://www.ofcom.org.uk"),
    "GH": ("National Communications Authority", "https://nca.org.gh"),
    "IN": ("Department of Telecommunications", "https://dot.gov.in"),
    "KE": ("Communications Authority of Kenya", "https://www.ca.go.ke"),
    "NG": ("Nigerian Communications Commission", "https://ncc.gov.ng"),
    "PK": ("Pakistan Telecommunication Authority", "https://www.pta.gov.pk"),
}
NAMES_SHOWN = 3
_IN_SERVICE = IN_CALL | {ChannelState.READY}


@dataclass(frozen=True, slots=True)
class Known:
    """What the steps are judged by."""

    table: RoutingTable
    rack: Rack
    answered: bool  # whether a call was ever answered


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `fact` says what is there; empty: it is still to be done."""

    name: str
    title: str
    why: str
    where: str  # the page that does it
    button: str
    fact: str

    @property
    def done(self) -> bool:
        return bool(self.fact)


def steps(known: Known) -> tuple[Step, ...]:
    """All steps in the order in which a newcomer takes them."""
    return tuple(Step(*words, fact(known)) for words, fact in _STEPS)


def next_step(all_steps: tuple[Step, ...]) -> Step | None:
    """The first that is not done; None: set-up is complete."""
    return next((step for step in all_steps if not step.done), None)


def regulator(known: Known) -> tuple[str, str] | None:
    """(name, address) of who licenses such gateways in the installation's country, where it is known."""
    return REGULATORS.get(known.table.installation.country)


def _some(names: Iterator[str] | list[str]) -> str:
    all_names = list(names)
    more = len(all_names) - NAMES_SHOWN
    return ", ".join(all_names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _class(known: Known) -> str:
    installation = known.table.installation
    return f"{installation.class_.replace('-', ' ')}, {installation.owner}" if known.table.version else ""


def _site(known: Known) -> str:
    return _some([site.title or site.name for site in known.table.sites.values() if site.emergency])


def _box(known: Known) -> str:
    return _some(sorted(box for box, status in known.rack.boxes.items() if status.online))


def _sim(known: Known) -> str:
    ready = sum(report.state in _IN_SERVICE and report.sim is not None for report in known.rack.channels.values())
    return f"{ready} SIM{'s' if ready > 1 else ''} in service" if ready else ""


def _agreement(known: Known) -> str:
    return _some([one.title or one.name for one in known.table.agreements.values()])


def _plan(known: Known) -> str:
    with_cards = {sim.plan for sim in known.table.sims.values()}
    return _some([one.title or one.name for one in known.table.plans.values() if one.imsi_prefixes or one.name in with_cards])


def _sender(known: Known) -> str:
    return _some([one.title or one.name for one in known.table.senders.values() if one.enabled])


def _pattern(known: Known) -> str:
    return _some(list(known.table.patterns))


def _call(known: Known) -> str:
    return "a call was answered" if known.answered else ""


_STEPS: tuple[tuple[tuple[str, str, str, str, str], Callable[[Known], str]], ...] = (
    (("class", "What this installation is", "It decides whose traffic is taken: own use, one customer, several under a licence, an operator, a lab.", "/installation", "Declare it"), _class),
    (("site", "A site and its emergency choice", "Boxes stand at sites. A site without a choice for emergency calls takes no traffic.",
      "/sites/site", "Enter a site"), _site),
    (("box", "The first box", "Start `simrack box` with this site's name in its file: it appears here within seconds.",
      "/gateways", "See the boxes"), _box),
    (("sim", "The first SIM", "Put a card into a module and wait until its channel says ready.", "/rack", "Look at the rack"), _sim),
    (("agreement", "An agreement", "What the SIMs' operator permits, where, until when. Without one no SIM carries a call.", "/agreements/agreement", "Enter an agreement"), _agreement),
    (("plan", "A plan with its SIMs", "A kind of SIM under an agreement: its cards, how they dial, what they may use.", "/plans/plan",
      "Make a plan"), _plan),
    (("sender", "A sender", "Who sends calls, from which address or with which password, and which numbers it may show.",
      "/senders/sender", "Enter a sender"), _sender),
    (("pattern", "A pattern", "Which called numbers go to which plan.", "/routing/pattern", "Make a pattern"), _pattern),
    (("call", "A call", "Place a test call and hear it here, as a sender whose use is test. It shows under Calls, and its record explains itself.",
      "/test-call", "Place it"), _call),
)  # fmt: skip
