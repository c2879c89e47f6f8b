"""The data tracks of a room: who hears of them and who gets them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from lkpy.server.rtc.data_tracks import DataTrack
from lkpy.slices import Slices

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant


class DataTracksOwner(Protocol):
    """The room, as its data tracks see it."""

    slices: Slices

    def members(self) -> Iterable[Participant]:
        """Everybody in the room."""

    def count(self, participant: Participant) -> None:
        """What the participant counts as may have changed."""

    def info_changed(self, participant: Participant) -> None:
        """Everybody hears of the participant."""


class RoomDataTracks:
    """Data tracks by sid, and what their coming and going means to the others."""

    def __init__(self, owner: DataTracksOwner) -> None:
        self._owner = owner
        self._tracks: dict[str, DataTrack] = {}

    def find(self, sid: str) -> DataTrack | None:
        """A data track that the room knows."""
        return self._tracks.get(sid)

    # -- coming and going -------------------------------------------------------------------------

    def published(self, participant: Participant, track: DataTrack) -> None:
        """Its participant is a publisher, the others hear of it, and those who want everything
        get it."""
        participant.set_publisher(True)
        participant.touch()
        self._tracks[track.sid] = track
        self._owner.count(participant)
        self._owner.info_changed(participant)

        def offer(other: Participant) -> None:
            if other is participant or other.closed:
                return
            if other.active and other.session.auto_subscribe_data_track:
                other.data_subscriptions.want([track.sid])
            else:
                other.data_subscriptions.reconcile([track.sid])

        self._for_everybody(offer)

    def unpublished(self, participant: Participant, tracks: Iterable[DataTrack]) -> None:
        """The others hear that tracks are gone, and receive them no more."""
        participant.touch()
        self._owner.info_changed(participant)
        self.forget(tracks)

    def forget(self, tracks: Iterable[DataTrack]) -> None:
        """Tracks are gone without a word about each."""
        gone = [track.sid for track in tracks if self._tracks.pop(track.sid, None) is not None]
        if gone:
            self._for_everybody(lambda other: other.data_subscriptions.lost(gone))

    # -- subscribing ------------------------------------------------------------------------------

    def entered(self, participant: Participant) -> None:
        """A participant became active: it may want everything that is there."""
        if participant.session.auto_subscribe_data_track:
            own = {track.sid for track in participant.data_tracks}
            participant.data_subscriptions.want([sid for sid in self._tracks if sid not in own])

    def permission_updated(self, publisher: Participant) -> None:
        """A publisher changed who may subscribe to its tracks."""
        sids = [track.sid for track in publisher.data_tracks]
        self._for_everybody(lambda other: other.data_subscriptions.reconcile(sids))

    def attach(self, participant: Participant) -> None:
        """A participant's connection may have come to be, which what it sends or receives needs."""
        if participant.data_tracks.attach():
            self._for_everybody(lambda other: other.data_subscriptions.attach())
        participant.data_subscriptions.attach()

    def _for_everybody(self, action: Callable[[Participant], None]) -> None:
        self._owner.slices.for_each(self._owner.members(), action)
