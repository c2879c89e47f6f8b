"""``rtc`` of the configuration: media sockets and what clients are told of the network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from lkpy.server.config_congestion import CongestionControlConfig
from lkpy.server.config_types import (
    Count,
    Duration,
    Port,
    PortRange,
    Section,
    parse_address,
    parse_network,
    parse_node_ip,
    parse_ports,
)

TURN_TTL_S = 14_400
TURN_TTL_MIN_S = 300
TURN_TTL_MAX_S = 86_400
"""Of credentials: what they have unless told, or instead of less than none, and at most."""

IpAddress = Annotated[str, AfterValidator(parse_address)]
Network = Annotated[str, AfterValidator(parse_network)]


class InterfacesConfig(Section):
    """Names of network interfaces: those included, or else all but those excluded."""

    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()


class IpsConfig(Section):
    """CIDR blocks of addresses: those included, or else all but those excluded."""

    includes: tuple[Network, ...] = ()
    excludes: tuple[Network, ...] = ()


class TurnServerConfig(Section):
    """A TURN server of somebody else, that clients are told.

    With a ``secret`` clients get credentials that are theirs alone and end after ``ttl`` seconds.
    """

    host: Annotated[str, Field(min_length=1)]
    port: Port = 3478
    protocol: Literal["tcp", "tls", "udp"] = "tcp"
    username: str = ""
    credential: str = ""
    secret: str = ""
    secret_file: str = ""
    """Holds the secret; nobody else may read it."""
    credentials_file: str = ""
    """Holds ``username`` and ``credential`` as YAML; nobody else may read it."""
    ttl: int = 0
    """0: four hours."""


class PliThrottleConfig(Section):
    """Least time between key-frame requests to a publisher."""

    low_quality: Duration = 0.5
    mid_quality: Duration = 1.0
    high_quality: Duration = 1.0


class RtxBudgetLimit(Section):
    """What may be sent again to one subscriber of one track."""

    max_ratio: float = 0.0
    """Bytes for each byte of media; 0: as many as are asked for."""
    burst_bytes: int = 0
    """At once, after a while without; at least one packet."""

    def to_engine(self) -> tuple[float, int] | None:
        """The same for the engine."""
        return (self.max_ratio, max(0, self.burst_bytes)) if self.max_ratio > 0 else None


class AudioRtxBudget(RtxBudgetLimit):
    """Bursts of a quarter of a second."""

    burst_bytes: int = 4_000


class VideoRtxBudget(RtxBudgetLimit):
    """The same."""

    burst_bytes: int = 64_000


class RtxBudgetConfig(Section):
    """Bounds retransmissions (livekit-server ``pkg/sfu/rtxbudget.go``)."""

    audio: AudioRtxBudget = AudioRtxBudget()
    video: VideoRtxBudget = VideoRtxBudget()


class RtcConfig(Section):
    """Media sockets."""

    udp_port: Annotated[PortRange | None, BeforeValidator(parse_ports)] = None
    port_range_start: Port = 0
    port_range_end: Port = 0
    tcp_port: Port = 7881
    node_ip: Annotated[tuple[str, ...], BeforeValidator(parse_node_ip)] = ()
    """Addresses that clients are told instead of this machine's."""
    use_external_ip: bool = False
    """Ask STUN servers for the address instead, one question per address of this machine."""
    external_ip_only: bool = False
    """With that: leave out addresses of this machine that have no public one."""
    advertise_internal_ip: bool = False
    """Tell clients both."""
    additional_host_ips: tuple[IpAddress, ...] = ()
    """Told to clients besides all others."""
    interfaces: InterfacesConfig = InterfacesConfig()
    ips: IpsConfig = IpsConfig()
    turn_servers: tuple[TurnServerConfig, ...] = ()
    use_ice_lite: bool = False
    force_tcp: bool = False
    """Media only over ICE-TCP."""
    allow_tcp_fallback: bool = True
    data_channel_max_buffered_amount: Count = 0
    enable_loopback_candidate: bool = False
    stun_servers: tuple[str, ...] = ()
    packet_buffer_size_video: Annotated[int, Field(ge=16, le=16384)] = 500
    packet_buffer_size_audio: Annotated[int, Field(ge=16, le=16384)] = 200
    congestion_control: CongestionControlConfig = CongestionControlConfig()
    pli_throttle: PliThrottleConfig = PliThrottleConfig()
    rtx_budget: RtxBudgetConfig = RtxBudgetConfig()
    datachannel_data_track_target_latency: Duration = 0.1
    datachannel_lossy_target_latency: Duration = 0.0
    datachannel_slow_threshold: Count = 0
    """Bits per second. Readers of reliable data that are slower lose messages; the senders wait for
    the others. 0: nobody waits, who reads too slowly loses messages when its buffer is full."""
    reconnect_on_publication_error: bool = False
    reconnect_on_subscription_error: bool = False
    reconnect_on_data_channel_error: bool = False
