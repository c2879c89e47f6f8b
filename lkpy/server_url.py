"""The address of a server, and why nothing was reached there: for all parts that connect to one."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import aiohttp

from lkpy.errors import Blame, Code, LkpyError

_TLS = "TLS: "
_HINT = "is the server running, and is its address right? start one: lkpy server start --dev"
_TLS_HINT = (
    "does the server speak TLS there, with a certificate that this machine trusts? "
    "without TLS its address begins with ws:// or http://"
)

_SECURE = {"ws": False, "http": False, "wss": True, "https": True}


def http_url(url: str) -> str:
    """The address for HTTP requests of a server given as ws, wss, http or https.

    Without a slash at its end. Raises :class:`LkpyError` when ``url`` is no such address.
    """
    return _with_scheme(url, "http")


def ws_url(url: str) -> str:
    """As :func:`http_url`, for WebSockets."""
    return _with_scheme(url, "ws")


def _with_scheme(url: str, scheme: str) -> str:
    given = url.partition("://")[0]
    try:
        parts = urlsplit(url)
        usable = given in _SECURE and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        hint = f"write it as ws://{url}" if "://" not in url else "for example ws://host:7880"
        raise LkpyError(Code.INVALID_ARGUMENT, f"{url!r} is no server's address", hint=hint)
    scheme += "s" if _SECURE[given] else ""
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


class UnreachableError(LkpyError):
    """No server answers at the address. The reason is what aiohttp or the system said, or words."""

    def __init__(self, url: str, reason: Exception | str) -> None:
        if not isinstance(reason, str):
            reason = unreachable_reason(reason)
        super().__init__(
            Code.UNAVAILABLE,
            f"cannot reach {url}: {reason}",
            blame=Blame.OPERATOR,
            hint=_TLS_HINT if reason.startswith(_TLS) else _HINT,
        )


def unreachable_reason(error: Exception) -> str:
    """Why aiohttp or the system could not connect, in plain words, without the address."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
        words = getattr(error, "verify_message", None) or str(error)
        return f"{_TLS}its certificate is not trusted: {words}"
    if isinstance(error, aiohttp.ClientSSLError):
        reason = getattr(error.os_error, "reason", None) or getattr(error.os_error, "strerror", "")
        return f"{_TLS}{str(reason).replace('_', ' ').lower()}"
    if isinstance(error, TimeoutError) and not error.strerror:
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    reason = str(getattr(error, "strerror", None) or error)
    # What asyncio says when each of several addresses refused.
    if "Connect call failed" in reason:
        return "connection refused"
    return reason.lower() or type(error).__name__
