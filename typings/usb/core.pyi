from collections.abc import Iterator, Sequence
from typing import Any, Literal

class USBError(OSError):
    def __init__(self, strerror: str, error_code: int | None = ..., errno: int | None = ...) -> None: ...
class NoBackendError(ValueError): ...

class Device:
    bus: int
    bDeviceProtocol: int
    @property
    def port_numbers(self) -> tuple[int, ...] | None: ...
    def reset(self) -> None: ...
    def ctrl_transfer(
        self,
        bmRequestType: int,
        bRequest: int,
        wValue: int = ...,
        wIndex: int = ...,
        data_or_wLength: int | bytes | None = ...,
        timeout: int | None = ...,
    ) -> Sequence[int]: ...

def find(find_all: Literal[True], **args: Any) -> Iterator[Device]: ...
