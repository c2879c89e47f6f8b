"""This server's record among nodes: who it is, where, how busy, and whether it takes rooms."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field

from lkpy.ids import NODE_PREFIX, NodeID, new_id
from lkpy.limits import NODE_STATS_MAX_AGE_S


class NodeState(enum.StrEnum):
    """States of a node (protocol ``NodeState``)."""

    SERVING = "serving"
    SHUTTING_DOWN = "shutting_down"


@dataclass(slots=True)
class NodeStats:
    """Figures for placement; refreshed every two seconds."""

    updated_at: float = 0.0
    """Unix seconds."""
    num_rooms: int = 0
    num_participants: int = 0
    num_tracks_in: int = 0
    num_tracks_out: int = 0
    bytes_per_sec: float = 0.0
    """Of media, received and sent."""
    num_cpus: int = field(default_factory=lambda: os.cpu_count() or 1)


@dataclass(slots=True)
class LocalNode:
    """The record of the node this process is. Owned by the router."""

    ip: str
    region: str = ""
    started_at: float = 0.0
    """Unix seconds."""
    id: NodeID = field(default_factory=lambda: NodeID(new_id(NODE_PREFIX)))
    state: NodeState = NodeState.SERVING
    stats: NodeStats = field(default_factory=NodeStats)

    def is_fresh(self, now: float) -> bool:
        """Whether the stats loop is alive, which is what the health route reports
        (livekit-server ``pkg/service/server.go``)."""
        return now - self.stats.updated_at <= NODE_STATS_MAX_AGE_S
