"""The tracks that a client should be receiving at this moment. Pure: told messages and the time.

A track is due from the moment that it is announced to a connected client, unless it is muted, or
the server says that it has paused it for want of bandwidth (``stream_state_update``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from livekit.protocol import models, rtc

START_GRACE_S = 5.0
"""From a track's announcement, unmuting or resumption to its first packet."""


@dataclass(slots=True)
class _Track:
    name: str
    muted: bool
    since: float
    paused: bool = False


class ExpectedTracks:
    """Tracks of the others in the room, by SID. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._tracks: dict[str, dict[str, _Track]] = {}

    def announce(
        self, participants: Iterable[models.ParticipantInfo], own_identity: str, now: float
    ) -> None:
        """Take participants from a JoinResponse or an update: what they publish from now on."""
        for participant in participants:
            if participant.identity == own_identity:
                continue
            before = self._tracks.pop(participant.sid, {})
            if participant.state == models.ParticipantInfo.State.DISCONNECTED:
                continue
            tracks = self._tracks[participant.sid] = {}
            for info in participant.tracks:
                track = before.get(info.sid)
                if track is None:
                    track = _Track(info.name, info.muted, now)
                elif track.muted and not info.muted:
                    track.since = now
                track.muted = info.muted
                tracks[info.sid] = track

    def stream_states(self, update: rtc.StreamStateUpdate, now: float) -> None:
        """Take what the server says about pauses for want of bandwidth."""
        for state in update.stream_states:
            track = self._tracks.get(state.participant_sid, {}).get(state.track_sid)
            if track is None:
                continue
            paused = state.state == rtc.StreamState.PAUSED
            if track.paused and not paused:
                track.since = now
            track.paused = paused

    def silent(
        self,
        now: float,
        connected: float,
        last: Mapping[str, float],
        patience: Callable[[str], float | None],
    ) -> Iterator[tuple[str, float]]:
        """Yield (name, silent since) of the tracks that are due and do not come.

        ``connected`` is when media could first flow, ``last`` the time of a track's last packet by
        its SID; ``patience`` says by its name how long a track may pause, or None where nobody
        knows.
        """
        for tracks in self._tracks.values():
            for sid, track in tracks.items():
                limit = None if track.muted or track.paused else patience(track.name)
                if limit is None:
                    continue
                due = max(track.since, connected)
                at = last.get(sid)
                if at is None or at < due:
                    late = now > due + START_GRACE_S
                    at = due
                else:
                    late = now > at + limit
                if late:
                    yield track.name, at
