"""Long proof: the whole HTTP API under generated requests, made of its own document; a broken promise is a wrong.

Run by `make proof WHAT=openapi MINUTES=10`; writes docs/proof/openapi.json. Each round begins with a fresh control
room in full work, signed in as administrator (by token, and by session where no token may), because requests change
what the next ones find.
"""

import logging
import shutil
import tempfile
import time
from pathlib import Path

import structlog
import web_demo
import web_helpers
import web_openapi
from proof.common import Options, Proof, Slice, prove
from web_controller import controller_of

PROOF = Proof(
    "openapi", "no request makes the HTTP API fail or answer otherwise than its document tells", Path(__file__),
    wanted={"requests": 10_000}, also=("tests/web_openapi.py", "tests/web_controller.py", "tests/web_demo.py", "tests/web_helpers.py"),
)  # fmt: skip
#: Requests of either kind to one operation in one round.
EXAMPLES = 30
RECORDS = 400


def one_round(stand: web_helpers.Stand, seed: int, deadline: float) -> web_openapi.Walk:
    stand.feed(*web_demo.messages(stand.clock.utc()))
    stand.signed_in()
    with controller_of(stand) as controller:
        stand.room.live.command = web_openapi.Orders(controller).command  # type: ignore[method-assign]
        return web_openapi.walk(stand, examples=EXAMPLES, begin=seed, more=lambda: time.monotonic() < deadline)


def work(options: Options) -> Slice:
    # The API logs what it refuses, which is most of this.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    made, deadline, rounds = Slice(), options.deadline, 0
    with tempfile.TemporaryDirectory() as name:
        filled = Path(name) / "filled.db"
        web_demo.fill_database(f"sqlite:///{filled}", web_helpers.Hands(), records=RECORDS)
        while time.monotonic() < deadline:
            folder = Path(name) / str(rounds)
            folder.mkdir()
            shutil.copy(filled, folder / "web.db")
            stand = web_helpers.stand(web_helpers.database(folder))
            walked = one_round(stand, options.seed * 10_000 + rounds, deadline)
            stand.close()
            made.counts.update(walked.counts)
            made.wrong += [text for text in walked.wrong.values() if text not in made.wrong]
            rounds += 1
    made.counts["rounds"] = rounds
    return made


if __name__ == "__main__":
    prove(PROOF, work)
