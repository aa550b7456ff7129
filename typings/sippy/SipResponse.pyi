from sippy.SipMsg import SipMsg

class SipResponse(SipMsg):
    def getSCode(self) -> tuple[int, str]: ...
