"""One call's story as the page shows it (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass

from simrack.controller.models import AttemptRow, Explanation, Names, RecordRow, Story
from simrack.web import ladder
from simrack.web.columns import SIDES, cause_text, marks_text
from simrack.web.explained import Bar, bars, criteria_of
from simrack.web.text import DASH, Times, clock_ms, iccid_text, number_text, offset_text, seconds_text
from simrack.wire.messages import FlowFigures, MediaFigures

# Two clocks are compared by how much they drifted apart; in a short call jitter is more than that.
DRIFT_FROM_MS = 60_000
# Everybody is silent for some seconds of a call.
DEAD_AIR_FROM = 0.1
# A difference that an operator's bill would show too (architecture: differences over 1 s are marked).
TALK_DIFFERS_MS = 1000


@dataclass(frozen=True, slots=True)
class Fact:
    """One tile of the story."""

    label: str
    value: str
    sub: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Voice:
    """One direction of the voice chart."""

    title: str
    tone: str
    levels: tuple[int, ...]
    figures: str


@dataclass(frozen=True, slots=True)
class StoryView:
    """Everything that the template prints."""

    record: RecordRow
    title: tuple[str, str]
    facts: tuple[Fact, ...]
    drawing: ladder.Drawing
    actors: tuple[tuple[str, str], ...]
    explanation: Explanation | None
    funnel: tuple[Bar, ...]
    criteria: tuple[str, ...]
    equal: tuple[tuple[str, str], ...]
    attempts: tuple[AttemptRow, ...]
    voices: tuple[Voice, ...]
    fields: tuple[tuple[str, str], ...]
    names: Names


def story_view(story: Story, names: Names, times: Times) -> StoryView:
    record = story.record
    criteria, equal = criteria_of(story.explanation)
    sender = names.senders.get(record.sender, record.sender) or number_text(record.calling)
    return StoryView(
        record=record,
        title=(sender, number_text(record.called or record.called_received)),
        facts=_facts(story, names),
        drawing=ladder.draw(ladder.merged(story)),
        actors=_actors(story, sender),
        explanation=story.explanation,
        funnel=tuple(bars(story.explanation, story.attempts)),
        criteria=criteria,
        equal=equal,
        attempts=story.attempts,
        voices=tuple(_voices(story)),
        fields=tuple(_fields(record, names, times)),
        names=names,
    )


def last_attempt(story: Story) -> AttemptRow | None:
    return story.attempts[-1] if story.attempts else None


def media_of(story: Story) -> MediaFigures | None:
    attempt = last_attempt(story)
    return attempt.media if attempt is not None else None


def _facts(story: Story, names: Names) -> tuple[Fact, ...]:
    record = story.record
    differs = abs(record.talk_sender_ms - record.talk_network_ms) > TALK_DIFFERS_MS
    return (
        Fact(
            "Talk time", clock_ms(record.talk_network_ms) if record.answered else "no answer",
            f"sender {clock_ms(record.talk_sender_ms)}" + (", differs" if differs else "") if record.answered else "",
            "warn" if differs else "",
        ),
        Fact("Delay to ring", seconds_text(record.setup_ms or None), f"rang {seconds_text(record.ring_ms or None)}"),
        Fact("Released by", SIDES.get(record.side, record.side), "cause " + cause_text(record.cause)),
        _quality(story),
        Fact(
            "SIM", f"…{record.iccid[-4:]}" if record.iccid else "none",
            names.plans.get(record.plan, record.plan) or "no plan reached",
        ),
        Fact(
            "Channel", f"{record.box} / {record.channel}" if record.box else "none",
            f"{record.attempts} tried" if record.attempts != 1 else "first one tried",
        ),
    )  # fmt: skip


def _quality(story: Story) -> Fact:
    media, record = media_of(story), story.record
    mos = record.mos if record.mos is not None else media.mos if media is not None else None
    if media is None:
        known = mos is not None and record.talk_network_ms > 0
        return Fact("Quality", f"MOS {mos:.1f}" if known else DASH, record.codec if known else "no voice measured")
    lost = media.to_network.lost + media.from_network.lost
    late = media.to_network.late + media.from_network.late
    value = f"MOS {mos:.1f}" if mos is not None else media.codec or DASH
    return Fact("Quality", value, f"{media.codec or record.codec}, {lost} lost, {late} late")


def _actors(story: Story, sender: str) -> tuple[tuple[str, str], ...]:
    record, attempt = story.record, last_attempt(story)
    box = attempt.box if attempt is not None else record.box
    number = attempt.channel if attempt is not None else record.channel
    card = f"…{record.iccid[-4:]}" if record.iccid else ""
    network = f"{record.imsi[:3]} {record.imsi[3:5]}" if len(record.imsi) >= 5 else ""
    return (
        ("Sender", sender),
        ("Controller", ""),
        ("Box", box),
        (f"Module {number}" if number is not None else "Module", card),
        ("Network", network),
    )


def _voices(story: Story) -> Iterable[Voice]:
    media = media_of(story)
    if media is None:
        return
    told = media.drift_ppm and story.record.talk_network_ms >= DRIFT_FROM_MS
    drift = f", drift {media.drift_ppm:.0f} ppm" if told else ""
    yield Voice("to the network", "said", media.to_network.levels, _flow(media.to_network))
    yield Voice("from the network", "heard", media.from_network.levels, _flow(media.from_network) + drift)


def _flow(flow: FlowFigures) -> str:
    sent = flow.packets + flow.lost
    loss = f"loss {100 * flow.lost / sent:.1f} %" if sent else "no packet"
    level = f", mean {flow.level_dbfs:.0f} dBFS" if flow.level_dbfs is not None else ""
    burst = f", longest gap {flow.longest_burst_ms} ms" if flow.bursts else ""
    delay = f", delay {flow.delay_ms:.0f} ms" if flow.delay_ms else ""
    dead = f", {100 * flow.dead_air:.0f} % dead air" if flow.dead_air >= DEAD_AIR_FROM else ""
    return f"{loss}{burst}, late {flow.late}, jitter {flow.jitter_ms:.0f} ms{delay}{level}{dead}"


def _fields(record: RecordRow, names: Names, times: Times) -> Iterable[tuple[str, str]]:
    yield "Call", record.call
    yield "Direction", "out to the network" if record.direction == "out" else "in from the network"
    yield "Sender", names.senders.get(record.sender, record.sender) or DASH
    yield "Came in from", record.ingress or DASH
    yield "Went out at", record.egress or DASH
    yield "Calling, as received", record.calling_received or DASH
    yield "Calling, presented", number_text(record.calling)
    yield "Called, as received", record.called_received or DASH
    yield "Called", number_text(record.called)
    yield "Dialled at the module", record.dialled or DASH
    yield "Started", times.full(record.started)
    yield "Ringing", times.full(record.alerting) if record.alerting else DASH
    yield "Answered", times.full(record.answered) if record.answered else DASH
    yield "Ended", times.full(record.ended)
    yield "Talk, network", clock_ms(record.talk_network_ms)
    yield "Talk, sender", clock_ms(record.talk_sender_ms)
    yield "To ring", offset_text(record.setup_ms) if record.setup_ms else DASH
    yield "Ringing for", offset_text(record.ring_ms) if record.ring_ms else DASH
    yield "Cause", cause_text(record.cause)
    yield "Cause, module's words", record.cause_original or DASH
    yield "SIP answer", str(record.sip_status or DASH)
    yield "Refused because", record.refusal or DASH
    yield "SIM (ICCID)", iccid_text(record.iccid) or DASH
    yield "IMSI", record.imsi or DASH
    yield "Plan", names.plans.get(record.plan, record.plan) or DASH
    yield "Pattern", record.pattern or DASH
    yield "Codec", record.codec or DASH
    yield "Marks", marks_text(record)
