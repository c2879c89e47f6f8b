"""Listening sockets: several addresses, one port, and errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence

from lkpy.errors import Blame, Code, LkpyError

_PORT_ATTEMPTS = 20
"""Tries to find a free port that is free on every address."""

_ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def listen(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Bind ``port`` (0: any free one, the same for all) on every address.

    No address means every interface. An IPv6 address that the machine does not have is passed
    over when there is another. Raises :class:`LkpyError`.
    """
    wanted = list(addresses) or ["0.0.0.0", "::"]
    for _ in range(_PORT_ATTEMPTS):
        try:
            return _listen_all(wanted, port)
        except OSError as error:
            if port == 0 and error.errno == errno.EADDRINUSE:
                continue
            raise _explained(error, wanted, port) from error
    raise LkpyError(Code.UNAVAILABLE, "no port is free on all addresses", blame=Blame.OPERATOR)


def _listen_all(addresses: Sequence[str], port: int) -> list[socket.socket]:
    with contextlib.ExitStack() as undo:
        sockets: list[socket.socket] = []
        for address in addresses:
            try:
                bound = _listen_one(address, port)
            except OSError as error:
                optional = ":" in address and len(addresses) > 1
                if optional and error.errno in _ABSENT:
                    continue
                raise
            undo.callback(bound.close)
            sockets.append(bound)
            port = bound.getsockname()[1]
        undo.pop_all()
        return sockets


def _listen_one(address: str, port: int) -> socket.socket:
    family, _, _, _, name = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(name)
        bound.listen(1024)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _explained(error: OSError, addresses: Sequence[str], port: int) -> LkpyError:
    where = f"{', '.join(addresses)} port {port}"
    hints = {
        errno.EADDRINUSE: f"stop the other process on port {port}, or choose another with --port",
        errno.EACCES: "ports below 1024 need privileges: choose another with --port",
        errno.EADDRNOTAVAIL: "--bind must name an address of this machine",
    }
    return LkpyError(
        Code.UNAVAILABLE,
        f"cannot listen on {where}: {error.strerror}",
        blame=Blame.OPERATOR,
        hint=hints.get(error.errno or 0),
    )
