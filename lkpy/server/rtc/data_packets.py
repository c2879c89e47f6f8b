"""What becomes of a data packet on its way through a room (reference: LiveKit
``pkg/rtc/participant.go`` handleReceivedDataMessage, ``pkg/rtc/room.go``). Pure.

The sender's identity is stamped here; who sends is known from the transport and never believed.
Only agents may speak for another participant.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from livekit.protocol import models

from lkpy.limits import DATA_MESSAGE_MAX, USER_PACKET_NONCES

_UUID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a packet. A server API call has no sid."""

    sid: str
    identity: str
    hidden: bool = False
    agent: bool = False


@dataclass(frozen=True, slots=True)
class Routed:
    """A packet ready to be sent, serialised once for everybody."""

    payload: bytes
    reliable: bool
    identities: frozenset[str]
    """Only these receive it; empty with ``sids`` empty: everybody."""
    sids: frozenset[str]
    sequence: int = 0
    """The sender's number of a reliable packet; 0: it gave none."""
    only_active: bool = False
    """Participants that still join never get it."""
    stream: models.DataStream.Header | None = None
    """A stream begins with it."""

    def reaches(self, sid: str, identity: str) -> bool:
        """Whether it is meant for this participant."""
        if not self.identities and not self.sids:
            return True
        return identity in self.identities or sid in self.sids


class NonceFilter:
    """Remembers the last nonces of user packets, so that one sent twice arrives once."""

    def __init__(self, size: int = USER_PACKET_NONCES) -> None:
        self._order: deque[bytes] = deque()
        self._known: set[bytes] = set()
        self._size = size

    def is_repeated(self, nonce: bytes) -> bool:
        """Whether ``nonce`` was seen; it is remembered. Only UUIDs are nonces."""
        if len(nonce) != _UUID_BYTES:
            return False
        if nonce in self._known:
            return True
        self._known.add(nonce)
        self._order.append(nonce)
        if len(self._order) > self._size:
            self._known.discard(self._order.popleft())
        return False


@dataclass(slots=True)
class DataStream:
    """The packets of one sender: reliable ones have rising sequence numbers."""

    last_sequence: int = field(default=0)

    def receive(
        self,
        payload: bytes,
        *,
        reliable: bool,
        sender: Sender,
        nonces: NonceFilter,
        take: Callable[[models.DataPacket], bool],
    ) -> Routed | None:
        """Take a packet from ``sender``; None: it is not forwarded, because it must not be or
        because ``take`` took it for the server."""
        packet = models.DataPacket()
        try:
            packet.ParseFromString(payload)
        except (DecodeError, ValueError):
            return None
        if reliable and packet.sequence:
            # A resumed sender repeats what may have been lost.
            if packet.sequence <= self.last_sequence:
                return None
            self.last_sequence = packet.sequence
        if take(packet):
            return None
        return route(packet, reliable=reliable, sender=sender, nonces=nonces)


def route(
    packet: models.DataPacket, *, reliable: bool, sender: Sender, nonces: NonceFilter
) -> Routed | None:
    """Stamp ``packet`` and read its destinations; None: it is not forwarded."""
    packet.kind = models.DataPacket.RELIABLE if reliable else models.DataPacket.LOSSY
    kind = packet.WhichOneof("value")
    keeps_identity = False
    sids: frozenset[str] = frozenset()
    match kind:
        case "user":
            if nonces.is_repeated(packet.user.nonce):
                return None
            sids = _stamp_user(packet, sender)
        case "transcription":
            if not sender.agent:
                return None
        case "metrics":
            return None
        case "chat_message":
            if sender.agent and _speaks_for_another(packet, sender):
                packet.chat_message.generated = True
                keeps_identity = True
        case "stream_header":
            if sender.agent and _speaks_for_another(packet, sender):
                keeps_identity = packet.stream_header.HasField("text_header")
                if keeps_identity:
                    packet.stream_header.text_header.generated = True
        case _:
            pass
    packet.participant_sid = sender.sid
    if not keeps_identity:
        packet.participant_identity = "" if sender.hidden else sender.identity
    data = packet.SerializeToString()
    if len(data) > DATA_MESSAGE_MAX:
        return None
    return Routed(
        data,
        reliable,
        frozenset(packet.destination_identities),
        sids,
        sequence=packet.sequence if reliable else 0,
        only_active=not reliable,
        stream=packet.stream_header if kind == "stream_header" else None,
    )


def wrap_unlabeled(payload: bytes, sender: Sender) -> Routed | None:
    """Bare data of a channel that is not LiveKit's, as others receive it: a reliable user packet
    with nothing but the sender's identity (``pkg/rtc/transport.go`` SendDataMessageUnlabeled)."""
    packet = models.DataPacket(
        participant_identity="" if sender.hidden else sender.identity,
        user=models.UserPacket(payload=payload),
    )
    data = packet.SerializeToString()
    if len(data) > DATA_MESSAGE_MAX:
        return None
    return Routed(data, True, frozenset(), frozenset(), only_active=True)


def unwrap(packet: Routed) -> bytes | None:
    """The bare data of a user packet; None for a packet of another kind (``pkg/rtc/transport.go``
    SendDataMessage)."""
    sent = models.DataPacket.FromString(packet.payload)
    return sent.user.payload if sent.HasField("user") else None


def _speaks_for_another(packet: models.DataPacket, sender: Sender) -> bool:
    return packet.participant_identity not in ("", sender.identity)


def _stamp_user(packet: models.DataPacket, sender: Sender) -> frozenset[str]:
    """Older clients read sender and destinations inside the user packet, newer ones outside."""
    user = packet.user
    if sender.hidden:
        user.ClearField("participant_sid")
        user.ClearField("participant_identity")
    else:
        user.participant_sid = sender.sid
        user.participant_identity = sender.identity
    if packet.destination_identities:
        del user.destination_identities[:]
        user.destination_identities.extend(packet.destination_identities)
    else:
        packet.destination_identities.extend(user.destination_identities)
    return frozenset(user.destination_sids)
