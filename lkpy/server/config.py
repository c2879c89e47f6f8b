"""The server's configuration: LiveKit's ``livekit.yaml``, environment and flags.

Only keys with an effect are fields here; :mod:`lkpy.server.config_keys` lists the others.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from google.protobuf import json_format
from livekit.protocol import room as room_pb
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from lkpy import limits

_DURATION = re.compile(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)")
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(value: object) -> object:
    """Go's durations (``1m30s``, ``500ms``) as seconds; bare integers are nanoseconds."""
    if isinstance(value, bool):
        raise ValueError("expected a duration such as 500ms")  # noqa: TRY004 - pydantic's way
    if isinstance(value, int):
        return value * 1e-9
    if isinstance(value, str):
        parts = _DURATION.findall(value)
        if not parts or "".join(number + unit for number, unit in parts) != value:
            raise ValueError("expected a duration such as 500ms, 2s or 1m30s")
        return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    return value


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports ``start`` to ``end``, both included."""

    start: int
    end: int


def parse_ports(value: object) -> object:
    """``7882`` or ``7882-7892``."""
    if isinstance(value, PortRange) or value is None:
        return value
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(value))
    if match is None or isinstance(value, bool):
        raise ValueError("expected a port or a range such as 7882-7892")
    start, end = int(match[1]), int(match[2] or match[1])
    if not start <= end <= 65535:
        raise ValueError("ports are 0 to 65535, the lower one first")
    return PortRange(start, end)


def parse_node_ip(value: object) -> object:
    """``v4[,v6]``, or LiveKit's mapping of families to addresses."""
    if isinstance(value, dict):
        value = ",".join(str(part) for part in value.values() if part)
    if not isinstance(value, str):
        return value
    addresses = [part.strip() for part in value.split(",") if part.strip()]
    for address in addresses:
        ipaddress.ip_address(address)
    return tuple(addresses)


Duration = Annotated[float, BeforeValidator(parse_duration)]
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class CodecSpec(Section):
    """A codec that rooms offer."""

    mime: str
    fmtp_line: str = ""


class PliThrottleConfig(Section):
    """Least time between key-frame requests to a publisher."""

    low_quality: Duration = 0.5
    mid_quality: Duration = 1.0
    high_quality: Duration = 1.0


class RtcConfig(Section):
    """Media sockets."""

    udp_port: Annotated[PortRange | None, BeforeValidator(parse_ports)] = None
    port_range_start: Port = 0
    port_range_end: Port = 0
    tcp_port: Port = 7881
    node_ip: Annotated[tuple[str, ...], BeforeValidator(parse_node_ip)] = ()
    use_ice_lite: bool = False
    allow_tcp_fallback: bool = True
    data_channel_max_buffered_amount: Count = 0
    enable_loopback_candidate: bool = False
    stun_servers: tuple[str, ...] = ()
    packet_buffer_size_video: Annotated[int, Field(ge=16, le=16384)] = 500
    packet_buffer_size_audio: Annotated[int, Field(ge=16, le=16384)] = 200
    pli_throttle: PliThrottleConfig = PliThrottleConfig()
    datachannel_data_track_target_latency: Duration = 0.1
    reconnect_on_publication_error: bool = False
    reconnect_on_subscription_error: bool = False


DEFAULT_CODECS = tuple(
    CodecSpec(mime=mime)
    for mime in (
        "audio/PCMU",
        "audio/PCMA",
        "audio/opus",
        "audio/red",
        "video/VP8",
        "video/H264",
        "video/VP9",
        "video/AV1",
        "video/H265",
        "video/rtx",
    )
)


def parse_room_preset(value: object) -> object:
    """The fields of a ``RoomConfiguration``, as in a token's ``roomConfig``."""
    if not isinstance(value, dict):
        return value
    try:
        return json_format.ParseDict(value, room_pb.RoomConfiguration())
    except json_format.ParseError as error:
        raise ValueError(str(error).partition("\n")[0]) from error


RoomPreset = Annotated[room_pb.RoomConfiguration, BeforeValidator(parse_room_preset)]


class RoomConfig(Section):
    """Defaults of rooms."""

    auto_create: bool = True
    empty_timeout: Count = 300
    departure_timeout: Count = 20
    max_participants: Count = 0
    enabled_codecs: tuple[CodecSpec, ...] = DEFAULT_CODECS
    enable_remote_unmute: bool = False
    enable_full_room_in_webhooks: bool = False
    update_batch_target_size: Count = limits.UPDATE_CHUNK
    """Bytes at which an update about many participants is split."""
    room_configurations: dict[str, RoomPreset] = {}


class AudioConfig(Section):
    """Active-speaker detection."""

    active_level: Annotated[int, Field(ge=0, le=127)] = 35
    min_percentile: Annotated[int, Field(ge=0, le=100)] = 40
    update_interval: Annotated[int, Field(gt=0)] = 400
    smooth_intervals: Count = 2


class VideoConfig(Section):
    """What publishers are told to send."""

    dynacast_pause_delay: Duration = 5.0
    codec_regression_threshold: Count = 5


class LimitConfig(Section):
    """Limits, see :class:`lkpy.limits.Limits`."""

    num_tracks: Count = 0
    subscription_limit_video: Count = 0
    subscription_limit_audio: Count = 0
    max_metadata_size: Count = limits.DEFAULT_LIMITS.max_metadata_size
    max_attributes_size: Count = limits.DEFAULT_LIMITS.max_attributes_size
    max_room_name_length: Count = limits.DEFAULT_LIMITS.max_room_name_length
    max_participant_identity_length: Count = limits.DEFAULT_LIMITS.max_participant_identity_length
    max_participant_name_length: Count = limits.DEFAULT_LIMITS.max_participant_name_length
    signal_message_size_limit: Annotated[int, Field(gt=0)] = (
        limits.DEFAULT_LIMITS.signal_message_size_limit
    )
    max_data_blob_key_length: Count = limits.DEFAULT_LIMITS.max_data_blob_key_length
    max_data_blobs_size: Count = limits.DEFAULT_LIMITS.max_data_blobs_size
    max_data_track_custom_encoding_length: Count = (
        limits.DEFAULT_LIMITS.max_data_track_custom_encoding_length
    )
    max_api_request_body_size: Annotated[int, Field(gt=0)] = (
        limits.DEFAULT_LIMITS.max_api_request_body_size
    )

    def to_limits(self) -> limits.Limits:
        """The same values for the rest of the server."""
        return limits.Limits(**self.model_dump())


class SignalRelayConfig(Section):
    """``connect_attempts`` bounds how often a join is tried."""

    connect_attempts: Annotated[int, Field(gt=0)] = 3


def parse_url(value: str) -> str:
    """An absolute HTTP address."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an http:// or https:// URL")
    return value


class WebhookQueueConfig(Section):
    """Bounds of the events that wait for one URL and are about one room."""

    max_age: Annotated[Duration, Field(gt=0)] = limits.WEBHOOK_MAX_AGE_S
    max_depth: Annotated[int, Field(gt=0)] = limits.WEBHOOK_DEPTH


class WebhookFilterConfig(Section):
    """Names of events. Those included are sent, or else all but those excluded."""

    include_events: tuple[str, ...] = ()
    exclude_events: tuple[str, ...] = ()


class WebhookConfig(Section):
    """Who is told of rooms, participants and tracks; ``api_key`` names the key that signs."""

    urls: tuple[Annotated[str, AfterValidator(parse_url)], ...] = ()
    api_key: str = ""
    resource_url_notifier: WebhookQueueConfig = WebhookQueueConfig()
    filter_params: WebhookFilterConfig = WebhookFilterConfig()


class PrometheusConfig(Section):
    """A listener of its own, off while ``port`` is 0."""

    port: Port = 0
    username: str = ""
    password: str = ""


class DebugHandlerConfig(Section):
    """A listener of its own, off while ``port`` is 0."""

    port: Port = 0


class LoggingConfig(Section):
    """What goes to standard error."""

    level: Literal["debug", "info", "warn", "warning", "error"] | None = None
    json_format: bool = Field(default=False, alias="json")


class ServerConfig(Section):
    """The whole file."""

    port: Port = 7880
    bind_addresses: tuple[str, ...] = ()
    """Empty: every interface; in development loopback."""
    keys: dict[str, str] = {}
    key_file: str = ""
    development: bool = False
    region: str = ""
    enable_data_tracks: bool = True
    enable_participant_data_blob: bool = False
    rtc: RtcConfig = RtcConfig()
    room: RoomConfig = RoomConfig()
    audio: AudioConfig = AudioConfig()
    video: VideoConfig = VideoConfig()
    limit: LimitConfig = LimitConfig()
    signal_relay: SignalRelayConfig = SignalRelayConfig()
    webhook: WebhookConfig = WebhookConfig()
    prometheus: PrometheusConfig = PrometheusConfig()
    prometheus_port: Port = 0
    """LiveKit's older name of ``prometheus.port``."""
    debug_handler: DebugHandlerConfig = DebugHandlerConfig()
    logging: LoggingConfig = LoggingConfig()
