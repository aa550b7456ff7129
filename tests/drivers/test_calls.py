"""A call from dial to release over a real PTY, whatever the octets go through on their way."""

import pytest
from drivers_bench import Begin
from drivers_transcript import Way

from simrack.drivers.modems.base import CardChanged, NetworkChanged, Progress

NUMBER = "+88210123456"


@pytest.mark.parametrize("way", list(Way))
async def test_answered_call_reports_each_state_and_its_cause(bench: Begin, way: Way) -> None:
    """Else a call would ring for ever, be billed too early, or lack its cause in the record."""
    module = await bench("ec25_call", way)
    card = await module.next(CardChanged)
    assert card.sim is not None
    assert (card.sim.iccid, card.sim.msisdn) == ("8988211000000000017", "+88210000017")
    network = (await module.next(NetworkChanged)).network
    assert (network.stat, network.operator, network.technology) == (1, "Lab Mobile", "LTE")
    assert network.signal_dbm == -57
    await module.driver.dial(NUMBER)
    await module.progress(Progress.DIALLING)
    for gate, state in (("alerting", Progress.ALERTING), ("answer", Progress.ACTIVE)):
        module.module.go(gate)
        await module.progress(state)
    module.module.go("release")
    released = await module.progress(Progress.RELEASED)
    assert (released.cause, released.text) == (16, "Normal call clearing")
    assert released.at > 0
