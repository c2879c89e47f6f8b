"""What a signal connection brings to a room: the session's parameters and its two streams.

Routing fills this in on the node that holds the socket, the room manager reads it on the room's
node; ``StartSession`` is named after the relay's first message (protocol ``rpc/signal.proto``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from lkpy.auth.grants import Grants
from lkpy.ids import ConnectionID, ParticipantID, ParticipantIdentity, RoomName
from lkpy.server.rtc.one_shot import OneShot


class MessageSink(Protocol):
    """Where a participant's signal responses go. Writing never waits."""

    @property
    def closed(self) -> bool:
        """Whether either side closed it."""

    def write(self, message: rtc.SignalResponse, /) -> None:
        """Queue one response, which must not change afterwards.

        Raises :class:`lkpy.errors.LkpyError` when closed, or when the reader is too slow: then
        the stream is closed."""

    def close(self, reason: str = "") -> None:
        """End the stream after what is queued. Idempotent."""


class MessageSource(Protocol):
    """A participant's signal requests, in order; ends when the client's connection does."""

    def __aiter__(self) -> AsyncIterator[rtc.SignalRequest]: ...

    def offer_first(self, taker: Callable[[rtc.SignalRequest], bool], /) -> None:
        """Offer every request to ``taker`` as soon as it is written; what it takes is not read."""

    def close(self, reason: str = "") -> None:
        """Stop reading. Idempotent."""


@dataclass(frozen=True, slots=True)
class StartSession:
    """One validated join or resume."""

    room: RoomName
    identity: ParticipantIdentity
    grants: Grants
    connection_id: ConnectionID
    name: str = ""
    participant_id: ParticipantID | None = None
    """The sid that a resuming client believes it has; informational, lookup is by identity."""
    reconnect: bool = False
    reconnect_reason: models.ReconnectReason = models.ReconnectReason.RR_UNKNOWN
    auto_subscribe: bool = True
    auto_subscribe_data_track: bool = False
    adaptive_stream: bool = False
    subscriber_allow_pause: bool | None = None
    """None: the configuration decides (``rtc.congestion_control.allow_pause``)."""
    disable_ice_lite: bool = False
    client: models.ClientInfo = field(default_factory=models.ClientInfo)
    create_room: room_pb.CreateRoomRequest = field(default_factory=room_pb.CreateRoomRequest)
    """What the room is created with if this session is the first to enter it."""
    single_pc: bool = False
    add_track_requests: tuple[rtc.AddTrackRequest, ...] = ()
    publisher_offer: rtc.SessionDescription | None = None
    one_shot: OneShot | None = None
    """There is no signal connection: ``publisher_offer`` and its answer are all that is said."""
    api_key: str = ""
    """The key that issued the join token; refresh tokens are signed with the same one."""


class SessionHandler(Protocol):
    """Who takes sessions on a room's node."""

    async def start_session(
        self, start: StartSession, sink: MessageSink, source: MessageSource
    ) -> None:
        """Join or resume; returns once the first response is in ``sink``. Raises
        :class:`lkpy.errors.LkpyError` to refuse."""
