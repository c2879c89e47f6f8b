"""The configuration file: LiveKit's keys, places in errors, what wins over what."""

from __future__ import annotations

from pathlib import Path

import pytest

from lkpy.clock import ManualClock
from lkpy.errors import ConfigError
from lkpy.server.config import PortRange, ServerConfig, parse_duration
from lkpy.server.config_load import Override, load, parse_keys
from lkpy.server.media import engine_config, room_options
from lkpy.server.media_addresses import media_addresses

KEYS = f"keys: {{key: {'s' * 32}}}\n"


def body(text: str) -> ServerConfig:
    return load(config_body=KEYS + text).config


def test_defaults_are_livekits() -> None:
    config = body("")
    assert config.port == 7880
    assert config.rtc.tcp_port == 7881
    assert config.room.auto_create
    assert (config.room.empty_timeout, config.room.departure_timeout) == (300, 20)
    assert config.audio.active_level == 35
    assert config.limit.to_limits().max_metadata_size == 512 * 1024
    assert config.signal_relay.connect_attempts == 3
    assert not config.development


def test_a_file_with_everything_in_use() -> None:
    config = body(
        """
port: 8080
bind_addresses: [10.0.0.1]
region: eu
rtc:
  udp_port: 7882-7892
  tcp_port: 0
  node_ip: 203.0.113.5,2001:db8::5
  use_ice_lite: true
  packet_buffer_size_video: 600
  pli_throttle: {low_quality: 250ms, mid_quality: 1m}
room:
  auto_create: false
  max_participants: 9
  enabled_codecs: [{mime: video/VP8}, {mime: audio/opus, fmtp_line: a=b}]
limit: {max_room_name_length: 5}
logging: {level: warn, json: true}
"""
    )
    assert config.rtc.udp_port == PortRange(7882, 7892)
    assert config.rtc.node_ip == ("203.0.113.5", "2001:db8::5")
    assert config.rtc.pli_throttle.low_quality == 0.25
    assert config.rtc.pli_throttle.mid_quality == 60
    assert [codec.mime for codec in config.room.enabled_codecs] == ["video/VP8", "audio/opus"]
    assert config.logging.json_format
    engine = engine_config(config)
    assert engine.udp_port == 7882
    assert engine.tcp_port is None
    assert engine.bind == ("10.0.0.1",)
    assert engine.advertise == ("203.0.113.5", "2001:db8::5")
    assert engine.packet_buffer_size_video == 600
    assert engine.pli_throttle_ms == (250, 60_000, 1000)
    assert 1 <= engine.workers <= 11


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot: 1", "2:1: unknown key 'prot', did you mean 'port'?"),
        ("rtc:\n  udp_prot: 1", "3:3: unknown key 'rtc.udp_prot', did you mean 'udp_port'?"),
        ("zzzzz: 1", "2:1: unknown key 'zzzzz'"),
        ("turn: {enabledd: false}", "2:8: unknown key 'turn.enabledd', did you mean 'enabled'?"),
        ("port: abc", "2:1: 'port': Input should be a valid integer"),
        ("port: 70000", "2:1: 'port': Input should be less than or equal to 65535"),
        ("rtc: {udp_port: 5-1}", "2:7: 'rtc.udp_port': ports are 0 to 65535, the lower one first"),
        ("rtc: {node_ip: home}", "2:7: 'rtc.node_ip': 'home' does not appear to be an IPv4"),
        ("rtc: 5", "2:1: 'rtc': expected a mapping of keys to values"),
        ("webhook: {urls: http://x}", "2:11: 'webhook.urls': expected a list"),
        ("rtc:\n  pli_throttle:\n    low_quality: fast", "4:5: 'rtc.pli_throttle.low_quality'"),
        ("room:\n  enabled_codecs:\n  - mim: x", "4:5: 'room.enabled_codecs.0"),
        ("room: {max_participants: -1}", "2:8: 'room.max_participants'"),
        ("logging: {level: loud}", "2:11: 'logging.level'"),
        ("port: 1\nport: 2", "3:1: key 'port' is given twice"),
        ("a: [", "2:5: not valid YAML"),
        ("a: 'x", "not valid YAML"),
        ("\tport: 1", "2:1: not valid YAML"),
        ("a: &x [*x]", "unknown key 'a'"),
        ("logging: &r {component_levels: *r}", "nested too deeply"),
        ("port: " + "[" * 5000, "nested too deeply"),
        ("redis: {address: 'r:6379'}", "2:9: 'redis.address' is set, but not supported"),
        ("turn:\n  enabled: true", "3:3: 'turn.enabled' is set, but not supported"),
        ("webhook: {urls: [http://x]}", "2:11: 'webhook.api_key': api_key is required"),
        (
            "webhook: {urls: [http://x], api_key: other}",
            "2:29: 'webhook.api_key': 'other' is none of the API keys",
        ),
        ("webhook: {urls: [x.example/hook]}", "2:18: 'webhook.urls.0': expected an http://"),
        (
            "webhook: {resource_url_notifier: {max_depth: 0}}",
            "2:35: 'webhook.resource_url_notifier.max_depth'",
        ),
        ("prometheus: {port: 1, username: u}", "2:23: 'prometheus.username' is set alone"),
        ("prometheus: {port: 1, password: p}", "2:23: 'prometheus.password' is set alone"),
        ("prometheus: {port: 70000}", "2:14: 'prometheus.port'"),
        ("debug_handler: {prt: 1}", "unknown key 'debug_handler.prt', did you mean 'port'?"),
        (
            "rtc: {force_tcp: true, tcp_port: 0}",
            "2:7: 'rtc.force_tcp': TCP is forced but not configured",
        ),
        ("rtc: {ips: {includes: [10.0.0.1]}}", "2:24: 'rtc.ips.includes.0': expected a CIDR"),
        ("rtc: {ips: {excludes: [x/8]}}", "2:24: 'rtc.ips.excludes.0': 'x/8' does not appear"),
        ("rtc: {interfaces: {include: [a]}}", "2:20: unknown key 'rtc.interfaces.include'"),
        ("rtc: {additional_host_ips: [home]}", "2:29: 'rtc.additional_host_ips.0'"),
        ("rtc: {turn_servers: [{port: 3}]}", "2:22: 'rtc.turn_servers.0': 'host' is missing"),
        ("rtc: {turn_servers: [{host: a, protocol: x}]}", "'rtc.turn_servers.0.protocol'"),
        ("rtc: {turn_servers: [{host: a, sekret: x}]}", "2:32: 'rtc.turn_servers.0.sekret'"),
    ],
)
def test_errors_name_the_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        body(text)
    assert message in refused.value.message
    assert refused.value.message.startswith("--config-body:")


def test_a_refused_feature_says_what_to_do() -> None:
    with pytest.raises(ConfigError) as refused:
        body("trace: {jaeger_url: j}")
    assert refused.value.hint == "traces are not exported: remove the trace section"


def test_room_presets_are_room_configurations() -> None:
    presets = body(
        "room: {room_configurations: {small: {max_participants: 4, agents: [{agent_name: a}]}}}"
    ).room.room_configurations
    assert presets["small"].max_participants == 4
    assert presets["small"].agents[0].agent_name == "a"
    with pytest.raises(ConfigError, match="max_participant") as refused:
        body("room: {room_configurations: {small: {max_participant: 4}}}")
    assert refused.value.message.startswith("--config-body:")


def test_data_tracks_and_blobs_are_configured() -> None:
    options = room_options(body(""), ManualClock())
    assert (options.data_tracks, options.data_blobs) == (True, False)
    assert engine_config(body("")).data_track_target_latency_ms == 100
    config = body(
        """
enable_data_tracks: false
enable_participant_data_blob: true
rtc: {datachannel_data_track_target_latency: 1.5s}
limit:
  max_data_blob_key_length: 1
  max_data_blobs_size: 2
  max_data_track_custom_encoding_length: 3
"""
    )
    options = room_options(config, ManualClock())
    assert (options.data_tracks, options.data_blobs) == (False, True)
    assert options.limits.max_data_blob_key_length == 1
    assert options.limits.max_data_blobs_size == 2
    assert options.limits.max_data_track_custom_encoding_length == 3
    assert engine_config(config).data_track_target_latency_ms == 1500


def test_readers_of_data_that_are_slow_are_configured() -> None:
    defaults = engine_config(body(""))
    assert (defaults.data_slow_threshold, defaults.data_lossy_target_latency_ms) == (0, 0)
    assert (
        engine_config(body("rtc: {data_channel_max_buffered_amount: 7}")).data_channel_buffer == 7
    )
    config = engine_config(
        body(
            "rtc: {datachannel_slow_threshold: 21024, datachannel_lossy_target_latency: 50ms, "
            "data_channel_max_buffered_amount: 7}"
        )
    )
    assert (config.data_slow_threshold, config.data_lossy_target_latency_ms) == (21024, 50)
    assert config.data_channel_buffer == defaults.data_channel_buffer


@pytest.mark.parametrize("text", ["[1, 2]", "just words", "5"])
def test_a_file_that_is_no_mapping(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a mapping"):
        load(config_body=text)


def test_keys_without_effect_are_accepted_with_a_warning() -> None:
    loaded = load(
        config_body=KEYS
        + "rtc:\n  batch_io: {batch_size: 128}\n  force_tcp: false\n"
        + "redis: {}\nturn: {enabled: false, udp_port: 3478}\nenable_data_tracks: true\n"
    )
    assert loaded.warnings == (
        "--config-body:3:14: 'rtc.batch_io.batch_size' has no effect",
        "--config-body:6:24: 'turn.udp_port' has no effect",
    )


def test_sections_without_any_effect() -> None:
    text = (
        "rtc: {congestion_control: {enabled: true, send_side_bwe_pacer: leaky-bucket}}\n"
        "audio: {enable_loss_proxying: true}\nsip: {}\nsignal_relay: {retry_timeout: 1s}\n"
    )
    assert load(config_body=KEYS + text).warnings == (
        "--config-body:2:43: 'rtc.congestion_control.send_side_bwe_pacer' has no effect",
        "--config-body:3:9: 'audio.enable_loss_proxying' has no effect",
        "--config-body:5:16: 'signal_relay.retry_timeout' has no effect",
    )
    with pytest.raises(ConfigError, match="did you mean 'allow_pause'"):
        load(config_body=KEYS + "rtc: {congestion_control: {alow_pause: true}}")
    with pytest.raises(ConfigError, match=r"'trace\.jaeger_url' is set"):
        load(config_body=KEYS + "trace: {jaeger_url: j}")


def test_limits_below_zero_are_none() -> None:
    """As LiveKit's sample has them."""
    limits = body("limit: {num_tracks: -1, bytes_per_sec: -1, subscription_limit_video: -1}").limit
    assert (limits.num_tracks, limits.bytes_per_sec) == (0, 0)
    assert limits.subscription_limit_video == 0


def test_short_secrets_are_named() -> None:
    loaded = load(config_body="keys: {k: short}")
    assert loaded.warnings == ("secret of API key 'k' is shorter than 32 characters",)
    assert load(overrides={"development": Override(True, "--dev")}).warnings == ()
    here = "development: true\nbind_addresses: [127.0.0.1]\n"
    assert load(config_body=here + "keys: {k: short}").warnings == ()


@pytest.mark.parametrize("rest", ["", "keys: {devkey: secret}", "keys: {k: short}"])
def test_row_j7_short_secrets_that_others_can_try(rest: str) -> None:
    """A development server on an address that others reach is told of like any other."""
    text = "development: true\nbind_addresses: [0.0.0.0]\n" + rest
    (warning,) = load(config_body=text).warnings
    assert "is shorter than 32 characters" in warning


def test_the_key_file_must_be_private(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("key: " + "s" * 32)
    file.chmod(0o644)
    text = f"key_file: {file}"
    with pytest.raises(ConfigError, match="others permissions must be set to 0") as refused:
        load(config_body=text)
    assert refused.value.hint == f"chmod o-rwx {file}"
    file.chmod(0o600)
    assert load(config_body=text).config.keys == {"key": "s" * 32}
    with pytest.raises(ConfigError, match="cannot read key file"):
        load(config_body=f"key_file: {tmp_path}/absent")


def test_turn_secrets_may_be_in_a_private_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hush\n")
    file.chmod(0o604)
    text = f"rtc: {{turn_servers: [{{host: t.example, secret_file: {file}}}]}}"
    with pytest.raises(ConfigError, match="turn secret file others permissions must be set to 0"):
        body(text)
    file.chmod(0o600)
    (server,) = body(text).rtc.turn_servers
    assert (server.secret, server.protocol, server.ttl) == ("hush", "tcp", 0)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("username: u\ncredential: 5\n", ("u", "5")),
        ("{username: u, credential: c, more: 1}", ("u", "c")),
    ],
)
def test_turn_credentials_may_be_in_a_private_file(
    tmp_path: Path, written: str, found: tuple[str, str]
) -> None:
    file = tmp_path / "credentials"
    file.write_text(written)
    file.chmod(0o600)
    text = f"rtc: {{turn_servers: [{{host: t.example, credentials_file: {file}}}]}}"
    (server,) = body(text).rtc.turn_servers
    assert (server.username, server.credential) == found
    file.chmod(0o604)
    with pytest.raises(ConfigError, match="turn credentials file others permissions must be"):
        body(text)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("hush hush", "expected a YAML mapping with username and credential"),
        ("{hush: [", "expected a YAML mapping with username and credential"),
        ("username: [hush]", "username and credential must be text"),
        ("username: hush", "'t.example': turn server has no usable credentials"),
        ("", "'t.example': turn server has no usable credentials"),
    ],
)
def test_turn_credentials_that_are_none(tmp_path: Path, written: str, message: str) -> None:
    file = tmp_path / "credentials"
    file.write_text(written)
    file.chmod(0o600)
    with pytest.raises(ConfigError) as refused:
        body(f"rtc: {{turn_servers: [{{host: t.example, credentials_file: {file}}}]}}")
    assert message in refused.value.message
    assert "hush" not in refused.value.message


@pytest.mark.parametrize(
    "given",
    ["", "username: u", "credential: c", "secret: ' '", "username: u, credential: ''"],
)
def test_a_turn_server_that_clients_could_not_use(given: str) -> None:
    with pytest.raises(ConfigError) as refused:
        body(f"rtc: {{turn_servers: [{{host: t.example, {given}}}]}}")
    assert refused.value.message == (
        "--config-body:2:22: 't.example': turn server has no usable credentials"
    )
    assert refused.value.hint == (
        "set secret or secret_file, username and credential, or credentials_file"
    )


def test_an_empty_turn_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(" \n")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="turn secret is empty"):
        body(f"rtc: {{turn_servers: [{{host: a, secret: ' ', secret_file: {file}}}]}}")


def test_turn_servers_that_say_things_twice_or_too_much() -> None:
    text = (
        "rtc: {turn_servers: ["
        "{host: a, secret: ' s ', secret_file: /absent, ttl: 86401}, "
        "{host: b, username: u, credential: c, credentials_file: /absent, ttl: -1}]}"
    )
    loaded = load(config_body=KEYS + text)
    one, two = loaded.config.rtc.turn_servers
    assert (one.secret, one.ttl, two.credential, two.ttl) == ("s", 86_400, "c", 300)
    assert loaded.warnings == (
        "--config-body:2:22: secret_file of the TURN server is not read: secret is set too",
        "--config-body:2:22: ttl of the TURN server is out of range: it is 86400, not 86401",
        "--config-body:2:82: credentials_file of the TURN server is not read: username or "
        "credential is set too",
        "--config-body:2:82: ttl of the TURN server is out of range: it is 300, not -1",
    )


@pytest.mark.parametrize(
    ("text", "audio", "video"),
    [
        ("", None, None),
        ("audio: {max_ratio: 0.5}", (0.5, 4_000), None),
        ("video: {max_ratio: 1, burst_bytes: 9}, audio: {burst_bytes: 8}", None, (1.0, 9)),
        ("video: {max_ratio: -1}, audio: {max_ratio: 2, burst_bytes: -5}", (2.0, 0), None),
    ],
)
def test_what_is_sent_again_is_bounded_if_so_configured(
    text: str, audio: tuple[float, int] | None, video: tuple[float, int] | None
) -> None:
    budget = body(f"rtc: {{rtx_budget: {{{text}}}}}").rtc.rtx_budget
    assert (budget.audio.to_engine(), budget.video.to_engine()) == (audio, video)


def test_the_pacer_is_one_that_livekit_has() -> None:
    text = "rtc: {congestion_control: {send_side_bwe_pacer: fast}}"
    with pytest.raises(ConfigError) as refused:
        body(text)
    assert refused.value.message == (
        "--config-body:2:28: 'rtc.congestion_control.send_side_bwe_pacer': "
        "expected one of pass-through, no-queue, leaky-bucket"
    )


def test_what_needs_http_3_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        body("webtransport: {port: 443}")
    assert refused.value.message == (
        "--config-body:2:16: 'webtransport.port' is set, but not supported"
    )
    assert refused.value.hint == "HTTP/3 is not served: remove the webtransport section"


def test_older_names() -> None:
    config = body(
        "log_level: warn\nlogging: {level: debug}\nlimit: {max_room_name_length: 7}\n"
        "room: {max_metadata_size: 1, max_room_name_length: 0, max_participant_identity_length: 3}"
    )
    assert config.logging.level == "warn"
    assert config.limit.max_metadata_size == 1
    assert config.limit.max_room_name_length == 7
    assert config.limit.max_participant_identity_length == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "log_level: loud",
            "--config-body:2:1: 'log_level': Input should be 'debug', 'info', 'warn",
        ),
        (
            "room: {max_metadata_size: x}",
            "--config-body:2:8: 'room.max_metadata_size': Input should",
        ),
    ],
)
def test_wrong_values_under_older_names_are_named_once(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        body(text)
    (line,) = refused.value.message.splitlines()
    assert line.startswith(message)


def test_no_keys() -> None:
    with pytest.raises(ConfigError) as refused:
        load(config_body="port: 1")
    assert "keys must be provided" in refused.value.message
    assert "--dev" in (refused.value.hint or "")


def test_precedence(tmp_path: Path) -> None:
    file = tmp_path / "livekit.yaml"
    file.write_text(KEYS + "port: 1\nregion: file\nrtc: {tcp_port: 1}")
    environ = {"LIVEKIT_RTC_TCP_PORT": "2", "LIVEKIT_REGION": "env", "UDP_PORT": "5-6"}
    config = load(
        config_file=str(file),
        environ=environ,
        overrides={"region": Override("flag", "--region"), "rtc.node_ip": Override("::1", "x")},
    ).config
    assert (config.port, config.region, config.rtc.tcp_port) == (1, "flag", 2)
    assert config.rtc.udp_port == PortRange(5, 6)
    assert config.rtc.node_ip == ("::1",)
    by_body = load(config_file=str(file), environ={"LIVEKIT_CONFIG": KEYS + "port: 9"}).config
    assert by_body.port == 9


def test_environment() -> None:
    environ = {
        "LIVEKIT_CONFIG": "prot: 5",
        "LIVEKIT_KEYS": "a: " + "b" * 32,
    }
    with pytest.raises(ConfigError, match=r"^LIVEKIT_CONFIG:1:1: unknown key 'prot'"):
        load(environ=environ)
    environ["LIVEKIT_CONFIG"] = "port: 5"
    config = load(environ=environ | {"NODE_IP": "192.0.2.7"}).config
    assert config.keys == {"a": "b" * 32}
    assert config.rtc.node_ip == ("192.0.2.7",)
    with pytest.raises(ConfigError, match="REDIS_HOST"):
        load(environ=environ | {"REDIS_HOST": "r"})


def test_a_bad_value_from_outside_names_where_it_came_from() -> None:
    with pytest.raises(ConfigError, match=r"^--udp-port: 'rtc\.udp_port': expected a port"):
        load(
            config_body=KEYS + "rtc: {udp_port: 5}",
            overrides={"rtc.udp_port": Override("x", "--udp-port")},
        )
    with pytest.raises(ConfigError, match=r"^LIVEKIT_RTC_TCP_PORT: 'rtc\.tcp_port'"):
        load(config_body=KEYS, environ={"LIVEKIT_RTC_TCP_PORT": "x"})


def test_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read: No such file"):
        load(config_file=str(tmp_path / "absent.yaml"))
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(config_file=str(binary))


def test_development() -> None:
    config = load(overrides={"development": Override(True, "--dev")}).config
    assert config.keys == {"devkey": "secret"}
    assert config.bind_addresses == ("127.0.0.1", "::1")
    assert config.rtc.udp_port == PortRange(7882, 7882)
    assert config.logging.level == "debug"
    assert engine_config(config).workers == 1
    assert media_addresses(config).bind[0] == "127.0.0.1"
    named = load(config_body="bind_addresses: [0.0.0.0]\ndevelopment: true").config
    assert named.bind_addresses == ("0.0.0.0",)
    own = load(config_body=KEYS + "development: true").config
    assert own.bind_addresses == (), "loopback only belongs to the well-known keys"


def test_keys_text() -> None:
    assert parse_keys("a: b") == {"a": "b"}
    assert parse_keys("a: b\nc: 5") == {"a": "b", "c": "5"}
    assert parse_keys("a:b") == {"a": "b"}
    for text in ("justakey", "a: [1]", "a:"):
        with pytest.raises(ConfigError):
            parse_keys(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("2s", 2), ("1m30s", 90), ("1.5h", 5400), (1_000_000_000, 1.0), ("7us", 7e-6)],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "1m 30s", "-5s", True])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_webhooks_and_metrics_as_livekit_writes_them() -> None:
    loaded = load(
        config_body=KEYS
        + """
webhook:
  api_key: key
  urls: ["https://example.com/hook?a=b"]
  resource_url_notifier: {max_age: 5s, max_depth: 7}
  filter_params: {include_events: [room_started], exclude_events: [track_publishd]}
prometheus: {port: 6789, username: u, password: p}
debug_handler: {port: 6790}
room: {enable_full_room_in_webhooks: true}
"""
    )
    webhook = loaded.config.webhook
    assert webhook.urls == ("https://example.com/hook?a=b",)
    assert webhook.resource_url_notifier.max_age == 5.0
    assert webhook.resource_url_notifier.max_depth == 7
    assert webhook.filter_params.include_events == ("room_started",)
    assert loaded.config.prometheus.port == 6789
    assert loaded.config.debug_handler.port == 6790
    assert loaded.config.room.enable_full_room_in_webhooks
    assert loaded.warnings == (
        "--config-body:7:51: 'webhook.filter_params.exclude_events': "
        "there is no event 'track_publishd', did you mean 'track_published'?",
    )


def test_the_older_name_of_the_metrics_port() -> None:
    loaded = load(config_body=KEYS + "prometheus_port: 9999")
    assert loaded.config.prometheus.port == 9999
    assert loaded.warnings == (
        "prometheus_port is deprecated, please switch to prometheus.port instead",
    )
