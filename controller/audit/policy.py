"""Which refusals are the policy's (lawful use), and what is written of them."""

from simrack.controller.audit.chain import Fact
from simrack.controller.models import RecordRow

#: Reasons (docs/routing.md) that say "this sender may not", not "there is no room" or "nobody knows this number".
POLICY = frozenset({
    "sender-unknown", "sender-disabled", "emergency", "calling-number", "calls-itself", "prefix-not-allowed",
    "prefix-blocked", "pattern-refuses", "plan-enabled", "sender-plan", "agreement-valid", "agreement-use",
    "agreement-site", "agreement-lab", "site-emergency", "origin",
})  # fmt: skip
REFUSED = "call-refused"


def refusal(record: RecordRow) -> Fact | None:
    """What is written of a refused call; None when it was not refused by policy.

    Without subscriber numbers: the audit log is for ever, and they stand in the record for as long as it is kept.
    """
    if record.outcome != "refused" or record.refusal not in POLICY:
        return None
    detail = {
        "reason": record.refusal, "sender": record.sender, "ingress": record.ingress, "sip": record.sip_status,
        "cause": record.cause, "pattern": record.pattern, "plan": record.plan,
    }  # fmt: skip
    told = {name: value for name, value in detail.items() if value != ""}
    return Fact(record.ended, "controller", REFUSED, record.call, told, source=f"call:{record.call}")
