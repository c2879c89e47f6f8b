"""Parameters of a request, wherever they are: those of a posted form come before the query's, as in
Go's ``http.Request.FormValue``, which every parameter of LiveKit is read with."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from multidict import MultiDict

_FORM = "application/x-www-form-urlencoded"
_METHODS = frozenset({"POST", "PUT", "PATCH"})


def is_form(request: web.Request) -> bool:
    """Whether a request has a form for a body; the other encoding, multipart, is not read."""
    return request.method in _METHODS and request.content_type == _FORM


async def values(request: web.Request) -> Mapping[str, str]:
    """The first value of every parameter."""
    if not is_form(request):
        return request.query
    merged: MultiDict[str] = MultiDict()
    for name, value in (await request.post()).items():
        if isinstance(value, str):
            merged.add(name, value)
    merged.extend(request.query)
    return merged
