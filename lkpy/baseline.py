"""Which LiveKit this one is: what clients are told, and what its behaviour is measured by."""

LIVEKIT_VERSION = "1.13.11"
"""The livekit-server whose behaviour this one has. SDKs look at the version to learn what a server
can do (RPC: 1.8.0), so they are told this one and not lkpy's."""
SIGNAL_PROTOCOL = 18
"""Newest signal protocol version spoken (``pkg/rtc/types/protocol_version.go``)."""
AGENT_PROTOCOL = 1
"""Newest protocol of agent workers (``pkg/agent/worker.go`` CurrentProtocol)."""
