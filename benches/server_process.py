"""A server in a process of its own, and what it takes of the machine.

CPU is the kernel's account of its threads (``schedstat``, ns): clients beside it do not count.

``LIVEKIT_URL`` (``http://…``), ``LIVEKIT_API_KEY``, ``LIVEKIT_API_SECRET`` and ``LIVEKIT_PID`` name
another server of this machine, e.g. livekit-server, to compare with on the same day.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from tests.conformance.kit import Target
from tests.interop.conftest import run_server
from tests.ports import free_port

_START_S = 30.0
_SECRET = "a-secret-of-thirty-two-characters-or-more"
_LIVEKIT = """
port: {port}
bind_addresses: [127.0.0.1]
rtc: {{udp_port: {udp}, tcp_port: {tcp}, use_external_ip: false, node_ip: 127.0.0.1, \
enable_loopback_candidate: true}}
keys: {{devkey: {secret}}}
logging: {{level: error}}
"""


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds of the thread that runs Python (another server's: of all), and of all threads."""

    python: float
    total: float

    def __sub__(self, before: Cpu) -> Cpu:
        return Cpu(self.python - before.python, self.total - before.total)


@dataclass(frozen=True, slots=True)
class Server:
    """A server process, its CPU and its memory."""

    target: Target
    pid: int

    def cpu(self) -> Cpu:
        spent = {}
        for thread in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                spent[thread.name] = int((thread / "schedstat").read_text().split()[0]) / 1e9
        total = sum(spent.values())
        return Cpu(spent[str(self.pid)] if self.target.ours else total, total)

    def waited(self) -> float:
        """Seconds that its threads were ready to run and had no core."""
        waited = 0
        for thread in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                waited += int((thread / "schedstat").read_text().split()[1])
        return waited / 1e9

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def rest(server: Server) -> None:
    """Wait until the server has little to do."""
    while True:
        before = server.cpu()
        time.sleep(0.25)
        if (server.cpu() - before).total < 0.01:
            return


@contextlib.contextmanager
def livekit(program: str) -> Iterator[Server]:
    """The livekit-server of this path, with nothing done yet, on loopback."""
    port, udp, tcp = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as name:
        config = pathlib.Path(name) / "livekit.yaml"
        config.write_text(_LIVEKIT.format(port=port, udp=udp, tcp=tcp, secret=_SECRET))
        with subprocess.Popen(
            [program, "--config", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                url = f"http://127.0.0.1:{port}"
                deadline = time.monotonic() + _START_S
                while not _answers(url):
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(f"{program} did not start")
                    time.sleep(0.05)
                yield Server(Target(url, "devkey", _SECRET, ours=False), process.pid)
            finally:
                process.terminate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def started(*, ours: bool = False) -> Iterator[Server]:
    """A server that has done nothing yet, or the one that the environment names unless ``ours``."""
    if "LIVEKIT_PID" in os.environ and not ours:
        key, secret = os.environ["LIVEKIT_API_KEY"], os.environ["LIVEKIT_API_SECRET"]
        target = Target(os.environ["LIVEKIT_URL"], key, secret, ours=False)
        yield Server(target, int(os.environ["LIVEKIT_PID"]))
        return
    with (
        tempfile.TemporaryDirectory() as name,
        run_server(directory := pathlib.Path(name)) as running,
    ):
        pid = json.loads((directory / "ready.json").read_text())["pid"]
        target = Target(running.http_url, running.api_key, running.api_secret, ours=True)
        yield Server(target, pid)
