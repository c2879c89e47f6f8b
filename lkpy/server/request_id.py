"""The id that a caller of the server API sends with every try of one call.

LiveKit's SDKs repeat a call whose answer is lost, with the same ``X-Livekit-Request-Id``. What a
call makes has an id that follows from it, so that a repeated call makes nothing more
(livekit-server ``pkg/service/requestid.go``).
"""

from __future__ import annotations

from contextvars import ContextVar

from lkpy.ids import hashed_id, new_id

HEADER = "X-Livekit-Request-Id"

current: ContextVar[str] = ContextVar("request_id", default="")
"""That of the call that is being answered; empty: it has none."""


def stable_id(prefix: str) -> str:
    """An id that is the same for every try of the current call; random if the call has no id."""
    request = current.get()
    return hashed_id(prefix, request) if request else new_id(prefix)
