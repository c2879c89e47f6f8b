"""How much of the event loop one signal connection may take. Pure; told ``now``.

A bucket of *units*, each about a tenth of a millisecond: see :func:`cost`. A client that has used
them up is not refused anything: its next request is read when it has units again, which slows the
client down and nobody else.
"""

from __future__ import annotations

from livekit.protocol import rtc

from lkpy.limits import (
    SIGNAL_HELD_BACK_S,
    SIGNAL_UNITS_BURST,
    SIGNAL_UNITS_PER_S,
)
from lkpy.signal.request_bounds import SMALL, elements

_BYTES_PER_UNIT = 1024
_TEXT_BYTES_PER_UNIT = 64
_ELEMENTS_PER_UNIT = 16
_KINDS = {"update_metadata": 20, "offer": 10, "answer": 10, "simulate": 20, "sync_state": 20}
"""Of requests that are more work than others of their size. Metadata is told to everybody: ten
times a second."""


def cost(request: rtc.SignalRequest, frame: bytes | str) -> float:
    """Units of a request that came in ``frame``."""
    kind = request.WhichOneof("message") or ""
    if len(frame) <= SMALL:
        return _KINDS.get(kind, 1)
    return (
        _KINDS.get(kind, 1)
        + len(frame) / (_TEXT_BYTES_PER_UNIT if isinstance(frame, str) else _BYTES_PER_UNIT)
        + elements(request) / _ELEMENTS_PER_UNIT
    )


class RequestRate:
    """One connection's bucket."""

    def __init__(
        self,
        now: float,
        *,
        per_s: float = SIGNAL_UNITS_PER_S,
        burst: float = SIGNAL_UNITS_BURST,
        held_back_s: float = SIGNAL_HELD_BACK_S,
    ) -> None:
        """``held_back_s``: for so long in a row a client may want more than its share."""
        self._per_s = per_s
        self._burst = burst
        self._held_back_s = held_back_s
        self._units = burst
        self._at = now
        self._held_since: float | None = None

    def take(self, now: float, units: float) -> float:
        """A request was handled. Returns for how many seconds not to read the next."""
        self._units = min(self._burst, self._units + (now - self._at) * self._per_s) - units
        self._at = now
        if self._units >= 0:
            if self._units >= self._burst / 2:
                self._held_since = None
            return 0.0
        if self._held_since is None:
            self._held_since = now
        return -self._units / self._per_s

    def is_abused(self, now: float) -> bool:
        """The client wants more than its share, and has for long: it is not one burst."""
        return self._held_since is not None and now - self._held_since > self._held_back_s
