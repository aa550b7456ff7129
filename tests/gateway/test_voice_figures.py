"""Dead voice in the box's own figures."""

from gateway_support import part

from simrack.gateway.figures import Tally
from simrack.wire.messages import CallPart, FaultPart, MediaFigures


class Facts:
    """What went on to the controller."""

    def __init__(self) -> None:
        self.bodies: list[CallPart | FaultPart] = []

    async def put(self, body: CallPart | FaultPart) -> None:
        self.bodies.append(body)


async def test_dead_voice_is_counted_by_channel_and_kind() -> None:
    """Breaks: Prometheus shows nothing of a module whose audio port is dead."""
    facts = Facts()
    tally = Tally(facts)
    for number, trouble in enumerate(("one-way:no-pcm", "one-way:no-pcm", "no-media", "")):
        await tally.put(part(f"a{number}", channel=7, media=MediaFigures(trouble=trouble)))
    assert tally.troubles == {("7", "one-way:no-pcm"): 2, ("7", "no-media"): 1}
    assert len(facts.bodies) == 4
