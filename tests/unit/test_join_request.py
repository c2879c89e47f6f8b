"""Join requests in both forms, and how they go wrong."""

from __future__ import annotations

import base64
import gzip
import zlib

import pytest
from livekit.protocol import models, rtc

from lkpy.limits import JOIN_REQUEST_MAX
from lkpy.signal import user_agent
from lkpy.signal.join_request import (
    JoinRequestError,
    parse,
    parse_join_request,
    parse_query,
    wrap,
)

GZIP = rtc.WrappedJoinRequest.Compression.GZIP
CANNOT_READ = "cannot read decompressed join request"


def encoded(payload: bytes, compression: int = 0) -> str:
    wrapped = rtc.WrappedJoinRequest(join_request=payload, compression=compression)
    return base64.urlsafe_b64encode(wrapped.SerializeToString()).decode()


@pytest.mark.parametrize("compress", [True, False])
def test_round_trip(compress: bool) -> None:
    request = rtc.JoinRequest(
        client_info=models.ClientInfo(sdk="JS", version="2.1"),
        metadata="m",
        participant_attributes={"a": "b"},
        reconnect=True,
        participant_sid="PA_x",
        reconnect_reason="RR_PUBLISHER_FAILED",
    )
    parameters = parse_join_request(wrap(request, compress=compress))
    assert parameters.client == request.client_info
    assert parameters.single_pc
    assert parameters.metadata == "m"
    assert parameters.attributes == {"a": "b"}
    assert parameters.reconnect
    assert parameters.participant_sid == "PA_x"
    assert parameters.reconnect_reason == models.ReconnectReason.RR_PUBLISHER_FAILED
    assert parameters.publisher_offer is None


def test_absent_booleans_are_false() -> None:
    parameters = parse_join_request(wrap(rtc.JoinRequest()))
    assert parameters.auto_subscribe is False
    assert parameters.auto_subscribe_data_track is False
    assert parameters.subscriber_allow_pause is None


@pytest.mark.parametrize("allowed", [False, True])
def test_pausing_may_be_asked_for_and_refused(allowed: bool) -> None:
    settings = rtc.ConnectionSettings(subscriber_allow_pause=allowed)
    parameters = parse_join_request(wrap(rtc.JoinRequest(connection_settings=settings)))
    assert parameters.subscriber_allow_pause is allowed


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("@@@", "cannot base64 decode wrapped join request"),
        ("abc", "cannot base64 decode wrapped join request"),
        ("+/+/", "cannot base64 decode wrapped join request"),
        ("_____w==", "cannot unmarshal wrapped join request"),
        (encoded(b"\xff\xff"), "cannot unmarshal join request"),
        (encoded(gzip.compress(b"\xff\xff", mtime=0), GZIP), "cannot unmarshal join request"),
        (encoded(b"not gzip", GZIP), CANNOT_READ),
        (encoded(b"", GZIP), CANNOT_READ),
        (encoded(gzip.compress(b"x" * 100, mtime=0)[:-3], GZIP), CANNOT_READ),
        (encoded(gzip.compress(b"x" * 100, mtime=0)[:-3] + b"\1\1\1", GZIP), CANNOT_READ),
        (encoded(gzip.compress(b"", mtime=0) + b"trailing", GZIP), CANNOT_READ),
        (encoded(gzip.compress(b"", mtime=0) * 17, GZIP), CANNOT_READ),
        (encoded(b"x" * (JOIN_REQUEST_MAX + 1)), "join request too large"),
        (
            encoded(gzip.compress(b"x" * (JOIN_REQUEST_MAX + 1), mtime=0), GZIP),
            "join request too large",
        ),
        ("A" * 3_000_000, "join request too large"),
    ],
)
def test_bad_join_requests(value: str, message: str) -> None:
    with pytest.raises(JoinRequestError) as refused:
        parse_join_request(value)
    assert refused.value.message == message
    assert refused.value.http_status == 400


def test_a_request_of_exactly_the_limit_is_read() -> None:
    overhead = len(rtc.JoinRequest(metadata="x" * 200_000).SerializeToString()) - 200_000
    request = rtc.JoinRequest(metadata="x" * (JOIN_REQUEST_MAX - overhead))
    assert len(request.SerializeToString()) == JOIN_REQUEST_MAX
    for compress in (True, False):
        assert parse_join_request(wrap(request, compress=compress)).metadata == request.metadata


def test_gzip_members_are_concatenated() -> None:
    payload = rtc.JoinRequest(metadata="two members").SerializeToString()
    halves = gzip.compress(payload[:5], mtime=0) + gzip.compress(payload[5:], mtime=0)
    assert parse_join_request(encoded(halves, GZIP)).metadata == "two members"


def test_a_gzip_bomb_is_not_inflated() -> None:
    import tracemalloc

    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(b"\0" * 1_000_000) for _ in range(500)) + packer.flush()
    value = encoded(bomb, GZIP)
    tracemalloc.start()
    try:
        with pytest.raises(JoinRequestError, match="too large"):
            parse_join_request(value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * JOIN_REQUEST_MAX


def test_an_unknown_compression_is_an_empty_request() -> None:
    assert parse_join_request(encoded(b"", 7)).metadata == ""


def test_query_defaults() -> None:
    parameters = parse_query({}, strict=True)
    assert parameters.auto_subscribe
    assert not parameters.single_pc
    assert not parameters.adaptive_stream
    assert parameters.subscriber_allow_pause is None
    assert parameters.client == models.ClientInfo()


def test_query_form() -> None:
    parameters = parse_query(
        {
            "protocol": "16",
            "client_protocol": "1",
            "sdk": "ios",
            "version": "2.0",
            "capabilities": "CAP_PACKET_TRAILER, CAP_FUTURE,CAP_COMPRESSION_DEFLATE_RAW",
            "auto_subscribe": "yes",
            "subscriber_allow_pause": "true",
            "sid": "PA_x",
            "reconnect": "1",
            "reconnect_reason": "2",
            "publish": "screen",
        },
        strict=False,
    )
    assert parameters.client.sdk == models.ClientInfo.SDK.SWIFT
    assert parameters.client.protocol == 16
    assert list(parameters.client.capabilities) == [1, 2]
    assert not parameters.auto_subscribe, "only 1 and true are true"
    assert parameters.subscriber_allow_pause
    assert parameters.participant_sid == "PA_x"
    assert parameters.reconnect_reason == models.ReconnectReason.RR_PUBLISHER_FAILED
    assert parameters.publish == "screen"


@pytest.mark.parametrize("text", ["x", "", "9999999999999999999", "٣", "1e3"])
def test_numbers_that_are_none_count_as_zero(text: str) -> None:
    parameters = parse_query({"protocol": text, "reconnect_reason": text}, strict=True)
    assert parameters.client.protocol == 0
    assert parameters.reconnect_reason == 0


@pytest.mark.parametrize("text", ["@", "bm90IGpzb24=", "WzFd", "eyJhIjoxfQ=="])
def test_attributes_must_be_a_map_of_strings(text: str) -> None:
    with pytest.raises(JoinRequestError, match="cannot decode attributes"):
        parse_query({"attributes": text}, strict=True)
    assert parse_query({"attributes": text}, strict=False).attributes == {}


def test_which_form() -> None:
    with pytest.raises(JoinRequestError, match="join_request is required"):
        parse({}, required=True, strict=False)
    assert not parse({}, required=False, strict=False).single_pc
    assert parse({"join_request": wrap(rtc.JoinRequest())}, required=False, strict=False).single_pc


CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.1.2 Safari/537.36"
)
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.4 Safari/605.1.15"
)
FIREFOX = "Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0"


@pytest.mark.parametrize(
    ("agent", "browser", "version", "system"),
    [
        (CHROME, "Chrome", "126.0.1.2", "Linux"),
        (CHROME + " Edg/126.0.9", "Edge", "126.0.9", "Linux"),
        (SAFARI, "Safari", "17.4", "Mac OS X"),
        (FIREFOX, "Firefox", "127.0", "Android"),
        ("Mozilla/5.0 OBS-Studio/30.1.2", "OBS Studio", "30.1.2", "Other"),
        ("", "Other", "", "Other"),
    ],
)
def test_user_agent(agent: str, browser: str, version: str, system: str) -> None:
    client = models.ClientInfo(sdk="JS")
    user_agent.augment(client, agent)
    assert (client.browser, client.browser_version, client.os) == (browser, version, system)


def test_native_clients_and_what_they_said_are_left_alone() -> None:
    native = models.ClientInfo(sdk="GO")
    user_agent.augment(native, CHROME)
    assert native == models.ClientInfo(sdk="GO")
    web = models.ClientInfo(sdk="JS", browser="Mine", os="Own")
    user_agent.augment(web, CHROME)
    assert (web.browser, web.os) == ("Mine", "Own")
