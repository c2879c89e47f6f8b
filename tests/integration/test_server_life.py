"""Starting, draining, stopping: in this process, and as the command."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from livekit.protocol import models, rtc

from lkpy.errors import LkpyError
from lkpy.server.app import Server, State
from lkpy.server.config import ServerConfig
from tests.control_plane import KEY, SECRET, MediaDouble, receive, running
from tests.patience import PATIENCE_S


def config(**values: object) -> ServerConfig:
    base = {"port": 0, "bind_addresses": ["127.0.0.1"], "keys": {KEY: SECRET}}
    return ServerConfig.model_validate(base | values)


async def test_stopping_says_why_to_everybody() -> None:
    async with running() as server:
        sockets = [await server.join(server.token(name)) for name in ("alice", "bob")]
        for connection in sockets:
            await receive(connection)
        await server.server.stop()
        for connection in sockets:
            leave = (await receive(connection)).leave
            assert leave.reason == models.DisconnectReason.SERVER_SHUTDOWN
        assert not server.media.running
        assert server.server.state is State.STOPPED
        await server.server.stop()


async def test_stopping_frees_the_port() -> None:
    async with Server(config(), MediaDouble()) as server:
        port = int(server.url.rpartition(":")[2])
    with contextlib.closing(socket.create_server(("127.0.0.1", port))):
        pass


async def test_draining_keeps_rooms_and_refuses_others() -> None:
    async with running() as server:
        connection = await server.join(server.token("alice"))
        await receive(connection)
        told: asyncio.Queue[int] = asyncio.Queue()
        drained = asyncio.create_task(server.server.drain(told.put_nowait))
        assert await told.get() == 1
        assert server.server.state is State.DRAINING
        assert (await server.get("/"))[0] == 200

        await receive(await server.join(server.token("bob")))
        elsewhere = server.token("carol", room_join=True, room="elsewhere")
        assert await server.refused("/rtc", elsewhere) == (
            503,
            "could not find any available nodes",
        )
        for person in ("alice", "bob"):
            server.media.rooms["lobby"]._remove(person, models.DisconnectReason.UNKNOWN_REASON)
        await asyncio.wait_for(drained, PATIENCE_S)


async def test_readiness_ends_with_draining_and_health_does_not() -> None:
    async with running() as server:
        assert await server.get("/lkpy/v1/ready") == (200, "ready")
        await server.server.drain()
        assert await server.get("/lkpy/v1/ready") == (503, "draining")
        assert await server.get("/") == (200, "OK")


async def test_after_the_drain_timeout_clients_are_sent_elsewhere() -> None:
    async with running() as server:
        sockets = []
        for room in ("a", "b"):
            sockets.append(await server.join(server.token(room_join=True, room=room)))
            await receive(sockets[-1])
        await asyncio.wait_for(server.server.drain(timeout_s=0.05), 5)
        for connection in sockets:
            leave = (await receive(connection)).leave
            assert leave.reason == models.DisconnectReason.SERVER_SHUTDOWN
            assert leave.action == rtc.LeaveRequest.Action.RECONNECT


async def test_draining_an_empty_server_ends_at_once() -> None:
    async with running() as server:
        await asyncio.wait_for(server.server.drain(), PATIENCE_S)


async def test_a_port_in_use_is_explained() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        media = MediaDouble()
        with pytest.raises(LkpyError) as refused:
            await Server(config(port=port), media).start()
        assert f"127.0.0.1 port {port}" in refused.value.message
        assert refused.value.hint is not None
        assert "--port" in refused.value.hint
        assert not media.running


async def test_an_address_of_another_machine_is_explained() -> None:
    with pytest.raises(LkpyError, match=r"cannot listen on 192\.0\.2\.99"):
        await Server(config(bind_addresses=["192.0.2.99"]), MediaDouble()).start()


async def test_a_failing_engine_leaves_no_listener() -> None:
    class Broken(MediaDouble):
        def start(self, node: object, telemetry: object) -> None:
            raise LkpyError("unavailable", "no media")  # type: ignore[arg-type]

    server = Server(config(), Broken())
    with pytest.raises(LkpyError, match="no media"):
        await server.start()
    assert server.state is State.NEW


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")
async def test_both_loopback_addresses_share_one_port() -> None:
    both = config(bind_addresses=["127.0.0.1", "::1"])
    async with Server(both, MediaDouble()) as server:
        port = int(server.url.rpartition(":")[2])
        for address in ("127.0.0.1", "::1"):
            _, writer = await asyncio.open_connection(address, port)
            writer.close()


async def test_an_absent_ipv6_address_is_passed_over() -> None:
    both = config(bind_addresses=["127.0.0.1", "2001:db8::1"])
    async with Server(both, MediaDouble()) as server:
        assert server.url.startswith("ws://127.0.0.1:")


async def test_the_rate_of_bytes_is_measured_where_it_is_limited() -> None:
    for limit, measured in ((1_000_000, True), (0, False)):
        async with running({"limit": {"bytes_per_sec": limit}}) as server:
            asked: list[bool] = []
            collect = server.server._collect

            async def observed(asked=asked, collect=collect):
                asked.append(True)
                snapshot = await collect()
                snapshot.server.bitrate_in_bps, snapshot.server.bitrate_out_bps = 5e6, 4e6
                return snapshot

            server.server._collect = observed
            await server.server._measure_load()
            server.server._update_node()
            assert bool(asked) is measured
            status, body = await server.get("/rtc/validate", server.token())
            assert (status, body) == (
                (503, "node has exceeded its configured limit") if measured else (200, "success")
            )


async def test_node_limits() -> None:
    async with running({"limit": {"num_tracks": 5}}) as server:
        await receive(await server.join(server.token()))
        server.media.rooms["lobby"].down_tracks = 5
        await server.server._measure_load()
        server.server._update_node()
        expected = (503, "node has exceeded its configured limit")
        assert await server.refused("/rtc", server.token("bob")) == expected
        assert await server.get("/rtc/validate", server.token("bob")) == expected


async def test_a_node_stays_fresh_whatever_measuring_its_load_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody awaits the heartbeat: without it the node would be unhealthy for ever."""
    monkeypatch.setattr("lkpy.server.app.NODE_STATS_INTERVAL_S", 0.01)
    monkeypatch.setattr("lkpy.server.background.BACKGROUND_RETRY_MIN_S", 0.0)
    updated = asyncio.Event()
    failures = 0

    async def broken(self: Server) -> None:
        nonlocal failures
        failures += 1
        if failures < 4:
            raise ValueError("out of the blue")
        updated.set()

    monkeypatch.setattr(Server, "_measure_load", broken)
    async with running() as server:
        await asyncio.wait_for(updated.wait(), PATIENCE_S)
        assert (await server.get("/"))[0] == 200
