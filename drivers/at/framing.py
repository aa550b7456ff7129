"""Octets of an AT port -> lines and prompts; no input or output of its own.

A line ends at any run of CR, LF and NUL (modules send `\\r\\r\\n`, `\\r\\r\\r\\n` and blank pairs; a port
that comes back from a reset sends NULs). Three things span more than one line end and are put together here,
because only here it is still known what followed what:

* a header whose body is the next line (+CMT and its kin): the body may look like anything, a result too;
* +CUSD, whose quoted text may hold line ends and quotes: it ends at `"`, a coding number and a line end;
* the prompt `> `, which has no line end at all and counts only while a command waits for it.

Octets become text by ISO 8859-1, so that nothing is lost. The same octets give the same lines however they
are cut into pieces, and the memory in use is bounded.
"""

import re
from dataclasses import dataclass

# The longest honest line is an APDU answer of 256 octets in hexadecimal, or a +CMGL body; this is far above.
MAX_LINE = 8192
# 182 octets of USSD make at most 364 hexadecimal digits (23.038); lines beyond this never were one text.
MAX_QUOTED = 1024

_TWO_LINES = ("+CMT:", "+CDS:", "+CBM:", "+CLASS0:", "+CMGR:", "+CMGL:")
_END = re.compile(rb"[\r\n\x00]+")
_USSD_OPEN = re.compile(r'\+CUSD: *\d *, *"')
_USSD_WHOLE = re.compile(r'\+CUSD: *\d *, *".*" *, *\d+ *', re.DOTALL)
# In text mode a status report is one line of many fields, without a body (27.005, 3.4.1).
_CDS_TEXT = re.compile(r"\+CDS:(?:[^,]*,){3}")
# Huawei firmware glues a result and the next line together.
_GLUED = re.compile(r"(OK|ERROR)(?=[+^])")


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its line end; `body` is the second line of a two-line unit."""

    text: str
    body: str = ""


class Prompt:
    """The module waits for the body of a message."""


PROMPT = Prompt()
Token = Line | Prompt


def _closed(ussd: str) -> bool:
    """Tell whether a +CUSD line is complete; some firmware leaves the coding out."""
    return bool(_USSD_WHOLE.fullmatch(ussd)) or (ussd.endswith('"') and ussd.count('"') % 2 == 0)


class Framer:
    """Cuts a stream of octets into tokens."""

    def __init__(self) -> None:
        #: Set while a command waits for `> `.
        self.prompting = False
        #: Lines thrown away because they were longer than any honest one.
        self.dropped = 0
        self._rest = bytearray()
        self._skipping = False
        self._header: str | None = None
        self._quoted: list[str] = []

    def feed(self, data: bytes) -> list[Token]:
        """Take more octets and return what became complete."""
        self._rest += data
        tokens: list[Token] = []
        start = 0
        for end in _END.finditer(bytes(self._rest)):
            if not self._skipping:
                self._cut(self._rest[start : end.start()], tokens)
            self._skipping = False
            start = end.end()
        del self._rest[:start]
        self._bound()
        self._prompts(self._rest, tokens)
        return tokens

    def flush(self) -> list[Token]:
        """Give up units that wait for more lines: what was held comes back as lines of its own."""
        held = [self._header] if self._header is not None else self._quoted
        self._header, self._quoted = None, []
        return [Line(text) for text in held]

    def _bound(self) -> None:
        if self._skipping or len(self._rest) > MAX_LINE:
            self.dropped += not self._skipping
            self._skipping = True
            self._rest.clear()

    def _prompts(self, raw: bytearray, tokens: list[Token]) -> None:
        while self.prompting and self._header is None and raw.startswith(b"> "):
            del raw[:2]
            tokens.append(PROMPT)

    def _cut(self, raw: bytearray, tokens: list[Token]) -> None:
        if len(raw) > MAX_LINE:
            self.dropped += 1
            return
        self._prompts(raw, tokens)
        text = raw.decode("latin-1").strip(" ")
        if not text:
            return
        glued = _GLUED.match(text)
        if glued and self._header is None and not self._quoted:
            self._take(glued[1], tokens)
            text = text[glued.end() :]
        self._take(text, tokens)

    def _take(self, text: str, tokens: list[Token]) -> None:
        if self._header is not None:
            tokens.append(Line(self._header, text))
            self._header = None
        elif self._quoted or (_USSD_OPEN.match(text) and not _closed(text)):
            self._quote(text, tokens)
        elif text.startswith(_TWO_LINES) and not _CDS_TEXT.match(text):
            self._header = text
        else:
            tokens.append(Line(text))

    def _quote(self, text: str, tokens: list[Token]) -> None:
        self._quoted.append(text)
        whole = "\n".join(self._quoted)
        if _USSD_WHOLE.fullmatch(whole):
            tokens.append(Line(whole))
            self._quoted = []
        elif len(whole) > MAX_QUOTED:
            tokens += self.flush()
