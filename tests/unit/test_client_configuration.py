from __future__ import annotations

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
        ({"browser": "Firefox", "os": "Linux"}, "VP8 VP9", "VP8 H264 VP9"),
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


@pytest.mark.parametrize(
    ("ours", "theirs", "sign"),
    [("18.4", "18.3", 1), ("18.3", "18.3.0", 0), ("9.1", "18.3", -1), ("beta", "18.3", 1)],
)
def test_versions(ours: str, theirs: str, sign: int) -> None:
    assert compare_versions(ours, theirs) == sign
