"""What a subscriber is told of tracks for which its connection has no room (LiveKit
``pkg/sfu/streamallocator/streamstateupdate.go``)."""

from __future__ import annotations

from collections.abc import Iterable

from livekit.protocol import rtc

from lkpy.engine.api import StreamStatesChanged
from lkpy.server.rtc.subscribed_tracks import SubscribedTrack


def stream_state_update(
    event: StreamStatesChanged, tracks: Iterable[SubscribedTrack]
) -> rtc.StreamStateUpdate:
    """The changes of those down tracks that still belong to one of ``tracks``; it may be empty."""
    by_down_track = {track.handle.id: track for track in tracks}
    update = rtc.StreamStateUpdate()
    for down_track, paused in event.states:
        subscribed = by_down_track.get(down_track)
        if subscribed is not None:
            update.stream_states.add(
                participant_sid=subscribed.publisher.sid,
                track_sid=subscribed.sid,
                state=rtc.StreamState.PAUSED if paused else rtc.StreamState.ACTIVE,
            )
    return update
