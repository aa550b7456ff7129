"""The first-run page: from nothing to a call, without remembering anything."""

from dataclasses import replace
from typing import Any

from web_helpers import NOW, Stand, text_of

from simrack.controller.config.models import Agreement, Installation, Pattern, Plan, Sender, Site
from simrack.controller.config.rows import EMPTY
from simrack.web.rack import RackModel
from simrack.web.services.setting_up import Known, next_step, regulator, steps


def known(**changes: Any) -> Known:
    from web_helpers import Hands

    table = replace(EMPTY, **changes) if changes else EMPTY
    return Known(table, RackModel(Hands()).snapshot(), answered=False)


def test_nothing_is_done_at_first_and_the_class_comes_first() -> None:
    """A newcomer is led by the hand, not left before sixteen empty pages."""
    all_steps = steps(known())
    assert not any(step.done for step in all_steps)
    first = next_step(all_steps)
    assert first is not None
    assert first.name == "class"
    assert all(step.where.startswith("/") and step.why and step.button for step in all_steps)


def test_each_step_is_done_by_what_it_asks_for_and_by_nothing_less() -> None:
    """A site without its emergency choice takes no traffic, so it is no finished step; nor is a plan without a card."""
    site = Site(name="hall", country="DE")
    agreement = Agreement(
        name="a", operator="O", reference="1", uses=("own-use-voice",), sites=("hall",), valid_from=NOW.date(), valid_until=NOW.date()
    )
    plan = Plan(name="p", agreement="a", country="DE")
    sender = Sender(
        name="pbx", title="Our PBX", legal_name="L", contact="c", country="DE", purpose="own", use="own-use-voice",
        addresses=("192.0.2.1",), numbers=("+49301*",),
    )  # fmt: skip
    pattern = Pattern(prefixes=("+",), action="refuse")
    installation = Installation(class_="own-use", owner="Acme", country="DE")
    done = {step.name: step.done for step in steps(known(
        version=3, installation=installation, sites={"hall": site}, agreements={"a": agreement}, plans={"p": plan},
        senders={"pbx": sender}, patterns={"+": pattern},
    ))}  # fmt: skip
    assert done == {
        "class": True, "site": False, "box": False, "sim": False, "agreement": True, "plan": False, "sender": True,
        "pattern": True, "call": False,
    }  # fmt: skip
    better = steps(known(
        version=3, installation=installation, sites={"hall": site.model_copy(update={"emergency": "refuse"})},
        plans={"p": plan.model_copy(update={"imsi_prefixes": ("26201",)})},
    ))  # fmt: skip
    assert {step.name for step in better if step.done} == {"class", "site", "plan"}


def test_the_country_names_its_regulator() -> None:
    """Several countries license or ban what this can be used for: a person must be told where to ask."""
    named = regulator(known(installation=Installation(class_="operator", owner="O", country="GB")))
    assert named is not None
    assert named[0] == "Ofcom"
    assert regulator(known()) is None


def test_the_page_of_the_first_day(empty: Stand) -> None:
    """It says where to begin."""
    page = empty.signed_in().get("/set-up")
    assert page.status_code == 200
    assert "0 of 9 steps are done" in text_of(page.text)


def test_the_page_in_full_work(demo: Stand) -> None:
    """It can be left and taken up: what is there it knows by itself."""
    words = text_of(demo.signed_in().get("/set-up").text)
    assert "A sender : done Alpine Tel" in words
    assert "A call : done" in words
