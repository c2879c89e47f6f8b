"""An in-process bus: signal streams between a node and itself.

It has the shape of the bus that connects nodes, so that a join on one node takes the same steps
as a relayed one. Delivery is immediate and in order, and cannot fail while both ends are open.
"""

from __future__ import annotations

from collections.abc import Callable

from livekit.protocol import rtc

from lkpy.errors import Blame, Code, LkpyError
from lkpy.ids import NodeID
from lkpy.server.routing.relay import RelayBatch
from lkpy.server.rtc.session import StartSession

Batch = RelayBatch[rtc.SignalRequest] | RelayBatch[rtc.SignalResponse]


class SignalStream:
    """One end of a stream. Both ends live in the same process."""

    def __init__(self) -> None:
        self._peer: SignalStream | None = None
        self._receive: Callable[[Batch], None] | None = None
        self._closed: Callable[[str], None] | None = None

    @classmethod
    def pair(cls) -> tuple[SignalStream, SignalStream]:
        """Two connected ends."""
        left, right = cls(), cls()
        left._peer, right._peer = right, left
        return left, right

    def attach(self, receive: Callable[[Batch], None], closed: Callable[[str], None]) -> None:
        """Deliver the other end's batches to ``receive`` and its end to ``closed``."""
        self._receive, self._closed = receive, closed

    @property
    def open(self) -> bool:
        """Whether :meth:`send` reaches the other end."""
        return self._peer is not None

    def send(self, batch: Batch) -> None:
        """Deliver one batch to the other end."""
        if self._peer is None or self._peer._receive is None:
            raise LkpyError(Code.UNAVAILABLE, "signal stream is closed", blame=Blame.PEER)
        self._peer._receive(batch)

    def close(self, reason: str = "") -> None:
        """Take both ends down. Idempotent."""
        peer, self._peer = self._peer, None
        if peer is None:
            return
        peer._peer = None
        for end in (self, peer):
            closed, end._closed, end._receive = end._closed, None, None
            if closed is not None:
                closed(reason)


Accept = Callable[[StartSession, SignalStream], None]


class LocalBus:
    """Knows the signal server of each node in this process."""

    def __init__(self) -> None:
        self._servers: dict[NodeID, Accept] = {}

    def serve(self, node_id: NodeID, accept: Accept) -> None:
        """Hand streams that are opened to ``node_id`` to ``accept``."""
        self._servers[node_id] = accept

    def withdraw(self, node_id: NodeID) -> None:
        """Stop serving. Idempotent."""
        self._servers.pop(node_id, None)

    def open(self, node_id: NodeID, start: StartSession) -> SignalStream:
        """Open a stream to a node's signal server, with its first message."""
        accept = self._servers.get(node_id)
        if accept is None:
            raise LkpyError(Code.UNAVAILABLE, "no response from servers", blame=Blame.PEER)
        ours, theirs = SignalStream.pair()
        accept(start, theirs)
        return ours
