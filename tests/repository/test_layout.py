"""The layout that docs/architecture.md promises."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_SHIPPED = {"tests", "firmware", "systemd", "benchmarks"}


def test_every_shipped_folder_has_its_link() -> None:
    """A folder without its link would be missing from the wheel, silently."""
    packages = {init.parent.name for init in ROOT.glob("*/__init__.py")} - NOT_SHIPPED
    links = {link.name: link.readlink() for link in (ROOT / ".src/simrack").iterdir()}
    assert set(links) == packages
    for name, target in links.items():
        assert target == Path("../..") / name
        assert (ROOT / name / "py.typed").exists()


def test_lock_file_names_no_address() -> None:
    """A lock file with addresses ties the project to one registry; both Python locks pin the same releases."""
    for name in ("requirements.lock", "requirements-dev.lock", "package-lock.json"):
        text = (ROOT / name).read_text()
        assert not re.search(r"https?://(?!opencollective|github|feross|tidelift)", text), name
        assert "sha256:" in text or "sha512-" in text
    pins = [set(re.findall(r"^(\S+==\S+)", (ROOT / n).read_text(), re.MULTILINE)) for n in ("requirements.lock", "requirements-dev.lock")]
    assert pins[0] <= pins[1]


def test_no_file_is_too_long_to_read() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        path = ROOT / name
        if path.exists() and not path.is_symlink():
            assert len(path.read_text().splitlines()) <= 800, f"{name} has more than 800 lines"


def test_every_topic_cause_page_is_linked() -> None:
    """A page that architecture.md links must be there."""
    text = (ROOT / "docs/architecture.md").read_text()
    for target in re.findall(r"\]\(([\w./-]+\.md)\)", text):
        assert (ROOT / "docs" / target).exists(), target


def test_dependencies_are_explained() -> None:
    """Every runtime dependency has its line in docs/dependencies.md."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs/dependencies.md").read_text().lower()
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=;\[ ]", requirement)[0].lower()
        assert name in page, f"{name} has no line in docs/dependencies.md"
