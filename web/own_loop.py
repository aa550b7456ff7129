"""A thread with an event loop of its own, for what must disturb neither pages nor the live thread: voice."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from simrack.web.errors import WebError

R = TypeVar("R")
#: What is asked for takes some ms; this only guards against a thread that died.
THREAD_S = 10.0


class OwnLoop:
    """Begun with the first work. Methods are called from page threads, and wait for the loop."""

    def __init__(self, name: str, silent: Callable[[], WebError]) -> None:
        """`silent` makes what is raised when the loop does not answer in time."""
        self._name, self._silent = name, silent
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def runs(self) -> bool:
        """Whether it was begun and not stopped."""
        return self._loop is not None

    def do(self, work: Coroutine[Any, Any, R]) -> R:
        """The result of `work`. Raises what it raises, or `silent`'s."""
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result(THREAD_S)
        except TimeoutError:
            future.cancel()
            raise self._silent() from None

    def stop(self) -> None:
        """End the thread; nothing happens where there is none."""
        thread, loop = self._thread, self._loop
        if thread is None or loop is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join(THREAD_S)
        self._thread = self._loop = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._turn, args=(self._loop,), name=self._name, daemon=True)
                self._thread.start()
            return self._loop

    @staticmethod
    def _turn(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
