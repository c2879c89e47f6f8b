"""What happens in a room, out of what the server and the others send to a participant.

Pure: messages in, events out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from lkpy.cli.room.show import attributes_text
from lkpy.text import one_line


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; ``identity`` is whom it is about, empty for the room."""

    kind: str
    identity: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def document(self, time: float) -> dict[str, Any]:
        """The event for JSON; ``time`` is Unix seconds."""
        about = {"identity": self.identity} if self.identity else {}
        return {"time": round(time, 3), "event": self.kind, **about, **self.details}

    def line(self, clock: str) -> str:
        """The event for people, after the time of day; without what says little to them."""
        words = [f"{clock}  {self.kind.replace('_', ' '):<24}", one_line(self.identity)]
        for key, value in self.details.items():
            text = attributes_text(value) if isinstance(value, dict) else str(value)
            if text and key != "sid" and (key, text) != ("kind", "standard"):
                words.append(f"{key}={one_line(text)}")
        return "  ".join(word for word in words if word).rstrip()


class RoomEvents:
    """Knows who is in the room, and tells what has changed."""

    def __init__(self, join: rtc.JoinResponse) -> None:
        self._own = join.participant
        self._metadata = join.room.metadata
        self._others = {who.identity: who for who in join.other_participants}
        self._speaking: set[str] = set()
        self._join = join

    def joined(self) -> Iterator[Event]:
        """That we are there, and who else is."""
        room = self._join.room
        details = {"room": room.name, "sid": room.sid, "metadata": room.metadata}
        yield Event("joined", self._own.identity, details)
        for who in self._others.values():
            yield from _arrived(who, "participant_present")

    def response(self, response: rtc.SignalResponse) -> Iterator[Event]:
        """What a message of the server means."""
        match response.WhichOneof("message"):
            case "update":
                for who in response.update.participants:
                    yield from self._update(who)
            case "room_update":
                metadata = response.room_update.room.metadata
                if metadata != self._metadata:
                    self._metadata = metadata
                    yield Event("room_metadata_changed", "", {"metadata": metadata})
            case "speakers_changed":
                yield from self._speakers(response.speakers_changed.speakers)
            case "track_published":
                yield _track("track_published", self._own.identity, response.track_published.track)
            case "track_unpublished":
                sid = response.track_unpublished.track_sid
                yield Event("track_unpublished", self._own.identity, {"track": sid})
            case "mute":
                kind = "track_muted" if response.mute.muted else "track_unmuted"
                yield Event(kind, self._own.identity, {"track": response.mute.sid})
            case "room_moved":
                yield Event("room_moved", "", {"room": response.room_moved.room.name})
            case "leave":
                reason = models.DisconnectReason.Name(response.leave.reason).lower()
                yield Event("disconnected", self._own.identity, {"reason": reason})

    def data(self, message: bytes) -> Iterator[Event]:
        """What a message of a data channel means."""
        try:
            packet = models.DataPacket.FromString(message)
        except DecodeError:
            return
        who = packet.participant_identity
        match packet.WhichOneof("value"):
            case "user":
                topic = {"topic": packet.user.topic} if packet.user.topic else {}
                who = who or packet.user.participant_identity
                yield Event("data", who, {**topic, **_payload(packet.user.payload)})
            case "chat_message":
                yield Event("chat_message", who, {"message": packet.chat_message.message})
            case "sip_dtmf":
                yield Event("sip_dtmf", who, {"digit": packet.sip_dtmf.digit})
            case "rpc_request":
                yield Event("rpc_request", who, {"method": packet.rpc_request.method})
            case "stream_header":
                head = packet.stream_header
                yield Event("stream", who, {"topic": head.topic, "stream": head.stream_id})

    def _update(self, who: models.ParticipantInfo) -> Iterator[Event]:
        own = who.identity == self._own.identity
        before = self._own if own else self._others.get(who.identity)
        if who.state == models.ParticipantInfo.State.DISCONNECTED:
            if not own and before is not None and before.sid == who.sid:
                del self._others[who.identity]
                reason = models.DisconnectReason.Name(who.disconnect_reason).lower()
                yield Event("participant_disconnected", who.identity, {"reason": reason})
            return
        if own:
            self._own = who
        else:
            self._others[who.identity] = who
        if before is None or (before.sid != who.sid and not own):
            yield from _arrived(who, "participant_connected")
        else:
            yield from _changes(before, who, own=own)

    def _speakers(self, speakers: Iterable[models.SpeakerInfo]) -> Iterator[Event]:
        names = {who.sid: who.identity for who in (self._own, *self._others.values())}
        for speaker in speakers:
            identity = names.get(speaker.sid, speaker.sid)
            if speaker.active and identity not in self._speaking:
                self._speaking.add(identity)
                yield Event("speaking", identity)
            elif not speaker.active and identity in self._speaking:
                self._speaking.discard(identity)
                yield Event("silent", identity)


def _arrived(who: models.ParticipantInfo, kind: str) -> Iterator[Event]:
    details = {
        "sid": who.sid,
        "kind": models.ParticipantInfo.Kind.Name(who.kind).lower(),
        "name": who.name,
        "metadata": who.metadata,
        "attributes": dict(who.attributes),
    }
    yield Event(kind, who.identity, details)
    for track in who.tracks:
        yield _track("track_published", who.identity, track)


def _changes(
    before: models.ParticipantInfo, after: models.ParticipantInfo, *, own: bool
) -> Iterator[Event]:
    if before.name != after.name:
        yield Event("name_changed", after.identity, {"name": after.name})
    if before.metadata != after.metadata:
        yield Event("metadata_changed", after.identity, {"metadata": after.metadata})
    changed = {
        key: value for key, value in after.attributes.items() if before.attributes.get(key) != value
    }
    changed.update(dict.fromkeys(before.attributes.keys() - after.attributes.keys(), ""))
    if changed:
        yield Event("attributes_changed", after.identity, {"attributes": changed})
    if before.permission != after.permission:
        yield Event("permission_changed", after.identity, _permission(after.permission))
    if own:  # the server tells of these in messages of their own
        return
    old = {track.sid: track for track in before.tracks}
    for track in after.tracks:
        known = old.pop(track.sid, None)
        if known is None:
            yield _track("track_published", after.identity, track)
        elif known.muted != track.muted:
            kind = "track_muted" if track.muted else "track_unmuted"
            yield Event(kind, after.identity, {"track": track.sid})
    for sid in old:
        yield Event("track_unpublished", after.identity, {"track": sid})


def _track(kind: str, identity: str, track: models.TrackInfo) -> Event:
    details: dict[str, Any] = {
        "track": track.sid,
        "type": models.TrackType.Name(track.type).lower(),
        "source": models.TrackSource.Name(track.source).lower(),
        "name": track.name,
    }
    if track.muted:
        details["muted"] = True
    return Event(kind, identity, details)


def _permission(permission: models.ParticipantPermission) -> dict[str, Any]:
    return {
        "can_publish": permission.can_publish,
        "can_subscribe": permission.can_subscribe,
        "can_publish_data": permission.can_publish_data,
        "can_update_metadata": permission.can_update_metadata,
    }


def _payload(payload: bytes) -> dict[str, str]:
    try:
        return {"data": payload.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(payload).decode()}
