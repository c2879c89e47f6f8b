"""Whatever comes over the wire, the pure parsers answer with their own error or a value."""

from __future__ import annotations

import base64
import contextlib
import gzip

from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.protocol import models, rtc

from lkpy.auth.grants import Grants, GrantsError, VideoGrant
from lkpy.auth.token import TokenError, mint, verify
from lkpy.server.routing.relay import RelayReader, RelayWriter
from lkpy.signal.codec import Encoding, FrameError, decode, encode
from lkpy.signal.join_request import JoinRequestError, parse_join_request, parse_query, wrap

QUERY_NAMES = (
    "protocol",
    "sdk",
    "auto_subscribe",
    "attributes",
    "reconnect",
    "reconnect_reason",
    "capabilities",
)
KEYS = {"key": "s" * 32}
NOW = 1_700_000_000.0
text = st.text(max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
optional = st.none() | st.booleans()
video_grants = st.builds(
    VideoGrant,
    room_join=st.booleans(),
    room_admin=st.booleans(),
    room=text,
    can_publish=optional,
    can_subscribe=optional,
    can_publish_data=optional,
    can_publish_sources=st.lists(st.sampled_from(["camera", "microphone"]), max_size=2).map(tuple),
    can_update_own_metadata=optional,
    hidden=st.booleans(),
)
all_grants = st.builds(
    Grants,
    identity=text,
    name=text,
    kind=st.sampled_from(["", "standard", "agent", "sip"]),
    video=st.none() | video_grants,
    metadata=text,
    attributes=st.dictionaries(text, text, max_size=3),
)


@given(all_grants)
def test_tokens_round_trip(grants: Grants) -> None:
    token = mint(grants, api_key="key", api_secret=KEYS["key"], ttl_s=60, now=NOW)
    read = verify(token, KEYS, now=NOW).grants
    assert read.identity == grants.identity
    assert read.to_claims() == grants.to_claims()
    assert read.video == grants.video


@given(all_grants, st.integers(min_value=0), st.integers(0, 255))
def test_a_changed_token_never_verifies(grants: Grants, place: int, byte: int) -> None:
    token = mint(grants, api_key="key", api_secret=KEYS["key"], ttl_s=60, now=NOW)
    head, payload, signature = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(payload + "=="))
    place %= len(raw)
    if raw[place] == byte:
        return
    raw[place] = byte
    changed = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    try:
        verify(f"{head}.{changed}.{signature}", KEYS, now=NOW)
    except TokenError:
        return
    raise AssertionError("a token that was changed has verified")


@given(st.text(max_size=200))
def test_any_text_as_a_token(token: str) -> None:
    try:
        verify(token, KEYS, now=NOW)
    except TokenError:
        return
    raise AssertionError("text has verified")


@given(
    st.dictionaries(
        st.sampled_from(["video", "sip", "attributes", "kindDetails", "roomConfig", "exp", "sub"]),
        json_values,
    )
)
def test_any_claims(claims: dict[str, object]) -> None:
    with contextlib.suppress(GrantsError):
        Grants.from_claims(claims)


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_any_frame(frame: bytes | str) -> None:
    try:
        request = decode(frame, rtc.SignalRequest)
    except FrameError:
        return
    for encoding in Encoding:
        assert encode(request, encoding) is not None


@given(st.text(alphabet="ABCabc019-_=+/", max_size=200))
def test_any_join_request_text(value: str) -> None:
    with contextlib.suppress(JoinRequestError):
        parse_join_request(value)


@given(st.binary(max_size=300), st.booleans(), st.integers(0, 3))
def test_any_wrapped_join_request(payload: bytes, zipped: bool, compression: int) -> None:
    body = gzip.compress(payload, mtime=0) if zipped else payload
    wrapped = rtc.WrappedJoinRequest(compression=compression, join_request=body)
    with contextlib.suppress(JoinRequestError):
        parse_join_request(base64.urlsafe_b64encode(wrapped.SerializeToString()).decode())


@given(
    st.dictionaries(
        st.sampled_from(QUERY_NAMES),
        st.text(max_size=50),
    )
)
def test_any_query(query: dict[str, str]) -> None:
    parameters = parse_query(query, strict=False)
    assert isinstance(parameters.client, models.ClientInfo)


@given(st.text(max_size=500), st.dictionaries(text, text, max_size=3), st.booleans())
def test_join_requests_round_trip(
    metadata: str, attributes: dict[str, str], compress: bool
) -> None:
    request = rtc.JoinRequest(metadata=metadata, participant_attributes=attributes)
    parameters = parse_join_request(wrap(request, compress=compress))
    assert parameters.metadata == metadata
    assert parameters.attributes == attributes


@settings(max_examples=200)
@given(st.lists(st.integers(0, 3), max_size=8), st.data())
def test_resent_batches_deliver_each_message_once(sizes: list[int], data: st.DataObject) -> None:
    """A sender that repeats any earlier batches changes nothing."""
    writer: RelayWriter[rtc.SignalResponse] = RelayWriter()
    reader: RelayReader[rtc.SignalResponse] = RelayReader()
    sent, received, batches = [], [], []
    for size in sizes:
        messages = [rtc.SignalResponse(pong=len(sent) + index) for index in range(size)]
        sent += messages
        batches.append(writer.batch(*messages))
        repeat_from = data.draw(st.integers(0, len(batches) - 1))
        for batch in batches[repeat_from:]:
            received += reader.accept(batch)
    assert [m.pong for m in received] == [m.pong for m in sent]
