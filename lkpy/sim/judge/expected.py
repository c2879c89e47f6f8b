"""The tracks that a client should be receiving at this moment. Pure: told messages and the time.

A track is due from the moment that it is announced to a connected client, unless it is muted, or
the server says that it has paused it for want of bandwidth (``stream_state_update``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from livekit.protocol import models, rtc

START_GRACE_S = 5.0
"""From a track's announcement, unmuting or resumption to its first packet."""


class Arrivals(NamedTuple):
    """When packets of a track came: the last, and between which two was the longest gap of late."""

    last: float
    gap_since: float = 0.0
    gap_until: float = 0.0


class Silent(NamedTuple):
    """A track that was due, and from when to when nothing came; ``until`` is None if nothing has
    yet."""

    name: str
    since: float
    until: float | None


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
        arrivals: Mapping[str, Arrivals],
        patience: Callable[[str], float | None],
    ) -> Iterator[Silent]:
        """Yield the tracks that were due and did not come, since the last call or still.

        ``connected`` is when media could first flow, ``arrivals`` what came by a track's SID;
        ``patience`` says by its name how long a track may pause, or None where nobody knows.
        """
        for tracks in self._tracks.values():
            for sid, track in tracks.items():
                limit = None if track.muted or track.paused else patience(track.name)
                if limit is None:
                    continue
                due = max(track.since, connected)
                came = arrivals.get(sid)
                if came is None or came.last < due:
                    if now > due + START_GRACE_S:
                        yield Silent(track.name, due, None)
                    continue
                if came.gap_since >= due and came.gap_until - came.gap_since > limit:
                    yield Silent(track.name, came.gap_since, came.gap_until)
                if now > came.last + limit:
                    yield Silent(track.name, came.last, None)
