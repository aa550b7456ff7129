from collections.abc import Callable
from socket import AddressFamily
from typing import Any, Self

class Udp_server_opts:
    family: AddressFamily
    laddress: tuple[str, int]
    data_callback: Callable[..., None]
    def getCopy(self) -> Self: ...
    def isWildCard(self) -> bool: ...
    def __init__(self, *args: Any) -> None: ...
