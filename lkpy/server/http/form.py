"""Parameters of a request, wherever they are: those of a posted form come before the query's, as in
Go's ``http.Request.FormValue``, which every parameter of LiveKit is read with."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from multidict import MultiDict

_FORM = "application/x-www-form-urlencoded"
_METHODS = frozenset({"POST", "PUT", "PATCH"})


async def values(request: web.Request) -> Mapping[str, str]:
    """The first value of every parameter; the other encoding of forms, multipart, is not read."""
    if request.method not in _METHODS or request.content_type != _FORM:
        return request.query
    merged: MultiDict[str] = MultiDict()
    for name, value in (await request.post()).items():
        if isinstance(value, str):
            merged.add(name, value)
    merged.extend(request.query)
    return merged
