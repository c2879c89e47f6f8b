"""How much is in a message: by bytes, and as its parser would count."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from lkpy.limits import API_JSON_MAX, API_VALUES_MAX
from lkpy.signal.weight import TooMuchError, check_json, check_protobuf

MAX = 8
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def cheapest(action: Callable[[], None]) -> float:
    """CPU seconds of the cheapest of five runs: others slow a shared processor down for a while."""
    costs = []
    for _ in range(5):
        began = time.thread_time()
        action()
        costs.append(time.thread_time() - began)
    return min(costs)


def values_in(value: Any) -> int:
    """Members and elements."""
    if isinstance(value, dict):
        return len(value) + sum(map(values_in, value.values()))
    if isinstance(value, list):
        return len(value) + sum(map(values_in, value))
    return 0


@given(JSON, st.booleans())
def test_json_with_few_values_passes(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    check_json(text, max_values=2 * values_in(value) + 1)


@given(JSON)
def test_json_with_many_values_does_not(value: Any) -> None:
    text = json.dumps({"a": value, "b": list(range(MAX)), "c": '[,"\\'}).encode()
    with pytest.raises(TooMuchError):
        check_json(text, max_values=MAX)


def test_depth() -> None:
    check_json(b"[" * 100 + b"]" * 100, max_values=1000)
    with pytest.raises(TooMuchError, match="deeper than 100"):
        check_json(b"[" * 101 + b"]" * 101, max_values=1000)
    check_json(b'{"a":"' + b"[" * 10_000 + b'"}', max_values=1000)


def test_protobuf_counts_what_is_inside() -> None:
    request = room_pb.UpdateSubscriptionsRequest(
        room="a",
        track_sids=["b", "c"],
        participant_tracks=[models.ParticipantTracks(participant_sid="d", track_sids=["e", "f"])],
    )
    data = request.SerializeToString()
    check_protobuf(data, request, max_values=7)
    with pytest.raises(TooMuchError):
        check_protobuf(data, request, max_values=6)


def test_protobuf_counts_packed_elements() -> None:
    permission = models.ParticipantPermission(can_publish_sources=[1] * 50)
    request = room_pb.UpdateParticipantRequest(permission=permission)
    data = request.SerializeToString()
    check_protobuf(data, request, max_values=52)
    with pytest.raises(TooMuchError):
        check_protobuf(data, request, max_values=51)


@given(st.binary(max_size=200))
def test_any_bytes_are_counted_or_left_to_the_parser(data: bytes) -> None:
    check_protobuf(data, rtc.SignalRequest(), max_values=1000)
    check_json(data, max_values=1000)


@pytest.mark.parametrize(
    "text",
    [b"\\" * API_JSON_MAX, b'"' * API_JSON_MAX, b"{}," * (API_JSON_MAX // 3), b"[" * API_JSON_MAX],
    ids=["escapes", "quotes", "empties", "brackets"],
)
def test_row_w4_counting_is_cheap(text: bytes) -> None:
    def count() -> None:
        with contextlib.suppress(TooMuchError):
            check_json(text, max_values=API_VALUES_MAX)

    assert cheapest(count) < 0.04


def test_row_w4_counting_stops_at_the_bound() -> None:
    empties = b"\x62\x80\x80\x80\x05" + b"\x1a\x00" * 5_000_000

    def count() -> None:
        with pytest.raises(TooMuchError):
            check_protobuf(empties, rtc.SignalRequest(), max_values=API_VALUES_MAX)

    assert cheapest(count) < 0.02
