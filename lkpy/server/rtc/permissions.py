"""What a change of a participant's permission does at once (livekit-server
``pkg/rtc/participant.go`` SetPermission)."""

from __future__ import annotations

from livekit.protocol import models

from lkpy.server.rtc.participant import Participant


def set_permission(participant: Participant, permission: models.ParticipantPermission) -> None:
    """Replace every permission; what is not allowed any more ends, and everybody hears of it.

    Tracks whose source may not be published are taken away. Subscriptions end without
    ``canSubscribe``, those to data tracks too; what is wanted stays wanted, and comes back with the
    permission. Data tracks go without ``canPublishData``; other data is refused where it arrives
    (``Participant``), packet by packet. The same permission again does nothing.
    """
    if not participant.claims.set_permission(permission):
        return
    participant.publishing.unpublish_disallowed()
    if not permission.can_publish_data and (gone := participant.data_tracks.clear()):
        participant.room.data_tracks.unpublished(participant, gone)
    participant.subscribing.reconcile()
    participant.data_subscriptions.reconcile()
    participant.set_publisher(
        participant.claims.permission.can_publish
        and participant.transports.publisher.ever_connected
    )
    participant.info_changed()
