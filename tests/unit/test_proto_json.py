"""Messages in JSON as Go writes them."""

from __future__ import annotations

import asyncio
import itertools
import json
import time

from livekit.protocol import agent_dispatch, egress, models, rtc
from livekit.protocol import room as room_pb

from lkpy.server.http.proto_json import full_dict, in_slices, write_json


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


def _everybody(count: int) -> room_pb.ListParticipantsResponse:
    track = models.TrackInfo(sid="TR_x", name="camera", codecs=[models.SimulcastCodecInfo()])
    return room_pb.ListParticipantsResponse(
        participants=[
            models.ParticipantInfo(
                sid=f"PA_{number}",
                identity=f"ü {number}",
                attributes={"k": "v"},
                permission=models.ParticipantPermission(can_publish_sources=[1, 2]),
                tracks=[track] * (40 if number == 1 else 2),
            )
            for number in range(count)
        ]
    )


async def test_slices_are_the_same_text() -> None:
    for message in (
        _everybody(0),
        _everybody(3),
        _everybody(100),
        room_pb.ListRoomsResponse(rooms=[models.Room(name=str(n)) for n in range(50)]),
        room_pb.CreateRoomRequest(
            name="a",
            agents=[agent_dispatch.RoomAgentDispatch(agent_name=str(n)) for n in range(20)],
        ),
        models.Room(name="alone", enabled_codecs=[models.Codec(mime=str(n)) for n in range(30)]),
    ):
        whole = write_json(full_dict(message))
        sliced = await in_slices(message, full_dict)
        assert json.loads(sliced) == json.loads(whole)
        assert list(json.loads(sliced)) == list(json.loads(whole)), "in the same order"


async def test_everybody_has_a_turn_while_a_long_list_is_written() -> None:
    everybody = _everybody(2000)
    turns: list[float] = []

    async def others() -> None:
        while True:
            turns.append(time.thread_time())
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await asyncio.sleep(0)
    began = time.thread_time()
    written = await in_slices(everybody, full_dict)
    spent = time.thread_time() - began
    task.cancel()
    assert len(written) > 1_000_000
    longest = max(after - before for before, after in itertools.pairwise(turns))
    assert longest < 0.02 < spent
