"""What a room is told by configuration, and by the node it is on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from livekit.protocol import rtc

from lkpy.baseline import LIVEKIT_VERSION
from lkpy.ids import NodeID, ParticipantID
from lkpy.limits import DEFAULT_LIMITS, UPDATE_CHUNK, Limits


@dataclass(frozen=True, slots=True)
class AudioOptions:
    """Active speaker detection and redundancy (``audio.*`` of livekit.yaml)."""

    active_level: int = 35
    """-dBov; a track is active while its smoothed level is at or louder than this."""
    min_percentile: int = 40
    """Share of a window, in percent, that has to be active."""
    update_interval_ms: int = 400
    smooth_intervals: int = 2
    active_red_encoding: bool = False
    """Tracks published as Opus go to subscribers that have RED as RED."""


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """What publishers are told to send (``video.*`` of livekit.yaml)."""

    dynacast_pause_delay_s: float = 5.0
    """Before a publisher is told that less of a track is needed."""
    codec_regression_threshold: int = 5
    """Participants below which all subscribers of a track are given its backup codec once it is
    published; 0: always. Tracks may say otherwise."""


@dataclass(frozen=True, slots=True)
class RoomOptions:
    """The same for every room of a server."""

    audio: AudioOptions = AudioOptions()
    video: VideoOptions = VideoOptions()
    limits: Limits = DEFAULT_LIMITS
    ice_servers: Callable[[ParticipantID], tuple[rtc.ICEServer, ...]] = lambda _: ()
    """What a participant is told; credentials may be its own."""
    ice_lite: bool = False
    force_tcp: bool = False
    """Nobody is offered a UDP candidate, or taken at one."""
    allow_tcp_fallback: bool = True
    """A client whose connection does not hold is given another kind of path."""
    update_batch_target_size: int = UPDATE_CHUNK
    """Bytes at which an update about many participants is split."""
    reconnect_on_publication_error: bool = False
    """A client that does not send a track it has announced has to join afresh."""
    reconnect_on_data_channel_error: bool = False
    """A client whose reliable channel is gone has to join afresh."""
    reconnect_on_subscription_error: bool = False
    """A client that does not negotiate a subscription has to join afresh."""
    allow_pause: bool = False
    """Subscribers that do not say otherwise get nothing of a video track for which there is no
    room, and not its lowest layer."""
    data_tracks: bool = True
    """``enable_data_tracks``."""
    data_blobs: bool = False
    """``enable_participant_data_blob``."""


MAX_PLAYOUT_DELAY_MS = 40_950
"""The header extension has no room for more."""
_DEFAULT_MAX_PLAYOUT_DELAY_MS = 10_000
"""LiveKit's upper limit where only a lower one is given: Chrome's."""


@dataclass(frozen=True, slots=True)
class PlayoutDelay:
    """Between what limits subscribers hold video back."""

    min_ms: int
    max_ms: int

    @classmethod
    def of(cls, min_ms: int, max_ms: int) -> PlayoutDelay:
        """The limits that are asked for, 0: not said (LiveKit ``pkg/sfu/playoutdelay.go``)."""
        if min_ms and not max_ms:
            max_ms = _DEFAULT_MAX_PLAYOUT_DELAY_MS
        return cls(min(min_ms, MAX_PLAYOUT_DELAY_MS), min(max_ms, MAX_PLAYOUT_DELAY_MS))


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """What a room was created with and clients are not told (LiveKit's ``RoomInternal``)."""

    sync_streams: bool = False
    """Tracks that belong together are one stream to subscribers, who play them in step."""
    playout_delay: PlayoutDelay | None = None
    """None: subscribers hold video back as they see fit."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """The node, as clients are told."""

    id: NodeID
    version: str = LIVEKIT_VERSION
    region: str = ""
