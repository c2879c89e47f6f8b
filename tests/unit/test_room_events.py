"""What ``lkpy room join`` says about what happens in a room."""

from __future__ import annotations

from livekit.protocol import models, rtc

from lkpy.cli.room.events import Event, RoomEvents

ACTIVE = models.ParticipantInfo.State.ACTIVE
GONE = models.ParticipantInfo.State.DISCONNECTED


def participant(identity: str, **fields: object) -> models.ParticipantInfo:
    return models.ParticipantInfo(
        **{"identity": identity, "sid": f"PA_{identity}", "state": ACTIVE, **fields}
    )


def events_of(*others: models.ParticipantInfo) -> RoomEvents:
    return RoomEvents(
        rtc.JoinResponse(
            room=models.Room(name="r", sid="RM_r"),
            participant=participant("me"),
            other_participants=others,
        )
    )


def update(events: RoomEvents, *who: models.ParticipantInfo) -> list[Event]:
    message = rtc.SignalResponse(update=rtc.ParticipantUpdate(participants=who))
    return list(events.response(message))


def test_who_is_there_already() -> None:
    track = models.TrackInfo(sid="TR_a", type=models.TrackType.AUDIO, muted=True)
    joined, present, published = events_of(participant("bob", tracks=[track])).joined()
    assert (joined.kind, joined.identity, joined.details["room"]) == ("joined", "me", "r")
    assert (present.kind, present.identity) == ("participant_present", "bob")
    assert (published.kind, published.details["muted"]) == ("track_published", True)


def test_a_participants_life() -> None:
    events = events_of()
    (came,) = update(events, participant("bob", attributes={"a": "1", "b": "2"}))
    assert came.kind == "participant_connected"
    assert update(events, participant("bob", attributes={"a": "1", "b": "2"})) == []
    (changed,) = update(events, participant("bob", attributes={"a": "3"}))
    assert changed == Event("attributes_changed", "bob", {"attributes": {"a": "3", "b": ""}})
    kinds = [e.kind for e in update(events, participant("bob", name="B", metadata="m"))]
    assert kinds == ["name_changed", "metadata_changed", "attributes_changed"]
    older = participant("bob", sid="PA_older", state=GONE)
    assert update(events, older) == [], "that was a connection before this one"
    reason = models.DisconnectReason.CLIENT_INITIATED
    left = participant("bob", state=GONE, disconnect_reason=reason)
    assert update(events, left) == [
        Event("participant_disconnected", "bob", {"reason": "client_initiated"})
    ]
    assert update(events, left) == []


def test_tracks() -> None:
    events = events_of(participant("bob"))
    track = models.TrackInfo(sid="TR_v", type=models.TrackType.VIDEO, name="cam")
    (published,) = update(events, participant("bob", tracks=[track]))
    assert published.details == {
        "track": "TR_v",
        "type": "video",
        "source": "unknown",
        "name": "cam",
    }
    track.muted = True
    assert [e.kind for e in update(events, participant("bob", tracks=[track]))] == ["track_muted"]
    track.muted = False
    assert [e.kind for e in update(events, participant("bob", tracks=[track]))] == ["track_unmuted"]
    assert update(events, participant("bob")) == [
        Event("track_unpublished", "bob", {"track": "TR_v"})
    ]


def test_our_own_permissions() -> None:
    permission = models.ParticipantPermission(can_publish=True)
    (changed,) = update(events_of(), participant("me", permission=permission))
    assert changed.kind == "permission_changed"
    assert changed.details["can_publish"] is True


def test_speakers_are_told_once() -> None:
    events = events_of(participant("bob"))

    def speaking(active: bool) -> list[Event]:
        speaker = models.SpeakerInfo(sid="PA_bob", active=active)
        changed = rtc.SpeakersChanged(speakers=[speaker])
        return list(events.response(rtc.SignalResponse(speakers_changed=changed)))

    assert speaking(True) == [Event("speaking", "bob")]
    assert speaking(True) == []
    assert speaking(False) == [Event("silent", "bob")]


def test_room_and_leave() -> None:
    events = events_of()
    room = rtc.RoomUpdate(room=models.Room(metadata="m"))
    message = rtc.SignalResponse(room_update=room)
    assert list(events.response(message)) == [Event("room_metadata_changed", "", {"metadata": "m"})]
    assert list(events.response(message)) == []
    leave = rtc.LeaveRequest(reason=models.DisconnectReason.ROOM_DELETED)
    (left,) = events.response(rtc.SignalResponse(leave=leave))
    assert left.details == {"reason": "room_deleted"}


def test_data() -> None:
    events = events_of()
    user = models.UserPacket(payload=b"hi", topic="chat")
    packet = models.DataPacket(user=user, participant_identity="bob")
    assert list(events.data(packet.SerializeToString())) == [
        Event("data", "bob", {"topic": "chat", "data": "hi"})
    ]
    packet.user.payload = b"\xff"
    (binary,) = events.data(packet.SerializeToString())
    assert binary.details["data_base64"] == "/w=="
    assert list(events.data(b"\xff\xff")) == []


def test_lines_and_documents() -> None:
    event = Event("attributes_changed", "b\x1b[1mob", {"attributes": {"a": "1"}, "name": ""})
    came = Event("participant_connected", "bob", {"sid": "PA_b", "kind": "standard", "name": "B"})
    assert came.line("12:00:00") == "12:00:00  participant connected     bob  name=B"
    shown = r"12:00:00  attributes changed        b\x1b[1mob  attributes=a=1"
    assert event.line("12:00:00") == shown
    assert event.document(1.23456) == {
        "time": 1.235,
        "event": "attributes_changed",
        "identity": "b\x1b[1mob",
        "attributes": {"a": "1"},
        "name": "",
    }
