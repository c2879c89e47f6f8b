"""The data tracks that one participant publishes (livekit-server
``pkg/rtc/participant_data_track.go``, ``pkg/rtc/updatatrackmanager.go``).

Packets are the engine's. Here is which tracks there are, by the handle that the publisher chose and
by the sid that it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from livekit.protocol import models, rtc

from lkpy.engine.api import CloseDataTrack, CreateDataTrack
from lkpy.ids import DATA_TRACK_PREFIX, new_id
from lkpy.limits import MAX_DATA_TRACKS, Limits
from lkpy.server.rtc.ice_dtls import EngineLink
from lkpy.server.rtc.subscriber_permissions import SubscriberPermissions
from lkpy.server.rtc.transport import PeerTransport

Reason = rtc.RequestResponse.Reason

_MAX_HANDLE = 0xFFFF
_MAX_NAME = 256
"""Bytes (``pkg/rtc/participant_data_track.go``)."""


class Publisher(Protocol):
    """The participant, as those who receive its data tracks see it."""

    subscriber_permissions: SubscriberPermissions

    @property
    def sid(self) -> str:
        """Participant sid."""

    @property
    def identity(self) -> str:
        """Participant identity."""


class DataTrack:
    """One published data track."""

    def __init__(self, publisher: Publisher, info: models.DataTrackInfo) -> None:
        self.publisher = publisher
        self.info = info
        self.engine_id: int | None = None
        """The engine's data track; None until the publisher's transport exists."""

    @property
    def sid(self) -> str:
        """``DTR_…``."""
        return self.info.sid


class DataTracks:
    """The published data tracks of one participant, in the order of their publication."""

    def __init__(self, publisher: Publisher, engine: EngineLink, transport: PeerTransport) -> None:
        self._publisher = publisher
        self._engine = engine
        self._transport = transport
        self._tracks: dict[int, DataTrack] = {}
        """By the publisher's handle."""

    def __iter__(self) -> Iterator[DataTrack]:
        return iter(list(self._tracks.values()))

    def get(self, sid: str) -> DataTrack | None:
        """The track with this sid."""
        return next((track for track in self._tracks.values() if track.sid == sid), None)

    def refusal(self, request: rtc.PublishDataTrackRequest, limits: Limits) -> tuple[Reason, str]:
        """Why a track cannot be published, and ``OK`` if it can."""
        if not 0 < request.pub_handle <= _MAX_HANDLE:
            return Reason.INVALID_HANDLE, "handle should be > 0 AND < 65536"
        if not 0 < len(request.name.encode()) <= _MAX_NAME:
            message = "name should not be empty and should not exceed 256 characters"
            return Reason.INVALID_NAME, message
        if not valid_encoding(request.frame_encoding, limits) or not valid_encoding(
            request.schema.encoding, limits
        ):
            return Reason.INVALID_REQUEST, INVALID_ENCODING
        if request.pub_handle in self._tracks:
            message = "a data track with same handle already exists"
            return Reason.DUPLICATE_HANDLE, message
        if any(track.info.name == request.name for track in self._tracks.values()):
            return Reason.DUPLICATE_NAME, "a data track with same name already exists"
        if len(self._tracks) >= MAX_DATA_TRACKS:
            return Reason.LIMIT_EXCEEDED, f"more than {MAX_DATA_TRACKS} data tracks"
        return Reason.OK, ""

    def publish(self, request: rtc.PublishDataTrackRequest) -> DataTrack:
        """Publish a track that is not refused."""
        info = models.DataTrackInfo(
            pub_handle=request.pub_handle,
            sid=new_id(DATA_TRACK_PREFIX),
            name=request.name,
            encryption=request.encryption,
        )
        if request.HasField("frame_encoding"):
            info.frame_encoding.CopyFrom(request.frame_encoding)
        if request.HasField("schema"):
            info.schema.CopyFrom(request.schema)
        track = self._tracks[request.pub_handle] = DataTrack(self._publisher, info)
        self.attach()
        return track

    def unpublish(self, handle: int) -> DataTrack | None:
        """Unpublish the track with the publisher's ``handle``; None if there is none."""
        # LiveKit looks for the lower 16 bits only.
        track = self._tracks.pop(handle & _MAX_HANDLE, None)
        if track is not None and track.engine_id is not None and self._transport.created:
            self._engine.release(CloseDataTrack(track.engine_id))
        return track

    def clear(self) -> list[DataTrack]:
        """Unpublish every track; returns them."""
        tracks = list(self._tracks.values())
        for track in tracks:
            self.unpublish(track.info.pub_handle)
        return tracks

    def attach(self) -> bool:
        """Let packets flow once there is a transport; whether tracks were waiting for it."""
        waiting = [track for track in self._tracks.values() if track.engine_id is None]
        if not waiting or not self._transport.created:
            return False
        for track in waiting:
            track.engine_id = self._engine.new_id()
            self._engine.submit(
                CreateDataTrack(track.engine_id, self._transport.id, track.info.pub_handle)
            )
        return True


INVALID_ENCODING = "encoding identifier is empty or exceeds the maximum length"


def valid_encoding(
    encoding: models.DataTrackFrameEncoding | models.DataTrackSchemaEncoding, limits: Limits
) -> bool:
    """Whether an encoding, if it has a name of its own, has an allowed one."""
    if encoding.WhichOneof("value") != "custom":
        return True
    most = limits.max_data_track_custom_encoding_length
    return encoding.custom != "" and not len(encoding.custom.encode()) > most > 0
