"""Which kind of path a client should take when the best one does not hold: UDP, then TCP, then
TLS through a relay (livekit-server ``pkg/rtc/transportmanager.go`` handleConnectionFailed). Pure;
told ``now``.
"""

from __future__ import annotations

import enum

from livekit.protocol import models

from lkpy.ids import ParticipantIdentity
from lkpy.limits import (
    ICE_FAILURE_WINDOW_S,
    ICE_FAILURES,
    ICE_PREFERENCE_TTL_S,
    ICE_PREFERENCES,
)


class IcePreference(enum.Enum):
    """``livekit.ICECandidateType``."""

    ANY = 0
    TCP = 1
    TLS = 2


class IceFallback:
    """One participant's preference; it changes once per session by itself."""

    def __init__(
        self, preference: IcePreference, *, enabled: bool, client_tcp: bool, relay_tls: bool
    ) -> None:
        self.preference = preference
        self._enabled = enabled
        self._client_tcp = client_tcp
        """The client can dial ICE-TCP, and there is a port for it."""
        self._relay_tls = relay_tls
        """Clients are told of a relay that they reach by TLS."""
        self._changed = False
        self._failures = 0
        self._failed_at = 0.0

    def set(self, preference: IcePreference) -> None:
        """Take a preference from outside."""
        self.preference = preference
        self._changed = False
        self._failures = 0

    def failed(self, now: float, protocol: str, *, short: bool, signal_alive: bool) -> bool:
        """A connection over ``protocol`` (``udp``, ``tcp`` or empty) failed. ``short``: it had not
        lasted long. Returns whether the preference changed.

        Without a living signal connection it is the network that is gone, not this path.
        """
        if not self._enabled or self._changed:
            return False
        if not signal_alive:
            self._failures = 0
            return False
        if not short:
            since, self._failed_at = now - self._failed_at, now
            self._failures += 1
            if self._failures < ICE_FAILURES or since > ICE_FAILURE_WINDOW_S:
                return False
        following = self._next(protocol)
        if following is self.preference:
            return False
        self.preference = following
        self._changed = True
        return True

    def _next(self, protocol: str) -> IcePreference:
        tls = IcePreference.TLS if self._relay_tls else None
        match protocol:
            case "udp" if self.preference is IcePreference.ANY:
                return IcePreference.TCP if self._client_tcp else tls or IcePreference.ANY
            case "tcp":
                return tls or self.preference
            case _:
                return IcePreference.ANY


class IcePreferences:
    """What identities of a room should prefer, for those who come back."""

    def __init__(self) -> None:
        self._known: dict[ParticipantIdentity, tuple[float, IcePreference]] = {}

    def put(self, now: float, identity: ParticipantIdentity, preference: IcePreference) -> None:
        """Remember for a while; the oldest goes when there are too many."""
        self._known.pop(identity, None)
        self._known[identity] = (now + ICE_PREFERENCE_TTL_S, preference)
        if len(self._known) > ICE_PREFERENCES:
            del self._known[next(iter(self._known))]

    def get(self, now: float, identity: ParticipantIdentity) -> IcePreference:
        """What was remembered."""
        until, preference = self._known.get(identity, (0.0, IcePreference.ANY))
        return preference if now < until else IcePreference.ANY


def with_relay(
    configuration: models.ClientConfiguration | None, preference: IcePreference
) -> models.ClientConfiguration | None:
    """The client's configuration, which makes it use relays only when TLS is preferred."""
    if preference is not IcePreference.TLS:
        return configuration
    forced = models.ClientConfiguration()
    if configuration is not None:
        forced.CopyFrom(configuration)
    forced.force_relay = models.ClientConfigSetting.ENABLED
    return forced
