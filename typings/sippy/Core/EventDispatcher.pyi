from collections.abc import Callable
from typing import Any

from sippy.Time.MonoTime import MonoTime

dump_exception: Callable[..., None]

class EventListener:
    cb_func: Callable[..., object] | None
    etime: MonoTime
    def __lt__(self, other: EventListener) -> bool: ...
    def cancel(self) -> None: ...
    def cleanup(self) -> None: ...

class EventDispatcher2:
    tlisteners: list[EventListener]
    twasted: int
    last_ts: MonoTime
    my_ident: int
    callFromThread: Callable[..., object]
    def dispatchTimers(self) -> None: ...
    def dispatchThreadCallback(self, thread_cb: Callable[..., object], cb_params: tuple[Any, ...]) -> None: ...

ED2: EventDispatcher2
