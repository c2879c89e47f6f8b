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
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from tests.conformance.kit import Target
from tests.interop.conftest import run_server


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

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def started() -> Iterator[Server]:
    """A server that has done nothing yet, or the one that the environment names."""
    if "LIVEKIT_PID" in os.environ:
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
