"""The command in this process: another interpreter takes longer to start than the command to run."""

import sys

import pytest
from cli_parts import Ended, Here

from simrack.cli.main import main
from simrack.wire import logs


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Run `simrack` with these words."""

    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["simrack", *words])
        capsys.readouterr()
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        else:
            status = 0
        said = capsys.readouterr()
        return Ended(status, said.out, said.err)

    # The log's level is that of the whole run.
    monkeypatch.setattr(logs, "configure", lambda *_given, **_named: None)
    return run
