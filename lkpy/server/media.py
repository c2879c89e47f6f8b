"""How the configuration becomes a media engine."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from functools import partial

from livekit.protocol import models

from lkpy.auth.grants import Grants
from lkpy.auth.token import refresh
from lkpy.clock import Clock, SystemClock
from lkpy.engine.api import Engine, EngineConfig, EngineInfo, StatsCollected
from lkpy.engine.hub import EngineHub
from lkpy.errors import Blame, Code, LkpyError
from lkpy.ids import NodeID
from lkpy.limits import CONNECTION_QUALITY_INTERVAL_S
from lkpy.server.background import background
from lkpy.server.config import PortRange, ServerConfig
from lkpy.server.ice_servers import IceServers
from lkpy.server.media_addresses import media_addresses
from lkpy.server.media_workers import MediaWorkers
from lkpy.server.routing.node import LocalNode
from lkpy.server.rtc.options import (
    AudioOptions,
    NodeInfo,
    RoomOptions,
    RoomSettings,
    VideoOptions,
)
from lkpy.server.rtc.room import Room, RoomObserver
from lkpy.server.rtc.stats_index import StatsIndex
from lkpy.server.telemetry.events import NO_TELEMETRY, Telemetry
from lkpy.server.telemetry.log import fields
from lkpy.server.worker_loads import WorkerLoads
from lkpy.slices import paced

logger = logging.getLogger(__name__)

_ROOMS_PER_TURN = 32
"""Rooms that are given their statistics in one turn of the loop."""
DEFAULT_UDP_PORTS = PortRange(7882, 7913)
"""One port per worker; LiveKit takes 50000 to 60000, one per participant."""


def engine_config(config: ServerConfig) -> EngineConfig:
    """The engine's part of the configuration. Asks for public addresses where it has to."""
    rtc, throttle = config.rtc, config.rtc.pli_throttle
    addresses = media_addresses(config)
    ports = udp_ports(config)
    cores = max(1, (os.cpu_count() or 1) - 1)
    return EngineConfig(
        workers=min(cores, ports.end - ports.start + 1),
        bind=addresses.bind,
        udp_port=ports.start,
        tcp_port=rtc.tcp_port or None,
        advertise=addresses.advertise,
        packet_buffer_size_video=rtc.packet_buffer_size_video,
        packet_buffer_size_audio=rtc.packet_buffer_size_audio,
        pli_throttle_ms=(
            round(throttle.low_quality * 1000),
            round(throttle.mid_quality * 1000),
            round(throttle.high_quality * 1000),
        ),
        rtx_budget_audio=rtc.rtx_budget.audio.to_engine(),
        rtx_budget_video=rtc.rtx_budget.video.to_engine(),
        congestion_control=rtc.congestion_control.enabled,
        allocator=rtc.congestion_control.to_engine(),
        audio_interval_ms=config.audio.update_interval,
        audio_active_level=config.audio.active_level,
        # As with LiveKit the older key counts only without the newer one.
        data_channel_buffer=(
            not rtc.datachannel_slow_threshold and rtc.data_channel_max_buffered_amount
        )
        or EngineConfig().data_channel_buffer,
        data_track_target_latency_ms=round(rtc.datachannel_data_track_target_latency * 1000),
        data_lossy_target_latency_ms=round(rtc.datachannel_lossy_target_latency * 1000),
        data_slow_threshold=rtc.datachannel_slow_threshold,
    )


def udp_ports(config: ServerConfig) -> PortRange:
    """Ports that media may use, one per worker."""
    rtc = config.rtc
    if rtc.udp_port is not None:
        return rtc.udp_port
    if rtc.port_range_start:
        return PortRange(rtc.port_range_start, max(rtc.port_range_start, rtc.port_range_end))
    return DEFAULT_UDP_PORTS


def start_engine(config: EngineConfig) -> Engine:
    """Start the native engine. Raises :class:`LkpyError`."""
    try:
        from lkpy.engine.native import NativeEngine
    except ImportError as error:
        raise LkpyError(
            Code.UNAVAILABLE,
            f"the media engine is not built: {error}",
            blame=Blame.OPERATOR,
            hint="run `make setup` in the source tree, or install lkpy from a wheel",
        ) from error
    try:
        return NativeEngine(config)
    except LkpyError as error:
        error.hint = (
            "stop the process that has the port, or choose another with --udp-port or --tcp-port; "
            "0 picks any free one (for TCP: none)"
        )
        raise


def port_of(info: EngineInfo, protocol: str) -> int | None:
    """The first worker's port for ``udp`` or ``tcp`` candidates."""
    for worker in info.workers:
        for candidate in worker.candidates:
            if candidate.protocol == protocol:
                return candidate.port
    return None


class EnginePlane:
    """Rooms on a media engine."""

    def __init__(
        self, config: ServerConfig, *, engine: Engine | None = None, clock: Clock | None = None
    ) -> None:
        self._config = config
        self._engine = engine
        self._clock = clock or SystemClock()
        self._hub: EngineHub | None = None
        self._node: NodeInfo | None = None
        self._loads: WorkerLoads | None = None
        self._rooms: list[Room] = []
        self._workers: MediaWorkers | None = None
        self._measuring: asyncio.Task[None] | None = None

    @property
    def node_ip(self) -> str:
        """The address that clients are told."""
        return self._config.rtc.node_ip[0] if self._config.rtc.node_ip else "127.0.0.1"

    @property
    def udp_port(self) -> int | None:
        """UDP port of the first worker."""
        return None if self._hub is None else port_of(self._hub.info, "udp")

    @property
    def tcp_port(self) -> int | None:
        """ICE-TCP port of the first worker; None without ICE-TCP."""
        return None if self._hub is None else port_of(self._hub.info, "tcp")

    @property
    def trouble(self) -> str:
        """What is wrong with the engine, for the health route; empty: nothing."""
        return "" if self._workers is None else self._workers.trouble

    @property
    def events_unhandled(self) -> int:
        """What the engine told of objects that nobody knew any more."""
        return 0 if self._hub is None else self._hub.unhandled

    def start(self, node: LocalNode, telemetry: Telemetry = NO_TELEMETRY) -> None:
        """Start the engine and dispatch its events on the running loop."""
        if self._engine is None:
            self._engine = start_engine(engine_config(self._config))
        self._hub = EngineHub(self._engine)
        self._loads = WorkerLoads(len(self._hub.info.workers))
        self._workers = MediaWorkers(self._loads, self._live, telemetry)
        self._hub.on_worker = self._workers.handle
        self._hub.start(asyncio.get_running_loop())
        self._node = NodeInfo(NodeID(node.id), region=node.region)
        self._measuring = background("media measurement", partial(self._measure, self._hub))

    async def _measure(self, hub: EngineHub) -> None:
        """Ask the engine once per window and give every room its part."""
        while True:
            await asyncio.sleep(CONNECTION_QUALITY_INTERVAL_S)
            rooms = self._live()
            if not rooms:
                continue
            try:
                async with asyncio.timeout(CONNECTION_QUALITY_INTERVAL_S):
                    stats = await hub.collect_stats()
            except (LkpyError, TimeoutError):
                logger.warning("the media engine gave no statistics")
                continue
            await StatsIndex.prepare(stats)
            if self._loads is not None:
                self._loads.measured(stats, (room.worker for room in rooms))
            # Each room that has somebody then works on it in turns of its own.
            async for room in paced((room for room in rooms if room.size), most=_ROOMS_PER_TURN):
                try:
                    room.measure(stats)
                except Exception:
                    # One room's figures are its own.
                    logger.exception("measuring a room failed", extra=fields(room=room.name))

    def make_room(
        self,
        info: models.Room,
        settings: RoomSettings,
        observer: RoomObserver,
        telemetry: Telemetry,
    ) -> Room:
        """A room on the least loaded worker, not started yet."""
        if self._hub is None or self._node is None or self._workers is None:
            raise LkpyError(Code.UNAVAILABLE, "the media engine is not running", blame=Blame.US)
        room = Room(
            info,
            options=room_options(self._config, self._clock),
            settings=settings,
            node=self._node,
            hub=self._hub,
            clock=self._clock,
            worker=self._workers.place(),
            observer=observer,
            refresh_token=self._refresh_token,
            telemetry=telemetry,
        )
        self._rooms.append(room)
        return room

    def _live(self) -> list[Room]:
        self._rooms = [room for room in self._rooms if not room.closed.is_set()]
        return self._rooms

    def _refresh_token(self, grants: Grants, api_key: str) -> str:
        """Sign with the key that issued the join token, or with the first if that was removed."""
        keys = self._config.keys
        key = api_key if api_key in keys else next(iter(keys))
        return refresh(grants, api_key=key, api_secret=keys[key], now=self._clock.wall())

    async def collect_stats(self) -> Sequence[StatsCollected]:
        """Statistics of every worker."""
        if self._hub is None:
            return []
        stats = await self._hub.collect_stats()
        await StatsIndex.prepare(stats)
        return stats

    def stop(self) -> None:
        """Stop the engine. Idempotent."""
        if self._measuring is not None:
            self._measuring.cancel()
            self._measuring = None
        if self._hub is not None:
            self._hub.stop()
            self._hub = None
        if self._engine is not None:
            self._engine.close()


def room_options(config: ServerConfig, clock: Clock) -> RoomOptions:
    """The rooms' part of the configuration."""
    audio = config.audio
    return RoomOptions(
        audio=AudioOptions(
            active_level=audio.active_level,
            min_percentile=audio.min_percentile,
            update_interval_ms=audio.update_interval,
            smooth_intervals=audio.smooth_intervals,
            active_red_encoding=audio.active_red_encoding,
        ),
        video=VideoOptions(
            dynacast_pause_delay_s=config.video.dynacast_pause_delay,
            codec_regression_threshold=config.video.codec_regression_threshold,
        ),
        limits=config.limit.to_limits(),
        ice_servers=IceServers(config.rtc, clock),
        ice_lite=config.rtc.use_ice_lite,
        force_tcp=config.rtc.force_tcp,
        allow_tcp_fallback=config.rtc.allow_tcp_fallback,
        update_batch_target_size=config.room.update_batch_target_size,
        allow_pause=config.rtc.congestion_control.allow_pause,
        data_tracks=config.enable_data_tracks,
        data_blobs=config.enable_participant_data_blob,
        reconnect_on_publication_error=config.rtc.reconnect_on_publication_error,
        reconnect_on_subscription_error=config.rtc.reconnect_on_subscription_error,
        reconnect_on_data_channel_error=config.rtc.reconnect_on_data_channel_error,
    )
