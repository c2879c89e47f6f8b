"""What a participant needs of its room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from livekit.protocol import models, rtc

from lkpy.clock import Clock
from lkpy.engine.api import Event
from lkpy.engine.hub import EngineHub
from lkpy.ids import ParticipantIdentity, RoomName
from lkpy.server.rtc.ice_preference import IcePreferences
from lkpy.server.rtc.options import RoomOptions, RoomSettings
from lkpy.server.rtc.room_data import RoomData
from lkpy.server.rtc.room_data_tracks import RoomDataTracks
from lkpy.server.rtc.room_tracks import RoomTracks
from lkpy.server.rtc.simulation import ResumeFaults
from lkpy.server.rtc.timers import Timers
from lkpy.server.telemetry.events import Telemetry
from lkpy.slices import Slices

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant


class ParticipantRoom(Protocol):
    """The room, as its participants see it."""

    name: RoomName
    hub: EngineHub
    timers: Timers
    slices: Slices
    clock: Clock
    options: RoomOptions
    settings: RoomSettings
    telemetry: Telemetry
    worker: int
    region: str
    data: RoomData
    ice_preferences: IcePreferences
    resume_faults: ResumeFaults
    tracks: RoomTracks
    data_tracks: RoomDataTracks

    @property
    def size(self) -> int:
        """Participants, whatever their kind."""

    def deliver(self, participant: Participant, event: Event) -> None:
        """An engine event about the participant came; it is handled on the room's task."""

    def participant(self, identity: ParticipantIdentity) -> Participant | None:
        """Who has this identity."""

    def state_changed(self, participant: Participant) -> None:
        """Tell the others."""

    def claims_changed(self, participant: Participant) -> None:
        """Tell everybody, the participant too, and give it a token that says so."""

    def tell_speakers(self, speakers: list[models.SpeakerInfo]) -> None:
        """Tell of speakers those who receive them."""

    def close_participant(
        self,
        participant: Participant,
        reason: models.DisconnectReason,
        action: rtc.LeaveRequest.Action | None = rtc.LeaveRequest.Action.DISCONNECT,
    ) -> None:
        """End the participant's session."""
