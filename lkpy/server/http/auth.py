"""From a request to its verified token."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import hdrs, web

from lkpy.auth.token import TokenError, Verified, verify
from lkpy.errors import Code, LkpyError
from lkpy.server.http import form

BEARER = "Bearer "


class PermissionDenied(LkpyError):
    """The token does not allow it. LiveKit calls this unauthenticated (401), never forbidden."""

    def __init__(self, message: str = "permissions denied") -> None:
        super().__init__(Code.UNAUTHENTICATED, message)


def may_be_in_body(request: web.Request) -> bool:
    """Whether only the body says which token a request carries."""
    return hdrs.AUTHORIZATION not in request.headers and form.is_form(request)


def authenticate(
    request: web.Request, values: Mapping[str, str], keys: Mapping[str, str], *, now: float
) -> Verified | None:
    """Join step 2 (first half): the token of a request, verified; None when it carries none.

    It is looked for in the Authorization header, then in ``access_token`` of the request's values:
    those of its form and its query (:func:`lkpy.server.http.form.values`). Raises
    :class:`TokenError`.
    """
    header = request.headers.get(hdrs.AUTHORIZATION)
    if header:
        if not header.startswith(BEARER):
            raise TokenError("invalid authorization header. Must start with Bearer ")
        token = header.removeprefix(BEARER)
    else:
        token = values.get("access_token", "")
    return verify(token, keys, now=now) if token else None
