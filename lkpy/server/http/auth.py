"""From a request to its verified token."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import hdrs, web

from lkpy.auth.token import TokenError, Verified, verify
from lkpy.errors import Code, LkpyError

BEARER = "Bearer "


class PermissionDenied(LkpyError):
    """The token does not allow it. LiveKit calls this unauthenticated (401), never forbidden."""

    def __init__(self, message: str = "permissions denied") -> None:
        super().__init__(Code.UNAUTHENTICATED, message)


def authenticate(request: web.Request, keys: Mapping[str, str], *, now: float) -> Verified | None:
    """Join step 2 (first half): the token of a request, verified; None when it carries none.

    It is looked for in the Authorization header, then in ``access_token`` of the query; not in a
    form, as the query alone is known before the body is read. Raises :class:`TokenError`.
    """
    header = request.headers.get(hdrs.AUTHORIZATION)
    if header:
        if not header.startswith(BEARER):
            raise TokenError("invalid authorization header. Must start with Bearer ")
        token = header.removeprefix(BEARER)
    else:
        token = request.query.get("access_token", "")
    return verify(token, keys, now=now) if token else None
