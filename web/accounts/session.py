"""Who is signed in, and as what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from simrack.controller.models import Own
from simrack.web.masks import Mask
from simrack.wire import rights

#: What must be done before anything else: a password given by somebody else, a second factor that the class demands.
Must = Literal["", "password", "second-factor"]


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in, by cookie or by API token."""

    user_id: int
    user: str
    role: str
    api: bool = False
    # An API token may have fewer rights than its owner; None: all of the role's.
    only: frozenset[str] | None = None
    # Of scoped roles: the senders or owners whose rows they see. Hidden: groups of fields that they never see.
    scope: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    public: str = ""  # what lists call this session
    half: bool = False  # the second factor is still to come: nothing is open
    must: Must = ""
    #: The partner through whose eyes an administrator looks: role, scope and hidden are then the partner's.
    eyes: str = ""

    def may(self, right: str) -> bool:
        """Whether this session has the right (wire.rights)."""
        return rights.may(self.role, right) and (self.only is None or right in self.only)

    @property
    def actor(self) -> str:
        """Who acts, in commands and in the audit log."""
        return f"{rights.PERSON}:{self.user}"

    def own(self, plan_owners: Mapping[str, str]) -> Own:
        """Whose rows this session sees."""
        return Own.of(self.role, self.scope, plan_owners)

    def mask(self) -> Mask:
        """What of a row this session reads."""
        return Mask(
            whole=self.may("numbers.whole"), hidden=self.hidden, way=self.may("records.plan"),
            why=self.may("records.route"), trace=self.may("records.trace"),
        )  # fmt: skip
