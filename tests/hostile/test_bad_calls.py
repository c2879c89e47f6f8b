"""Row W4: calls of the server API that are small on the wire and large in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from livekit.protocol import models
from livekit.protocol import room as room_pb

from lkpy.limits import API_JSON_MAX, API_VALUES_MAX
from tests.control_plane import Harness, receive, running

JSON, PROTOBUF = "application/json", "application/protobuf"
MIB = 1 << 20


@pytest.fixture
async def server() -> AsyncIterator[Harness]:
    async with running() as harness:
        await receive(await harness.join(harness.token("alice")))
        yield harness


async def call(server: Harness, method: str, body: bytes, content_type: str) -> tuple[int, float]:
    """The status, and the CPU that it took: the client's too."""
    token = server.token(room_admin=True, room_list=True, room="lobby")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
    url = server.url(f"/twirp/livekit.RoomService/{method}")
    began = time.process_time()
    async with server.http.post(url, data=body, headers=headers) as response:
        return response.status, time.process_time() - began


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"names":[' + b'"",' * 400_000 + b'""]}', 400),
        (b'{"participantTracks":[' + b"{}," * 300_000 + b"{}]}", 400),
        (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, 400),
        (b"[" * MIB, 400),
        (b'{"a":' + b"[" * 101 + b"]" * 101 + b"}", 400),
        (b'{"room":"' + b"\\u0041" * (MIB // 6) + b'"}', 401),
        (b'{"room":"' + b"a" * API_JSON_MAX + b'"}', 413),
        (b'{"room":' + b"1" * MIB + b"}", 400),
        (b'{"room":"\\ud800"}', 401),
    ],
    ids=list("abcdefghi"),
)
async def test_row_w4_dense_calls_are_refused_unparsed(
    server: Harness, body: bytes, status: int
) -> None:
    got, cpu_s = await call(server, "UpdateSubscriptions", body, JSON)
    assert got == status or (status, got) == (401, 400)
    assert cpu_s < 0.25, "parsing it took seconds"


async def test_row_w4_dense_protobuf_is_refused_unparsed(server: Harness) -> None:
    for body in (b"\x22\x00" * 4_000_000, b"\x1a\x00" * 4_000_000, b"\x22\x02\x12\x00" * 2_000_000):
        status, cpu_s = await call(server, "UpdateSubscriptions", body, PROTOBUF)
        assert status == 400
        assert cpu_s < 0.5, "most of it is sending eight megabytes"


async def test_calls_of_a_usual_size_pass(server: Harness) -> None:
    sids = [f"TR_{number:09}" for number in range(1000)]
    tracks = [models.ParticipantTracks(participant_sid="PA_x", track_sids=sids[:500])]
    request = room_pb.UpdateSubscriptionsRequest(
        room="lobby", identity="alice", track_sids=sids, participant_tracks=tracks
    )
    assert len(sids) + 500 < API_VALUES_MAX
    body = request.SerializeToString()
    assert (await call(server, "UpdateSubscriptions", body, PROTOBUF))[0] == 200
    metadata = '{"a": "' + "ü" * 100_000 + '", "b": [' + "1," * 20_000 + "1]}"
    status, answer = await server.twirp(
        "UpdateRoomMetadata",
        {"room": "lobby", "metadata": metadata},
        server.token(room_admin=True, room="lobby"),
    )
    assert (status, answer["metadata"]) == (200, metadata)
