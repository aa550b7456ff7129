"""The HTTP interface that tests, demo and people use."""

import io
import wave
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from lab.bench import Bench, Maker

from simrack.lab.emulator.api import make_app
from simrack.lab.emulator.listen import judge

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def bench(make_bench: Maker) -> Bench:
    """A lab with two modules."""
    return await make_bench(2)


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    """A client of the lab's interface."""
    async with TestClient(TestServer(make_app(bench.lab))) as client:
        yield client


async def post(client: Client, path: str, status: int, **body: object) -> Any:
    answer = await client.post(path, json=body)
    document = await answer.json()
    assert answer.status == status, document
    return document


async def get(client: Client, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status == 200
    return await answer.json()


async def test_a_call_to_an_ordered_number_is_in_the_ledger(bench: Bench, client: Client) -> None:
    """The demo orders a number with a tone of its choice and finds call, times and tone here."""
    order = await post(client, "/numbers", 201, behaviour="tone", tone_hz=1730, answer_after_s=0, hang_up_after_s=0.4)
    port, audio = await bench.ready_at(), bench.audio()
    await port.ask(f"ATD{order['number']};")
    await audio.until(lambda: len(audio.got) > 4000, "voice")
    await port.match("NO CARRIER")
    (row,) = await get(client, "/ledger/calls")
    assert row["called"] == order["number"]
    assert row["calling_imsi"] == "001010000100001"
    assert row["setup_at"] <= row["alerting_at"] <= row["answered_at"] <= row["released_at"]
    assert row["answered_at"].endswith("Z")
    assert row["talk_ms"] >= 390
    assert (row["cause"], row["released_by"], row["sent_hz"]) == (16, "called", 1730)
    assert row["heard"]["to_mobile_hz"] == pytest.approx(1730, abs=1)
    assert row["heard"]["from_mobile_hz"] is None
    answer = await client.get(f"/calls/{row['id']}/audio.wav?side=mobile")
    with wave.open(io.BytesIO(await answer.read())) as sound:
        assert sound.getparams()[:3] == (1, 2, 8000)
        assert judge(sound.readframes(sound.getnframes())[-6400:]).hz == pytest.approx(1730, abs=1)
    assert await get(client, f"/ledger/calls?after={row['id']}") == []


async def test_a_call_to_a_module_rings_and_ends(bench: Bench, client: Client) -> None:
    port = await bench.ready_at()
    order = {"to_msisdn": bench.msisdn(1), "from": "+882109005001", "ring_s": 0.3}
    placed = await post(client, "/calls", 201, **order)
    await port.match(r'RING\r\n.*\+CLIP: "\+882109005001",145')
    await port.match("NO CARRIER")
    row = await get(client, f"/calls/{placed['id']}")
    assert (row["direction"], row["called"], row["released_by"]) == ("in", bench.msisdn(1), "calling")


async def test_an_incoming_call_can_be_answered_and_hung_up_by_the_network(bench: Bench, client: Client) -> None:
    port = await bench.ready_at()
    placed = await post(client, "/calls", 201, to_msisdn=bench.msisdn(1), tone_hz=1230)
    await port.match("RING")
    await port.ask("ATA")
    await port.match('"ccinfo",2,1,0')
    assert (await client.delete(f"/calls/{placed['id']}?cause=38")).status == 200
    await port.match("NO CARRIER")
    row = await get(client, f"/calls/{placed['id']}")
    assert (row["cause"], row["released_by"]) == (38, "network")
    assert row["answered_at"]


async def test_subscribers_and_modules_are_listed(bench: Bench, client: Client) -> None:
    subscribers = await get(client, "/subscribers")
    assert [one["msisdn"] for one in subscribers] == [bench.msisdn(1), bench.msisdn(2)]
    assert all(one["registered"] for one in subscribers)
    modules = await get(client, "/modules")
    assert [(one["box"], one["channel"], one["stat"]) for one in modules] == [("lab-01", 1, 1), ("lab-01", 2, 1)]


async def test_faults_quirks_and_signal(bench: Bench, client: Client) -> None:
    port = await bench.ready_at()
    await post(client, "/signal", 200, box="lab-01", channel=1, rssi=5)
    assert await port.ask("AT+CSQ") == ["+CSQ: 5,99"]
    await post(client, "/quirks", 200, box="lab-01", channel=1, quirks=["no-number"])
    assert await port.ask("AT+CNUM") == []
    await post(client, "/faults", 201, box="lab-01", channel=1, fault="hang")
    assert (await get(client, "/modules"))[0]["hung"]
    assert (await client.delete("/faults")).status == 200
    await port.ask("AT")


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/numbers", {"behaviour": "bussy"}, 400, "behaviour"),
        ("/numbers", {"number": "+4930123456"}, 400, "number"),
        ("/numbers", {"tone": 5}, 400, "tone"),
        ("/faults", {"box": "lab-09", "channel": 1, "fault": "hang"}, 404, "lab-09/1"),
        ("/faults", {"box": "lab-01", "channel": 1, "fault": "explode"}, 400, "fault"),
        ("/calls", {"to_msisdn": "+882101009999"}, 404, "+882101009999"),
        ("/quirks", {"box": "lab-01", "channel": 1, "quirks": ["?"]}, 400, "quirks"),
    ],
)
async def test_mistakes_are_explained(
    client: Client, path: str, body: dict[str, object], status: int, words: str
) -> None:
    """A test that misspells a fault must not pass because nothing happened."""
    answer = await post(client, path, status, **body)
    assert words in answer["error"]


async def test_what_is_not_json_is_refused(client: Client) -> None:
    answer = await client.post("/numbers", data=b"{")
    assert answer.status == 400
    assert (await client.get("/calls/7")).status == 404
