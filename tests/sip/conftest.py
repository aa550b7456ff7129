"""A running stack and far ends on bare sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sip_peer import OpenPeer, Peer, Rig

from simrack.sip.legs import IncomingLeg
from simrack.sip.stack import SipStack
from simrack.wire.ports import SystemClock, SystemIds


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    offered: asyncio.Queue[IncomingLeg] = asyncio.Queue()
    made: Rig
    stack = SipStack(
        listen=("127.0.0.1", 0), on_invite=offered.put_nowait, clock=SystemClock(), ids=SystemIds(),
        trusted=lambda source: source[0] in made.trusted, admit=lambda _source: made.admission,
        suspect=lambda _source, problem: made.suspects.append(problem),
    )  # fmt: skip
    made = Rig(stack, offered)
    await stack.start()
    yield made
    await stack.stop()


@pytest.fixture
async def open_peer(rig: Rig) -> AsyncIterator[OpenPeer]:
    peers: list[Peer] = []

    async def open_one(host: str = "127.0.0.1") -> Peer:
        peers.append(await Peer.open(rig.stack.address, host))
        return peers[-1]

    yield open_one
    for peer in peers:
        peer.close()


@pytest.fixture
async def peer(open_peer: OpenPeer) -> Peer:
    return await open_peer()
