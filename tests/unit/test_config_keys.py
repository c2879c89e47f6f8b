"""Every key of LiveKit's configuration: known, typed, and named by a flag and a variable."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path as FilePath

import pytest
from pydantic import BaseModel

from lkpy.baseline import LIVEKIT_VERSION
from lkpy.errors import ConfigError
from lkpy.server.config import CodecSpec, ServerConfig
from lkpy.server.config_keys import CHOICES, REFUSED, livekit_keys, livekit_version
from lkpy.server.config_load import Override, load
from lkpy.server.config_rtc import RtcConfig, TurnServerConfig
from lkpy.server.config_schema import Kind, names_at, pending_kind, scalars
from lkpy.server.config_types import PortRange, parse_duration
from lkpy.server.config_yaml import Path

KEYS = f"keys: {{key: {'s' * 32}}}\n"

OURS = {("rtc", "additional_host_ips")}
"""Keys that livekit-server does not have."""

DEFAULT_WITHOUT_VALUE: dict[str, object] = {"rtc.allow_tcp_fallback": True}
"""Where livekit-server tells what was written from what was not."""


def fields(model: type[BaseModel], path: Path) -> Iterator[tuple[Path, object]]:
    """Every key of a model with the value that it has when nothing is said."""
    for name, item in model.model_fields.items():
        below = (*path, item.alias or name)
        if isinstance(item.annotation, type) and issubclass(item.annotation, BaseModel):
            yield from fields(item.annotation, below)
        else:
            yield below, item.get_default(call_default_factory=True)


HONOURED = dict(fields(ServerConfig, ()))


def test_the_keys_are_those_of_the_version_that_is_measured() -> None:
    keys = livekit_keys()
    assert livekit_version() == LIVEKIT_VERSION
    assert len(keys) > 300
    assert {key.kind for key in keys.values()} == {*Kind, "section"}
    measured = FilePath(__file__).parents[2] / "docs" / "differences.md"
    assert f"livekit-server {livekit_version()}." in measured.read_text(encoding="utf-8")


@pytest.mark.parametrize("key", [name for name in livekit_keys() if "[]" not in name])
def test_every_key_is_known(key: str) -> None:
    path = tuple(key.split("."))
    for depth in range(len(path)):
        names = names_at(path[:depth])
        assert names is not None, path
        assert path[depth] in names, path
    assert (path in HONOURED) != (pending_kind(path) is not None)


@pytest.mark.parametrize("path", sorted(HONOURED.keys() - OURS), ids=".".join)
def test_what_is_honoured_has_livekits_kind_and_default(path: Path) -> None:
    name = ".".join(path)
    key = livekit_keys()[name]
    kinds = {scalar.path: scalar.kind for scalar in scalars()}
    assert kinds.get(path, key.kind if key.kind in ("list", "map") else None) == key.kind
    assert (path in kinds) == (key.kind not in ("list", "map"))
    expected = DEFAULT_WITHOUT_VALUE.get(name, key.default)
    value = HONOURED[path]
    if name == "room.enabled_codecs":
        assert isinstance(value, tuple)
        assert [{"mime": codec.mime} for codec in value] == expected
    elif key.kind == "duration":
        assert parse_duration(value or 0) == pytest.approx(parse_duration(expected or 0))
    else:
        assert (value or None) == expected


@pytest.mark.parametrize(
    ("section", "model"),
    [
        ("rtc.turn_servers", TurnServerConfig),
        ("room.enabled_codecs", CodecSpec),
    ],
)
def test_elements_of_lists_have_livekits_keys(section: str, model: type[BaseModel]) -> None:
    theirs = {
        name.partition("[].")[2] for name in livekit_keys() if name.startswith(section + "[]")
    }
    assert set(model.model_fields) == theirs


def test_what_is_refused_is_a_key_without_effect() -> None:
    for name in (*REFUSED, *CHOICES):
        assert pending_kind(tuple(name.split("."))) is not None, name


def test_defaults_of_livekit_need_no_warning() -> None:
    """As in livekit-server's own sample of a file."""
    text = "".join(
        f"{name}: {json.dumps(key.default)}\n"
        for name, key in livekit_keys().items()
        if key.default is not None and "." not in name and "[]" not in name
    )
    assert not load(config_body=KEYS + text).warnings
    for name, key in livekit_keys().items():
        if key.default is not None and "[]" not in name and "." in name:
            section: object = key.default
            for part in reversed(name.split(".")):
                section = {part: section}
            assert not load(config_body=KEYS + json.dumps(section)[1:-1]).warnings, name


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
    assert len(named) > 250


def test_parts_of_addresses_and_ports_have_flags() -> None:
    def rtc(**flags: object) -> RtcConfig:
        given = {f"rtc.{key.replace('__', '.')}": Override(v, "--") for key, v in flags.items()}
        return load(config_body=KEYS, overrides=given).config.rtc

    both = rtc(node_ip__ipv4="192.0.2.1", node_ip__ipv6="2001:db8::1")
    assert both.node_ip == ("192.0.2.1", "2001:db8::1")
    assert rtc(udp_port__start=7000, udp_port__end=7002).udp_port == PortRange(7000, 7002)
    assert rtc(udp_port__start=7000).udp_port == PortRange(7000, 7000)
    with pytest.raises(ConfigError, match=r"'rtc.udp_port': ports are 0 to 65535"):
        rtc(udp_port__start=7000, udp_port__end=6000)


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
