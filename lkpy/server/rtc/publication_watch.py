"""Tracks that a client has announced and does not send (LiveKit ``pkg/rtc/supervisor``)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from lkpy.limits import PUBLICATION_FAILED_S
from lkpy.server.rtc.timers import Timers


class WatchOwner(Protocol):
    """The participant, as the watch sees it."""

    @property
    def sid(self) -> str:
        """Participant sid."""

    def now(self) -> float:
        """Monotonic seconds."""


class PublicationWatch:
    """Calls ``failed`` with the sid of a track that should have come: a muted one has time, and so
    has every one before there is a connection."""

    def __init__(self, owner: WatchOwner, timers: Timers, failed: Callable[[str], None]) -> None:
        self._owner = owner
        self._timers = timers
        self._failed = failed
        self._connected = False
        self._muted: dict[str, bool] = {}
        """Of the tracks that are expected, by sid."""
        self.overdue: set[str] = set()
        """Those that should have come."""

    def expect(self, sid: str, *, muted: bool) -> None:
        """A track is announced, or an announced one is muted or unmuted."""
        self._muted[sid] = muted
        self.overdue.discard(sid)
        if self._connected and not muted:
            at = self._owner.now() + PUBLICATION_FAILED_S
            self._timers.set(self._key(sid), at, partial(self._fail, sid))
        else:
            self._timers.cancel(self._key(sid))

    def muted(self, sid: str, *, muted: bool) -> None:
        """A track is muted or unmuted; one that is not expected may be."""
        if sid in self._muted:
            self.expect(sid, muted=muted)

    def arrived(self, sid: str) -> None:
        """A track is published, or not expected any more. Idempotent."""
        self.overdue.discard(sid)
        if self._muted.pop(sid, None) is not None:
            self._timers.cancel(self._key(sid))

    def connected(self) -> None:
        """The publisher's connection is there. Idempotent."""
        if not self._connected:
            self._connected = True
            for sid, muted in self._muted.items():
                self.expect(sid, muted=muted)

    def _fail(self, sid: str) -> None:
        self.overdue.add(sid)
        self._failed(sid)

    def _key(self, sid: str) -> tuple[str, str, str]:
        return self._owner.sid, "publication", sid
