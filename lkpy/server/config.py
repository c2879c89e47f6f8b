"""The server's configuration: LiveKit's ``livekit.yaml``, environment and flags.

Only keys with an effect are fields here; :mod:`lkpy.server.config_keys` lists the others.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from google.protobuf import json_format
from livekit.protocol import room as room_pb
from pydantic import AfterValidator, BeforeValidator, Field

from lkpy import limits
from lkpy.server.config_rtc import RtcConfig
from lkpy.server.config_types import (
    Count,
    Duration,
    Limit,
    Port,
    PortRange,
    Section,
    parse_duration,
)

__all__ = ["PortRange", "RtcConfig", "ServerConfig", "parse_duration"]


class CodecSpec(Section):
    """A codec that rooms offer."""

    mime: str
    fmtp_line: str = ""


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


class PlayoutDelayConfig(Section):
    """How long subscribers hold video back."""

    enabled: bool = False
    min: Count = 0
    """ms."""
    max: Count = 0
    """ms; 0: 10 s if there is a minimum."""


class RoomConfig(Section):
    """Defaults of rooms."""

    auto_create: bool = True
    empty_timeout: Count = 300
    departure_timeout: Count = 20
    max_participants: Count = 0
    enabled_codecs: tuple[CodecSpec, ...] = DEFAULT_CODECS
    enable_remote_unmute: bool = False
    sync_streams: bool = False
    """Subscribers get tracks of one participant that belong together as one stream, in step."""
    playout_delay: PlayoutDelayConfig = PlayoutDelayConfig()
    enable_full_room_in_webhooks: bool = False
    update_batch_target_size: Count = limits.UPDATE_CHUNK
    """Bytes at which an update about many participants is split."""
    max_metadata_size: Count = 0
    max_room_name_length: Count = 0
    max_participant_identity_length: Count = 0
    """LiveKit's older places of three limits, which win over ``limit`` when they are not 0."""
    room_configurations: dict[str, RoomPreset] = Field(default_factory=dict)


class AudioConfig(Section):
    """Active-speaker detection and redundancy."""

    active_level: Annotated[int, Field(ge=0, le=127)] = 35
    min_percentile: Annotated[int, Field(ge=0, le=100)] = 40
    update_interval: Annotated[int, Field(gt=0)] = 400
    smooth_intervals: Count = 2
    active_red_encoding: bool = False


class VideoConfig(Section):
    """What publishers are told to send."""

    dynacast_pause_delay: Duration = 5.0
    codec_regression_threshold: Count = 5


class ApiConfig(Section):
    """How the server API finds things out."""

    enable_psrpc_for_get_list_participants: bool = False
    """Participants are asked of their room: a room that is not there is ``unavailable`` then, and
    not just empty."""


class LimitConfig(Section):
    """Limits, see :class:`lkpy.limits.Limits`."""

    num_tracks: Limit = 0
    bytes_per_sec: Annotated[float, AfterValidator(lambda value: max(0.0, value))] = 0.0
    subscription_limit_video: Limit = 0
    subscription_limit_audio: Limit = 0
    max_metadata_size: Count = limits.DEFAULT_LIMITS.max_metadata_size
    max_attributes_size: Count = limits.DEFAULT_LIMITS.max_attributes_size
    max_room_name_length: Count = limits.DEFAULT_LIMITS.max_room_name_length
    max_participant_identity_length: Count = limits.DEFAULT_LIMITS.max_participant_identity_length
    max_participant_name_length: Count = limits.DEFAULT_LIMITS.max_participant_name_length
    signal_message_size_limit: Annotated[int, Field(gt=0)] = (
        limits.DEFAULT_LIMITS.signal_message_size_limit
    )
    agent_signal_message_size_limit: Annotated[int, Field(gt=0)] = (
        limits.DEFAULT_LIMITS.agent_signal_message_size_limit
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


class AgentsConfig(Section):
    """Which workers get jobs, and what agents are told of every job."""

    enable_user_data_recording: bool = False
    enable_user_data_redaction: bool = False
    target_load: Annotated[float, Field(gt=0)] = 0.7
    """A kind of workers is given no jobs while each has this load or more."""


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
    keys: dict[str, str] = Field(default_factory=dict)
    key_file: str = ""
    development: bool = False
    log_level: str = ""
    """LiveKit's older name of ``logging.level``, which it wins over."""
    region: str = ""
    enable_data_tracks: bool = True
    enable_participant_data_blob: bool = False
    rtc: RtcConfig = RtcConfig()
    room: RoomConfig = RoomConfig()
    audio: AudioConfig = AudioConfig()
    video: VideoConfig = VideoConfig()
    api: ApiConfig = ApiConfig()
    limit: LimitConfig = LimitConfig()
    agents: AgentsConfig = AgentsConfig()
    signal_relay: SignalRelayConfig = SignalRelayConfig()
    webhook: WebhookConfig = WebhookConfig()
    prometheus: PrometheusConfig = PrometheusConfig()
    prometheus_port: Port = 0
    """LiveKit's older name of ``prometheus.port``."""
    debug_handler: DebugHandlerConfig = DebugHandlerConfig()
    logging: LoggingConfig = LoggingConfig()
