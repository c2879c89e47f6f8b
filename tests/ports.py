"""Loopback ports that nobody has, for a process that has to be told its port.

A port that was handed out stays the test process's until it ends: a lock on a file keeps other test
processes of this machine from being given it between the look and the use.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

# The system gives out ports from 32768 on (Linux, ``ip_local_port_range``) to connections and to
# whoever binds port 0, so that one of those may be somebody's by the time that it is used.
_PORTS = range(20_000, 32_000)

_LOCKS = Path(tempfile.gettempdir()) / f"lkpy-test-ports-{os.getuid()}"
_ours: dict[int, IO[bytes]] = {}


def free_ports(count: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[int]:
    """Return ``count`` different ports that nobody has."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            break
        if port not in _ours and _lock(port) and _is_free(port, kind):
            found.append(port)
    assert len(found) == count, "no free ports"
    return found


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return one port."""
    return free_ports(1, kind)[0]


def _lock(port: int) -> bool:
    """Make the port this process's, unless it is another test process's."""
    _LOCKS.mkdir(exist_ok=True)
    file = (_LOCKS / str(port)).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    _ours[port] = file
    return True


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with contextlib.closing(socket.socket(socket.AF_INET, kind)) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True
