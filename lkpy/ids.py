"""Names of things: typed identifiers and LiveKit's SID format."""

from __future__ import annotations

import secrets
from typing import NewType

RoomName = NewType("RoomName", str)
RoomID = NewType("RoomID", str)
ParticipantIdentity = NewType("ParticipantIdentity", str)
ParticipantID = NewType("ParticipantID", str)
TrackID = NewType("TrackID", str)
NodeID = NewType("NodeID", str)
ConnectionID = NewType("ConnectionID", str)

ROOM_PREFIX = "RM_"
PARTICIPANT_PREFIX = "PA_"
TRACK_PREFIX = "TR_"
DATA_TRACK_PREFIX = "DTR_"
NODE_PREFIX = "ND_"
CONNECTION_PREFIX = "CO_"
AGENT_DISPATCH_PREFIX = "AD_"
API_KEY_PREFIX = "API"

# LiveKit's alphabet leaves out look-alikes (0 O 1 I l); clients only rely on the prefix.
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LENGTH = 12
_BITS = 128
"""Far more than twelve characters take, so that none is likelier than another."""


def new_id(prefix: str) -> str:
    """Return ``prefix`` followed by 12 random characters (protocol ``utils/guid/id.go``)."""
    number, base = secrets.randbits(_BITS), len(_ALPHABET)
    characters = []
    for _ in range(_LENGTH):
        number, index = divmod(number, base)
        characters.append(_ALPHABET[index])
    return prefix + "".join(characters)
