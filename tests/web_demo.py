"""A made-up rack with a day of traffic: fills a database and a live model, the same each time for one seed.

Pages are judged by eye with it (`shots.py`), and the tests count on what it holds.
"""

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import web_demo_audit
import web_trace
from sqlalchemy import insert, text
from sqlalchemy.engine import Connection

from simrack.controller.config.models import RoutingFile
from simrack.controller.config.rows import rows_of
from simrack.controller.models import CheckStep, Dropped, Explanation, LadderLine, OrderedCandidate, Refusal
from simrack.controller.store import tables as t
from simrack.controller.store.engine import write_engine
from simrack.controller.store.migrate import migrate
from simrack.wire.causes import sip_of
from simrack.wire.channel import ChannelState, Mark
from simrack.wire.drain import Then
from simrack.wire.messages import (
    AlarmSummary,
    AtLine,
    BoxStatus,
    CallInfo,
    ChannelReport,
    ControllerStatus,
    DrainInfo,
    FlowFigures,
    HostFigures,
    LiveCall,
    MediaFigures,
    Message,
    ModuleInfo,
    NetworkInfo,
    RecoveryInfo,
    RungFigures,
    SimInfo,
)
from simrack.wire.ports import Clock

S = ChannelState

SITES = {"vienna": "Vienna DC2", "brno": "Brno"}
BOXES = (("vienna-01", "vienna", 16), ("vienna-02", "vienna", 16), ("brno-01", "brno", 16), ("brno-02", "brno", 16))
PLANS = {"nova": "Nova Biz", "orbit": "Orbit 300", "tel7": "Tel-7 Flat"}
SENDERS = {"alpine": "Alpine Tel", "moravia": "Moravia Voice", "danube": "Danube Cloud PBX", "own": "Own switchboard"}
OPERATORS = ("Test Mobil", "Orbit Net", "Tel-7")
# Weights of the states in the grid, near the design target.
STATES = (
    (S.READY, 17), (S.ACTIVE, 26), (S.ALERTING, 4), (S.DIALLING, 2), (S.SMS, 1), (S.SEARCHING, 2), (S.NO_SIM, 2),
    (S.HELD, 1), (S.RELEASING, 1), (S.INCOMING, 1),
)  # fmt: skip
TELLING_CALL = "c0ffee0000000001"
# Stories that strain the page, by what is odd about them.
HARD_CALLS = {
    name: f"c0ffee00000000{number:02d}"
    for number, name in enumerate(("six-failed", "refused", "incoming", "estimated", "long-talk", "short-talk"), 10)
}
# Forty letters, as a careful person names a box; sixty for a sender.
LONG_BOX = "vienna-dc2-hall-3-row-14-rack-07-slot-21"
LONG_SENDER = "Wholesale Interconnect Partner of the Upper Danube, Route A2"


class DemoIds:
    """Numbers of the demo, by seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def token(self, octets: int = 12) -> str:
        return "".join(f"{self.random.randrange(256):02x}" for _ in range(octets))

    def number(self) -> str:
        return "+88210" + "".join(str(self.random.randrange(10)) for _ in range(7))

    def iccid(self, box: int, channel: int) -> str:
        return f"8988210{box:02d}{channel:02d}{self.random.randrange(10**8):08d}"


#: Cards that the configuration names; the first one is switched off.
CARDS = tuple(f"89882109{number:011d}" for number in range(6))
A_CARD = CARDS[0]
#: Of a module that opening and restarting did not bring back.
RECOVERY = RecoveryInfo(
    rung="usb", failed=("reopen", "reset"),
    figures=(RungFigures(rung="reopen", tries=2, failed=2), RungFigures(rung="reset", tries=1, failed=1)),
)  # fmt: skip


def fill_database(url: str, clock: Clock, *, seed: int = 7, records: int = 1500) -> None:
    """Migrate and fill; `url` must name a database that may be thrown away."""
    migrate(url, clock)
    engine = write_engine(url)
    ids = DemoIds(seed)
    with engine.begin() as connection:
        put_configuration(connection, clock.utc(), demo_file())
        if connection.dialect.name == "postgresql":
            # A row with a number of its own leaves the sequence behind.
            numbers = "SELECT count(nextval(pg_get_serial_sequence('config_version', 'version'))) FROM generate_series(1, 41)"
            connection.execute(text(numbers))
        _records(connection, clock.utc(), ids, records)
        _story(connection, clock.utc(), ids)
        for name, call in HARD_CALLS.items():
            _hard_story(connection, clock.utc(), ids, name, call)
        _alarms(connection, clock.utc())
        web_demo_audit.fill(connection, clock.utc(), TELLING_CALL)
        for message in messages(clock.utc(), seed=seed):
            if isinstance(message, LiveCall):
                connection.execute(insert(t.open_call).values(**open_call(message)))
    engine.dispose()


def open_call(call: LiveCall) -> dict[str, object]:
    return {
        "call": call.call, "run": "c1", "direction": "out", "sender": call.sender, "calling": call.calling,
        "called": call.called, "sip_call_id": call.call, "from_tag": "a", "started": call.started,
        "answered": call.answered, "box": call.box, "channel": call.channel, "plan": call.plan,
    }  # fmt: skip


def demo_file() -> RoutingFile:
    """The configuration of the demo: a lab of two sites with three kinds of SIMs."""
    senders = SENDERS | {"long": LONG_SENDER}
    return RoutingFile.model_validate({
        "installation": {"class": "test-lab", "owner": "Example Lab", "country": "AT"},
        "site": [{"name": name, "title": title, "country": "001", "emergency": "refuse"} for name, title in SITES.items()],
        "agreement": [
            {"name": "lab", "title": "Lab networks", "operator": "Test Mobil", "reference": "lab book 12", "lab": True,
             "uses": ["test"], "sites": list(SITES), "valid_from": "2026-01-01", "valid_until": "2027-12-31"},
            {"name": "brno-only", "operator": "Orbit Net", "reference": "letter of 3 March", "lab": True, "uses": ["test"],
             "sites": ["brno"], "valid_from": "2026-03-01", "valid_until": "2026-12-01"},
        ],
        "plan": [
            {"name": name, "title": title, "agreement": "brno-only" if name == "orbit" else "lab", "country": "001",
             "imsi_prefixes": [f"0010{position + 1}"], "sim_minutes_day": 300 if name == "orbit" else None,
             "sims": list(CARDS) if name == "tel7" else []}
            for position, (name, title) in enumerate(PLANS.items())
        ],
        "sim": [{"iccid": A_CARD, "plan": "tel7", "enabled": False, "holder": "Example Lab", "note": "lent to the field team"}],
        "sender": [
            {"name": name, "title": title, "legal_name": f"{title} Ltd"[:200], "contact": "+43 1 000", "country": "001",
             "purpose": "trial calls", "use": "test", "numbers": [f"+88210{position}*"], "max_calls": 60,
             **({"addresses": [f"192.0.2.{10 + position}"]} if position % 2 else
                {"digest": {"user": name, "password": "four rainy copper horses"}})}
            for position, (name, title) in enumerate(senders.items())
        ],
        "pattern": [
            {"name": "Test mobile, weekday", "prefixes": ["+88210", "+88213"], "targets": [{"plan": "nova"}, {"plan": "orbit", "priority": -1}]},
            {"name": "Premium", "prefixes": ["+882109"], "action": "refuse", "priority": 5},
            {"name": "Everything else", "prefixes": ["+"], "senders": ["own"], "targets": [{"plan": "tel7"}]},
        ],
    })  # fmt: skip


def put_configuration(connection: Connection, now: datetime, file: RoutingFile) -> None:
    """Version 41, in force."""
    connection.execute(
        insert(t.config_version).values(
            version=41, digest="demo", source="demo.toml", actor="demo", created=now, activated=now
        )
    )
    connection.execute(insert(t.config_active).values(id=1, version=41, activated=now))
    for table, rows in rows_of(file, "demo"):
        for row in rows:
            connection.execute(insert(table).values(version=41, **row))


OUTCOMES = (
    ("answered", 16, "calling", 58), ("answered", 16, "called", 12), ("failed", 17, "called", 8),
    ("failed", 19, "called", 9), ("failed", 1, "called", 3), ("failed", 38, "rack", 1), ("refused", 34, "rack", 4),
    ("refused", 28, "rack", 1), ("cancelled", 16, "calling", 4),
)  # fmt: skip


def _records(connection: Connection, now: datetime, ids: DemoIds, count: int) -> None:
    pick = ids.random
    rows = []
    for index in range(count):
        # Half of the calls in the last 24 h, half a week before, denser in working hours.
        ago = abs(pick.gauss(0, 9)) % 24 + (168 if index % 2 else 0)
        rows.append(_record(now - timedelta(hours=ago, seconds=pick.random() * 60), ids))
    connection.execute(insert(t.cdr), rows)


def _record(started: datetime, ids: DemoIds) -> dict[str, object]:
    pick = ids.random
    outcome, cause, side, _ = pick.choices(OUTCOMES, [row[3] for row in OUTCOMES])[0]
    placed = outcome != "refused"
    setup = round(pick.lognormvariate(7.5, 0.35)) if placed and cause not in (1, 38) else 0
    ring = round(pick.lognormvariate(8.6, 0.5)) if setup else 0
    talk = round(pick.lognormvariate(11.9, 0.9)) if outcome == "answered" else 0
    answered = started + timedelta(milliseconds=setup + ring) if talk else None
    box, _, channels = pick.choice(BOXES)
    called, calling = ids.number(), ids.number()
    return {
        "call": ids.token(8), "direction": "out", "sender": pick.choice(list(SENDERS)), "calling_received": calling,
        "calling": calling, "called_received": called.lstrip("+"), "called": called, "dialled": called,
        "started": started, "alerting": started + timedelta(milliseconds=setup) if setup else None,
        "answered": answered, "ended": started + timedelta(milliseconds=setup + ring + talk), "setup_ms": setup,
        "ring_ms": ring, "talk_network_ms": talk, "talk_sender_ms": max(0, talk - pick.randrange(60)) if talk else 0,
        "outcome": outcome, "cause": cause, "cause_original": "", "side": side,
        "sip_status": 200 if talk else sip_of(cause), "refusal": "all-busy" if cause == 34 else "", "marks": [],
        "box": box if placed else "", "channel": pick.randint(1, channels) if placed else None,
        "iccid": ids.iccid(1, 1) if placed else "", "imsi": "001010000000001" if placed else "",
        "plan": pick.choice(list(PLANS)) if placed else "", "pattern": "Test mobile, weekday",
        "ingress": "192.0.2.10:5060", "egress": "10.7.0.11:5062", "codec": "PCMA" if talk else "",
        "mos": round(min(4.4, pick.gauss(4.15, 0.15)), 1) if talk else None, "attempts": 1 if placed else 0,
        "estimated": False,
    }  # fmt: skip


def at_log(number: str) -> tuple[AtLine, ...]:
    info = f'"{number}",145'
    lines = (
        (3, ">", f"ATD{number};"), (9, "<", "OK"), (17, "<", f'+QIND: "ccinfo",1,0,2,0,0,{info}'),
        (1837, "<", f'+QIND: "ccinfo",1,0,3,0,0,{info}'), (6117, "<", f'+QIND: "ccinfo",1,0,0,0,0,{info}'),
        (228405, ">", "AT+QHUP=16"), (228422, "<", "OK"), (228431, "<", f'+QIND: "ccinfo",1,0,-1,0,0,{info}'),
    )  # fmt: skip
    return tuple(AtLine(ms=ms, way=way, text=text) for ms, way, text in lines)


def failed_log(number: str) -> tuple[AtLine, ...]:
    lines = ((2, ">", f"ATD{number};"), (1304, "<", "+CME ERROR: 30"))
    return tuple(AtLine(ms=ms, way=way, text=text) for ms, way, text in lines)


def ladder() -> tuple[LadderLine, ...]:
    lines = (
        (0, "sender", "controller", "INVITE +882 10 1234567", 0), (1, "controller", "sender", "100 Trying", 0),
        (6, "controller", "box", "INVITE, attempt 1", 1), (1312, "box", "controller", "503, cause 38", 1),
        (1320, "controller", "box", "INVITE, attempt 2", 2), (3158, "box", "controller", "183 Progress", 2),
        (3160, "controller", "sender", "183 Progress", 0), (7439, "box", "controller", "200 OK", 2),
        (7442, "controller", "sender", "200 OK", 0), (7451, "sender", "controller", "ACK", 0),
        (229720, "sender", "controller", "BYE", 0), (229722, "controller", "box", "BYE", 2),
        (229761, "box", "controller", "200 OK", 2), (229763, "controller", "sender", "200 OK", 0),
    )  # fmt: skip
    return tuple(
        LadderLine(ms=ms, source=a, target=b, label=label, attempt=number)
        for ms, a, b, label, number in lines
    )


def explanation() -> Explanation:
    def out(count: int, reason: str, first: int = 1) -> tuple[Dropped, ...]:
        return tuple(Dropped(candidate=f"vienna-01 / {first + index}", reason=reason) for index in range(count))

    steps = (
        CheckStep(check="targets", title="Targets of the pattern", went_in=2, left=2, note="Nova Biz, Orbit 300"),
        CheckStep(check="channels", title="Channels with their SIMs", went_in=22, left=22,
                  note="16 at Vienna DC2, 6 at Brno"),
        CheckStep(check="plan-enabled", title="Plan enabled", went_in=22, left=22),
        CheckStep(check="agreement-valid", title="Agreement valid today", went_in=22, left=22),
        CheckStep(check="box-reachable", title="Box reachable", went_in=22, left=22),
        CheckStep(check="agreement", title="Agreement and site", went_in=22, left=16,
                  dropped=out(6, "the agreement names Vienna only", 9), note="the agreement names Vienna only"),
        CheckStep(check="channel-ready", title="Channel ready", went_in=16, left=9,
                  dropped=(*out(5, "speaking"), *out(1, "module fault", 7), *out(1, "no SIM", 11)),
                  note="5 speaking, 1 fault, 1 no SIM"),
        CheckStep(check="limits", title="Limits", went_in=9, left=7,
                  dropped=out(2, "daily minutes reached: 300 of 300", 13), note="daily minutes reached"),
    )  # fmt: skip
    order = tuple(
        OrderedCandidate(
            box=box, channel=channel, iccid=iccid, plan=plan, decided_by=decided, outcome=outcome,
            criteria=(("pattern-priority", "0"), ("priority", priority), ("answer-signal", "proven"), ("rest", rest), ("calls today", calls)),
        )
        for box, channel, iccid, plan, priority, rest, calls, decided, outcome in (
            ("vienna-02", 3, "8988210020300004396", "nova", "100", "6:02", "11", "rest", "failed, cause 38"),
            ("vienna-02", 7, "8988210020700004410", "nova", "100", "4:10", "14", "rest", "answered"),
            ("vienna-01", 2, "8988210010200004427", "nova", "100", "2:51", "9", "rest", ""),
            ("vienna-02", 15, "8988210021500004433", "nova", "100", "1:07", "17", "priority", ""),
            ("vienna-01", 5, "8988210010500005120", "orbit", "80", "9:40", "3", "", ""),
        )
    )  # fmt: skip
    return Explanation(
        config_version=41, sender="alpine", called_received="882101234567", called="+882101234567",
        calling_received="+882107000001", calling="+882107000001", pattern="Test mobile, weekday",
        targets=("plan Nova Biz", "plan Orbit 300"), steps=steps, order=order,
    )  # fmt: skip


def levels(seed: int, length: int = 222) -> tuple[int, ...]:
    pick = random.Random(seed)
    return tuple(
        round(max(-68, min(-6, -24 + 9 * math.sin(index / 6 + seed) + pick.gauss(0, 4) - 30 * (pick.random() < 0.13))))
        for index in range(length)
    )


def media() -> MediaFigures:
    return MediaFigures(
        codec="PCMA", drift_ppm=38.0, mos=4.2,
        to_network=FlowFigures(packets=11114, lost=33, late=1, concealed=33, jitter_ms=4.1, level_dbfs=-23.4,
                               levels=levels(1)),
        from_network=FlowFigures(packets=11115, lost=0, late=0, jitter_ms=1.2, level_dbfs=-26.0, levels=levels(4)),
    )  # fmt: skip


def _story(connection: Connection, now: datetime, ids: DemoIds) -> None:
    """One call with everything: a failed attempt, in-call failover, an answer."""
    started = now - timedelta(minutes=11)
    row = _record(started, ids) | {
        "call": TELLING_CALL, "sender": "alpine", "called": "+882101234567", "called_received": "882101234567",
        "calling": "+882107000001", "calling_received": "+882107000001", "dialled": "+882101234567",
        "alerting": started + timedelta(milliseconds=3158), "answered": started + timedelta(milliseconds=7439),
        "ended": started + timedelta(milliseconds=229763), "setup_ms": 3158, "ring_ms": 4281, "mos": 4.2,
        "talk_network_ms": 222314, "talk_sender_ms": 222278, "outcome": "answered", "cause": 16, "side": "calling",
        "sip_status": 200, "refusal": "", "box": "vienna-02", "channel": 7, "iccid": "8988210020700004410",
        "imsi": "001010207004410", "plan": "nova", "codec": "PCMA", "attempts": 2, "cause_original": "",
    }  # fmt: skip
    connection.execute(insert(t.cdr).values(**row))
    lines = "[" + ",".join(line.model_dump_json() for line in ladder()) + "]"
    connection.execute(
        insert(t.call_story).values(call=TELLING_CALL, explanation=explanation().model_dump_json(), ladder=lines)
    )
    connection.execute(insert(t.call_trace).values(call=TELLING_CALL, started=started, messages=web_trace.stored(started)))
    for number, log, outcome, cause, voice in (
        (1, failed_log("+882101234567"), "failed", 38, None),
        (2, at_log("+882101234567"), "answered", 16, media()),
    ):
        begun = started + timedelta(milliseconds=6 if number == 1 else 1320)
        connection.execute(
            insert(t.attempt).values(
                attempt=f"{TELLING_CALL}-{number}", call=TELLING_CALL, number=number, box="vienna-02",
                channel=3 if number == 1 else 7, started=begun, ended=started + timedelta(milliseconds=229761),
                iccid="8988210020300004396" if number == 1 else "8988210020700004410", cause=cause,
                cause_text="+CME ERROR: 30" if number == 1 else "", outcome=outcome, part=True,
                talk_ms=222314 if number == 2 else 0, media=voice.model_dump_json() if voice else None,
                at_log="[" + ",".join(line.model_dump_json() for line in log) + "]",
            )
        )  # fmt: skip
    refusal = Refusal(reason="all-busy", sip=503, cause=34, text="every channel that could carry it is busy")
    refused = connection.execute(t.cdr.select().where(t.cdr.c.cause == 34).limit(1)).first()
    if refused is not None:
        why = explanation().model_copy(update={"order": (), "refusal": refusal, "steps": explanation().steps[:3]})
        connection.execute(
            insert(t.call_story).values(call=refused.call, explanation=why.model_dump_json(), ladder="[]")
        )


def _hard_story(connection: Connection, now: datetime, ids: DemoIds, name: str, call: str) -> None:
    """One call of `HARD_CALLS`, made of the telling one."""
    started = now - timedelta(hours=2)
    answered = name in ("estimated", "long-talk", "short-talk")
    talk = {"estimated": 61_000, "long-talk": 300_000, "short-talk": 6_000}.get(name, 0)
    tries = {"six-failed": 6, "refused": 0, "incoming": 1}.get(name, 1)
    row = _record(started, ids) | {
        "call": call, "sender": "long" if name == "six-failed" else "alpine", "called": "+882101234567",
        "setup_ms": 3158 if answered else 0, "ring_ms": 4281 if answered else 0,
        "alerting": started + timedelta(milliseconds=3158) if answered else None,
        "answered": started + timedelta(milliseconds=7439) if answered else None,
        "ended": started + timedelta(milliseconds=7439 + talk), "talk_network_ms": talk, "talk_sender_ms": talk,
        "outcome": "answered" if answered else "refused" if name in ("refused", "incoming") else "failed",
        "cause": 16 if answered else {"refused": 41, "incoming": 27}.get(name, 38), "attempts": tries,
        "refusal": {"refused": "no-candidate", "incoming": "no-receiver"}.get(name, ""), "side": "rack",
        "estimated": name == "estimated", "marks": ["talk-differs", "clock-suspect"] if name == "estimated" else [],
        "direction": "in" if name == "incoming" else "out", "box": "" if name == "refused" else "vienna-01",
        "channel": None if name == "refused" else 6, "plan": "" if name == "refused" else "nova",
    }  # fmt: skip
    connection.execute(insert(t.cdr).values(**row))
    why = explanation()
    if name == "refused":
        refusal = Refusal(reason="no-candidate", sip=480, cause=41, text="every candidate fell out; the last at Limits")
        why = why.model_copy(update={"order": (), "refusal": refusal})
    kept = () if name == "estimated" else ladder()[:2] if name in ("refused", "incoming") else ladder()
    lines = "[" + ",".join(line.model_dump_json() for line in kept) + "]"
    told = None if name == "incoming" else why.model_dump_json()
    connection.execute(insert(t.call_story).values(call=call, explanation=told, ladder=lines))
    for number in range(1, tries + 1):
        voice = media().model_copy(update={"drift_ppm": -1758.0 if name == "short-talk" else 38.0})
        flows = {side: getattr(voice, side).model_copy(update={"levels": levels(number, talk // 1000)})
                 for side in ("to_network", "from_network")}  # fmt: skip
        log = at_log("+882101234567") if answered else failed_log("+882101234567")
        connection.execute(
            insert(t.attempt).values(
                attempt=f"{call}-{number}", call=call, number=number, box="vienna-01", channel=5 + number,
                started=started + timedelta(seconds=number), ended=started + timedelta(seconds=number + 1),
                iccid="8988210020300004396", cause=row["cause"], outcome="answered" if answered else "failed",
                cause_text="" if answered else "+CME ERROR: 30", part=name != "estimated", talk_ms=talk,
                media=voice.model_copy(update=flows).model_dump_json() if answered and name != "estimated" else None,
                at_log="[" + ",".join(line.model_dump_json() for line in log) + "]" if name != "estimated" else "[]",
            )
        )  # fmt: skip


def few(stream: Iterator[Message], channels: int = 4) -> Iterator[Message]:
    """The same rack with small boxes."""
    for message in stream:
        if isinstance(message, BoxStatus):
            yield message.model_copy(update={"channels": channels})
        elif not isinstance(message, ChannelReport | LiveCall) or (message.channel or 0) <= channels:
            yield message


def long_names(now: datetime) -> Iterator[Message]:
    """One box with the longest name and 32 channels, one of each state among them."""
    states = [*ChannelState, *[S.ACTIVE] * 8]
    ids = DemoIds(3)
    yield ControllerStatus(boot="c1", seq=1, at=now, online=True, sip="10.7.0.1:5060", config_version=41)
    yield AlarmSummary(boot="c1", seq=1, at=now, minor=1)
    for box, channels in ((LONG_BOX, 32), ("brno-states", 16)):
        yield BoxStatus(
            boot="b1", seq=1, at=now, box=box, online=True, site="vienna", channels=channels, sip="10.7.0.11:5062",
            software="0.1.0", outbox=1204, clock_offset_ms=-812, link="plain",
        )  # fmt: skip
        for channel in range(1, channels):
            for message in _channel(now, box, 1, channel, ids, states[(channel - 1) % len(states)]):
                if isinstance(message, LiveCall):
                    yield message.model_copy(update={"sender": "long", "attempt": 6})
                else:
                    yield message


def fleet(now: datetime, boxes: int, channels: int) -> Iterator[Message]:
    """A whole hall: `boxes` boxes of `channels` channels each in usual work."""
    ids = DemoIds(5)
    yield ControllerStatus(boot="c1", seq=1, at=now, online=True, sip="10.7.0.1:5060", config_version=41)
    for index in range(boxes):
        box = f"hall-{index:02d}"
        yield BoxStatus(
            boot="b1", seq=1, at=now, box=box, online=True, site="vienna", channels=channels, sip="10.7.0.11:5062",
            software="0.1.0",
        )  # fmt: skip
        for channel in range(1, channels + 1):
            yield from _channel(now, box, index, channel, ids)


def hall(now: datetime, boxes: int, channels: int) -> Iterator[Message]:
    """A fleet over two sites with some trouble: one box gone, one restarting, one draining, faults here and there."""
    ids = DemoIds(11)
    yield ControllerStatus(boot="c1", seq=1, at=now, online=True, sip="10.7.0.1:5060", config_version=41)
    yield AlarmSummary(boot="c1", seq=1, at=now, critical=1, major=2)
    for index in range(boxes):
        site = "vienna" if index % 3 else "brno"
        box = f"{site}-{index:03d}"
        yield BoxStatus(
            boot="b1", seq=1, at=now, box=box, online=index not in (20, 40), site=site, channels=channels, sip="10.7.0.11:5062",
            software="0.1.0", uptime_s=86_400 + index, host=host(index), clock_offset_ms=ids.random.randrange(-40, 40),
            drain=drain(now, "keep") if index == 7 else drain(now, "restart-box") if index == 20 else None,
        )  # fmt: skip
        for channel in range(1, channels + 1):
            forced = S.FAULT if (index, channel) in ((13, 4), (99, 2)) else None
            for message in _channel(now, box, index, channel, ids, forced):
                draining = index == 7 and isinstance(message, ChannelReport)
                yield message.model_copy(update={"marks": (Mark.DRAINING,)}) if draining else message


def host(index: int) -> HostFigures:
    """A small computer in a cabinet."""
    return HostFigures(
        disk_free_mb=24_300 - 97 * index, disk_mb=29_800, memory_free_mb=2900 - index, memory_mb=3900,
        load=0.2 + index % 7 / 10, temperature_c=47.5 + index % 9, sessions=1 + index % 2,
    )  # fmt: skip


def drain(now: datetime, then: Then) -> DrainInfo:
    """Ordered a quarter of an hour ago."""
    since = now - timedelta(minutes=15)
    return DrainInfo(mode="when-calls-end", then=then, since=since, by=since + timedelta(hours=2))


def _alarms(connection: Connection, now: datetime) -> None:
    rows = (
        ("box-unreachable:brno-02", "critical", "Box brno-02 is unreachable",
         "Look at its power and uplink; calls go to the other boxes meanwhile.", 14, None, 1),
        ("channel-fault:vienna-02/5", "major", "Module of vienna-02 / 5 does not answer",
         "Restart the module from the channel's drawer; if it stays, pull and refit it.", 52, None, 3),
        ("outbox:brno-01", "minor", "3 facts of brno-01 wait for the controller", "Look at the link to Brno.", 300, 281, 2),
    )  # fmt: skip
    for cause, severity, title, advice, opened, closed, count in rows:
        connection.execute(
            insert(t.alarm).values(
                cause=cause, severity=severity, title=title, advice=advice, count=count,
                opened=now - timedelta(minutes=opened), last=now - timedelta(minutes=opened),
                closed=now - timedelta(minutes=closed) if closed else None,
            )
        )  # fmt: skip


def messages(now: datetime, *, seed: int = 7, dead: str = "brno-02") -> Iterator[Message]:
    """Everything that the bus would bring; `dead` names a box whose last will has come."""
    ids = DemoIds(seed)
    yield ControllerStatus(boot="c1", seq=1, at=now, online=True, sip="10.7.0.1:5060", config_version=41)
    yield AlarmSummary(boot="c1", seq=1, at=now, critical=1 if dead else 0, major=1)
    for index, (box, site, channels) in enumerate(BOXES, 1):
        yield BoxStatus(
            boot="b1", seq=1, at=now - timedelta(minutes=14), box=box, online=box != dead, site=site, channels=channels,
            sip=f"10.7.0.{10 + index}:5062", software="0.1.0", outbox=3 if box == "brno-01" else 0, uptime_s=310_000,
            clock_offset_ms=12, host=host(index),
        )  # fmt: skip
        for channel in range(1, channels + 1):
            if (box, channel) != ("brno-01", 11):  # one that never reports
                yield from _channel(now, box, index, channel, ids)


def _channel(
    now: datetime, box: str, index: int, channel: int, ids: DemoIds, forced: ChannelState | None = None
) -> Iterator[Message]:
    pick = ids.random
    state = forced or pick.choices([row[0] for row in STATES], [row[1] for row in STATES])[0]
    state = S.FAULT if (box, channel) == ("vienna-02", 5) else state
    marks = (Mark.DRAINING,) if (box, channel) == ("vienna-01", 12) else ()
    marks = (Mark.RESTING,) if (box, channel) == ("vienna-02", 13) else marks
    if marks:
        state = S.READY
    plan = pick.randrange(3)
    since = now - timedelta(seconds=pick.randrange(2, 900) + (4000 if forced and channel > 20 else 0))
    calling = state in (S.ACTIVE, S.ALERTING, S.DIALLING, S.HELD, S.RELEASING)
    sim = SimInfo(iccid=ids.iccid(index, channel), imsi=f"0010{plan + 1}02{pick.randrange(10**8):08d}", msisdn=ids.number())
    call = CallInfo(
        call=ids.token(8), attempt=ids.token(8), direction="out", number=ids.number(), since=since,
        connected=since + timedelta(seconds=1) if state in (S.ACTIVE, S.HELD) else None,
    )  # fmt: skip
    registered = state not in (S.NO_SIM, S.SEARCHING, S.FAULT)
    yield ChannelReport(
        boot="b1", seq=channel, at=now, box=box, channel=channel, state=state, since=since, marks=marks,
        module=ModuleInfo(
            imei=f"86{pick.randrange(10**13):013d}", manufacturer="Quectel", model="EC25", driver="quectel-ec2x",
            firmware="EC25EFAR06A06M4G", answer_safe=True,
        ),
        sim=None if state == S.NO_SIM else sim,
        network=NetworkInfo(
            stat=1 if registered else 2, operator=OPERATORS[plan] if registered else "", technology="LTE" if registered else "",
            signal_dbm=pick.randrange(-108, -60) if registered else None, cell=f"{pick.randrange(2**28):07x}",
        ),
        call=call if calling else None, fault="no answer to AT" if state == S.FAULT else "",
        recovery=RECOVERY if state == S.FAULT else None,
    )  # fmt: skip
    if calling:
        yield LiveCall(
            boot="c1", seq=1, at=now, call=call.call, sender=pick.choice(list(SENDERS)), calling=ids.number(),
            called=call.number, started=since, answered=call.connected, box=box, channel=channel, attempt=1,
            plan=list(PLANS)[plan], state="speaking" if call.connected else "releasing" if state == S.RELEASING else "ringing",
        )  # fmt: skip


def demo_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'demo.db'}"


def speaking() -> Iterator[str]:
    """Calls in progress that are in every rack of these messages; their ids don't depend on the time."""
    for message in few(messages(datetime(2026, 11, 20, tzinfo=UTC))):
        if isinstance(message, LiveCall) and message.state == "speaking":
            yield message.call


A_CALL, ANOTHER_CALL, *_ = speaking()
