"""The kind of path that one participant's connections take, and what follows when it changes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from livekit.protocol import models

from lkpy.ids import ParticipantIdentity
from lkpy.server.rtc.client_info import supports_ice_tcp
from lkpy.server.rtc.ice_preference import (
    IceFallback,
    IcePreference,
    IcePreferences,
    with_relay,
)
from lkpy.server.rtc.transport_manager import TransportManager

logger = logging.getLogger(__name__)


class IcePath:
    """Begins with what the room remembers of the identity."""

    def __init__(
        self,
        identity: ParticipantIdentity,
        client: models.ClientInfo,
        transports: TransportManager,
        known: IcePreferences,
        now: Callable[[], float],
        log_fields: Callable[[], dict[str, object]],
        *,
        fallback: bool,
        force_tcp: bool,
    ) -> None:
        self._identity = identity
        self._transports = transports
        self._known = known
        self._now = now
        self._log_fields = log_fields
        self._force_tcp = force_tcp
        self._fallback = IceFallback(
            known.get(now(), identity),
            enabled=fallback,
            client_tcp=supports_ice_tcp(client),
            relay_tls=False,
        )
        self._apply()

    @property
    def preference(self) -> IcePreference:
        """The kind of path."""
        return self._fallback.preference

    def configuration(
        self, configuration: models.ClientConfiguration | None
    ) -> models.ClientConfiguration | None:
        """The client's configuration, which says whether it must use a relay."""
        return with_relay(configuration, self.preference)

    def failed(self, protocol: str, *, short: bool, signal_alive: bool) -> None:
        """A connection over ``protocol`` failed: the client may have to take another path."""
        if self._fallback.failed(self._now(), protocol, short=short, signal_alive=signal_alive):
            self._changed()

    def prefer(self, preference: IcePreference) -> None:
        """Take another kind of path from the next ICE restart on."""
        self._fallback.set(preference)
        self._changed()

    def resumed(self) -> None:
        """The client came back: the path may change again."""
        self._fallback.set(self.preference)

    def _changed(self) -> None:
        preference = self.preference.name.lower()
        logger.info("preferring another kind of path: %s", preference, extra=self._log_fields())
        self._known.put(self._now(), self._identity, self.preference)
        self._apply()

    def _apply(self) -> None:
        self._transports.prefer_tcp(self._force_tcp or self.preference is IcePreference.TCP)
