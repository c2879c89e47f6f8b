"""Every key of LiveKit's configuration: known, typed, and named by a flag and a variable."""

from __future__ import annotations

import re

import pytest

from lkpy.errors import ConfigError
from lkpy.server.config_keys import PENDING, REFUSED
from lkpy.server.config_load import Override, load
from lkpy.server.config_schema import Kind, model_at, names_at, scalars

KEYS = f"keys: {{key: {'s' * 32}}}\n"

_LIVEKITS = """
port bind_addresses prometheus_port prometheus.port prometheus.username prometheus.password
debug_handler.port key_file keys region log_level development enable_data_tracks
enable_participant_data_blob trace.jaeger_url sip
rtc.udp_port rtc.tcp_port rtc.port_range_start rtc.port_range_end rtc.use_stun_port_as_ice
rtc.node_ip rtc.stun_servers rtc.use_external_ip rtc.skip_external_ip_validation
rtc.advertise_internal_ip rtc.use_ice_lite rtc.interfaces.includes rtc.interfaces.excludes
rtc.ips.includes rtc.ips.excludes rtc.enable_loopback_candidate rtc.use_mdns rtc.external_ip_only
rtc.batch_io.batch_size rtc.sctp_min_cwnd rtc.sctp_fast_rtx_wnd rtc.sctp_cwnd_ca_step
rtc.host_acceptance_min_wait rtc.srflx_acceptance_min_wait rtc.prflx_acceptance_min_wait
rtc.relay_acceptance_min_wait rtc.force_tcp rtc.turn_servers rtc.strict_acks rtc.packet_buffer_size
rtc.packet_buffer_size_video rtc.packet_buffer_size_audio rtc.pli_throttle.low_quality
rtc.congestion_control.enabled rtc.congestion_control.allow_pause
rtc.congestion_control.use_send_side_bwe rtc.congestion_control.send_side_bwe_pacer
rtc.congestion_control.stream_allocator.disable_etimation_unmanaged_tracks
rtc.congestion_control.stream_allocator.probe_mode
rtc.allow_tcp_fallback rtc.tcp_fallback_rtt_threshold rtc.allow_udp_unstable_fallback
rtc.reconnect_on_publication_error rtc.reconnect_on_subscription_error
rtc.reconnect_on_data_channel_error rtc.data_channel_max_buffered_amount
rtc.datachannel_slow_threshold rtc.datachannel_lossy_target_latency
rtc.datachannel_data_track_target_latency rtc.forward_stats rtc.enable_rtp_stream_restart_detection
redis.address redis.db redis.tls redis.sentinel_addresses redis.cluster_addresses redis.pool_timeout
audio.active_level audio.min_percentile audio.update_interval audio.smooth_intervals
audio.active_red_encoding audio.enable_loss_proxying
video.dynacast_pause_delay video.codec_regression_threshold video.stream_tracker_manager
room.auto_create room.enabled_codecs room.max_participants room.empty_timeout
room.departure_timeout room.enable_remote_unmute room.playout_delay.enabled room.sync_streams
room.create_room_timeout room.create_room_attempts room.update_batch_target_size
room.max_metadata_size room.max_room_name_length room.max_participant_identity_length
room.room_configurations
turn.enabled turn.domain turn.cert_file turn.key_file turn.tls_port turn.udp_port
turn.relay_range_start turn.relay_range_end turn.external_tls turn.bind_addresses turn.ttl_seconds
turn.allow_restricted_peer_cidrs turn.deny_peer_cidrs ingress.rtmp_base_url ingress.whip_base_url
webhook.urls webhook.api_key webhook.url_notifier webhook.resource_url_notifier.max_age
webhook.filter_params.include_events
node_selector.kind node_selector.sort_by node_selector.algorithm node_selector.cpu_load_limit
node_selector.sysload_limit node_selector.regions
signal_relay.retry_timeout signal_relay.min_retry_interval signal_relay.max_retry_interval
signal_relay.stream_buffer_size signal_relay.connect_attempts
psrpc.max_attempts psrpc.timeout psrpc.backoff psrpc.buffer_size
logging.json logging.level logging.sample logging.component_levels logging.pion_level
limit.num_tracks limit.bytes_per_sec limit.subscription_limit_video limit.subscription_limit_audio
limit.max_metadata_size limit.max_attributes_size limit.max_room_name_length
limit.max_participant_identity_length limit.max_participant_name_length
limit.max_data_blob_key_length limit.max_data_blobs_size limit.max_data_track_custom_encoding_length
agents.enable_user_data_recording agents.target_load metric.timestamper metric.collector
node_stats.stats_update_interval node_stats.stats_rate_measurement_intervals
node_stats.stats_max_delay
api.execution_timeout api.check_interval api.max_check_interval
api.enable_psrpc_for_get_list_participants
"""
"""Of livekit-server 1.13.5, ``pkg/config/config.go``."""


@pytest.mark.parametrize("key", _LIVEKITS.split())
def test_every_key_is_known(key: str) -> None:
    path = tuple(key.split("."))
    for depth in range(len(path)):
        names = names_at(path[:depth])
        # None: below a mapping of a feature that is not here.
        assert names is None or path[depth] in names, path


def test_no_key_is_both_read_and_without_effect() -> None:
    for section, names in PENDING.items():
        path = tuple(section.split("."))
        model = model_at(path)
        fields = model.model_fields if model is not None else {}
        assert not set(names) & set(fields), section
    for key in REFUSED:
        section, _, name = key.rpartition(".")
        owner, _, part = section.rpartition(".")
        assert name in PENDING.get(section, {}) or part in PENDING.get(owner, {}), key


def test_flags_and_variables() -> None:
    named = {scalar.flag: scalar for scalar in scalars()}
    assert named["--rtc.tcp_port"].variable == "LIVEKIT_RTC_TCP_PORT"
    assert named["--rtc.tcp_port"].kind is Kind.INT
    assert named["--rtc.udp_port"].kind is Kind.TEXT
    assert named["--rtc.pli_throttle.low_quality"].kind is Kind.DURATION
    assert named["--room.auto_create"].kind is Kind.BOOL
    assert named["--redis.address"].kind is Kind.TEXT
    assert named["--logging.json"].variable == "LIVEKIT_LOGGING_JSON"
    assert not {"--keys", "--bind_addresses", "--rtc.turn_servers", "--rtc.ips"} & named.keys()
    assert all(re.fullmatch(r"LIVEKIT_[A-Z0-9_]+", s.variable) for s in named.values())
    assert len(named) > 140


def test_variables_of_keys_without_effect() -> None:
    environ = {"LIVEKIT_CONFIG": KEYS, "LIVEKIT_RTC_USE_MDNS": "true", "LIVEKIT_TURN_CERT": "c.pem"}
    assert load(environ=environ).warnings == (
        "LIVEKIT_RTC_USE_MDNS: 'rtc.use_mdns' has no effect",
        "LIVEKIT_TURN_CERT: 'turn.cert_file' has no effect",
    )
    with pytest.raises(ConfigError) as refused:
        load(environ=environ | {"LIVEKIT_REDIS_ADDRESS": "r:6379"})
    assert refused.value.message == (
        "LIVEKIT_REDIS_ADDRESS: 'redis.address' is set, but not supported"
    )
    with pytest.raises(ConfigError, match=r"^LIVEKIT_RTC_USE_MDNS: .* expected true or false$"):
        load(environ=environ | {"LIVEKIT_RTC_USE_MDNS": "perhaps"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("turn: {udp_port: x}", "2:8: 'turn.udp_port': expected a whole number"),
        ("turn: {enabled: 1}", "2:8: 'turn.enabled': expected true or false"),
        ("turn: {bind_addresses: a}", "2:8: 'turn.bind_addresses': expected a list"),
        ("turn: 5", "2:1: 'turn': expected a mapping of keys to values"),
        ("psrpc: {timeout: soon}", "2:9: 'psrpc.timeout': expected a duration"),
        ("node_selector: {cpu_load_limit: high}", "'node_selector.cpu_load_limit': expected a num"),
        ("rtc: {congestion_control: [1]}", "'rtc.congestion_control': expected a mapping"),
        ("sip: {a: 1}", "2:7: unknown key 'sip.a'"),
    ],
)
def test_keys_without_effect_have_types_too(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(config_body=KEYS + text)
    assert message in refused.value.message


def test_everything_that_is_wrong_is_told_at_once() -> None:
    text = KEYS + "prot: 1\nport: x\nredis: {address: a}\nrtc: {tcp_port: 99999}"
    with pytest.raises(ConfigError) as refused:
        load(config_body=text, overrides={"region": Override(5, "--region")})
    assert refused.value.message.splitlines() == [
        "--config-body:2:1: unknown key 'prot', did you mean 'port'?",
        "--config-body:4:9: 'redis.address' is set, but not supported",
        "--config-body:3:1: 'port': Input should be a valid integer, unable to parse string as an "
        "integer",
        "--region: 'region': Input should be a valid string",
        "--config-body:5:7: 'rtc.tcp_port': Input should be less than or equal to 65535",
    ]
    assert refused.value.hint == "several nodes are not supported: remove the redis section"


def test_unknown_keys_may_be_ignored() -> None:
    loaded = load(config_body=KEYS + "prot: 1\nrtc: {x: 1}\nport: 5", strict=False)
    assert loaded.config.port == 5
    assert loaded.warnings == (
        "--config-body:2:1: unknown key 'prot', did you mean 'port'?",
        "--config-body:3:7: unknown key 'rtc.x'",
    )
