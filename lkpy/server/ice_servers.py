"""STUN and TURN servers that clients are told (livekit-server ``pkg/service/roommanager.go``)."""

from __future__ import annotations

import base64
import hashlib
import hmac

from livekit.protocol import rtc

from lkpy.clock import Clock
from lkpy.ids import ParticipantID
from lkpy.server.config_rtc import TURN_TTL_S, RtcConfig, TurnServerConfig
from lkpy.server.external_address import PUBLIC_STUN


class IceServers:
    """Makes the list for each participant: credentials may be theirs alone."""

    def __init__(self, config: RtcConfig, clock: Clock) -> None:
        self._turn_servers = config.turn_servers
        self._stun_servers = config.stun_servers
        self._clock = clock

    def __call__(self, sid: ParticipantID) -> tuple[rtc.ICEServer, ...]:
        """TURN servers in the order of the configuration, then STUN servers; public STUN servers
        when there is neither."""
        now = self._clock.wall()
        servers = [_turn(server, sid, now) for server in self._turn_servers]
        stun = self._stun_servers or (() if servers else PUBLIC_STUN)
        if stun:
            servers.append(rtc.ICEServer(urls=[f"stun:{server}" for server in stun]))
        return tuple(servers)


def _turn(server: TurnServerConfig, sid: ParticipantID, now: float) -> rtc.ICEServer:
    scheme = "turns" if server.protocol == "tls" else "turn"
    transport = "udp" if server.protocol == "udp" else "tcp"
    username, credential = server.username, server.credential
    if server.secret:
        username, credential = timed_credentials(
            server.secret, sid, now + (server.ttl or TURN_TTL_S)
        )
    host = f"[{server.host}]" if ":" in server.host else server.host
    return rtc.ICEServer(
        urls=[f"{scheme}:{host}:{server.port}?transport={transport}"],
        username=username,
        credential=credential,
    )


def timed_credentials(secret: str, user: str, expiry: float) -> tuple[str, str]:
    """User name and password that a TURN server with this secret takes until ``expiry``, Unix
    seconds (draft-uberti-behave-turn-rest-00 2.2)."""
    username = f"{int(expiry)}:{user}"
    digest = hmac.digest(secret.encode(), username.encode(), hashlib.sha1)
    return username, base64.b64encode(digest).decode()
