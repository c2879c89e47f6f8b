"""Metrics, debug routes and webhooks of a whole server, from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import marshal
import socket
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from lkpy.errors import LkpyError
from lkpy.server.app import Server
from lkpy.server.telemetry.events import RoomStarted
from tests.control_plane import KEY, Harness, MediaDouble, config_of, receive, running
from tests.integration.test_webhooks import receiving
from tests.patience import PATIENCE_S
from tests.ports import free_port


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


async def fetch(harness: Harness, url: str, access: str = "") -> tuple[int, str]:
    headers = {"Authorization": f"Basic {b64encode(access.encode()).decode()}"} if access else {}
    async with harness.http.get(url, headers=headers) as response:
        return response.status, await response.text()


# -- metrics --------------------------------------------------------------------------------------


async def test_metrics_are_on_every_path_of_their_port() -> None:
    port = free_port()
    async with running({"prometheus": {"port": port}}) as server:
        socket = await server.join(server.token())
        await socket.receive_bytes()
        await server.twirp("ListRooms", {}, server.token(room_list=True))
        await server.twirp("MadeUpByAClient", {}, server.token(room_list=True))
        await server.refused("/rtc/v1", server.token(room_join=False))
        for path in ("/", "/metrics", "/any/where"):
            status, text = await fetch(server, f"http://127.0.0.1:{port}{path}")
            assert status == 200
        lines = text.splitlines()
        node = f'node_id="{server.server.node_id}",node_type="SERVER"'
        for state in ("signal_connected", "signal_validation_failed"):
            labels = f'{node},sdk="",state="{state}",warp=""'
            assert f"livekit_participant_join_total{{{labels}}} 1" in lines
        assert (
            f'livekit_node_twirp_request_status{{code="",method="ListRooms",{node},'
            'service="RoomService",status="200"}' in text
        )
        assert (
            f'livekit_node_twirp_request_status{{code="bad_route",method="",{node},'
            'service="RoomService",status="4xx"}' in text
        )
        assert f"lkpy_signal_connections{{{node}}} 1" in lines
        assert f"lkpy_joins_waiting{{{node}}} 0" in lines
        assert f"livekit_participant_total{{{node}}} 1" in lines
        assert any(line.startswith("process_cpu_seconds_total ") for line in lines)
        assert (await server.get("/metrics"))[0] == 404
        await socket.close()


async def test_metrics_with_basic_auth() -> None:
    port = free_port()
    access = {"port": port, "username": "user", "password": "pass:word"}
    async with running({"prometheus": access}) as server:
        url = f"http://127.0.0.1:{port}/"
        async with server.http.get(url) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == 'Basic realm="Protected Area"'
        assert (await fetch(server, url, "user:pass:word"))[0] == 200
        for wrong in ("user:pass", "other:pass:word"):
            assert (await fetch(server, url, wrong))[0] == 401
        for header in ("Basic", "Basic ===", "Bearer abc", "Basic dXNlcjpwYXNz\u00e9"):
            async with server.http.get(url, headers={"Authorization": header}) as response:
                assert response.status == 401


async def test_metrics_of_an_engine_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lkpy.server.telemetry.snapshot.COLLECT_TIMEOUT_S", 0.05)
    port = free_port()
    async with running({"prometheus": {"port": port}}) as server:
        server.media.answers = False
        status, text = await fetch(server, f"http://127.0.0.1:{port}/")
        assert status == 200
        assert "livekit_room_total" in text


async def test_a_port_that_is_taken_stops_the_start() -> None:
    with taken_port() as port:
        media = MediaDouble()
        server = Server(config_of({"prometheus": {"port": port}}), media)
        with pytest.raises(LkpyError) as refused:
            await server.start()
        assert str(port) in refused.value.message
        assert refused.value.hint is not None
        assert "prometheus.port" in refused.value.hint
        assert not media.running


# -- debug routes ---------------------------------------------------------------------------------


async def test_debug_routes_are_for_development() -> None:
    async with running() as server:
        assert (await server.get("/debug/rooms"))[0] == 404
    async with running({"development": True}) as server:
        assert await server.get("/debug/rooms") == (200, "[]")


async def test_debug_routes_on_their_own_port() -> None:
    port = free_port()
    async with running({"debug_handler": {"port": port}}) as server:
        base = f"http://127.0.0.1:{port}/debug"
        socket = await server.join(server.token())
        await socket.receive_bytes()
        async with server.http.get(f"{base}/rooms") as response:
            (room,) = await response.json()
        assert room["Name"] == "lobby"
        alice = room["Participants"]["alice"]
        assert alice["ID"].startswith("PA_")
        assert (alice["Transports"], alice["DownTracks"]) == ([], [])
        assert "SignalSocket" in (await fetch(server, f"{base}/goroutine"))[1]
        assert "/debug/pprof/profile" in (await fetch(server, f"{base}/pprof/"))[1]
        assert "python" in (await fetch(server, f"{base}/pprof/cmdline"))[1].lower()
        assert "dict" in (await fetch(server, f"{base}/pprof/heap"))[1]
        for path in ("", "/x", "/pprof/x"):
            assert (await fetch(server, base + path))[0] == 404
        assert (await fetch(server, f"http://127.0.0.1:{port}/"))[0] == 404
        await socket.close()


async def test_rooms_are_shown_with_figures_unless_the_engine_is_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lkpy.server.telemetry.snapshot.COLLECT_TIMEOUT_S", 0.02)

    async def alice() -> dict[str, Any]:
        (room,) = json.loads((await server.get("/debug/rooms"))[1])
        shown: dict[str, Any] = room["Participants"]["alice"]
        return shown

    async with running({"development": True}) as server:
        await receive(await server.join(server.token()))
        server.media.rooms["lobby"].down_tracks = 1
        (down_track,) = (await alice())["DownTracks"]
        assert down_track["deficient"] is False
        assert down_track["wantedSpatial"] == 0
        server.media.answers = False
        assert sorted(await alice()) == ["ID", "State", "Tracks"]


async def test_a_profile() -> None:
    async with running({"development": True}) as server:
        async with server.http.get(server.url("/debug/pprof/profile?seconds=0.05")) as response:
            assert response.status == 200
            stats = marshal.loads(await response.read())
            assert any("asyncio" in str(place) or "uvloop" in str(place) for place in stats)
        status, table = await server.get("/debug/pprof/profile?seconds=0&debug=1")
        assert status == 200
        assert "function calls" in table
        for wrong in ("x", "-1", "1e9", "nan", "inf"):
            assert (await server.get(f"/debug/pprof/profile?seconds={wrong}"))[0] == 400


async def test_one_profile_at_a_time() -> None:
    async with running({"development": True}) as server:
        first = asyncio.create_task(server.get("/debug/pprof/profile?seconds=0.3&debug=1"))
        async with asyncio.timeout(PATIENCE_S):
            while (await server.get("/debug/pprof/profile?seconds=0&debug=1"))[0] != 500:
                assert not first.done()
        assert (await first)[0] == 200


# -- webhooks -------------------------------------------------------------------------------------


async def test_webhooks_of_a_server_are_sent_and_counted() -> None:
    port = free_port()
    async with receiving() as receiver:
        webhook = {"api_key": KEY, "urls": [receiver.url]}
        async with running({"webhook": webhook, "prometheus": {"port": port}}) as server:
            await server.twirp("CreateRoom", {"name": "lobby"}, server.token(room_create=True))
            telemetry = server.server._reporting.telemetry
            telemetry.tell(RoomStarted(server.media.rooms["lobby"]))
            await receiver.wait(1)
            assert receiver.events[0]["room"]["name"] == "lobby"
            await server.server._reporting.stop()
            text = await server.server._reporting._scrape()
            assert "livekit_webhook_dispatch_total{" in text
            assert 'reason="",status="success"} 1' in text
            assert "lkpy_webhook_queue_length{" in text


async def test_the_last_webhooks_are_sent_when_the_server_stops() -> None:
    async with receiving() as receiver:
        async with running({"webhook": {"api_key": KEY, "urls": [receiver.url]}}) as server:
            await server.twirp("CreateRoom", {"name": "lobby"}, server.token(room_create=True))
            room = server.media.rooms["lobby"]
            for _ in range(20):
                server.server._reporting.telemetry.tell(RoomStarted(room))
        assert len(receiver.requests) == 20
