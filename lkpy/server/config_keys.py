"""Keys of LiveKit's configuration whose features are not here.

A LiveKit file must load, but an operator must not believe in a feature that is missing: a value
that would change what the server does is refused, one that only tunes a missing part is accepted
with a warning (key list: livekit-server ``pkg/config/config.go``).
"""

from __future__ import annotations

from collections.abc import Mapping

_NAMES: Mapping[str, str] = {
    "": "",
    "rtc": (
        "skip_external_ip_validation require_ipv4 use_mdns batch_io use_stun_port_as_ice "
        "sctp_min_cwnd sctp_min_cwnd_mtu_factor srflx_acceptance_min_wait "
        "host_acceptance_min_wait prflx_acceptance_min_wait relay_acceptance_min_wait "
        "enable_warp strict_acks force_tcp packet_buffer_size "
        "tcp_fallback_rtt_threshold allow_udp_unstable_fallback reconnect_on_data_channel_error "
        "datachannel_slow_threshold datachannel_lossy_target_latency "
        "enable_rtp_stream_restart_detection forward_stats"
    ),
    "rtc.congestion_control": (
        "enabled allow_pause use_send_side_bwe use_send_side_bwe_interceptor send_side_bwe_pacer "
        "stream_allocator remote_bwe send_side_bwe"
    ),
    "signal_relay": "retry_timeout min_retry_interval max_retry_interval stream_buffer_size",
    "room": ("playout_delay sync_streams create_room_timeout create_room_attempts"),
    "audio": "active_red_encoding enable_loss_proxying",
    "video": "stream_tracker_manager",
    "limit": "bytes_per_sec agent_signal_message_size_limit",
    "logging": "sample pion_level component_levels sample_initial sample_interval",
    "redis": (
        "address username password db use_tls tls sentinel_master_name sentinel_addresses "
        "sentinel_username sentinel_password cluster_addresses dial_timeout read_timeout "
        "write_timeout max_redirects pool_timeout pool_size"
    ),
    "turn": (
        "enabled domain cert_file key_file tls_port udp_port relay_range_start relay_range_end "
        "external_tls bind_addresses per_user_relay_allocation_limit ttl_seconds "
        "allow_restricted_peer_cidrs deny_peer_cidrs"
    ),
    "webhook": "url_notifier",
    "node_selector": "kind sort_by algorithm cpu_load_limit sysload_limit regions",
    "psrpc": "max_attempts timeout backoff buffer_size",
    "node_stats": "stats_update_interval stats_rate_measurement_intervals stats_max_delay",
    "api": (
        "execution_timeout check_interval max_check_interval enable_psrpc_for_get_list_participants"
    ),
    "agents": "enable_user_data_recording enable_user_data_redaction target_load",
    "ingress": "rtmp_base_url whip_base_url",
    "sip": "",
    "trace": "jaeger_url",
    "metric": "timestamper collector",
}

PENDING: Mapping[str, tuple[str, ...]] = {
    section: tuple(names.split()) for section, names in _NAMES.items()
}
"""Names by the section they are in."""

REFUSED: Mapping[str, str] = {
    "redis.address": "several nodes are not supported: remove the redis section",
    "redis.sentinel_addresses": "several nodes are not supported: remove the redis section",
    "redis.cluster_addresses": "several nodes are not supported: remove the redis section",
    "turn.enabled": "there is no TURN server: run one beside lkpy, or set turn.enabled to false",
    "rtc.force_tcp": "media always prefers UDP: remove rtc.force_tcp",
    "room.playout_delay.enabled": "playout delay is not applied: remove room.playout_delay",
    "room.sync_streams": "stream synchronisation is always on by the publisher's clock: remove it",
    "trace.jaeger_url": "traces are not exported: remove the trace section",
    "limit.bytes_per_sec": "the node's byte rate is not limited: remove limit.bytes_per_sec",
    "rtc.congestion_control.use_send_side_bwe": "remove it: estimation is not configurable",
}
"""Paths at which a value other than empty, zero or false cannot be honoured, and what to do."""

DEFAULTS: Mapping[str, object] = {
    "rtc.congestion_control.enabled": True,
    "logging.pion_level": "error",
}
"""Values that need no warning because they are LiveKit's defaults."""
