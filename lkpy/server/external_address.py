"""This machine's public addresses, as STUN servers see them (RFC 8489)."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import secrets
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence

logger = logging.getLogger(__name__)

PUBLIC_STUN = (
    "global.stun.twilio.com:3478",
    "stun.l.google.com:19302",
    "stun1.l.google.com:19302",
)
"""What LiveKit asks, and tells clients, when nothing else is configured."""

_DEFAULT_PORT = 3478
_TIMEOUT_S = 3.0
_RETRY_S = 0.5
_HEADER = struct.Struct("!HHI12s")
_REQUEST, _SUCCESS = 0x0001, 0x0101
_COOKIE = 0x2112A442
_MAPPED, _XOR_MAPPED = 0x0001, 0x0020
_IPV4 = 1


def external_addresses(
    local: Sequence[str], servers: Sequence[str], *, timeout_s: float = _TIMEOUT_S
) -> dict[str, str]:
    """The public IPv4 address of each local one for which a server (``host[:port]``) answered.

    Blocks for at most ``timeout_s`` after names are resolved; for use before serving.
    """
    targets = [target for server in servers if (target := _resolve(server)) is not None]
    found: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        questions: dict[socket.socket, tuple[str, bytes]] = {}
        for address in local:
            asking = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            try:
                asking.bind((address, 0))
            except OSError as error:
                logger.warning("cannot ask STUN servers from %s: %s", address, error.strerror)
                continue
            questions[asking] = (address, secrets.token_bytes(12))
        deadline = time.monotonic() + timeout_s
        while targets and questions and time.monotonic() < deadline:
            for asking, (_, transaction) in questions.items():
                _ask(asking, binding_request(transaction), targets)
            until = min(deadline, time.monotonic() + _RETRY_S)
            for asking in _answers(questions, until):
                address, transaction = questions[asking]
                public = read_binding_response(asking.recv(2048), transaction)
                if public is not None:
                    found[address] = public
                    del questions[asking]
    return found


def binding_request(transaction: bytes) -> bytes:
    """A Binding request without attributes (RFC 8489 5); ``transaction`` is 12 bytes."""
    return _HEADER.pack(_REQUEST, 0, _COOKIE, transaction)


def read_binding_response(data: bytes, transaction: bytes) -> str | None:
    """The IPv4 address in a success response to this transaction, None when it is not one."""
    if len(data) < _HEADER.size:
        return None
    kind, length, cookie, echoed = _HEADER.unpack_from(data)
    if kind != _SUCCESS or cookie != _COOKIE or echoed != transaction:
        return None
    plain = None
    for attribute, value in _attributes(data[_HEADER.size : _HEADER.size + length]):
        if len(value) < 8 or value[1] != _IPV4:
            continue
        number = int.from_bytes(value[4:8], "big")
        if attribute == _XOR_MAPPED:
            return str(ipaddress.IPv4Address(number ^ _COOKIE))
        if attribute == _MAPPED:
            plain = str(ipaddress.IPv4Address(number))
    return plain


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    while len(body) >= 4:
        kind, length = struct.unpack_from("!HH", body)
        yield kind, body[4 : 4 + length]
        body = body[4 + length + -length % 4 :]


def _resolve(server: str) -> tuple[str, int] | None:
    host, _, port = server.rpartition(":") if ":" in server else (server, "", str(_DEFAULT_PORT))
    try:
        found = socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_DGRAM)
    except (OSError, ValueError) as error:
        logger.warning("STUN server %s: %s", server, error)
        return None
    address = found[0][4]
    return str(address[0]), int(address[1])


def _ask(asking: socket.socket, request: bytes, targets: Iterable[tuple[str, int]]) -> None:
    for target in targets:
        # The others may be reachable.
        with contextlib.suppress(OSError):
            asking.sendto(request, target)


def _answers(
    questions: dict[socket.socket, tuple[str, bytes]], until: float
) -> Iterator[socket.socket]:
    """Sockets with a datagram to read, until all are answered or the time has come."""
    while questions and (left := until - time.monotonic()) > 0:
        readable, _, _ = select.select(list(questions), [], [], left)
        yield from readable
