from sippy.SipGenericHF import SipGenericHF

class SipContentType(SipGenericHF):
    def __init__(self, body: str) -> None: ...
