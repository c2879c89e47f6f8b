"""Where media sockets are bound, and which addresses clients are told."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from lkpy.server.config import ServerConfig
from lkpy.server.config_rtc import RtcConfig
from lkpy.server.config_types import is_loopback
from lkpy.server.external_address import PUBLIC_STUN, external_addresses

logger = logging.getLogger(__name__)

AskExternal = Callable[[Sequence[str], Sequence[str]], Mapping[str, str]]
"""Addresses of this machine and STUN servers to the public address of each that has one."""


@dataclass(frozen=True, slots=True)
class MediaAddresses:
    """``advertise`` None: the bound ones."""

    bind: tuple[str, ...]
    advertise: tuple[str, ...] | None = None


def media_addresses(
    config: ServerConfig, ask_external: AskExternal = external_addresses
) -> MediaAddresses:
    """Choose the addresses by configuration and by what this machine has."""
    rtc = config.rtc
    bind = bind_addresses(config)
    told: tuple[str, ...] = rtc.node_ip
    if rtc.use_external_ip:
        bind, told = _external(bind, rtc, ask_external)
    if told and rtc.advertise_internal_ip:
        told += bind
    if rtc.additional_host_ips:
        told = (told or bind) + rtc.additional_host_ips
    return MediaAddresses(bind, tuple(dict.fromkeys(told)) or None)


def bind_addresses(config: ServerConfig) -> tuple[str, ...]:
    """Addresses to bind media sockets on.

    As with LiveKit's development mode, media also uses this machine's other addresses when only
    signalling is confined to loopback: some browsers never use loopback candidates.
    """
    named = [address for address in config.bind_addresses if not _is_wildcard(address)]
    loopback_only = bool(named) and all(is_loopback(address) for address in named)
    if named and not loopback_only:
        return tuple(named)
    found = interface_addresses(config.rtc)
    if loopback_only or config.rtc.enable_loopback_candidate or not found:
        return ("127.0.0.1", *found)
    return tuple(found)


def interface_addresses(rtc: RtcConfig) -> list[str]:
    """Unicast addresses of the interfaces that are up, without loopback and link-local ones, and
    without those that ``rtc.interfaces`` and ``rtc.ips`` leave out."""
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    names, blocks = rtc.interfaces, rtc.ips
    found: list[str] = []
    for name, addresses in psutil.net_if_addrs().items():
        if name not in up or not _chosen([name], names.includes, names.excludes):
            continue
        for address in addresses:
            if address.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            text = address.address.partition("%")[0]
            parsed = ipaddress.ip_address(text)
            if parsed.is_loopback or parsed.is_link_local or parsed.is_multicast:
                continue
            within = [block for block in (*blocks.includes, *blocks.excludes) if _in(parsed, block)]
            if _chosen(within, blocks.includes, blocks.excludes):
                found.append(text)
    return found


def _chosen(what: Sequence[str], includes: Sequence[str], excludes: Sequence[str]) -> bool:
    """Those included, or else all but those excluded."""
    if includes:
        return any(name in includes for name in what)
    return not any(name in excludes for name in what)


def _in(address: ipaddress.IPv4Address | ipaddress.IPv6Address, block: str) -> bool:
    return address in ipaddress.ip_network(block, strict=False)


def _is_wildcard(address: str) -> bool:
    return address in ("0.0.0.0", "::")


def _external(
    bind: tuple[str, ...], rtc: RtcConfig, ask: AskExternal
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Addresses to bind and to tell. IPv6 needs no asking: it is not translated."""
    inside = [address for address in bind if ":" not in address and not is_loopback(address)]
    public = ask(inside, rtc.stun_servers or PUBLIC_STUN)
    if not public:
        logger.warning("no STUN server told a public address; clients are told the local ones")
        return bind, rtc.node_ip
    if rtc.external_ip_only:
        bind = tuple(address for address in bind if ":" in address or address in public)
    return bind, tuple(public.get(address, address) for address in bind)
