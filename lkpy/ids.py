"""Names of things: typed identifiers and LiveKit's SID format."""

from __future__ import annotations

import hashlib
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
AGENT_JOB_PREFIX = "AJ_"
AGENT_WORKER_PREFIX = "AW_"
API_KEY_PREFIX = "API"

# LiveKit's alphabet leaves out look-alikes (0 O 1 I l); clients only rely on the prefix.
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LENGTH = 12
_BITS = 128
"""Far more than twelve characters take, so that none is likelier than another."""


def new_id(prefix: str) -> str:
    """Return ``prefix`` followed by 12 random characters (protocol ``utils/guid/id.go``)."""
    return prefix + _characters(secrets.randbits(_BITS))


def hashed_id(prefix: str, text: str) -> str:
    """Return ``prefix`` followed by 12 characters that are the same for the same ``text``."""
    digest = hashlib.sha256(f"{prefix}\0{text}".encode(errors="surrogateescape")).digest()
    return prefix + _characters(int.from_bytes(digest))


def _characters(number: int) -> str:
    base, characters = len(_ALPHABET), []
    for _ in range(_LENGTH):
        number, index = divmod(number, base)
        characters.append(_ALPHABET[index])
    return "".join(characters)
