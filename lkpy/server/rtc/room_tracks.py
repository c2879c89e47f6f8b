"""The published tracks of a room: who hears of them and who is subscribed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from livekit.protocol import models, rtc

from lkpy.server.rtc.media_track import MediaTrack
from lkpy.server.telemetry.events import (
    Telemetry,
    TelemetryRoom,
    TrackPublished,
    TrackSubscribed,
    TrackUnpublished,
)
from lkpy.slices import Slices

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant

State = models.ParticipantInfo.State

Greeting = Callable[["Participant", "Participant"], None]
"""Called with a subscriber and the publisher whose first track it subscribes to."""


class TracksOwner(TelemetryRoom, Protocol):
    """The room, as its tracks see it."""

    telemetry: Telemetry
    slices: Slices

    def members(self) -> Iterable[Participant]:
        """Everybody in the room."""

    def count(self, participant: Participant) -> None:
        """What the participant counts as may have changed."""

    def info_changed(self, participant: Participant) -> None:
        """Everybody hears of the participant."""

    def microphone_closed(self, participant: Participant) -> None:
        """It does not speak any more."""


class RoomTracks:
    """Tracks by sid, and what their coming and going means to the others."""

    def __init__(self, owner: TracksOwner) -> None:
        self._owner = owner
        self._tracks: dict[str, tuple[Participant, MediaTrack]] = {}
        self.greetings: list[Greeting] = []

    @property
    def sids(self) -> list[str]:
        """Of every track that the room knows."""
        return list(self._tracks)

    @property
    def described(self) -> list[tuple[str, models.TrackInfo]]:
        """Identity of its publisher and description, of every track that the room knows."""
        return [(publisher.identity, track.info) for publisher, track in self._tracks.values()]

    def find(self, sid: str) -> tuple[Participant, MediaTrack] | None:
        """A track that the room knows, with its publisher."""
        return self._tracks.get(sid)

    # -- coming and going -------------------------------------------------------------------------

    def published(self, participant: Participant, track: MediaTrack) -> None:
        """Join step 13: the others hear of a track, and those who want everything get it."""
        self._tracks[track.sid] = (participant, track)
        self._owner.count(participant)
        self._owner.info_changed(participant)
        self._owner.telemetry.tell(TrackPublished(self._owner, participant, track.info))

        def offer(other: Participant) -> None:
            if other is participant or other.closed:
                return
            if other.state == State.ACTIVE and other.session.auto_subscribe:
                other.subscribing.want([track.sid])
            else:
                other.subscribing.reconcile([track.sid])

        self._owner.slices.for_each(self._owner.members(), offer)

    def changed(self, participant: Participant, track: MediaTrack) -> None:
        """A track's description changed: its subscribers' wishes may mean other layers."""
        self._owner.slices.for_each(track.subscribers, lambda subscriber: subscriber.refresh(track))
        self._owner.info_changed(participant)

    def unpublished(self, participant: Participant, track: MediaTrack) -> None:
        """The others hear that a track is gone, and receive it no more."""
        self.forget([track.sid])
        if track.info.source == models.TrackSource.MICROPHONE:
            self._owner.microphone_closed(participant)
        self._owner.info_changed(participant)
        self._owner.telemetry.tell(TrackUnpublished(self._owner, participant, track.info))

    def forget(self, sids: Iterable[str]) -> None:
        """Tracks are gone without a word about each."""
        gone = [sid for sid in sids if self._tracks.pop(sid, None) is not None]
        if gone:
            self._owner.slices.for_each(
                self._owner.members(), lambda other: other.subscribing.lost(gone)
            )

    # -- subscribing ------------------------------------------------------------------------------

    def update_permission(
        self, publisher: Participant, permission: rtc.SubscriptionPermission
    ) -> None:
        """Replace who may subscribe to a publisher's tracks. Raises :class:`LkpyError`
        (``invalid_argument``) and changes nothing when an entry names nobody."""
        identities: dict[str, str] = {
            member.sid: member.identity for member in self._owner.members()
        }
        publisher.subscriber_permissions.update(permission, identities.get)
        sids = [track.sid for track in publisher.publishing.tracks if track.announced]
        self._owner.slices.for_each(
            self._owner.members(), lambda other: other.subscribing.reconcile(sids)
        )

    def receiving(self, subscriber: Participant, publisher: Participant) -> None:
        """The first track of a publisher is subscribed to: what is said of the publisher from
        time to time is said at once."""
        if publisher.state == State.ACTIVE:
            for greet in self.greetings:
                greet(subscriber, publisher)

    def flowing(self, subscriber: Participant, publisher: Participant, track: MediaTrack) -> None:
        """A track flows: its publisher hears of the first one who sees it."""
        if not track.seen and not subscriber.hidden:
            track.seen = True
            publisher.signals.track_subscribed(track.sid)
        self._owner.telemetry.tell(TrackSubscribed(subscriber, track.info))
