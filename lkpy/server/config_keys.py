"""LiveKit's keys, and what becomes of those whose features are not here.

A LiveKit file must load, but an operator must not believe in a feature that is missing: a value
that would change what the server does is refused, one that only tunes a missing part is accepted
with a warning. ``livekit_keys.txt`` has the keys of the version that is measured;
``tools/livekit_keys.go`` writes it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Key:
    """What livekit-server takes under one name."""

    kind: str
    """Of :class:`lkpy.server.config_schema.Kind`, or ``section`` for one without keys."""
    default: object
    """As YAML has it; None for what is empty, zero or false."""


@functools.cache
def livekit_version() -> str:
    """The version that has these keys."""
    return _text().partition("\n")[0].split()[-1]


@functools.cache
def livekit_keys() -> Mapping[str, Key]:
    """Every key with a value, by its dotted name; ``[]`` stands for any element of a list."""
    lines = (line.split(" ", 2) for line in _text().splitlines()[1:])
    return {name: Key(kind, json.loads(default)) for name, kind, default in lines}


def _text() -> str:
    return resources.files(__package__).joinpath("livekit_keys.txt").read_text(encoding="utf-8")


_ONE_NODE = "several nodes are not supported: remove the redis section"
_REMB = "bandwidth is estimated by subscribers (REMB) only: remove it"

REFUSED: Mapping[str, str] = {
    "redis.address": _ONE_NODE,
    "redis.sentinel_addresses": _ONE_NODE,
    "redis.cluster_addresses": _ONE_NODE,
    "turn.enabled": "there is no TURN server: run one beside lkpy, or set turn.enabled to false",
    "trace.jaeger_url": "traces are not exported: remove the trace section",
    "webtransport.port": "HTTP/3 is not served: remove the webtransport section",
    "rtc.congestion_control.use_send_side_bwe": _REMB,
    "rtc.congestion_control.use_send_side_bwe_interceptor": _REMB,
    "rtc.congestion_control.stream_allocator.disable_etimation_unmanaged_tracks": (
        "tracks that are never limited always count: remove disable_etimation_unmanaged_tracks"
    ),
    "rtc.congestion_control.stream_allocator.probe_mode": (
        "probes are padding: set probe_mode to padding, or remove it"
    ),
}
"""Keys of which a value other than the default, or empty, zero or false, cannot be honoured, and
what to do."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "rtc.congestion_control.send_side_bwe_pacer": ("pass-through", "no-queue", "leaky-bucket"),
}
"""Values without effect of which livekit-server takes no others."""
