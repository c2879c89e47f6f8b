"""What tests of the server API share: calls that must fail, and their errors."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from livekit.protocol import models
from livekit.protocol import room as room_pb

from tests.conformance.kit import Lobby, TwirpError

"""Before the message of errors that the API itself does not make."""
CREATE = {"roomCreate": True, "roomList": True}
BIG_METADATA = "m" * (512 * 1024 + 1)
BIG_ATTRIBUTES = {"k": "v" * 64 * 1024}


async def refused(lobby: Lobby, method: str, request: Any, **options: Any) -> tuple[int, str, str]:
    """Status, code and message of a call that must fail."""
    with pytest.raises(TwirpError) as error:
        await lobby.call(method, request, Message, **options)
    return error.value.status, error.value.code, error.value.message


def not_found(message: str) -> tuple[int, str, str]:
    return 404, "not_found", message


NO_ROOM = not_found("requested room does not exist")
NO_PARTICIPANT = not_found("participant does not exist")
NO_RESPONSE = (503, "unavailable", "no response from servers")
DENIED = (401, "unauthenticated", "permissions denied")


async def create(lobby: Lobby, **values: Any) -> models.Room:
    request = room_pb.CreateRoomRequest(name=lobby.room, **values)
    return await lobby.call("CreateRoom", request, models.Room, **CREATE)


async def update(lobby: Lobby, identity: str, **values: Any) -> models.ParticipantInfo:
    request = room_pb.UpdateParticipantRequest(room=lobby.room, identity=identity, **values)
    return await lobby.call("UpdateParticipant", request, models.ParticipantInfo)
