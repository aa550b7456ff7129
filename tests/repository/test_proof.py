"""A proof file says what was proved of which code, and nothing else gets into it."""

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from proof.common import (
    BESIDE_CALLS,
    FOLDERS,
    Options,
    Proof,
    Refused,
    Slice,
    check_clean,
    code_hash,
    file_of,
    keep,
    slices_of,
)

HELD = Slice(Counter(kills=3))
ONCE = Options(minutes=1, seed=1, trial=False)
TWICE = Options(minutes=1, seed=2, trial=False)


class Tree:
    """A small repository with the product's folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "-q")
        for folder in FOLDERS:
            self.write(f"{folder}/code.py", "1\n")
        self.write("tests/proof/kills.py", "2\n")
        self.commit()

    def git(self, *words: str) -> None:
        names = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        subprocess.run(["git", *names, *words], cwd=self.root, check=True, capture_output=True)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")

    def keep(self, proof: Proof, options: Options, made: Slice) -> None:
        keep(proof, options, made, 60.0, self.root)


class Kills(Proof):
    """Its script lies in another repository, the test's own."""

    @property
    def paths(self) -> tuple[str, ...]:
        return (*FOLDERS, "tests/proof/kills.py")


PROOF = Kills("kills", "no call lost", Path("kills.py"), wanted={"kills": 6})


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_slices_of_the_same_code_add_up(tree: Tree) -> None:
    """Six kills in two evenings are six kills, and `ok` waits for them."""
    tree.keep(PROOF, ONCE, HELD)
    first = json.loads(file_of("kills", tree.root).read_text())
    tree.keep(PROOF, TWICE, HELD)
    both = json.loads(file_of("kills", tree.root).read_text())
    assert (first["ok"], both["ok"]) == (False, True)
    assert both["counts"] == {"kills": 6}
    assert both["seeds"] == [1, 2]
    assert both["seconds"] == 120


def test_another_code_begins_anew(tree: Tree) -> None:
    """Kills of last month's code must not lend their number to today's; documentation changes nothing."""
    tree.keep(PROOF, ONCE, HELD)
    tree.write("docs/page.md", "words\n")
    tree.commit()
    tree.keep(PROOF, TWICE, HELD)
    assert len(json.loads(file_of("kills", tree.root).read_text())["slices"]) == 2
    tree.write("sip/code.py", "changed\n")
    tree.commit()
    assert slices_of(file_of("kills", tree.root), code_hash(PROOF.paths, root=tree.root)) == []
    tree.keep(PROOF, TWICE, HELD)
    assert json.loads(file_of("kills", tree.root).read_text())["counts"] == {"kills": 3}


def test_what_a_proof_does_not_rest_on_may_change(tree: Tree) -> None:
    """A page changes; the kills of calls that nobody looked at stay what they were, those of the page do not."""
    before = code_hash(PROOF.paths, ("web", "cli/code.py"), tree.root), code_hash(PROOF.paths, root=tree.root)
    tree.write("web/new.py", "a page\n")
    tree.write("cli/code.py", "a report\n")
    check_clean(PROOF.paths, ("web", "cli/code.py"), tree.root)
    tree.commit()
    assert code_hash(PROOF.paths, ("web", "cli/code.py"), tree.root) == before[0]
    assert code_hash(PROOF.paths, root=tree.root) != before[1]
    tree.write("cli/new.py", "a process\n")
    tree.commit()
    assert code_hash(PROOF.paths, ("web", "cli/code.py"), tree.root) != before[0]


def test_what_is_left_out_exists(tree: Tree) -> None:
    """A name that is gone would silently leave out nothing."""
    with pytest.raises(Refused, match="gone"):
        code_hash(PROOF.paths, ("controller/gone.py",), tree.root)
    code_hash(FOLDERS, BESIDE_CALLS)


@pytest.mark.parametrize("path", ["gateway/code.py", "tests/proof/kills.py", "web/new.py"])
def test_a_changed_tree_is_refused(tree: Tree, path: str) -> None:
    """A proof of what was never committed can be repeated by nobody."""
    check_clean(PROOF.paths, root=tree.root)
    tree.write(path, "mended just now\n")
    with pytest.raises(Refused, match=path):
        check_clean(PROOF.paths, root=tree.root)


def test_a_bad_slice_is_not_forgotten(tree: Tree) -> None:
    """A broken promise stays in the file beside the slices that held; so does a run that tried nothing."""
    tree.keep(PROOF, ONCE, Slice(Counter(kills=6), ["record lost"]))
    tree.keep(PROOF, TWICE, Slice(Counter(kills=6)))
    document = json.loads(file_of("kills", tree.root).read_text())
    assert document["ok"] is False
    assert document["slices"][0]["wrong"] == ["record lost"]
    assert not Slice().ok
