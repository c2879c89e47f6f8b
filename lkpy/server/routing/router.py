"""Which node has a room, and how a participant's signals get there."""

from __future__ import annotations

from typing import Protocol

from lkpy.clock import Clock
from lkpy.errors import Code, LkpyError
from lkpy.ids import NodeID, RoomName
from lkpy.server.routing.node import LocalNode, NodeState, NodeStats
from lkpy.server.routing.signal_client import SignalClient, SignalConnection
from lkpy.server.rtc.session import StartSession


class Router(Protocol):
    """The map from rooms to nodes."""

    @property
    def node(self) -> LocalNode:
        """This node."""

    def node_for_room(self, room: RoomName) -> NodeID | None:
        """The node that a room is on, if it is on one."""

    def set_node_for_room(self, room: RoomName, node_id: NodeID) -> None:
        """Place a room."""

    def clear_room(self, room: RoomName) -> None:
        """Forget where a room was. Idempotent."""

    def available_nodes(self) -> list[NodeID]:
        """Nodes that take rooms."""

    def num_tracks(self) -> int:
        """Tracks that this node receives and sends."""

    def bytes_per_sec(self) -> float:
        """Media that this node receives and sends."""

    def start_participant_signal(self, start: StartSession) -> SignalConnection:
        """Connect to the session's room. Raises ``not_found`` for a room without a node."""


class LocalRouter:
    """One node, all rooms."""

    def __init__(self, node: LocalNode, client: SignalClient, clock: Clock) -> None:
        self._node = node
        self._client = client
        self._clock = clock
        self._rooms: dict[RoomName, NodeID] = {}

    @property
    def node(self) -> LocalNode:
        """This node."""
        return self._node

    def node_for_room(self, room: RoomName) -> NodeID | None:
        """The node that a room is on, if it is on one."""
        return self._rooms.get(room)

    def set_node_for_room(self, room: RoomName, node_id: NodeID) -> None:
        """Place a room."""
        self._rooms[room] = node_id

    def clear_room(self, room: RoomName) -> None:
        """Forget where a room was. Idempotent."""
        self._rooms.pop(room, None)

    def available_nodes(self) -> list[NodeID]:
        """This node, unless it is draining."""
        return [self._node.id] if self._node.state is NodeState.SERVING else []

    def num_tracks(self) -> int:
        """Tracks that this node receives and sends, as of the last statistics."""
        return self._node.stats.num_tracks_in + self._node.stats.num_tracks_out

    def bytes_per_sec(self) -> float:
        """Media that this node receives and sends, as of the last statistics."""
        return self._node.stats.bytes_per_sec

    def start_participant_signal(self, start: StartSession) -> SignalConnection:
        """Join step 4: find the room's node and open the signal connection to it."""
        node_id = self.node_for_room(start.room)
        if node_id is None:
            raise LkpyError(Code.NOT_FOUND, "could not find node for room")
        return self._client.start_participant_signal(node_id, start)

    def drain(self) -> None:
        """Take no more rooms; those that are here stay until they are empty."""
        self._node.state = NodeState.SHUTTING_DOWN

    def update_stats(self, stats: NodeStats) -> None:
        """Replace the node's figures; the health route checks their age."""
        stats.updated_at = self._clock.wall()
        self._node.stats = stats
