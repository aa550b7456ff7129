from typing import Any

class SipHeader:
    name: str
    body: Any
    def __init__(
        self, s: str | None = None, name: str | None = None, body: Any = None, bodys: str | None = None, fixname: bool = False
    ) -> None: ...
