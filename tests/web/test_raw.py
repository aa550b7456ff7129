"""What no browser sends, over a raw socket against the real process: an answer or a closed connection, never a traceback."""

import http.client
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from production_parts import SqliteDatabase
from support import Process, StartProcess
from web_helpers import database

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
ANSWER_S = 30.0
MB = 1 << 20
HOST = b"Host: 127.0.0.1\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
# What is sent, and the statuses that it may get; 0: closed without a word.
CASES: dict[str, tuple[bytes, set[int]]] = {
    "1 MB of password": (b"POST /sign-in HTTP/1.1\r\n" + HOST + FORM + b"Content-Length: %d\r\n\r\nname=a&password=" % (MB + 16) + b"x" * MB, {400, 413, 0}),
    "1 GB that never comes": (b"POST /sign-in HTTP/1.1\r\n" + HOST + FORM + b"Content-Length: 1073741825\r\n\r\nname=a", {413, 0}),
    "100,000 fields": (b"POST /sign-in HTTP/1.1\r\n" + HOST + FORM + b"Content-Length: 400000\r\n\r\n" + b"a=1&" * 100_000, {400, 413}),
    "a flood of headers": (b"GET /sign-in HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 100) for n in range(4000)) + b"\r\n", {431, 400, 0}),
    "one header of 1 MB": (b"GET /sign-in HTTP/1.1\r\n" + HOST + b"X-A: " + b"y" * MB + b"\r\n\r\n", {431, 400, 0}),
    "cookies of 100 KB": (b"GET /sign-in HTTP/1.1\r\n" + HOST + b"Cookie: simrack=" + b"z" * 100_000 + b"\r\n\r\n", {200, 431}),
    "a cookie of nonsense": (b"GET /rack HTTP/1.1\r\n" + HOST + b"Cookie: simrack=\xff\xfe\x01; simrack=%00\r\n\r\n", {302, 400}),
    "a bearer of nonsense": (b"GET /api/v1/rack HTTP/1.1\r\n" + HOST + b"Authorization: Bearer \xff\xfe\x00\r\n\r\n", {400, 401}),
    "an address of 200 KB": (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {302, 404, 414, 431, 400}),
    "up and out": (b"GET /static/../../../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", {302, 400, 404}),
    "up and out, in disguise": (b"GET /static/%2e%2e/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", {302, 400, 404}),
    "up and out, doubly": (b"GET /static/%252e%252e%255c..%5c..%5cetc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", {302, 400, 404}),
    "a NUL in the address": (b"GET /static/app.css%00.js HTTP/1.1\r\n" + HOST + b"\r\n", {302, 400, 404}),
    "two slashes": (b"GET //evil.example/rack HTTP/1.1\r\n" + HOST + b"\r\n", {301, 302, 308, 400, 404}),
    "another's address whole": (b"GET http://evil.example/sign-in HTTP/1.1\r\n" + HOST + b"\r\n", {200, 302, 400, 404}),
    "no UTF-8": (b"GET /records?text=%ff%fe&text=\xff HTTP/1.1\r\n" + HOST + b"\r\n", {302, 400}),
    "another's name": (b"GET /sign-in HTTP/1.1\r\nHost: evil.example\r\n\r\n", {400}),
    "a name that is none": (b"GET /sign-in HTTP/1.1\r\nHost: [::1\r\n\r\n", {400}),
    "a port that is none": (b"GET /sign-in HTTP/1.1\r\nHost: 127.0.0.1:port\r\n\r\n", {400}),
    "no name": (b"GET /sign-in HTTP/1.1\r\n\r\n", {200, 400}),
    "two lengths": (b"POST /sign-in HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\na=1&b", {400, 403, 0}),
    "length and parts": (b"POST /sign-in HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400, 403, 501, 0}),
    "a length below zero": (b"POST /sign-in HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", {400}),
    "broken parts": (b"POST /sign-in HTTP/1.1\r\n" + HOST + FORM + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nname=a\r\n0\r\n\r\n", {400, 0}),
    "a part without end": (b"POST /sign-in HTTP/1.1\r\n" + HOST + FORM + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\nname", {413, 400, 0}),
    "a method of nobody": (b"FROB /sign-in HTTP/1.1\r\n" + HOST + b"\r\n", {302, 405}),
    "TRACE": (b"TRACE /sign-in HTTP/1.1\r\n" + HOST + b"\r\n", {302, 405}),
    "PUT": (b"PUT /rack HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n", {302, 303, 405}),
    "CONNECT": (b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", {400, 404, 405, 302}),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200 + b"\r\n\r\n", {400, 0}),
    "SIP": (b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP a\r\n\r\n", {400, 404, 405, 0, 302}),
    "a line cut in two": (b"GET /sign-in?next=%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\n" + HOST + b"\r\n", {200}),
    "smuggled": (b"GET /sign-in HTTP/1.1\r\n" + HOST + b"X: a\nSet-Cookie: b\r\n\r\n", {200, 400}),
    "boundary missing": (b"POST /sign-in HTTP/1.1\r\n" + HOST + b"Content-Type: multipart/form-data\r\nContent-Length: 4\r\n\r\nabcd", {400}),
    "parts cut off": (b"POST /sign-in HTTP/1.1\r\n" + HOST + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 40\r\n\r\n--x\r\nContent-Disposition: form-data; nam", {400}),
    "JSON where a form belongs": (b"POST /sign-in HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 4\r\n\r\n{[\xff}", {400}),
}  # fmt: skip


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, int]]:
    """The real process with its log, and its port."""
    from support import processes

    folder = tmp_path_factory.mktemp("raw")
    SqliteDatabase(folder / "web.db")
    path = folder / "web.toml"
    path.write_text(f'database = "{database(folder)}"\nlisten = "127.0.0.1:0"\nstreams = 4\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n')
    with processes(folder) as begin:
        begin_one: StartProcess = begin
        process = begin_one("web", "--config", str(path))
        yield process, urlsplit(process.ready["web"]).port or 0


def tell(port: int, octets: bytes) -> tuple[int, bytes]:
    """The status that a raw request gets, and all of the answer; 0 if the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as line:
        got = b""
        try:
            line.sendall(octets)
            line.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was closed while we were still speaking; what it said before is read below
        try:
            while block := line.recv(65536):
                got += block
        except ConnectionError:
            pass
    found = re.match(rb"HTTP/1\.[01] (\d{3})", got)
    return int(found[1]) if found else 0, got


def alive(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def test_every_oddity_is_answered_or_cut_off(door: tuple[Process, int]) -> None:
    """Anybody on the network could fill the log, stop the control room or read its files."""
    process, port = door
    wrong = []
    for what, (octets, statuses) in CASES.items():
        status, answer = tell(port, octets)
        if status not in statuses:
            wrong.append(f"{what}: {status} {answer[:300]!r}")
        head = answer.partition(b"\r\n\r\n")[0]
        # 302 of one's own address only; nothing of the disk, of the program or of what was smuggled.
        if re.search(rb"root:|Traceback|waitress|File \"|\r\nSet-Cookie: [ab]", answer) or re.search(rb"(?i)\r\nlocation: *(https?:)?//evil", head):
            wrong.append(f"{what}: tells {answer[:300]!r}")
    assert alive(port)
    assert not wrong, "\n".join(wrong)
    log = process.log.read_text()
    assert "Traceback" not in log, log[-3000:]


def test_connections_that_say_nothing_keep_nobody_out(door: tuple[Process, int]) -> None:
    """Two hundred connections that dawdle would close the door to everybody else."""
    _, port = door
    lines = [socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) for _ in range(200)]
    try:
        for line in lines:
            line.sendall(b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nname=")
        assert alive(port)
    finally:
        for line in lines:
            line.close()
