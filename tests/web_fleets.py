"""Made-up rooms of several partners: whose every name, number, card and amount is told apart from everybody else's.

A test says who looks, and gets the words that must not be in any answer to them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import web_demo
from hypothesis import strategies as st
from sqlalchemy import insert
from web_helpers import Hands, Stand

from simrack.controller.config.models import RoutingFile
from simrack.controller.store import tables as t
from simrack.controller.store.engine import write_engine
from simrack.wire.channel import ChannelState
from simrack.wire.messages import AlarmSummary, BoxStatus, CallInfo, ChannelReport, LiveCall, Message, SimInfo

MOST = 4


@dataclass(frozen=True)
class Traffic:
    """One call, over or going on: by which sender over which plan, and a first try over another plan's card."""

    sender: int
    plan: int
    tried: int
    live: bool
    number: int

    @property
    def call(self) -> str:
        return f"ca11{self.number:08d}"

    @property
    def called(self) -> str:
        return f"+8821055{self.number:05d}"

    @property
    def calling(self) -> str:
        return f"+8821066{self.number:05d}"

    @property
    def talk_ms(self) -> int:
        """An amount that no other call has."""
        return 3_000_000 + 7 * self.number

    @property
    def words(self) -> frozenset[str]:
        """What only this call has: in numbers the digits, whatever stands between or before them."""
        return frozenset({self.call, self.called[1:], self.calling[1:], str(self.talk_ms)})


@dataclass(frozen=True)
class Room:
    """Senders and plans by their numbers; `owners` says whose each plan is."""

    senders: int
    owners: tuple[int, ...]
    traffic: tuple[Traffic, ...]

    def sender_words(self, sender: int) -> frozenset[str]:
        return frozenset({sender_name(sender), f"Sendertitle{sender}", f"Senderlegal{sender}", f"+43155500{sender}"})

    def plan_words(self, plan: int) -> frozenset[str]:
        return frozenset({plan_name(plan), f"Plantitle{plan}", card(plan), f"00101{plan}7", f"882107770{plan}"})

    def theirs(self, role: str, who: int) -> frozenset[str]:
        """Words that nobody of this role and scope may read."""
        owner = role == "owner"
        mine = [call for call in self.traffic if (self.owners[call.plan] if owner else call.sender) == who]
        words = set[str]().union(*(call.words for call in self.traffic if call not in mine))
        if owner:
            words |= {word for plan, of in enumerate(self.owners) if of != who for word in self.plan_words(plan)}
            known = {call.sender for call in mine}
            return frozenset(words.union(*(self.sender_words(one) for one in range(self.senders) if one not in known)))
        words |= {word for plan in range(len(self.owners)) for word in self.plan_words(plan)}
        if role == "sales":
            words |= {number[1:] for call in mine for number in (call.called, call.calling)}
        return frozenset(words.union(*(self.sender_words(one) for one in range(self.senders) if one != who)))


def sender_name(sender: int) -> str:
    return f"sndr-q{sender}"


def owner_name(owner: int) -> str:
    return f"owner-q{owner}"


def plan_name(plan: int) -> str:
    return f"plan-q{plan}"


def card(plan: int) -> str:
    return f"89882107{plan:011d}"


@st.composite
def rooms(draw: st.DrawFn) -> Room:
    """2 to 4 senders, 2 to 4 plans of 2 or 3 owners, calls between any of them."""
    senders, plans = draw(st.integers(2, MOST)), draw(st.integers(2, MOST))
    owners = [0, 1, *draw(st.lists(st.integers(0, 2), min_size=plans - 2, max_size=plans - 2))]
    calls = draw(
        st.lists(
            st.tuples(st.integers(0, senders - 1), st.integers(0, plans - 1), st.integers(0, plans - 1), st.booleans()),
            min_size=4, max_size=14,
        )
    )  # fmt: skip
    traffic = [Traffic(*one, number=10_001 + 97 * position) for position, one in enumerate(calls)]
    # Of everybody else there is something to find.
    traffic += [Traffic(one % senders, one % plans, (one + 1) % plans, live, 90_001 + 2 * one + live)
                for one in range(MOST) for live in (False, True)]  # fmt: skip
    return Room(senders, tuple(owners), tuple(traffic))


def file_of(room: Room) -> RoutingFile:
    return RoutingFile.model_validate({
        "installation": {"class": "test-lab", "owner": "Example Lab", "country": "AT"},
        "site": [{"name": "site", "title": "Site", "country": "001", "emergency": "refuse"}],
        "agreement": [{"name": "lab", "title": "Lab networks", "operator": "Test Mobil", "reference": "lab book", "lab": True,
                       "uses": ["test"], "sites": ["site"], "valid_from": "2026-01-01", "valid_until": "2027-12-31"}],
        "plan": [{"name": plan_name(plan), "title": f"Plantitle{plan}", "agreement": "lab", "country": "001",
                  "imsi_prefixes": [f"00101{plan}7"], "owner": owner_name(owner), "sims": [card(plan)]}
                 for plan, owner in enumerate(room.owners)],
        "sender": [{"name": sender_name(one), "title": f"Sendertitle{one}", "legal_name": f"Senderlegal{one}",
                    "contact": f"+43155500{one}", "country": "001", "purpose": "trial calls", "use": "test",
                    "numbers": ["+88210*"], "max_calls": 9, "digest": {"user": f"u{one}", "password": "four rainy copper horses"}}
                   for one in range(room.senders)],
        "pattern": [{"name": f"Pattern of {plan_name(plan)}", "prefixes": [f"+88210{plan}"], "targets": [{"plan": plan_name(plan)}]}
                    for plan in range(len(room.owners))],
    })  # fmt: skip


def fill(url: str, room: Room, clock: Hands) -> None:
    """Configuration, records, attempts and open calls into an empty database."""
    engine, now, ids = write_engine(url), clock.utc(), web_demo.DemoIds(1)
    with engine.begin() as connection:
        web_demo.put_configuration(connection, now, file_of(room))
        for call in room.traffic:
            started = now - timedelta(minutes=call.number % 50 + 60)
            row = web_demo._record(started, ids) | {
                "call": call.call, "sender": sender_name(call.sender), "calling": call.calling, "calling_received": call.calling,
                "called": call.called, "called_received": call.called[1:], "dialled": call.called, "plan": plan_name(call.plan),
                "pattern": f"Pattern of {plan_name(call.plan)}", "iccid": card(call.plan), "imsi": f"00101{call.plan}700000001",
                "outcome": "answered", "cause": 16, "sip_status": 200, "talk_network_ms": call.talk_ms, "attempts": 2,
                "answered": started, "talk_sender_ms": call.talk_ms, "box": f"box-q{call.plan}", "channel": 1, "refusal": "",
            }  # fmt: skip
            if call.live:
                for live in messages_of(room, clock, (call,)):
                    connection.execute(insert(t.open_call).values(**web_demo.open_call(live)))
                continue
            connection.execute(insert(t.cdr).values(**row))
            for number, plan in ((1, call.tried), (2, call.plan)):
                connection.execute(insert(t.attempt).values(
                    attempt=f"{call.call}-{number}", call=call.call, number=number, box=f"box-q{plan}", channel=1,
                    started=started, ended=started, iccid=card(plan), cause=38 if number == 1 else 16, cause_text="",
                    outcome="failed" if number == 1 else "answered", part=True, talk_ms=0, at_log="[]",
                ))  # fmt: skip
    engine.dispose()


def messages_of(room: Room, clock: Hands, traffic: tuple[Traffic, ...]) -> Iterator[LiveCall]:
    now = clock.utc()
    for call in traffic:
        if call.live:
            yield LiveCall(
                boot="c1", seq=1, at=now, call=call.call, sender=sender_name(call.sender), calling=call.calling,
                called=call.called, started=now - timedelta(seconds=60), answered=now - timedelta(seconds=50),
                box=f"box-q{call.plan}", channel=call.number % 90 + 1, attempt=1, plan=plan_name(call.plan), state="speaking",
            )  # fmt: skip


def feed(stand: Stand, room: Room) -> None:
    """The bus's side: a box for each plan with its card, alarms, and the calls in progress."""
    now = stand.clock.utc()
    told: list[Message] = [AlarmSummary(boot="c1", seq=1, at=now, critical=3, major=4)]
    for plan in range(len(room.owners)):
        box = f"box-q{plan}"
        told.append(BoxStatus(boot="b1", seq=1, at=now, box=box, online=True, site="site", channels=1, sip="10.7.0.1:5062", software="1"))
        sim = SimInfo(iccid=card(plan), imsi=f"00101{plan}700000001", msisdn=f"+882107770{plan}00")
        live = next((call for call in room.traffic if call.live and call.plan == plan), None)
        info = live and CallInfo(call=live.call, attempt=live.call, direction="out", number=live.called, since=now)
        told.append(ChannelReport(boot="b1", seq=1, at=now, box=box, channel=1, since=now, sim=sim, call=info,
                                  state=ChannelState.ACTIVE if live else ChannelState.READY))  # fmt: skip
    stand.feed(*told, *messages_of(room, stand.clock, room.traffic))
