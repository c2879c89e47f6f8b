"""The server, put together: engine, rooms, routing and HTTP; how it starts, drains and ends."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Protocol, Self

from aiohttp import web
from livekit.protocol import agent_dispatch, models
from livekit.protocol import room as room_pb

from lkpy import descriptors, local_servers
from lkpy.auth.token import Verified
from lkpy.clock import Clock, SystemClock
from lkpy.engine.api import StatsCollected
from lkpy.errors import LkpyError
from lkpy.limits import (
    DRAIN_POLL_S,
    DRAIN_ROOM_PAUSE_S,
    HTTP_KEEPALIVE_S,
    NODE_STATS_INTERVAL_S,
)
from lkpy.server.agents.workers import Workers
from lkpy.server.api import unconnected
from lkpy.server.api.agent_dispatch_service import AgentDispatchService
from lkpy.server.api.room_service import RoomService
from lkpy.server.background import background
from lkpy.server.config import ServerConfig
from lkpy.server.garbage import Garbage
from lkpy.server.http import site
from lkpy.server.http.agent_service import AgentService
from lkpy.server.http.guard import Unauthenticated
from lkpy.server.http.health import Health
from lkpy.server.http.listener import listen
from lkpy.server.http.rtc_service import RTCService
from lkpy.server.http.service import HttpService, text
from lkpy.server.http.stats import StatsService
from lkpy.server.http.twirp import TwirpService
from lkpy.server.http.whip import PATH as WHIP_PATH
from lkpy.server.http.whip import WhipService
from lkpy.server.reporting import Reporting, Sources
from lkpy.server.rooms.allocator import RoomAllocator
from lkpy.server.rooms.jobs import JobOptions
from lkpy.server.rooms.managed_room import ManagedRoom
from lkpy.server.rooms.manager import RoomManager
from lkpy.server.rooms.store import LocalStore
from lkpy.server.routing.local_bus import LocalBus
from lkpy.server.routing.node import LocalNode, NodeStats
from lkpy.server.routing.router import LocalRouter
from lkpy.server.routing.signal_client import SignalClient
from lkpy.server.routing.signal_server import SignalServer
from lkpy.server.rtc.join_response import server_info
from lkpy.server.rtc.options import NodeInfo, RoomSettings
from lkpy.server.telemetry.events import Telemetry
from lkpy.server.telemetry.log import fields
from lkpy.server.telemetry.snapshot import ObservedRoom, SnapshotCollector

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
_CLOSE_S = 2.0
"""For sockets to take their last messages when the server stops."""


class ServedRoom(ManagedRoom, ObservedRoom, Protocol):
    """A room as the server uses it."""


class MediaPlane(Protocol):
    """Rooms and the engine below them (:class:`lkpy.server.media.EnginePlane`)."""

    @property
    def node_ip(self) -> str:
        """The address that clients are told."""

    @property
    def udp_port(self) -> int | None:
        """Of the first worker."""

    @property
    def tcp_port(self) -> int | None:
        """Of the first worker; None without ICE-TCP."""

    @property
    def trouble(self) -> str:
        """What is wrong with the engine, for the health route; empty: nothing."""

    @property
    def events_unhandled(self) -> int:
        """What the engine told of objects that nobody knew any more."""

    def start(self, node: LocalNode, telemetry: Telemetry) -> None:
        """Start the engine. Raises :class:`lkpy.errors.LkpyError`."""

    def make_room(
        self,
        info: models.Room,
        settings: RoomSettings,
        observer: RoomManager[ServedRoom],
        telemetry: Telemetry,
    ) -> ServedRoom:
        """A room that is not started yet."""

    async def collect_stats(self) -> Sequence[StatsCollected]:
        """Statistics of every worker."""

    def stop(self) -> None:
        """Stop the engine. Idempotent."""


class State(enum.StrEnum):
    """Life of a server."""

    NEW = "new"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"


class Server:
    """A whole server in this process: ``async with Server(config, media) as server``."""

    def __init__(
        self, config: ServerConfig, media: MediaPlane, *, clock: Clock | None = None
    ) -> None:
        self.config = config
        self.state = State.NEW
        self.url = ""
        """Where clients connect, once started."""
        self._media = media
        self._clock = clock or SystemClock()
        self._limits = config.limit.to_limits()
        self._load = NodeStats()
        self._store = LocalStore()
        self._node = LocalNode(
            ip=media.node_ip, region=config.region, started_at=self._clock.wall()
        )
        self._unauthenticated = Unauthenticated()
        self._reporting = Reporting(
            config,
            self._clock,
            Sources(
                node_id=self._node.id,
                collect=lambda: self._collect(),
                rooms=lambda: self._manager.rooms,
                sockets=lambda: self._rtc.sockets,
                admission=lambda: self._rtc.admission,
                unauthenticated=self._unauthenticated,
            ),
        )
        self._bus = LocalBus()
        self._router = LocalRouter(self._node, SignalClient(self._bus), self._clock)
        self._allocator = RoomAllocator(
            config.room, self._limits, self._store, self._router, self._clock
        )
        self._workers = Workers(
            config.keys,
            self._clock,
            target_load=config.agents.target_load,
            telemetry=self._reporting.telemetry,
        )
        self._agents = AgentService(
            self._workers,
            server_info(NodeInfo(self._node.id, region=config.region)),
            self._limits,
            self._clock,
            self._reporting.telemetry,
        )
        self._manager: RoomManager[ServedRoom] = RoomManager(
            self._allocator,
            self._store,
            lambda info, settings: media.make_room(
                info, settings, self._manager, self._reporting.telemetry
            ),
            limits=self._limits,
            clock=self._clock,
            keep_node=lambda name: self._router.set_node_for_room(name, self._node.id),
            forget_node=self._router.clear_room,
            workers=self._workers,
            jobs=JobOptions(
                config.agents.enable_user_data_recording, config.agents.enable_user_data_redaction
            ),
        )
        self._signal_server = SignalServer(self._node.id, self._bus, self._manager)
        self._rtc = RTCService(
            self._router,
            self._allocator,
            self._limits,
            self._clock,
            connect_attempts=config.signal_relay.connect_attempts,
            telemetry=self._reporting.telemetry,
        )
        collector = SnapshotCollector(
            self._node,
            lambda: self._manager.rooms,
            media.collect_stats,
            self._clock,
            events_unhandled=lambda: media.events_unhandled,
        )
        self._collect = collector.collect
        self._stats = StatsService(self._collect, open_to_loopback=config.development)
        self._runner: web.AppRunner | None = None
        self._node_task: asyncio.Task[None] | None = None
        self._undo = contextlib.ExitStack()

    # -- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, then start the engine and serve. Raises :class:`lkpy.errors.LkpyError`."""
        sockets = listen(self.config.bind_addresses, self.config.port)
        try:
            await self._reporting.start()
            self._media.start(self._node, self._reporting.telemetry)
        except BaseException:
            for listener in sockets:
                listener.close()
            await self._reporting.stop()
            raise
        self._undo.callback(self._media.stop)
        self._signal_server.start()
        self._update_node()
        self._node_task = background("node statistics", self._keep_node_fresh)
        self._runner = site.runner(
            self._http_service().application(),
            shutdown_timeout=_CLOSE_S,
            keepalive_timeout=HTTP_KEEPALIVE_S,
        )
        await self._runner.setup()
        for listener in sockets:
            await site.GuardedSite(
                self._runner, listener, self._unauthenticated, self._rtc.admission
            ).start()
        host = sockets[0].getsockname()[0]
        self.url = _url(host, sockets[0].getsockname()[1])
        self._undo.enter_context(local_servers.announced(self.url, self._node.started_at))
        self.state = State.SERVING
        logger.info(
            "server is serving",
            extra=fields(
                node=self._node.id,
                portHttp=sockets[0].getsockname()[1],
                portUDP=self.udp_port,
                portTCP=self.tcp_port,
            ),
        )

    async def stop(self) -> None:
        """Tell everybody to leave and end. Idempotent."""
        if self.state is State.STOPPED:
            return
        self.state = State.STOPPED
        await self._signal_server.stop()
        await self._manager.close(models.DisconnectReason.SERVER_SHUTDOWN)
        await self._agents.close()
        await self._reporting.stop()
        await self._stats.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._rtc.sockets.wait_empty()
        if self._node_task is not None:
            self._node_task.cancel()
            await asyncio.gather(self._node_task, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        self._undo.close()
        logger.info("server stopped", extra=fields(node=self._node.id))

    async def drain(
        self, progress: Callable[[int], None] | None = None, *, timeout_s: float | None = None
    ) -> None:
        """Take no more rooms and return when the last participant has left.

        ``progress`` is called with the number of participants each time it has changed. Those who
        are there after ``timeout_s`` are told to connect again, which they do elsewhere.
        """
        if self.state is State.SERVING:
            self.state = State.DRAINING
            self._router.drain()
            logger.info("draining", extra=fields(node=self._node.id))
        try:
            async with asyncio.timeout(timeout_s):
                await self._wait_until_empty(progress)
        except TimeoutError:
            logger.info("drain timed out", extra=fields(node=self._node.id))
            await self._manager.move_away(DRAIN_ROOM_PAUSE_S)

    async def _wait_until_empty(self, progress: Callable[[int], None] | None) -> None:
        told = -1
        while (left := self._manager.num_participants()) > 0:
            if progress is not None and left != told:
                progress(left)
                told = left
            await asyncio.sleep(DRAIN_POLL_S)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # -- facts ----------------------------------------------------------------------------------

    @property
    def present(self) -> int:
        """Participants with a signal connection."""
        return len(self._rtc.sockets)

    @property
    def ended(self) -> int:
        """Participants and rooms that are not there any more, since the start."""
        return self._manager.ended

    @property
    def udp_port(self) -> int | None:
        """UDP port of the first media worker."""
        return self._media.udp_port

    @property
    def tcp_port(self) -> int | None:
        """ICE-TCP port of the first media worker."""
        return self._media.tcp_port

    @property
    def node_id(self) -> str:
        """This node's id."""
        return self._node.id

    @property
    def api_key(self) -> str:
        """The first API key."""
        return next(iter(self.config.keys))

    @property
    def api_secret(self) -> str:
        """The secret of :attr:`api_key`."""
        return self.config.keys[self.api_key]

    # -- parts ----------------------------------------------------------------------------------

    def _http_service(self) -> HttpService:
        service = HttpService(self.config.keys, self._limits, self._clock)
        service.add("/", Health(self._router, self._clock, lambda: self._media.trouble).serve)
        service.add("/lkpy/v1/ready", self._ready)
        gate = self._rtc.refusal
        service.add("/rtc", self._rtc.v0, gate)
        service.add("/rtc/v1", self._rtc.v1, gate)
        # Browsers cannot read why an upgrade failed, and ask here.
        service.add("/rtc/validate", self._rtc.v0_validate, gate)
        service.add("/rtc/v1/validate", self._rtc.v1_validate, gate)
        whip = WhipService(self._manager, self._allocator, self._limits, self._rtc.admission)
        service.add(WHIP_PATH, whip.endpoint)
        service.add_prefix(f"{WHIP_PATH}/", whip.resource)
        service.add("/agent", self._agents.serve)
        service.add("/lkpy/v1/stats", self._stats.serve)
        if self.config.development:
            service.add_prefix("/debug/", lambda request, _: self._reporting.debug.serve(request))
        for twirp in self._twirp_services():
            twirp.telemetry = self._reporting.telemetry
            service.add_prefix(twirp.prefix, twirp.serve)
        return service

    def _twirp_services(self) -> Iterator[TwirpService]:
        rooms = RoomService(
            self._allocator,
            self._store,
            self._manager,
            self._limits,
            enable_remote_unmute=self.config.room.enable_remote_unmute,
            ask_rooms=self.config.api.enable_psrpc_for_get_list_participants,
        )
        dispatches = AgentDispatchService(self._allocator, self._manager, self._limits)
        yield TwirpService(room_pb.DESCRIPTOR.services_by_name["RoomService"], rooms.methods())
        yield TwirpService(
            agent_dispatch.DESCRIPTOR.services_by_name["AgentDispatchService"],
            dispatches.methods(),
        )
        yield TwirpService(unconnected.EGRESS, unconnected.egress_methods(self._store))
        yield TwirpService(unconnected.INGRESS, unconnected.ingress_methods())
        yield TwirpService(unconnected.SIP, unconnected.sip_methods(self._store))

    async def _ready(self, _request: web.Request, _token: Verified | None) -> web.Response:
        """Whether rooms may be placed here. LiveKit's health route says 200 to the end of a drain,
        and load balancers that keep sockets open rely on it."""
        if self.state is not State.SERVING:
            return text(503, str(self.state))
        trouble = self._media.trouble
        return text(503, trouble) if trouble else text(200, "ready")

    async def _keep_node_fresh(self) -> None:
        while True:
            await asyncio.sleep(NODE_STATS_INTERVAL_S)
            try:
                await self._measure_load()
            except LkpyError as error:
                logger.warning("measuring the load failed", extra=fields(error=error.message))
            self._update_node()

    async def _measure_load(self) -> None:
        """Count tracks and bytes of this node, where they are limited."""
        if self._limits.num_tracks or self._limits.bytes_per_sec:
            server = (await self._collect()).server
            self._load = NodeStats(
                num_tracks_in=server.tracks,
                num_tracks_out=server.down_tracks,
                bytes_per_sec=(server.bitrate_in_bps + server.bitrate_out_bps) / 8,
            )

    def _update_node(self) -> None:
        stats = replace(
            self._load,
            num_rooms=len(self._manager.rooms),
            num_participants=self._manager.num_participants(),
        )
        self._router.update_stats(stats)


def _url(host: str, port: int) -> str:
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"


async def run_server(
    server: Server,
    *,
    on_ready: Callable[[Server], None] = lambda _: None,
    on_drain: Callable[[int], None] | None = None,
    lifeline: int | None = None,
    drain_timeout_s: float | None = None,
) -> None:
    """Serve until a signal: the first one drains, the second stops at once.

    ``lifeline`` is a descriptor whose other end a parent holds: when that closes, however the
    parent ended, the server stops at once too.
    """
    first, second = asyncio.Event(), asyncio.Event()

    def readable(descriptor: int) -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            first.set()
            second.set()

    def received() -> None:
        (second if first.is_set() else first).set()

    garbage = Garbage(lambda: server.present, lambda: server.ended)
    garbage.begin()
    descriptors.raise_limit()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, received)
    if lifeline is not None:
        loop.add_reader(lifeline, readable, lifeline)
    try:
        async with server:
            on_ready(server)
            searching = background("garbage", garbage.keep)
            await first.wait()
            drained = asyncio.create_task(server.drain(on_drain, timeout_s=drain_timeout_s))
            forced = asyncio.create_task(second.wait())
            await asyncio.wait([drained, forced], return_when=asyncio.FIRST_COMPLETED)
            drained.cancel()
            forced.cancel()
            searching.cancel()
            await asyncio.gather(drained, forced, searching, return_exceptions=True)
    finally:
        if lifeline is not None:
            loop.remove_reader(lifeline)
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
