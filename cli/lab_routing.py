"""The routing file of an emulated rack: class test lab, SIMs of MCC 001 only, two senders.

No path leads from here to another deployment class: a real installation writes its own file.
"""

from typing import Any

TEST_NETWORK = "001"  # ITU-T E.212: belongs to no operator
LAB_NUMBERS = "+88210"  # the lab's numbers; no real subscriber is ever met
CALLERS = "+88210900*"
SITE, PLAN = "lab", "lab"
DIGEST_SENDER, DIGEST_ADDRESS = "lab-pbx", "127.0.0.1"  # for any phone: MD5 only
TRUNK_SENDER, TRUNK_ADDRESS = "lab-trunk", "127.0.0.2"  # by its address
CALLER_SENDER, CALLER_ADDRESS = "lab-caller", "127.0.0.5"  # `simrack call`: SHA-256


def _sender(name: str, title: str, **identity: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "legal_name": "simrack lab",
        "contact": "the person who started this lab",
        "country": "001",
        "purpose": "test calls inside the emulated network",
        "use": "test",
        "numbers": [CALLERS],
        "default_number": "+882109000000",
        "other_numbers": "replace",
        **identity,
    }


def lab_callers(password: str) -> dict[str, dict[str, str]]:
    """How the lab's senders identify themselves, for the state file."""
    return {
        "digest": {"user": DIGEST_SENDER, "password": password, "from": DIGEST_ADDRESS},
        "trunk": {"from": TRUNK_ADDRESS},
        "builtin": {"user": CALLER_SENDER, "password": password, "from": CALLER_ADDRESS},
    }


def lab_routing(password: str) -> dict[str, Any]:
    """Senders, plan, agreement and pattern of the lab; `password` is the digest senders'."""
    return {
        "installation": {"class": "test-lab", "owner": "simrack lab", "country": "001"},
        "site": [{"name": SITE, "title": "Emulated lab", "country": "001", "emergency": "refuse"}],
        "agreement": [
            {
                "name": "lab",
                "title": "Emulated network",
                "operator": "simrack lab network",
                "reference": "emulated",
                "lab": True,
                "uses": ["test"],
                "origins": ["001"],
                "sites": [SITE],
                "valid_from": "2026-01-01",
                "valid_until": "2099-12-31",
            }
        ],
        "plan": [
            {"name": PLAN, "title": "Lab SIMs", "agreement": "lab", "country": "001", "imsi_prefixes": [TEST_NETWORK]}
        ],
        "sender": [
            _sender(
                DIGEST_SENDER,
                "Lab PBX",
                addresses=[DIGEST_ADDRESS],
                digest={"user": DIGEST_SENDER, "password": password, "algorithms": ["MD5"]},
            ),
            _sender(
                CALLER_SENDER,
                "Built-in caller",
                addresses=[CALLER_ADDRESS],
                digest={"user": CALLER_SENDER, "password": password, "algorithms": ["SHA-256"]},
            ),
            _sender(TRUNK_SENDER, "Lab trunk", addresses=[TRUNK_ADDRESS]),
        ],
        "pattern": [
            {"name": "lab numbers", "prefixes": [LAB_NUMBERS], "targets": [{"plan": PLAN, "priority": 100}]}
        ],
    }
