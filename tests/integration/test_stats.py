"""The statistics route and its stream."""

from __future__ import annotations

import json
import sys
from typing import Any

import aiohttp
import pytest

from lkpy.auth.grants import Grants
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
    return server.token_for(Grants(stats=True))


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


DENIED = (401, "permissions denied")


async def seen(server: Harness, **video: Any) -> dict[str, list[str]]:
    """Rooms and who is in them, as such a token is told."""
    status, body = await server.get(f"{STATS}?format=json", server.token(**video))
    assert status == 200, body
    told = json.loads(body)
    assert bool(told["server"].get("participants")) is bool(video.get("room_list"))
    return {
        room["name"]: [who["identity"] for who in room["participants"]] for room in told["rooms"]
    }


async def test_a_token_sees_what_the_api_would_tell_it(server: Harness) -> None:
    for room in ("one", "two"):
        await receive(await server.join(server.token(f"in {room}", room_join=True, room=room)))
    one = {"room_admin": True, "room": "one"}
    assert await seen(server, **one) == {"one": ["in one"]}
    assert await seen(server, room_list=True) == {"one": [], "two": []}
    assert await seen(server, room_list=True, **one) == {"one": ["in one"], "two": []}
    # Whom ListParticipants refuses every room is told of none.
    assert await seen(server, room_list=True, room_admin=True) == {"one": [], "two": []}
    for video in (one, {"room_list": True, "room_admin": True}):
        token = server.token(**video)
        assert (await server.twirp("ListParticipants", {"room": "two"}, token))[0] == 401


async def test_other_tokens_see_nothing(server: Harness) -> None:
    assert await server.get(STATS) == DENIED
    for video in ({"room_join": True, "room": "one"}, {"room_admin": True}, {"room_create": True}):
        assert await server.get(STATS, server.token(**video)) == DENIED


async def test_in_development_this_machine_needs_no_token() -> None:
    async with running({"development": True}) as server:
        assert (await server.get(f"{STATS}?format=json"))[0] == 200
        assert (await server.get(STATS, server.token()))[0] == 401


@pytest.mark.parametrize("path", [STATS, "/debug/rooms", "/debug/pprof/cmdline"])
async def test_row_w12_what_needs_no_token_is_for_this_machine_only(path: str) -> None:
    """No proxy, no web page, and no name that an attacker made to resolve to loopback."""
    async with running({"development": True}) as server:
        port = server.server.url.rpartition(":")[2]
        for header in (
            {"X-Forwarded-For": "192.0.2.1"},
            {"Origin": "https://evil.example"},
            {"Host": f"evil.example:{port}"},
            {"Host": "192.0.2.1"},
            {"Host": "localhost.evil.example"},
            {"Host": "[::2]"},
            {"Host": "a b"},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            async with server.http.get(server.url(path), headers=header) as response:
                assert response.status in (400, 401, 403), header
        for host in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST."):
            headers = {"Host": f"{host}:{port}"}
            async with server.http.get(server.url(path), headers=headers) as response:
                assert response.status == 200, host


async def test_the_command_line_is_shown_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["lkpy", "server", "--keys", "devkey: CANARY", "--dev"])
    async with running({"development": True}) as server:
        status, shown = await server.get("/debug/pprof/cmdline")
        assert (status, shown.split("\0")) == (200, ["lkpy", "server", "--keys", "*" * 8, "--dev"])


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
