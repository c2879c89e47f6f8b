"""What a client asks for when it joins, in either of its two forms.

``/rtc`` takes query parameters, ``/rtc/v1`` a ``join_request`` parameter: base64url of a
``WrappedJoinRequest``, whose ``JoinRequest`` may be compressed with gzip. Clients that send a
``join_request`` use one peer connection, whatever the path (livekit-server
``pkg/service/rtcservice.go``).
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from lkpy.errors import Code, LkpyError
from lkpy.json_values import well_formed
from lkpy.limits import ATTRIBUTES_VALUES_MAX, CAPABILITIES_MAX, JOIN_REQUEST_MAX, JOIN_VALUES_MAX
from lkpy.signal import weight
from lkpy.signal.request_bounds import violation

_SDK_NAMES = {
    "js": "JS",
    "ios": "SWIFT",
    "swift": "SWIFT",
    "android": "ANDROID",
    "flutter": "FLUTTER",
    "go": "GO",
    "unity": "UNITY",
    "reactnative": "REACT_NATIVE",
    "rust": "RUST",
    "python": "PYTHON",
    "cpp": "CPP",
    "unityweb": "UNITY_WEB",
    "node": "NODE",
    "esp32": "ESP32",
}

_GZIP = 16 + zlib.MAX_WBITS
_GZIP_MEMBERS_MAX = 16
"""Clients send one; thousands of empty ones would cost time without reaching the size limit."""
_WRAPPED_MAX = JOIN_REQUEST_MAX + 64
"""A ``WrappedJoinRequest`` adds two tags and two varints to the join request."""


class JoinRequestError(LkpyError):
    """The join request cannot be used; the message is the body of the 400."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.INVALID_ARGUMENT, message)


@dataclass(frozen=True, slots=True)
class JoinParameters:
    """Everything a client says about its join. Nothing here is authenticated."""

    client: models.ClientInfo
    single_pc: bool = False
    auto_subscribe: bool = True
    auto_subscribe_data_track: bool = False
    adaptive_stream: bool = False
    subscriber_allow_pause: bool | None = None
    disable_ice_lite: bool = False
    reconnect: bool = False
    reconnect_reason: models.ReconnectReason = models.ReconnectReason.RR_UNKNOWN
    participant_sid: str = ""
    publish: str = ""
    """Suffix of a publish-only secondary identity."""
    metadata: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    add_track_requests: tuple[rtc.AddTrackRequest, ...] = ()
    publisher_offer: rtc.SessionDescription | None = None


def parse(query: Mapping[str, str], *, required: bool, strict: bool) -> JoinParameters:
    """Join step 2 (second half): read the parameters of a join.

    ``required`` refuses a query without ``join_request`` (``/rtc/v1``), ``strict`` refuses
    attributes that do not decode (``/validate``) where a join ignores them.
    """
    wrapped = query.get("join_request", "")
    if wrapped:
        return parse_join_request(wrapped)
    if required:
        raise JoinRequestError("join_request is required")
    return parse_query(query, strict=strict)


def parse_query(query: Mapping[str, str], *, strict: bool) -> JoinParameters:
    """Read the query form."""
    reconnect = _flag(query, "reconnect")
    return JoinParameters(
        client=_client_info(query),
        auto_subscribe=_flag(query, "auto_subscribe", default=True),
        auto_subscribe_data_track=_flag(query, "auto_subscribe_data_track"),
        adaptive_stream=_flag(query, "adaptive_stream"),
        subscriber_allow_pause=(
            _flag(query, "subscriber_allow_pause") if query.get("subscriber_allow_pause") else None
        ),
        disable_ice_lite=_flag(query, "disable_ice_lite"),
        reconnect=reconnect,
        reconnect_reason=_reconnect_reason(_integer(query.get("reconnect_reason", ""))),
        participant_sid=query.get("sid", "") if reconnect else "",
        publish=query.get("publish", ""),
        attributes=_attributes(query.get("attributes", ""), strict=strict),
    )


def parse_join_request(wrapped: str) -> JoinParameters:
    """Read the ``join_request`` form. Booleans it leaves out are false, but for
    ``subscriber_allow_pause``, which the server's configuration decides then."""
    request = _unwrap(wrapped)
    settings = request.connection_settings
    return JoinParameters(
        client=request.client_info,
        single_pc=True,
        auto_subscribe=settings.auto_subscribe,
        auto_subscribe_data_track=settings.auto_subscribe_data_track,
        adaptive_stream=settings.adaptive_stream,
        subscriber_allow_pause=(
            settings.subscriber_allow_pause if settings.HasField("subscriber_allow_pause") else None
        ),
        disable_ice_lite=settings.disable_ice_lite,
        reconnect=request.reconnect,
        reconnect_reason=request.reconnect_reason,
        participant_sid=request.participant_sid,
        metadata=request.metadata,
        attributes=dict(request.participant_attributes),
        add_track_requests=tuple(request.add_track_requests),
        publisher_offer=(request.publisher_offer if request.HasField("publisher_offer") else None),
    )


def wrap(request: rtc.JoinRequest, *, compress: bool = True) -> str:
    """The value of ``join_request`` for a join, as a client sends it."""
    payload = request.SerializeToString()
    wrapped = rtc.WrappedJoinRequest(join_request=payload)
    if compress:
        packer = zlib.compressobj(wbits=_GZIP)
        wrapped.join_request = packer.compress(payload) + packer.flush()
        wrapped.compression = rtc.WrappedJoinRequest.Compression.GZIP
    return base64.urlsafe_b64encode(wrapped.SerializeToString()).decode("ascii")


def _unwrap(value: str) -> rtc.JoinRequest:
    if len(value) > 4 * (_WRAPPED_MAX // 3 + 1):
        raise JoinRequestError("join request too large")
    try:
        raw = _base64url(value)
    except ValueError as error:
        raise JoinRequestError("cannot base64 decode wrapped join request") from error
    wrapped = rtc.WrappedJoinRequest()
    try:
        wrapped.ParseFromString(raw)
    except DecodeError as error:
        raise JoinRequestError("cannot unmarshal wrapped join request") from error
    if wrapped.compression == rtc.WrappedJoinRequest.Compression.GZIP:
        payload = _gunzip(wrapped.join_request)
    else:
        payload = wrapped.join_request
    if len(payload) > JOIN_REQUEST_MAX:
        raise JoinRequestError("join request too large")
    request = rtc.JoinRequest()
    try:
        weight.check_protobuf(payload, request, max_values=JOIN_VALUES_MAX)
        request.ParseFromString(payload)
    except weight.TooMuchError as error:
        raise JoinRequestError(f"join request too large: {error}") from error
    except DecodeError as error:
        raise JoinRequestError("cannot unmarshal join request") from error
    why = violation(request)
    if why:
        raise JoinRequestError(f"join request too large: {why}")
    return request


def _gunzip(data: bytes) -> bytes:
    """Inflate every member of a gzip file (RFC 1952 2.2), stopping just past the limit."""
    output = bytearray()
    for _ in range(_GZIP_MEMBERS_MAX):
        member = zlib.decompressobj(wbits=_GZIP)
        try:
            output += member.decompress(data, JOIN_REQUEST_MAX + 1 - len(output))
        except zlib.error as error:
            raise JoinRequestError("cannot read decompressed join request") from error
        if len(output) > JOIN_REQUEST_MAX:
            raise JoinRequestError("join request too large")
        if not member.eof:
            raise JoinRequestError("cannot read decompressed join request")
        data = member.unused_data
        if not data:
            return bytes(output)
    raise JoinRequestError("cannot read decompressed join request")


def _client_info(query: Mapping[str, str]) -> models.ClientInfo:
    known = models.ClientInfo.Capability.keys()
    given = query.get("capabilities", "").split(",", CAPABILITIES_MAX)[:CAPABILITIES_MAX]
    names = (name.strip() for name in given)
    return models.ClientInfo(
        sdk=_SDK_NAMES.get(query.get("sdk", ""), "UNKNOWN"),
        version=query.get("version", ""),
        protocol=_integer(query.get("protocol", "")),
        os=query.get("os", ""),
        os_version=query.get("os_version", ""),
        device_model=query.get("device_model", ""),
        browser=query.get("browser", ""),
        browser_version=query.get("browser_version", ""),
        network=query.get("network", ""),
        client_protocol=_integer(query.get("client_protocol", "")),
        capabilities=[name for name in names if name in known],
    )


def _flag(query: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    value = query.get(name, "")
    return value in ("1", "true") if value else default


def _integer(text: str) -> int:
    """A 32-bit integer; 0 for anything else, as Go's handlers ignore the error."""
    try:
        value = int(text, 10) if text.isascii() else 0
    except ValueError:
        return 0
    return value if -(2**31) <= value < 2**31 else 0


def _reconnect_reason(value: int) -> models.ReconnectReason:
    known = models.ReconnectReason.values()
    return cast("models.ReconnectReason", value if value in known else 0)


def _attributes(text: str, *, strict: bool) -> dict[str, str]:
    if not text:
        return {}
    try:
        # Like Go's decoder: null is nothing, and what is not UTF-8 is replaced.
        raw = _base64url(text)
        weight.check_json(raw, max_values=ATTRIBUTES_VALUES_MAX)
        attributes = well_formed(json.loads(raw.decode(errors="replace")))
        if attributes is None:
            return {}
        if not isinstance(attributes, dict) or not all(
            isinstance(value, str | None) for value in attributes.values()
        ):
            raise ValueError("not a map of strings")  # noqa: TRY301 - one way out
    except (ValueError, RecursionError) as error:
        if strict:
            raise JoinRequestError("cannot decode attributes") from error
        return {}
    return {key: value or "" for key, value in attributes.items()}


def _base64url(text: str) -> bytes:
    """Decode the URL alphabet with padding; line breaks do not count, as in Go's decoder.

    Raises :class:`ValueError`.
    """
    if "+" in text or "/" in text:
        raise ValueError("the URL alphabet has - and _")
    return base64.b64decode(text.replace("\n", "").replace("\r", ""), altchars=b"-_", validate=True)
