"""Whole processes: one rack for all tests of a module, SIP clients that end with their test."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support import processes
from system.baresip import Baresip
from system.rack import Rack
from system.sipp import Sipp
from system.sounds import write_tone


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/system/" in str(item.path):
            item.add_marker(pytest.mark.system)


@pytest.fixture(scope="session")
def rack(tmp_path_factory: pytest.TempPathFactory, up_options: Callable[[], Sequence[str]]) -> Iterator[Rack]:
    """2 boxes x 4 channels, controller, control room; every test leaves it with all channels ready."""
    folder = tmp_path_factory.mktemp("rack")
    with processes(folder) as begin, Rack(folder, begin, boxes=2, channels=4, options=up_options()) as made:
        yield made


@pytest.fixture
def sipp(rack: Rack, tmp_path: Path) -> Sipp:
    """SIPp at the address that the lab's trunk sender is known by."""
    return Sipp(tmp_path, rack.sip, rack.state["callers"]["trunk"]["from"])


@pytest.fixture
def baresip(rack: Rack, tmp_path: Path) -> Iterator[Callable[[float], Baresip]]:
    """Start a baresip that speaks with a tone of the given frequency and signs in by digest."""
    running: list[Baresip] = []
    caller = rack.state["callers"]["digest"]

    def begin(tone_hz: float) -> Baresip:
        tone = write_tone(tmp_path / f"tone-{len(running)}.wav", tone_hz)
        account = (
            f"<sip:{caller['user']}@{rack.sip}>;auth_user={caller['user']};auth_pass={caller['password']}"
            ";regint=0;audio_codecs=pcmu;ptime=20"
        )
        phone = Baresip(tmp_path / f"baresip-{len(running)}", account, tone)
        running.append(phone)
        return phone

    yield begin
    for phone in running:
        phone.close()
