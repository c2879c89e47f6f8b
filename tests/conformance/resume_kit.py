"""Losing a signal connection and coming back on another."""

from __future__ import annotations

from typing import Any

from livekit.protocol import models, rtc

from tests.conformance.kit import PROTOCOL, Lobby, Signal
from tests.conformance.media import Participant

SDK = "python"
"""Clients of these tests. A JavaScript client without a version is not sent ``reconnect``."""


async def resume(
    lobby: Lobby,
    identity: str,
    sid: str,
    *,
    single: bool,
    protocol: int = PROTOCOL,
    sdk: str = SDK,
    reason: models.ReconnectReason = models.ReconnectReason.RR_SIGNAL_DISCONNECTED,
    **options: Any,
) -> Signal:
    """Open a signal connection that resumes the session ``sid``."""
    if single:
        join = rtc.JoinRequest(
            client_info=models.ClientInfo(
                sdk=models.ClientInfo.SDK.Value(sdk.upper()), protocol=protocol
            ),
            connection_settings=rtc.ConnectionSettings(auto_subscribe=True),
            reconnect=True,
            participant_sid=sid,
            reconnect_reason=reason,
        )
        return await lobby.signal(identity, single=True, join=join, **options)
    params = {"reconnect": "1", "sid": sid, "reconnect_reason": str(int(reason))}
    return await lobby.signal(
        identity, single=False, protocol=protocol, sdk=sdk, params=params, **options
    )


async def come_back(lobby: Lobby, participant: Participant, *, drop: bool = True) -> Signal:
    """Resume a participant with media; its peer connections stay as they are. ``drop``: its
    signal connection is lost before. Returns the connection."""
    sid = participant.sid
    if drop:
        participant.signal.drop()
        await participant.signal.ended()
    signal = await resume(lobby, participant.identity, sid, single=participant.single)
    participant.listen(signal)
    return signal
