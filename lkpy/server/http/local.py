"""Whether a request comes from somebody at this machine, and not from a web page that a browser on
this machine shows."""

from __future__ import annotations

import ipaddress
import socket

from aiohttp import hdrs, web
from yarl import URL

_NOT_LOCAL = ("CF-Connecting-IP", "X-Forwarded-For", "X-Real-IP", "Forwarded", "Origin")


def from_this_machine(request: web.BaseRequest) -> bool:
    """The peer is loopback, no proxy and no page of another origin is in between, and the request
    names this machine: a page whose own name was made to resolve to loopback (DNS rebinding) sends
    that name, and no ``Origin``."""
    if any(name in request.headers for name in _NOT_LOCAL):
        return False
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return False
    return _is_loopback(request.remote or "") and _is_here(request.headers.get(hdrs.HOST, ""))


def _is_here(host: str) -> bool:
    try:
        name = (URL(f"http://{host}").host or "").lower().removesuffix(".")
    except ValueError:
        return False
    return name in ("localhost", socket.gethostname().lower()) or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
