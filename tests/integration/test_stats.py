"""The statistics route and its stream."""

from __future__ import annotations

import json

import aiohttp
import pytest

from lkpy.stats.v1 import stats_pb2
from tests.control_plane import Harness, receive, running
from tests.patience import PATIENCE_S

STATS = "/lkpy/v1/stats"


@pytest.fixture
async def server():
    async with running() as harness:
        yield harness


@pytest.fixture
def token(server: Harness) -> str:
    return server.token(room_list=True, room_admin=True)


async def test_protobuf_by_default(server: Harness, token: str) -> None:
    await receive(await server.join(server.token()))
    headers = {"Authorization": f"Bearer {token}"}
    async with server.http.get(server.url(STATS), headers=headers) as response:
        assert response.content_type == "application/x-protobuf"
        snapshot = stats_pb2.Snapshot.FromString(await response.read())
    assert snapshot.server.rooms == 1
    assert snapshot.server.participants == 1
    assert snapshot.server.state == "serving"
    assert snapshot.server.node_id.startswith("ND_")
    assert snapshot.server.memory_bytes > 1_000_000
    assert snapshot.rooms[0].participants[0].identity == "alice"
    assert snapshot.workers[0].datagrams_sent == 20
    assert snapshot.timestamp_ms > 1_600_000_000_000


async def test_json_on_request(server: Harness, token: str) -> None:
    _, body = await server.get(f"{STATS}?format=json", token)
    assert json.loads(body)["server"]["rooms"] == 0
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    async with server.http.get(server.url(STATS), headers=headers) as response:
        assert (await response.json())["server"]["state"] == "serving"


async def test_needs_both_grants(server: Harness) -> None:
    denied = (401, "permissions denied")
    assert await server.get(STATS) == denied
    assert await server.get(STATS, server.token(room_list=True)) == denied
    assert await server.get(STATS, server.token(room_admin=True)) == denied


async def test_in_development_this_machine_needs_no_token() -> None:
    async with running({"development": True}) as server:
        assert (await server.get(f"{STATS}?format=json"))[0] == 200
        for header in ("X-Forwarded-For", "Origin"):
            url = server.url(STATS)
            async with server.http.get(url, headers={header: "http://192.0.2.1"}) as response:
                assert response.status == 401
        assert (await server.get(STATS, server.token(room_list=True)))[0] == 401


async def test_stream(server: Harness, token: str) -> None:
    params = {"access_token": token, "interval": "200"}
    async with server.http.ws_connect(server.url(STATS), params=params) as socket:
        first = stats_pb2.Snapshot.FromString(await socket.receive_bytes(timeout=PATIENCE_S))
        second = stats_pb2.Snapshot.FromString(await socket.receive_bytes(timeout=PATIENCE_S))
    assert 150 <= second.timestamp_ms - first.timestamp_ms < 2000
    assert second.server.cpu_cores >= 0


async def test_json_stream(server: Harness, token: str) -> None:
    params = {"access_token": token, "format": "json"}
    async with server.http.ws_connect(server.url(STATS), params=params) as socket:
        assert "server" in json.loads(await socket.receive_str(timeout=PATIENCE_S))


@pytest.mark.parametrize("interval", ["0", "199", "10001", "-5", "x", "99999999999", "²"])
async def test_bad_interval(server: Harness, token: str, interval: str) -> None:
    params = {"access_token": token, "interval": interval}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await server.http.ws_connect(server.url(STATS), params=params)
    assert refused.value.status == 400


async def test_a_stuck_engine_is_unavailable(
    server: Harness, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lkpy.server.telemetry.snapshot.COLLECT_TIMEOUT_S", 0.02)
    server.media.answers = False
    assert await server.get(STATS, token) == (503, "media engine does not answer")
    server.media.answers = True
    assert (await server.get(f"{STATS}?format=json", token))[0] == 200


async def test_streams_end_with_the_server(token: str, server: Harness) -> None:
    params = {"access_token": token}
    socket = await server.http.ws_connect(server.url(STATS), params=params)
    await socket.receive_bytes(timeout=PATIENCE_S)
    await server.server.stop()
    while (message := await socket.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.BINARY:
        pass
    assert message.type is aiohttp.WSMsgType.CLOSE
