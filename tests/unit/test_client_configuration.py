from __future__ import annotations

import json
import pathlib

import pytest
from livekit.protocol import models

from lkpy.server.rtc.client_configuration import (
    client_configuration,
    publish_codecs,
    subscribe_codecs,
)
from lkpy.server.rtc.client_info import (
    compare_versions,
    keeps_answer_codec_order,
    supports_audio_red,
    supports_ice_lite,
    supports_ice_tcp,
    supports_reconnect_response,
    supports_transceiver_reuse,
)

ENABLED = [models.Codec(mime=f"video/{name}") for name in ("VP8", "H264", "VP9", "AV1")]


@pytest.mark.parametrize(
    ("client", "publish", "subscribe"),
    [
        ({"browser": "Chrome", "os": "android"}, "VP8 H264 VP9 AV1", "VP8 H264 VP9 AV1"),
        ({"browser": "Safari", "browser_version": "17.4"}, "VP8 H264 VP9", "VP8 H264 VP9"),
        ({"browser": "Safari", "browser_version": "18.3"}, "VP8 H264 VP9", "VP8 H264 VP9"),
        ({"browser": "Safari", "browser_version": "18.3.1"}, "VP8 H264", "VP8 H264 VP9"),
        ({"browser": "safari", "browser_version": "26"}, "VP8 H264", "VP8 H264 VP9"),
        ({"browser": "Firefox", "os": "Linux"}, "VP8 H264 VP9", "VP8 H264 VP9"),
        ({"browser": "Firefox Mobile", "os": "Android"}, "VP8 VP9", "VP8 H264 VP9"),
        ({"device_model": "Xiaomi 2201117TI", "os": "android"}, "VP8 VP9 AV1", "VP8 H264 VP9 AV1"),
        ({"sdk": models.ClientInfo.RUST}, "VP8 H264 VP9 AV1", "VP8 H264 VP9 AV1"),
    ],
)
def test_rules(client: dict[str, str], publish: str, subscribe: str) -> None:
    configuration = client_configuration(models.ClientInfo(**client))
    for codecs, expected in (
        (publish_codecs(ENABLED, configuration), publish),
        (subscribe_codecs(ENABLED, configuration), subscribe),
    ):
        assert [codec.mime.partition("/")[2] for codec in codecs] == expected.split()


def test_clients_without_rules_get_no_configuration() -> None:
    assert client_configuration(models.ClientInfo(browser="Chrome")) is None


def test_abilities() -> None:
    firefox = models.ClientInfo(browser="firefox", os="linux", protocol=17)
    safari = models.ClientInfo(browser="Safari", os="macOS", protocol=17)
    chrome = models.ClientInfo(browser="Chrome", os="linux", protocol=17)
    old = models.ClientInfo(protocol=3)
    everyone = (firefox, safari, chrome, old)
    assert [supports_audio_red(c) for c in everyone] == [False, False, True, True]
    assert [keeps_answer_codec_order(c) for c in everyone] == [False, True, True, True]
    assert [supports_transceiver_reuse(c) for c in everyone] == [True, False, True, False]
    assert [supports_ice_lite(c) for c in everyone] == [False, True, True, False]


RULES = [
    json.loads(line)
    for line in (pathlib.Path(__file__).parents[1] / "data" / "client_rules.jsonl").open()
]
"""What ``pkg/clientconfiguration`` and ``pkg/rtc/clientinfo.go`` of livekit-server 1.13.11 say of
clients: the Go code was asked."""


def test_rules_are_those_of_the_go_code() -> None:
    rows = [row for row in RULES if "never" in row]
    assert len(rows) > 200
    for row in rows:
        never, never_publish = row.pop("never"), row.pop("never_publish")
        configuration = client_configuration(models.ClientInfo(**row))
        disabled = (configuration or models.ClientConfiguration()).disabled_codecs
        told = [c.mime for c in disabled.codecs], [c.mime for c in disabled.publish]
        assert told == (never, never_publish), row
        assert (configuration is not None) == bool(never or never_publish)


def test_versions_of_sdks_are_read_as_by_the_go_code() -> None:
    rows = [row for row in RULES if "sdk" in row]
    assert len(rows) > 20
    for row in rows:
        sdk = models.ClientInfo.SDK.Value(row["sdk"])
        client = models.ClientInfo(sdk=sdk, version=row["version"])
        told = supports_reconnect_response(client), supports_ice_tcp(client)
        assert told == (row["takes_reconnect"], row["ice_tcp"]), row


@pytest.mark.parametrize(
    "version", ["9" * 5000, "1" * 5000 + ".0", "-" * 5000, "1.2.3-" + "0" * 5000]
)
def test_a_version_may_be_anything(version: str) -> None:
    client_configuration(models.ClientInfo(browser="safari", browser_version=version))
    compare_versions(version, "1.0.5")
