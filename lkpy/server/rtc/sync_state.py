"""What a client says of itself when it has come back (livekit-server ``pkg/rtc/room.go``
onSyncState).

A client that publishes what is not known here cannot be resumed. Else its wishes replace those
known: what is disabled first, so that a subscription begins that way. The descriptions in the
message are for moving a session to another node and mean nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from livekit.protocol import rtc

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant


def unknown_track(state: rtc.SyncState, participant: Participant) -> str | None:
    """What the client publishes and is not known here; None: everything is."""
    tracks = participant.publishing.tracks
    for published in state.publish_tracks:
        if not published.HasField("track"):
            return f"track {published.cid} without its description"
        sid = published.track.sid
        if tracks.get(sid) is None and not tracks.unpublished(sid):
            return f"track {sid}"
    known = {track.sid for track in participant.to_proto().data_tracks}
    for response in state.publish_data_tracks:
        if response.info.sid not in known:
            return f"data track {response.info.sid}"
    return None


def apply(state: rtc.SyncState, participant: Participant) -> None:
    """Bring the participant in line with what the client says."""
    if state.track_sids_disabled:
        participant.subscribing.update_settings(
            rtc.UpdateTrackSettings(track_sids=state.track_sids_disabled, disabled=True)
        )
    participant.subscribing.update(state.subscription)
    participant.data.sync(state)
