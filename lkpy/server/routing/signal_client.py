"""Opens a participant's signal connection to the room's node."""

from __future__ import annotations

from dataclasses import dataclass

from livekit.protocol import rtc

from lkpy.ids import ConnectionID, NodeID
from lkpy.server.routing.channel import MessageChannel
from lkpy.server.routing.endpoint import RelayEndpoint, RelaySink
from lkpy.server.routing.local_bus import LocalBus
from lkpy.server.rtc.session import StartSession


@dataclass(frozen=True, slots=True)
class SignalConnection:
    """What the node with the socket holds: requests go out, responses come in."""

    connection_id: ConnectionID
    node_id: NodeID
    requests: RelaySink[rtc.SignalRequest]
    responses: MessageChannel[rtc.SignalResponse]

    def close(self, reason: str = "") -> None:
        """End both directions. Idempotent."""
        self.requests.close(reason)
        self.responses.close(reason)


class SignalClient:
    """The caller's side of the relay."""

    def __init__(self, bus: LocalBus) -> None:
        self._bus = bus

    def start_participant_signal(self, node_id: NodeID, start: StartSession) -> SignalConnection:
        """Join step 5: send ``StartSession`` to the room's node and return the two streams."""
        stream = self._bus.open(node_id, start)
        endpoint: RelayEndpoint[rtc.SignalRequest, rtc.SignalResponse] = RelayEndpoint(
            stream, "signal response"
        )
        return SignalConnection(start.connection_id, node_id, endpoint.sink, endpoint.source)
