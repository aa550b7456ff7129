"""Octets of an AT port become lines, however they are cut into pieces."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simrack.drivers.at.framing import MAX_LINE, PROMPT, Framer, Line, Token

ALPHABET = [
    b"\r", b"\n", b"\r\n", b"\x00", b"OK", b"ERROR", b"+CUSD: 1,\"", b'",15', b'"', b"+CMT: ,24", b"+CDS: 7", b"> ",
    b" ", b"RING", b"+CSQ: 28,99", b"\xff\x80", b"ERROR+CNUM: 1", b"+CDS: 6,1,\"+49\",145", b"0123456789" * 9,
    b"x" * (MAX_LINE - 1), b"text",
]  # fmt: skip
pieces = st.lists(st.sampled_from(ALPHABET) | st.binary(max_size=12), max_size=40)


def framed(chunks: list[bytes], *, prompting: bool = False) -> list[Token]:
    framer = Framer()
    framer.prompting = prompting
    return [token for chunk in chunks for token in framer.feed(chunk)]


def texts(data: bytes) -> list[str]:
    return [token.text if isinstance(token, Line) else "<prompt>" for token in framed([data])]


@given(pieces, st.lists(st.integers(0, 4000)), st.booleans())
def test_any_chunking_yields_the_same_lines(parts: list[bytes], cuts: list[int], prompting: bool) -> None:
    """Else a call's answer would depend on how USB cut its octets."""
    data = b"".join(parts) + b"\r\n"
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    chunks = [data[a:b] for a, b in itertools.pairwise(edges)]
    whole = framed([data], prompting=prompting)
    assert framed(chunks, prompting=prompting) == whole
    if len(data) < 2000:
        assert framed([data[i : i + 1] for i in range(len(data))], prompting=prompting) == whole


@given(st.binary(max_size=3000))
def test_nothing_breaks_it_and_a_good_line_follows(garbage: bytes) -> None:
    """Else one burst of noise would end the box's work with the module."""
    framer = Framer()
    framer.feed(garbage)
    framer.feed(b"\r\n")
    framer.flush()
    assert framer.feed(b"\r\n+CSQ: 28,99\r\n") == [Line("+CSQ: 28,99")]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"AT+CSQ\r\r\n+CSQ: 28,99\r\n\r\nOK\r\n", ["AT+CSQ", "+CSQ: 28,99", "OK"]),
        (b"\r\r\n+CRING: VOICE\r\r\n\r\r\n+RXDTMF: 8\r\r\n", ["+CRING: VOICE", "+RXDTMF: 8"]),
        (b"+CSQ: 24,99\r\n\r\n\r\nOK\r\n", ["+CSQ: 24,99", "OK"]),
        (b"\r\n^MODE:5,4\r\r\r\r\n", ["^MODE:5,4"]),
        (b"\r\nERROR+CNUM: 1\r\n", ["ERROR", "+CNUM: 1"]),
        (b"\x00\x00\r\nRDY\r\n", ["RDY"]),
        (b"unfinished", []),
    ],
)
def test_line_ends_of_real_modules(data: bytes, lines: list[str]) -> None:
    """Traces of at-dialects 1: doubled returns, blank pairs, glued lines."""
    assert texts(data) == lines


def test_body_of_a_two_line_unit_is_no_result() -> None:
    """Else an SMS that says OK would end a command."""
    data = b'\r\n+CMT: "+882",,"26/11/21"\r\nOK\r\n\r\nOK\r\n'
    assert framed([data]) == [Line('+CMT: "+882",,"26/11/21"', "OK"), Line("OK")]


def test_ussd_text_holds_line_ends_and_quotes() -> None:
    """Else a menu of several lines would be cut after its first."""
    data = b'\r\n+CUSD: 1,"Your "plan":\r\n1) OK\r\nOK\r\n2) off",15\r\n\r\nOK\r\n'
    assert framed([data]) == [Line('+CUSD: 1,"Your "plan":\n1) OK\nOK\n2) off",15'), Line("OK")]
    assert texts(b"+CUSD: 2\r\nOK\r\n") == ["+CUSD: 2", "OK"]
    assert texts(b'+CUSD: 0,"done"\r\nOK\r\n') == ['+CUSD: 0,"done"', "OK"]


def test_ussd_text_that_never_ends_gives_its_lines_back() -> None:
    """Else one broken text would swallow every answer after it."""
    framer = Framer()
    assert framer.feed(b'+CUSD: 1,"open\r\nOK\r\n') == []
    assert framer.flush() == [Line('+CUSD: 1,"open'), Line("OK")]
    swallowed = framer.feed(b'+CUSD: 1,"open\r\n' + b"+CSQ: 1,99\r\n" * 200)
    assert Line("+CSQ: 1,99") in swallowed


def test_prompt_counts_only_while_it_is_waited_for() -> None:
    """Else text that starts with > would be taken for an invitation to send."""
    assert framed([b"\r\n> "], prompting=True) == [PROMPT]
    assert framed([b"\r\n", b">", b" "], prompting=True) == [PROMPT]
    assert framed([b"\r\n> text\r\n"]) == [Line("> text")]


def test_memory_stays_bounded() -> None:
    """Else a module that never ends its line would fill the box."""
    framer = Framer()
    for _ in range(200):
        framer.feed(b"x" * 4096)
        assert len(framer._rest) <= MAX_LINE
    assert framer.dropped == 1
    assert framer.feed(b"tail\r\nOK\r\n") == [Line("OK")]
