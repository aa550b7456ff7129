"""What the long proofs share: one JSON file for each, made of slices that prove one state of the code.

A proof script defines how one slice is made and calls `prove`:

    def work(options: Options) -> Slice: ...

    if __name__ == "__main__":
        prove(Proof("calls", "each record equals the network's own books", Path(__file__)), work)

`make proof WHAT=calls MINUTES=10` then runs it. A slice that is made at the same code as those in the file is
added to them; else the file begins anew. What a proof says holds for committed code only, so that it refuses a
product tree with changes; `--trial` runs all the same and writes nothing.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
#: The product: a change in any of them makes earlier slices worthless.
FOLDERS = ("wire", "sip", "drivers", "gateway", "controller", "simbank", "lab", "cli", "web")
#: What people look at and order, beside the calls: pages, reports, and the commands that print them. A call goes through
#: none of it, so that a proof about calls outlives a change there; processes, wiring and everything that writes stay in.
BESIDE_CALLS = (
    "web", "controller/alarms", "controller/audit", "controller/keeping",
    *(f"controller/store/{name}.py" for name in ("pages", "queries", "records", "statistics")),
    *(f"cli/{name}.py" for name in (
        "account", "alarms", "analyse", "audit", "backup", "bans", "boxes", "call", "cdr", "config", "doctor", "logs",
        "monitoring", "places", "rack", "route", "stats", "toml_text",
    )),
)  # fmt: skip
#: Findings kept of one slice; a run that fails thousands of times fails for a few reasons.
KEEP_WRONG = 50
USAGE, BROKEN = 2, 1


@dataclass(frozen=True)
class Proof:
    """What is proved. `wanted` are counts to reach.

    `also` are further files (from the root) that the result rests on, `beside` files and folders of the product that
    it does not rest on.
    """

    what: str
    claim: str
    script: Path
    wanted: Mapping[str, int] = field(default_factory=dict)
    also: Sequence[str] = ()
    beside: Sequence[str] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Everything whose content makes up the code hash."""
        return (*FOLDERS, str(self.script.resolve().relative_to(ROOT)), *self.also)


@dataclass(frozen=True)
class Options:
    """How one slice is to be made."""

    minutes: float
    seed: int
    trial: bool
    more: argparse.Namespace = field(default_factory=argparse.Namespace)

    @property
    def deadline(self) -> float:
        """The moment on `time.monotonic` when the slice shall end."""
        return time.monotonic() + self.minutes * 60


@dataclass
class Slice:
    """What one run found: `counts` add up over slices, `wrong` is empty in a good one, `figures` stay as they are."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """A run that tried nothing has proved nothing."""
        return not self.wrong and self.counts.total() > 0


class Refused(Exception):
    """The proof can't be made as things are; the text says why."""


def git(*words: str, root: Path = ROOT) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def code_hash(paths: Sequence[str], beside: Sequence[str] = (), root: Path = ROOT) -> str:
    """One hash of what HEAD holds at `paths`, without `beside`. Raises `Refused` for a path that HEAD does not have."""
    for path in (*paths, *beside):
        git("rev-parse", f"HEAD:{path}", root=root)
    files = git("ls-tree", "-r", "HEAD", "--", *paths, root=root).splitlines()
    left_out = tuple(beside), tuple(f"{path}/" for path in beside)
    kept = [line for line in files if (name := line.split("\t")[1]) not in left_out[0] and not name.startswith(left_out[1])]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16]


def check_clean(paths: Sequence[str], beside: Sequence[str] = (), root: Path = ROOT) -> None:
    """Raises `Refused` when the files differ from HEAD: nobody could repeat such a proof."""
    changed = git("status", "--porcelain", "--", *paths, *(f":(exclude){path}" for path in beside), root=root)
    if changed:
        raise Refused(f"uncommitted changes; commit them, or use --trial, which writes nothing:\n{changed}")


def keep(proof: Proof, options: Options, made: Slice, seconds: float, root: Path = ROOT) -> dict[str, Any]:
    """Add a slice to the proof's file, written in one step; returns the document."""
    path = file_of(proof.what, root)
    code = code_hash(proof.paths, proof.beside, root)
    slices = [*slices_of(path, code), _slice(options, made, seconds, root)]
    document = _document(proof, git("rev-parse", "HEAD", root=root), code, slices)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_text(json.dumps(document, indent=1, sort_keys=False) + "\n")
    fresh.replace(path)
    return document


def file_of(what: str, root: Path = ROOT) -> Path:
    return root / "docs" / "proof" / f"{what}.json"


def slices_of(path: Path, code: str) -> list[dict[str, Any]]:
    """Earlier slices that were made at this code."""
    if not path.exists():
        return []
    document = json.loads(path.read_text())
    return list(document.get("slices", ())) if document.get("code") == code else []


def next_seed(proof: Proof, root: Path = ROOT) -> int:
    """A seed that no slice of this code has had: the same one again would prove nothing new."""
    slices = slices_of(file_of(proof.what, root), code_hash(proof.paths, proof.beside, root))
    return 1 + max((one["seed"] for one in slices), default=0)


def _slice(options: Options, made: Slice, seconds: float, root: Path) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD", root=root),
        "seed": options.seed,
        "seconds": round(seconds),
        "counts": dict(sorted(made.counts.items())),
        "ok": made.ok,
        "wrong": made.wrong[:KEEP_WRONG],
        "wrong_in_all": len(made.wrong),
        **({"figures": made.figures} if made.figures else {}),
    }


def _document(proof: Proof, commit: str, code: str, slices: list[dict[str, Any]]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for one in slices:
        counts.update(one["counts"])
    reached = all(counts[name] >= number for name, number in proof.wanted.items())
    return {
        "what": proof.what,
        "claim": proof.claim,
        "commit": commit,
        "code": code,
        **({"beside": list(proof.beside)} if proof.beside else {}),
        "seeds": [one["seed"] for one in slices],
        "seconds": sum(one["seconds"] for one in slices),
        "counts": dict(sorted(counts.items())),
        **({"wanted": dict(proof.wanted)} if proof.wanted else {}),
        "ok": reached and all(one["ok"] for one in slices),
        "slices": slices,
    }


def parse(proof: Proof, argv: Sequence[str] | None, add: Callable[[argparse.ArgumentParser], object]) -> Options:
    parser = argparse.ArgumentParser(description=proof.claim)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="default: one that no slice of this code has had")
    parser.add_argument("--trial", action="store_true", help="run on uncommitted code; write nothing")
    add(parser)
    found = parser.parse_args(argv)
    seed = found.seed if found.seed is not None else 1 if found.trial else next_seed(proof)
    return Options(found.minutes, seed, found.trial, found)


def prove(
    proof: Proof,
    work: Callable[[Options], Slice],
    argv: Sequence[str] | None = None,
    add: Callable[[argparse.ArgumentParser], object] = lambda _parser: None,
) -> NoReturn:
    """Make one slice, keep it, print it, and end the process: 0 it holds, 1 it does not, 2 it can't be made.

    `add` puts further options into the parser; they come back in `Options.more`.
    """
    try:
        options = parse(proof, argv, add)
        if not options.trial:
            check_clean(proof.paths, proof.beside)
        status = _run(proof, work, options)
    except Refused as why:
        sys.stderr.write(f"simrack: {why}\n")
        raise SystemExit(USAGE) from None
    raise SystemExit(status)


def _run(proof: Proof, work: Callable[[Options], Slice], options: Options) -> int:
    before, began = None if options.trial else code_hash(proof.paths, proof.beside), time.monotonic()
    made = work(options)
    seconds = time.monotonic() - began
    if before is None:
        _say({**_slice(options, made, seconds, ROOT), "trial": True})
        return 0 if made.ok else BROKEN
    check_clean(proof.paths, proof.beside)
    if code_hash(proof.paths, proof.beside) != before:
        raise Refused("the code changed while the proof ran; nothing was written")
    document = keep(proof, options, made, seconds)
    _say({**document, "slices": len(document["slices"]), "last": document["slices"][-1]})
    return 0 if made.ok else BROKEN


def _say(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
