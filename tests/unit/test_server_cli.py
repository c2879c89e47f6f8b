"""``lkpy server``'s commands that need no running server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lkpy.auth.token import verify
from lkpy.clock import SystemClock
from lkpy.server.config_load import load
from lkpy.server.config_print import as_dict, as_yaml, format_duration
from lkpy.server.config_types import parse_duration
from tests.unit.test_cli import lkpy

pytestmark = pytest.mark.filterwarnings("ignore:The HMAC key is")

KEYS = ("--keys", "key: " + "s" * 32)


def test_ports() -> None:
    assert lkpy("server", "ports").stdout.splitlines() == [
        "TCP Ports",
        "7880 - HTTP service",
        "7881 - ICE/TCP",
        "UDP Ports",
        "7882-7913 - ICE/UDP",
    ]
    done = lkpy(
        "server", "ports", "--json", "--rtc.tcp_port=0", "--prometheus.port", "6789", "--dev"
    )
    assert json.loads(done.stdout) == {
        "tcp": {"HTTP service": 7880, "Prometheus": 6789},
        "udp": {"ICE/UDP": "7882"},
    }


def test_generated_keys_are_taken() -> None:
    lines = lkpy("server", "generate-keys").stdout.splitlines()
    assert lines[0].startswith("API Key:  API")
    pair = json.loads(lkpy("server", "generate-keys", "--json").stdout)
    keys = f"{pair['api_key']}: {pair['api_secret']}"
    assert lkpy("server", "config", "--keys", keys).stderr == ""


def test_configuration_and_its_origins(tmp_path: Path) -> None:
    file = tmp_path / "livekit.yaml"
    file.write_text("port: 1\nrtc:\n  tcp_port: 5\nprometheus: {username: u, password: hush}\n")
    done = lkpy(
        *("server", "config", "--config", str(file), "--region=eu", *KEYS, "--json"),
        LIVEKIT_ROOM_AUTO_CREATE="false",
        UDP_PORT="5-6",
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert {key: shown[key] for key in ("port", "rtc.tcp_port", "region")} == {
        "port": {"value": 1, "origin": f"{file}:1:1"},
        "rtc.tcp_port": {"value": 5, "origin": f"{file}:3:3"},
        "region": {"value": "eu", "origin": "--region"},
    }
    assert shown["room.auto_create"] == {"value": False, "origin": "LIVEKIT_ROOM_AUTO_CREATE"}
    assert shown["rtc.udp_port"] == {"value": "5-6", "origin": "UDP_PORT"}
    assert shown["rtc.pli_throttle.low_quality"] == {"value": "500ms", "origin": "default"}
    assert "hush" not in done.stdout
    assert "sss" not in done.stdout


def test_the_printed_configuration_is_one() -> None:
    flags = (*KEYS, "--rtc.node_ip", "192.0.2.1,2001:db8::1", "--logging.json", "--log-level=warn")
    text = lkpy("server", "config", *flags).stdout
    assert 'level: "warn"' in text
    assert yaml.safe_load(text)["keys"] == {"key": "********"}
    again = load(config_body=text).config
    assert again.rtc.node_ip == ("192.0.2.1", "2001:db8::1")
    assert again.logging.json_format
    dev = lkpy("server", "config", "--dev").stdout
    assert [line for line in dev.splitlines() if line.endswith("# development")] == [
        line
        for line in dev.splitlines()
        if line.split(":")[0].strip() in ("bind_addresses", "keys", "udp_port", "level")
    ]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("config", "--port", "x"), 1, "error: --port: 'port': Input should be a valid integer"),
        (("config",), 1, "error: one of key_file or keys must be provided"),
        (
            ("config", "--rtc.tcp_prot", "1"),
            2,
            "no such option: --rtc.tcp_prot, did you mean '--rtc",
        ),
        (("config", "--config"), 2, "error: --config needs a value"),
        (("config", "livekit.yaml"), 2, "error: unexpected argument 'livekit.yaml'"),
        (
            ("start", "--redis-host", "r:1"),
            1,
            "error: --redis-host: 'redis.address' is set, but not",
        ),
        (
            ("start", "--drain-timeout", "soon"),
            1,
            "error: --drain-timeout soon: expected a duration",
        ),
        (("list-nodes",), 1, "error: nodes are listed in Redis"),
    ],
)
def test_what_is_refused(args: tuple[str, ...], code: int, message: str) -> None:
    done = lkpy("server", *args)
    assert done.returncode == code
    assert message in done.stderr
    assert "hint:" in done.stderr or code == 2 or "drain" in message


def test_unknown_keys_of_a_file() -> None:
    body = ("--config-body", "prot: 1", *KEYS)
    assert "unknown key 'prot'" in lkpy("server", "config", *body).stderr
    done = lkpy("server", "config", *body, "--disable-strict-config")
    assert done.returncode == 0
    assert done.stderr == "warning: --config-body:1:1: unknown key 'prot', did you mean 'port'?\n"


@pytest.mark.parametrize("recorder", [False, True])
def test_join_token(recorder: bool) -> None:
    flags = ("--dev", "--room", "r", "--identity", "i", *(["--recorder"] if recorder else []))
    done = lkpy("server", "create-join-token", *flags)
    token = done.stdout.removeprefix("Token: ").strip()
    now = SystemClock().wall()
    grants = verify(token, {"devkey": "secret"}, now=now).grants
    assert grants.video is not None
    assert (grants.identity, grants.video.room, grants.video.hidden) == ("i", "r", recorder)
    assert grants.video.get_can_publish() is not recorder
    assert grants.expires_at == pytest.approx(now + 30 * 86_400, abs=60)


def test_every_option_is_listed() -> None:
    lines = lkpy("server", "help-verbose").stdout.splitlines()
    assert (
        lines[lines.index("    LIVEKIT_RTC_TCP_PORT") - 1] == "--rtc.tcp_port <int> (default: 7881)"
    )
    assert "--rtc.use_mdns <bool> (no effect)" in lines


@pytest.mark.parametrize("seconds", [0, 0.0005, 0.25, 1, 1.5, 90, 3600, 3661, 5400])
def test_durations_are_written_as_they_are_read(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


def test_config_shows_no_secret_of_presets_and_urls() -> None:
    text = """
keys: {k: CANARYCANARYCANARYCANARYCANARYCANARY}
webhook: {api_key: k, urls: ["https://user:CANARY@hooks.example/x?token=CANARY"]}

room:
  room_configurations:
    p:
      metadata: shown
      egress:
        room:
          file_outputs:
            - {filepath: a, s3: {access_key: CANARY, secret: CANARY, bucket: b}}
          stream_outputs: [{urls: ["rtmp://live.example/app/CANARY"]}]
        participant: {file_outputs: [{filepath: a, gcp: {credentials: CANARY}}]}
        tracks: {filepath: a, azure: {account_name: n, account_key: CANARY}}
"""
    loaded = load(config_body=text)
    for shown in (as_yaml(loaded), json.dumps(as_dict(loaded))):
        assert "CANARY" not in shown
        assert "hooks.example/x" in shown
        assert "********" in shown
