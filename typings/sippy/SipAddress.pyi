from sippy.SipURL import SipURL

class SipAddress:
    def __init__(self, address: str | None = None, name: str | None = None, url: SipURL | None = None) -> None: ...
