"""A network link of its own that a test can make narrow, for a browser at its far end.

It is a pair of virtual interfaces to a second network namespace, and needs a first one that is
not the machine's: ``make test-network`` runs the tests so, without privileges.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

NEAR, FAR = "10.99.0.1", "10.99.0.2"


def _run(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True, text=True)


class Link:
    """The link from here (``NEAR``) to the namespace that ``enter`` enters (``FAR``)."""

    def __init__(self, process: int) -> None:
        self.enter = ["nsenter", "-t", str(process), "-n"]

    def throttle(self, kbps: int) -> None:
        """Let at most ``kbps`` kbit/s through towards the far end, queueing 150 ms."""
        shape = ["rate", f"{kbps}kbit", "burst", "4k", "latency", "150ms"]
        _run("tc", "qdisc", "replace", "dev", "near", "root", "tbf", *shape)


@contextlib.contextmanager
def run_link() -> Iterator[Link]:
    """Make the link; it ends with the block."""
    command = ["unshare", "-n", "sh", "-c", "echo up && exec cat"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            assert process.stdout.readline() == "up\n"
            link = Link(process.pid)
            _run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
            _run("ip", "link", "set", "far", "netns", str(process.pid))
            _run("ip", "addr", "add", f"{NEAR}/24", "dev", "near")
            _run("ip", "link", "set", "near", "up")
            _run(*link.enter, "ip", "addr", "add", f"{FAR}/24", "dev", "far")
            _run(*link.enter, "ip", "link", "set", "far", "up")
            _run(*link.enter, "ip", "link", "set", "lo", "up")
            yield link
        finally:
            process.stdin.close()
