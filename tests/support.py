"""Helpers that several test folders share: simrack commands as child processes."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: A process that comes up ends this wait; with twelve others that want the same core it takes its time.
READY_S = 60.0


class Process:
    """A simrack command as a child process that said it is ready."""

    def __init__(self, argv: list[str], log: Path) -> None:
        self.log = log
        self._sink = log.open("ab")
        self.popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "simrack.cli", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._sink,
            start_new_session=True,
        )
        self.ready = self._await_ready()

    def _await_ready(self) -> dict[str, Any]:
        # A thread ends a child that never says anything, which ends the blocking read below.
        guard = threading.Timer(READY_S, self.popen.kill)
        guard.start()
        try:
            assert self.popen.stdout is not None
            for line in self.popen.stdout:
                if line.startswith(b"{") and b'"ready"' in line:
                    document: dict[str, Any] = json.loads(line)
                    return document
        finally:
            guard.cancel()
        raise AssertionError(f"{self.popen.args!r} did not become ready:\n{self.log.read_text()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the process and return its status."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            return self.popen.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
            raise
        finally:
            if self.popen.stdout is not None:
                self.popen.stdout.close()
            self._sink.close()


StartProcess = Callable[..., Process]


@contextmanager
def processes(folder: Path) -> Iterator[StartProcess]:
    """Start simrack commands; all of them end with the block, last started first."""
    running: list[Process] = []

    def begin(*argv: str) -> Process:
        process = Process(list(argv), folder / f"{len(running)}-{argv[0]}.log")
        running.append(process)
        return process

    try:
        yield begin
    finally:
        for process in reversed(running):
            process.stop()
