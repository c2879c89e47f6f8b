"""A participant as others see it, and which version of that they have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livekit.protocol import models

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant


class ParticipantRecord:
    """The public record, made when it is asked for after a change."""

    def __init__(self, participant: Participant) -> None:
        self._participant = participant
        self._version = 0
        self._info: models.ParticipantInfo | None = None
        self.public = b""
        """What :meth:`publish` returned, until something changes."""

    def touch(self) -> None:
        """Something in :meth:`to_proto` changed: a newer version from now on."""
        self._version += 1
        self._info = None
        self.public = b""

    def to_proto(self) -> models.ParticipantInfo:
        """The same object until something changes."""
        if self._info is None:
            self._info = self._describe(self._participant)
        return self._info

    def publish(self) -> bytes:
        """The record in protobuf's encoding behind its length, as an element of a list; empty for
        somebody of whom others never hear."""
        if not self._participant.hidden:
            record = self.to_proto().SerializeToString()
            self.public = _varint(len(record)) + record
        return self.public

    def _describe(self, participant: Participant) -> models.ParticipantInfo:
        claims = participant.claims
        return models.ParticipantInfo(
            sid=participant.sid,
            identity=participant.identity,
            state=participant.state,
            tracks=[track.info for track in participant.publishing.tracks if track.announced],
            metadata=claims.metadata,
            joined_at=int(participant.joined_at),
            joined_at_ms=int(participant.joined_at * 1000),
            name=claims.name,
            version=self._version,
            permission=claims.permission,
            is_publisher=participant.is_publisher,
            kind=claims.kind,
            attributes=claims.attributes,
            disconnect_reason=participant.disconnect_reason,
            region=participant.room.region,
            kind_details=participant.session.grants.participant_kind_details(),
            client_protocol=participant.client.client_protocol,
            capabilities=participant.client.capabilities,
            data_tracks=[track.info for track in participant.data_tracks],
        )


def _varint(value: int) -> bytes:
    """Protobuf's encoding of a number that is not negative."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
