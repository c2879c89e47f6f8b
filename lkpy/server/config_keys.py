"""Keys of LiveKit's configuration whose features are not here.

A LiveKit file must load, but an operator must not believe in a feature that is missing: a value
that would change what the server does is refused, one that only tunes a missing part is accepted
with a warning (key list: livekit-server ``pkg/config/config.go``).
"""

from __future__ import annotations

from collections.abc import Mapping

_NAMES: Mapping[str, Mapping[str, str]] = {
    "rtc": {
        "bool": (
            "skip_external_ip_validation require_ipv4 use_mdns use_stun_port_as_ice "
            "enable_warp strict_acks allow_udp_unstable_fallback "
            "enable_rtp_stream_restart_detection"
        ),
        "int": (
            "sctp_min_cwnd packet_buffer_size tcp_fallback_rtt_threshold "
            "sctp_fast_rtx_wnd sctp_cwnd_ca_step"
        ),
        "float": "sctp_min_cwnd_mtu_factor",
        "duration": (
            "srflx_acceptance_min_wait host_acceptance_min_wait prflx_acceptance_min_wait "
            "relay_acceptance_min_wait"
        ),
        "map": "batch_io forward_stats",
    },
    "rtc.congestion_control": {
        "bool": "use_send_side_bwe use_send_side_bwe_interceptor",
        "str": "send_side_bwe_pacer",
        "map": "send_side_bwe",
    },
    "rtc.congestion_control.stream_allocator": {
        # LiveKit spells it so.
        "bool": "disable_etimation_unmanaged_tracks",
        "str": "probe_mode",
    },
    "signal_relay": {
        "int": "stream_buffer_size",
        "duration": "retry_timeout min_retry_interval max_retry_interval",
    },
    "room": {
        "int": "create_room_attempts",
        "duration": "create_room_timeout",
    },
    "audio": {
        "bool": "enable_loss_proxying",
    },
    "video": {
        "map": "stream_tracker_manager",
    },
    "limit": {
        "int": "agent_signal_message_size_limit",
    },
    "logging": {
        "bool": "sample",
        "int": (
            "sample_initial sample_interval item_sample_seconds item_sample_initial "
            "item_sample_interval"
        ),
        "str": "pion_level",
        "map": "component_levels",
    },
    "redis": {
        "bool": "use_tls",
        "int": "db dial_timeout read_timeout write_timeout max_redirects pool_size",
        "duration": "pool_timeout",
        "str": (
            "address username password sentinel_master_name sentinel_username sentinel_password"
        ),
        "list": "sentinel_addresses cluster_addresses",
        "map": "tls",
    },
    "turn": {
        "bool": "enabled external_tls",
        "int": (
            "tls_port udp_port relay_range_start relay_range_end "
            "per_user_relay_allocation_limit ttl_seconds"
        ),
        "str": "domain cert_file key_file",
        "list": "bind_addresses allow_restricted_peer_cidrs deny_peer_cidrs",
    },
    "webhook": {
        "map": "url_notifier",
    },
    "node_selector": {
        "float": "cpu_load_limit sysload_limit",
        "str": "kind sort_by algorithm",
        "list": "regions",
    },
    "psrpc": {
        "int": "max_attempts buffer_size",
        "duration": "timeout backoff",
    },
    "node_stats": {
        "duration": "stats_update_interval stats_max_delay",
        "list": "stats_rate_measurement_intervals",
    },
    "api": {
        "duration": "execution_timeout check_interval max_check_interval",
    },
    "agents": {
        "bool": "enable_user_data_recording enable_user_data_redaction",
        "float": "target_load",
    },
    "ingress": {
        "str": "rtmp_base_url whip_base_url",
    },
    "sip": {},
    "trace": {
        "str": "jaeger_url",
    },
    "metric": {
        "map": "timestamper collector",
    },
}

PENDING: Mapping[str, Mapping[str, str]] = {
    section: {name: kind for kind, names in kinds.items() for name in names.split()}
    for section, kinds in _NAMES.items()
}
"""Name to kind of value (:class:`lkpy.server.config_schema.Kind`), by the section it is in."""

REFUSED: Mapping[str, str] = {
    "redis.address": "several nodes are not supported: remove the redis section",
    "redis.sentinel_addresses": "several nodes are not supported: remove the redis section",
    "redis.cluster_addresses": "several nodes are not supported: remove the redis section",
    "turn.enabled": "there is no TURN server: run one beside lkpy, or set turn.enabled to false",
    "trace.jaeger_url": "traces are not exported: remove the trace section",
    "rtc.congestion_control.use_send_side_bwe": (
        "bandwidth is estimated by subscribers (REMB) only: remove it"
    ),
    "rtc.congestion_control.use_send_side_bwe_interceptor": (
        "bandwidth is estimated by subscribers (REMB) only: remove it"
    ),
    "rtc.congestion_control.stream_allocator.disable_etimation_unmanaged_tracks": (
        "tracks that are never limited always count: remove disable_etimation_unmanaged_tracks"
    ),
    "rtc.congestion_control.stream_allocator.probe_mode": (
        "probes are padding: set probe_mode to padding, or remove it"
    ),
}
"""Paths at which a value other than the default, or empty, zero or false, cannot be honoured, and
what to do."""

DEFAULTS: Mapping[str, object] = {
    "logging.pion_level": "error",
    "rtc.congestion_control.stream_allocator.probe_mode": "padding",
}
"""Values that need no warning, and are not refused, because they are LiveKit's defaults."""
