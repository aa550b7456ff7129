"""A reverse proxy that gathers what it passes on, as many do unless they are told otherwise."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

#: nginx's proxy_buffers begin at 4 or 8 KB; a page's changes of some minutes fit into it.
GATHERED = 8192
HOP = frozenset({"connection", "transfer-encoding", "keep-alive", "content-length"})


@contextmanager
def gathering_proxy(base: str) -> Iterator[str]:
    """The proxy's own address; it passes on a part once that is full, or once the answer has ended."""
    upstream = urlsplit(base).netloc

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass(b"")

        def do_POST(self) -> None:
            self._pass(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _pass(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(upstream, timeout=120)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
                connection.request(self.command, self.path, body, headers | {"Host": upstream})
                answer = connection.getresponse()
                # Not even the status goes out before the first part is full.
                part = answer.read(GATHERED)
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in HOP:
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                while part:
                    self.wfile.write(part)
                    part = answer.read(GATHERED)
            except OSError:
                self.close_connection = True
            finally:
                connection.close()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Nothing: a page that is closed is no news."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
