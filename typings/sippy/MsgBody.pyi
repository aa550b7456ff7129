from sippy.SipContentType import SipContentType

class MsgBody:
    content: str
    def __init__(self, content: str | None = None, mtype: SipContentType = ...) -> None: ...
