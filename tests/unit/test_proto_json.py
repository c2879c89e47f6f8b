"""Messages in JSON as Go writes them."""

from __future__ import annotations

import json

from livekit.protocol import agent_dispatch, egress, models, rtc
from livekit.protocol import room as room_pb

from lkpy.server.http.proto_json import full_dict, write_json


def test_every_field_is_there_in_its_order() -> None:
    room = models.Room(name="r", creation_time_ms=5, enabled_codecs=[models.Codec(mime="m")])
    values = full_dict(room)
    assert list(values) == [field.name for field in models.Room.DESCRIPTOR.fields]
    assert values["version"] is None, "a message that is not set"
    assert values["creation_time_ms"] == "5", "64 bits do not fit a number of JavaScript"
    assert values["enabled_codecs"] == [{"mime": "m", "fmtp_line": ""}]


def test_members_of_a_oneof_and_optional_fields_only_when_set() -> None:
    assert full_dict(rtc.SignalResponse()) == {}
    assert full_dict(rtc.SignalResponse(pong=5)) == {"pong": "5"}
    assert "topic" not in full_dict(room_pb.SendDataRequest())
    assert full_dict(room_pb.SendDataRequest(topic=""))["topic"] == ""


def test_what_is_nested_is_complete_too() -> None:
    dispatch = agent_dispatch.AgentDispatch(
        state=agent_dispatch.AgentDispatchState(created_at=1), attributes={"a": "1"}
    )
    values = full_dict(dispatch)
    assert values["state"] == {"jobs": [], "created_at": "1", "deleted_at": "0"}
    assert values["attributes"] == {"a": "1"}
    layers = full_dict(models.TrackInfo(layers=[models.VideoLayer(width=1)]))["layers"]
    assert layers[0]["height"] == 0


def test_values_that_json_forms_otherwise() -> None:
    info = egress.EgressInfo(status=egress.EgressStatus.EGRESS_ACTIVE)
    assert full_dict(info)["status"] == "EGRESS_ACTIVE"
    assert full_dict(models.UserPacket(payload=b"hi"))["payload"] == "aGk="


def test_text_is_not_escaped() -> None:
    assert write_json({"name": "é", "n": [1]}) == '{"name":"é","n":[1]}'.encode()
    assert json.loads(write_json({"q": '"'})) == {"q": '"'}
