"""Which participants a publisher lets subscribe (LiveKit ``pkg/rtc/uptrackmanager.go``). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from livekit.protocol import rtc

from lkpy.errors import Code, LkpyError


class SubscriberPermissions:
    """The last SubscriptionPermission of one publisher; before the first everybody may."""

    def __init__(self) -> None:
        self._allowed: Mapping[str, frozenset[str] | None] | None = None
        """Track sids by identity, None for every track; None: everybody, every track."""

    def update(
        self, permission: rtc.SubscriptionPermission, identity_of: Callable[[str], str | None]
    ) -> None:
        """Replace what is allowed. ``identity_of`` resolves a participant sid; entries for a sid
        that is not there are left out, and an identity goes before a sid.

        Raises :class:`LkpyError` (``invalid_argument``), changing nothing, when an entry has
        neither.
        """
        if permission.all_participants:
            self._allowed = None
            return
        allowed: dict[str, frozenset[str] | None] = {}
        for entry in permission.track_permissions:
            identity: str | None = entry.participant_identity
            if not identity:
                if not entry.participant_sid:
                    raise LkpyError(
                        Code.INVALID_ARGUMENT, "either participant identity or SID needed"
                    )
                identity = identity_of(entry.participant_sid)
            if identity is not None:
                allowed[identity] = None if entry.all_tracks else frozenset(entry.track_sids)
        self._allowed = allowed

    def allows(self, track_sid: str, identity: str) -> bool:
        """Whether the participant ``identity`` may subscribe to the track."""
        if self._allowed is None:
            return True
        if identity not in self._allowed:
            return False
        sids = self._allowed[identity]
        return sids is None or track_sid in sids
