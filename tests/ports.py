"""Loopback ports that nobody has, for a process that has to be told its port."""

from __future__ import annotations

import contextlib
import socket


def free_ports(count: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[int]:
    """Return ``count`` different ports; nothing keeps others from taking them meanwhile."""
    with contextlib.ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket(socket.AF_INET, kind)) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return one port."""
    return free_ports(1, kind)[0]
