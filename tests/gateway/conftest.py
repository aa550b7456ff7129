"""An emulated network per file; logs from warnings up, because property tests make thousands of moves."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import structlog
from gateway_lab import Lab, emulated
from gateway_rig import Rig, S, serving
from gateway_support import until
from gateway_voice import Phone

from simrack.drivers.modems.generic import service
from simrack.gateway import calls_logic as logic
from simrack.gateway import ladder
from simrack.gateway import module as module_file


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with emulated(tmp_path_factory.mktemp("lab")) as started:
        yield started


@pytest.fixture(autouse=True)
def fewer_logs(quiet_logs: None) -> Iterator[None]:
    """Keep the production renderer, drop what is below a warning."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30), cache_logger_on_first_use=False)
    yield
    structlog.configure(**before)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """One box for all tests of this file; starting it anew for each would cost most of their time."""
    with pytest.MonkeyPatch.context() as patch:
        # The emulated modules come back in a fifth of the time, too.
        patch.setattr(ladder, "BACKOFF_S", (0.2,))
        # One module goes through many troubles here, and no minute in service between them.
        patch.setattr(ladder, "OUT_S", 0.2)
        patch.setattr(module_file, "LOOK_S", 0.1)
        # A tenth of the time until a hang is looked for.
        patch.setattr(service, "LIFE_EVERY_S", 1.0)
        async with serving(lab, tmp_path_factory) as made:
            yield made


@pytest_asyncio.fixture(loop_scope="module")
async def rig(served: Rig) -> AsyncIterator[Rig]:
    served.phone = await Phone.open()
    served.events.clear()
    await until(lambda: all(served.state(n) is S.READY for n in served.box.modules), "modules ready", 20)
    yield served
    for module in served.box.modules.values():
        if module.current is not None:
            module.current.feed(logic.Ordered(16, "test over"))
    served.phone.close()
    # A part that came late would be taken for the next test's.
    await until(lambda: all(module.current is None for module in served.box.modules.values()), "no call", 20)
    await until(lambda: served.outbox.waiting == 0, "empty outbox", 10)
    await served.lab.ask("DELETE", "/faults")
