"""baresip (Debian's package) as a real SIP client, driven through its control socket."""

import json
import queue
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from system.sounds import dominant_hz, loudest_second, read_samples

MODULES = "/usr/lib/baresip/modules"
CONFIG = """
poll_method epoll
sip_listen {host}:{port}
net_interface {host}
call_max_calls 4
audio_source aufile,{tone}
audio_player aufile,{folder}/play.wav
audio_alert aufile,{folder}/alert.wav
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports {rtp}-{rtp_last}
rtp_stats yes
jitter_buffer_type fixed
jitter_buffer_delay 1-5
module_path {modules}
module g711.so
module aufile.so
module sndfile.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
snd_path {folder}
"""


def free_port(kind: int = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class Baresip:
    """One running baresip; `events` holds what it reported, in order."""

    def __init__(self, folder: Path, account: str, tone: Path, host: str = "127.0.0.1") -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.port = free_port(socket.SOCK_DGRAM, host)
        control = free_port()
        rtp = free_port(socket.SOCK_DGRAM, host) // 2 * 2
        (folder / "config").write_text(
            CONFIG.format(
                host=host, port=self.port, tone=tone, folder=folder, rtp=rtp, rtp_last=rtp + 10, modules=MODULES,
                control=control,
            )
        )  # fmt: skip
        (folder / "accounts").write_text(account.format(port=self.port) + "\n")
        self._log = (folder / "baresip.log").open("wb")
        self._process = subprocess.Popen(
            ["baresip", "-f", str(folder), "-t", "100"], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        self._socket = self._connect(control)
        threading.Thread(target=self._read, daemon=True).start()

    def _connect(self, port: int) -> socket.socket:
        end = time.monotonic() + 10
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", port), 2)
                connection.settimeout(None)
                return connection
            except OSError:
                if time.monotonic() > end:
                    raise AssertionError((self.folder / "baresip.log").read_text()) from None
                threading.Event().wait(0.05)

    def _read(self) -> None:
        buffer = b""
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError:
                return
            if not data:
                return
            buffer += data
            while b":" in buffer:
                size, _, rest = buffer.partition(b":")
                if len(rest) < int(size) + 1:
                    break
                self.events.put(json.loads(rest[: int(size)]))
                buffer = rest[int(size) + 1 :]

    def command(self, name: str, params: str = "") -> None:
        body = json.dumps({"command": name, "params": params}).encode()
        self._socket.sendall(b"%d:%s," % (len(body), body))

    def dial(self, uri: str) -> None:
        self.command("dial", uri)

    def hang_up(self) -> None:
        self.command("hangup")

    def wait(self, kind: str, seconds: float = 20.0) -> dict[str, Any]:
        """The next event of `kind`; events before it are kept in `seen`."""
        end = time.monotonic() + seconds
        while True:
            try:
                event = self.events.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                shown = [e.get("type") for e in self.seen]
                raise AssertionError(f"no {kind} within {seconds} s; saw {shown}\n{self.log()}") from None
            self.seen.append(event)
            if event.get("event") and event.get("type") == kind:
                return event

    def log(self) -> str:
        return (self.folder / "baresip.log").read_text(errors="replace")[-3000:]

    def _heard(self) -> list[Path]:
        return sorted(self.folder.glob("dump-*-dec.wav"))

    def heard(self) -> tuple[np.ndarray, int]:
        """Everything that came to this client's ear in its last call."""
        files = self._heard()
        assert files, f"baresip recorded nothing\n{self.log()}"
        return read_samples(files[-1])

    def heard_hz(self) -> float:
        """The tone in the loudest second that was heard."""
        samples, rate = self.heard()
        return dominant_hz(loudest_second(samples, rate), rate)

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()
        self._log.close()
