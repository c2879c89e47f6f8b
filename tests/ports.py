"""Loopback ports that nobody has, for a process that has to be told its port."""

from __future__ import annotations

import contextlib
import errno
import random
import socket

# The system gives out ports from 32768 on (Linux, ``ip_local_port_range``) to connections and to
# whoever binds port 0, so that one of those may be somebody's by the time that it is used.
_PORTS = range(20_000, 32_000)


def free_ports(count: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[int]:
    """Return ``count`` different ports that nobody has."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            break
        with contextlib.closing(socket.socket(socket.AF_INET, kind)) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        found.append(port)
    assert len(found) == count, "no free ports"
    return found


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return one port."""
    return free_ports(1, kind)[0]
