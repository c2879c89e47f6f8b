"""What is taken out of text before anybody reads it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.auth.token import mint
from lkpy.server.telemetry.redact import _RULES, MASK, is_secret, redact, redact_arguments

TOKEN = mint(Grants(identity="a", video=VideoGrant(room="r")), api_key="k", api_secret="s", now=1e9)
PRESIGNED = "https://bucket.s3.amazonaws.com/a/b.mp4?X-Amz-Credential=CANARY&X-Amz-Signature=CANARY"


@pytest.mark.parametrize(
    "text",
    [
        "GET /rtc?access_token=CANARY HTTP/9.9",
        "GET /rtc/v1?sdk=js&join_request=CANARY&x=1 HTTP/1.1",
        "Authorization: Bearer CANARY.CANARY",
        "{'Authorization': 'CANARY.CANARY'}",
        "Proxy-Authorization: Basic CANARYCANARY=",
        f"failed to fetch {PRESIGNED}",
        f"url={PRESIGNED}&more=CANARY",
        "PUT /a/b.mp4?X-Amz-Signature=CANARY&X-Goog-Signature=CANARY",
        "https://account.blob.core.windows.net/c/b?sv=1&sig=CANARY",
        "redis://user:CANARY@10.0.0.1:6379",
        "rtmps://live.example/app/CANARY",
        "https://hooks.example/x?token=CANARY",
    ],
)
def test_secrets_are_masked(text: str) -> None:
    shown = redact(text)
    assert "CANARY" not in shown
    assert MASK in shown


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["Bearer ", "baSic ", "AuthoriZation: ", "rtmps://", "SRT://", "http://", "u:p@h", "?",
             "&", "Access_Token=", "sig=", "X-Amz-Algo=", "X-GOOG-Sig=", "TOKEN=", "secret=", "eyJ",
             "abcdefghij", ".", " ", "credential=", "Signature=", "attributes=", "join_request=",
             "PassWord="]
        )
    ).map("".join)
)  # fmt: skip
def test_every_rule_is_tried_where_it_applies(text: str) -> None:
    whole = text
    for _, pattern, replacement in _RULES:
        whole = pattern.sub(replacement, whole)
    assert redact(text) == whole


def test_tokens_are_masked_wherever_they_are() -> None:
    header, claims, signature = TOKEN.split(".")
    for text in (TOKEN, f"token {TOKEN}!", f"/x/{TOKEN}/y", f"{header}.{claims}"):
        shown = redact(text)
        assert claims not in shown
        assert signature not in shown


@pytest.mark.parametrize(
    "text",
    [
        "joined room=lobby participant=alice count=3",
        "listening url=http://127.0.0.1:7880/path",
        "GET /rtc/validate?sdk=js&protocol=16",
        "wss://example.com:443 eyJ",
        "a basic thing, a bearer of news",
        "",
    ],
)
def test_everything_else_stays(text: str) -> None:
    assert redact(text) == text


def test_command_lines() -> None:
    given = ["lkpy", "server", "start", "--keys", "devkey: CANARY", "--redis.password=CANARY",
             "--turn.secret", "CANARY", "--config-body", "keys: {a: CANARY}", "--port", "7880",
             "--webhook.urls=https://h.example/?t=CANARY", "--dev"]  # fmt: skip
    shown = redact_arguments(given)
    assert len(shown) == len(given)
    assert "CANARY" not in " ".join(shown)
    assert shown[:4] == ["lkpy", "server", "start", "--keys"]
    assert shown[10:12] == ["--port", "7880"]
    assert shown[-1] == "--dev"


def test_names() -> None:
    for name in ("keys", "redis.password", "api-secret", "s3.access_key", "LIVEKIT_API_SECRET"):
        assert is_secret(name), name
    for name in ("port", "key_file", "webhook.api_key", "room.name"):
        assert not is_secret(name), name


@pytest.mark.parametrize(
    "part",
    [
        "a-",
        "x-amz-",
        "eyJ",
        "eyJa.",
        "a://",
        "://a:",
        "bearer ",
        "authorization:",
        "sig",
        "?a=",
        "rtmp:/",
    ],
)
def test_whatever_is_logged_costs_little(part: str) -> None:
    """Row J6: paths and other words of people without a token are logged."""
    text = part * (64_000 // len(part))
    began = time.process_time()
    redact(text)
    assert time.process_time() - began < 0.5
