"""Parameters of a request, wherever they are: those of a posted form come before the query's, as in
Go's ``http.Request.FormValue``, which LiveKit reads the parameters of a join with."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from multidict import MultiDict

from lkpy.errors import Code, LkpyError
from lkpy.limits import HTTP_PARAMETERS_MAX

_FORM = "application/x-www-form-urlencoded"
_METHODS = frozenset({"POST", "PUT", "PATCH"})


def is_form(request: web.Request) -> bool:
    """Whether a request has a form for a body; the other encoding, multipart, is not read."""
    return request.method in _METHODS and request.content_type == _FORM


class TooManyParametersError(LkpyError):
    """A query or a form has more parameters than anybody reads."""

    def __init__(self) -> None:
        super().__init__(Code.INVALID_ARGUMENT, "too many parameters")


def check_query(request: web.Request) -> None:
    """Raise :class:`TooManyParametersError` before a query is taken apart."""
    if request.raw_path.count("&") >= HTTP_PARAMETERS_MAX:
        raise TooManyParametersError


async def values(request: web.Request) -> Mapping[str, str]:
    """The first value of every parameter. The query must have been checked, and the body read.

    Raises :class:`TooManyParametersError`.
    """
    if not is_form(request):
        return request.query
    if (await request.read()).count(b"&") >= HTTP_PARAMETERS_MAX:
        raise TooManyParametersError
    merged: MultiDict[str] = MultiDict()
    for name, value in (await request.post()).items():
        if isinstance(value, str):
            merged.add(name, value)
    merged.extend(request.query)
    return merged
