"""A virtual event loop: it never waits, its time jumps to the next timer, and it knows whose work it runs.

Each simulated process has an `Incarnation`, which travels in the context of its tasks and timers. The loop asks
it before each call-back: a frozen incarnation's work is set aside until it thaws (SIGSTOP), a dead one's is
dropped. So a crash needs no help of the code that crashes.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")
#: An answer of the disk: short against everything else, but long enough for a kill to fall between.
EXECUTOR_S = 0.002
#: Cancelled timers are swept when they are this many and most of the heap.
MANY_CANCELLED = 200
#: Rounds of cancelling that a dying incarnation gets; its code may catch a cancellation a few times.
LAST_ROUNDS = 20


class Deadlock(Exception):
    """Nothing is ready, no timer runs, and somebody still waits."""


class Life(Enum):
    """State of an incarnation."""

    RUNNING = "running"
    FROZEN = "frozen"
    DYING = "dying"  # killed: its ports are closed, its tasks are being dropped
    DEAD = "dead"


class Incarnation:
    """One run of a simulated process. `ports` are closed at the moment of a kill."""

    def __init__(self, loop: "VirtualLoop", name: str) -> None:
        self.loop, self.name = loop, name
        self.life = Life.RUNNING
        self.tasks: set[asyncio.Task[Any]] = set()
        self.ports: list[Callable[[], None]] = []
        self.born = loop.time()
        self._parked: list[asyncio.Handle] = []
        self.context = Context()
        self.context.run(OWNER.set, self)

    @property
    def alive(self) -> bool:
        """Whether it can act on the world; a frozen one will again."""
        return self.life in (Life.RUNNING, Life.FROZEN)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a task of this incarnation."""
        return self.loop.create_task(coroutine, context=self.context.copy())

    def soon(self, work: Callable[..., object], *args: object) -> None:
        """Have something happen to it: at once, after its thaw, or never."""
        if self.alive:
            self.loop.call_soon(work, *args, context=self.context)

    def park(self, handle: asyncio.Handle) -> None:
        self._parked.append(handle)

    def freeze(self) -> None:
        """Do nothing from now on, as after SIGSTOP."""
        if self.life is Life.RUNNING:
            self.life = Life.FROZEN

    def thaw(self) -> None:
        """Go on with what has piled up."""
        if self.life is Life.FROZEN:
            self.life = Life.RUNNING
            self.loop.ready_again(self._parked)
            self._parked = []

    def kill(self) -> None:
        """End at once: ports first, then the tasks, whose `finally` blocks find everything closed."""
        if not self.alive:
            return
        self.thaw()
        self.life = Life.DYING
        for close in reversed(self.ports):
            close()
        self._drop(LAST_ROUNDS)

    def _drop(self, rounds: int) -> None:
        left = [task for task in self.tasks if not task.done()]
        if not left or not rounds:
            self.life = Life.DEAD
            for task in left:
                hushed: Any = task
                hushed._log_destroy_pending = False
            return
        for task in left:
            task.cancel()
        self.loop.call_soon(self._drop, rounds - 1, context=self.loop.world)


OWNER: ContextVar[Incarnation | None] = ContextVar("incarnation", default=None)


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. `run_in_executor` does the work in the loop: there are no threads."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._queues: dict[int, float] = {}
        self.world = Context()
        #: Hears of each exception that nobody took: (incarnation's name, context of asyncio).
        self.on_fault: Callable[[str, dict[str, Any]], None] = lambda _name, _context: None
        self.steps = 0
        self.set_exception_handler(self._fault)

    def time(self) -> float:
        return self._now

    # --- what BaseEventLoop leaves to its heirs -----------------------------------------------------------

    def _run_once(self) -> None:
        # The state of the base class, which its annotations don't show.
        this: Any = self
        ready: deque[Any] = this._ready
        self._sweep()
        scheduled: list[Any] = this._scheduled
        if not ready:
            if scheduled:
                self._now = max(self._now, scheduled[0].when())
            elif not this._stopping:
                raise Deadlock(f"at {self._now:.3f} s everybody waits for somebody else")
        while scheduled and scheduled[0].when() <= self._now:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            owner: Incarnation | None = handle._context.get(OWNER)
            if owner is not None and owner.life is not Life.RUNNING:
                if owner.life is Life.FROZEN:
                    owner.park(handle)
                    continue
                if owner.life is Life.DEAD:
                    continue
            self.steps += 1
            handle._run()

    def _sweep(self) -> None:
        this: Any = self
        scheduled: list[Any] = this._scheduled
        cancelled: int = this._timer_cancelled_count
        if cancelled > MANY_CANCELLED and cancelled * 2 > len(scheduled):
            for timer in scheduled:
                timer._scheduled = not timer.cancelled()
            this._scheduled = [timer for timer in scheduled if timer._scheduled]
            heapq.heapify(this._scheduled)
            this._timer_cancelled_count = 0
            return
        while scheduled and scheduled[0].cancelled():
            this._timer_cancelled_count -= 1
            heapq.heappop(scheduled)._scheduled = False

    def ready_again(self, handles: list[asyncio.Handle]) -> None:
        """Take back what was set aside, in its order."""
        this: Any = self
        this._ready.extend(handles)

    def _process_events(self, _events: object) -> None:
        """There are no files."""

    def _write_to_self(self) -> None:
        """Nobody needs waking: there is one thread."""

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = super().create_task(coro, name=name, context=context)
        owner = context.get(OWNER) if context is not None else OWNER.get()
        if owner is not None:
            owner.tasks.add(task)
            task.add_done_callback(owner.tasks.discard)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Do `func` a little later in the loop, those of one executor in order."""
        future = self.create_future()
        at = max(self._queues.get(id(executor), 0.0) + 1e-9, self._now + EXECUTOR_S)
        self._queues[id(executor)] = at
        self.call_at(at, _run_inline, future, func, args)
        return future

    def _fault(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        owner = OWNER.get()
        if owner is not None and not owner.alive:
            return
        self.on_fault(owner.name if owner else "", context)


def _run_inline(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        future.set_result(func(*args))
    except Exception as error:  # noqa: BLE001 - not swallowed: whoever waits gets it
        future.set_exception(error)
