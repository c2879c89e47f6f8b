"""How the configuration becomes a media engine."""

from __future__ import annotations

import ipaddress
import os
import socket

import psutil

from lkpy.engine.api import Engine, EngineConfig, EngineInfo
from lkpy.errors import Blame, Code, LkpyError
from lkpy.server.config import PortRange, ServerConfig
from lkpy.server.config_load import is_loopback

DEFAULT_UDP_PORTS = PortRange(7882, 7913)
"""One port per worker; LiveKit takes 50000 to 60000, one per participant."""


def media_addresses(config: ServerConfig) -> tuple[str, ...]:
    """Addresses to bind media sockets on.

    As with LiveKit's development mode, media also uses this machine's other addresses when only
    signalling is confined to loopback: some browsers never use loopback candidates.
    """
    named = [address for address in config.bind_addresses if not _is_wildcard(address)]
    loopback_only = bool(named) and all(is_loopback(address) for address in named)
    if named and not loopback_only:
        return tuple(named)
    found = interface_addresses()
    if loopback_only or config.rtc.enable_loopback_candidate or not found:
        return ("127.0.0.1", *found)
    return tuple(found)


def interface_addresses() -> list[str]:
    """Unicast addresses of the interfaces that are up, without loopback and link-local ones."""
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    found: list[str] = []
    for name, addresses in psutil.net_if_addrs().items():
        if name not in up:
            continue
        for address in addresses:
            if address.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            text = address.address.partition("%")[0]
            parsed = ipaddress.ip_address(text)
            if not (parsed.is_loopback or parsed.is_link_local or parsed.is_multicast):
                found.append(text)
    return found


def _is_wildcard(address: str) -> bool:
    return address in ("0.0.0.0", "::")


def engine_config(config: ServerConfig) -> EngineConfig:
    """The engine's part of the configuration."""
    rtc, throttle = config.rtc, config.rtc.pli_throttle
    ports = _udp_ports(config)
    cores = max(1, (os.cpu_count() or 1) - 1)
    return EngineConfig(
        workers=min(cores, ports.end - ports.start + 1),
        bind=media_addresses(config),
        udp_port=ports.start,
        tcp_port=rtc.tcp_port or None,
        advertise=rtc.node_ip or None,
        packet_buffer_size_video=rtc.packet_buffer_size_video,
        packet_buffer_size_audio=rtc.packet_buffer_size_audio,
        pli_throttle_ms=(
            round(throttle.low_quality * 1000),
            round(throttle.mid_quality * 1000),
            round(throttle.high_quality * 1000),
        ),
        audio_interval_ms=config.audio.update_interval,
        audio_active_level=config.audio.active_level,
    )


def _udp_ports(config: ServerConfig) -> PortRange:
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
    except OSError as error:
        raise LkpyError(
            Code.UNAVAILABLE,
            f"cannot open media port {config.udp_port} on {', '.join(config.bind)}: "
            f"{error.strerror or error}",
            blame=Blame.OPERATOR,
            hint="stop the other process, or choose another with --udp-port (0: any free one)",
        ) from error


def port_of(info: EngineInfo, protocol: str) -> int | None:
    """The first worker's port for ``udp`` or ``tcp`` candidates."""
    for worker in info.workers:
        for candidate in worker.candidates:
            if candidate.protocol == protocol:
                return candidate.port
    return None
