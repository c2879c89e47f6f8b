"""What a token allows: LiveKit's claims as frozen dataclasses.

Names are the snake_case forms of the JSON claims of protocol ``auth/grants.go``. Three of a video
grant's booleans mean *true* when absent, so they are ``bool | None`` and are read through methods.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, TypeVar, cast

from google.protobuf import json_format
from livekit.protocol import models, room

from lkpy.errors import Code, LkpyError

_T = TypeVar("_T")


class GrantsError(LkpyError):
    """A claim has the wrong type; the message names it."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.UNAUTHENTICATED, message)


@functools.cache
def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _typed(claims: Mapping[str, Any], key: str, kind: type[_T], default: _T) -> _T:
    value = claims.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise GrantsError(f"claim {key!r} must be {kind.__name__}, not {type(value).__name__}")
    return value


def _strings(claims: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = _typed(claims, key, list, [])
    if not all(isinstance(value, str) for value in values):
        raise GrantsError(f"claim {key!r} must be a list of strings")
    return tuple(values)


def _optional_object(claims: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    if claims.get(key) is None:
        return None
    return _typed(claims, key, dict, {})


@dataclass(frozen=True, slots=True)
class VideoGrant:
    """The ``video`` claim."""

    room_create: bool = False
    room_list: bool = False
    room_record: bool = False
    room_admin: bool = False
    room_join: bool = False
    room: str = ""
    can_publish: bool | None = None
    can_subscribe: bool | None = None
    can_publish_data: bool | None = None
    can_publish_sources: tuple[str, ...] = ()
    """Lower-case ``TrackSource`` names; empty means every source."""
    can_update_own_metadata: bool | None = None
    ingress_admin: bool = False
    hidden: bool = False
    recorder: bool = False
    agent: bool = False
    can_subscribe_metrics: bool | None = None
    can_manage_agent_session: bool | None = None
    destination_room: str = ""

    def get_can_publish(self) -> bool:
        """Unset means yes."""
        return self.can_publish is not False

    def get_can_subscribe(self) -> bool:
        """Unset means yes."""
        return self.can_subscribe is not False

    def get_can_publish_data(self) -> bool:
        """Unset means the same as :meth:`get_can_publish`."""
        return self.get_can_publish() if self.can_publish_data is None else self.can_publish_data

    def get_can_publish_sources(self) -> list[models.TrackSource]:
        """The sources allowed by name; empty means every source. Unknown names are ``UNKNOWN``."""
        known = models.TrackSource.keys()
        names = (name.upper() for name in self.can_publish_sources)
        values = [models.TrackSource.Value(name if name in known else "UNKNOWN") for name in names]
        return cast("list[models.TrackSource]", values)

    def get_can_update_own_metadata(self) -> bool:
        """Unset means no."""
        return self.can_update_own_metadata is True

    def get_can_subscribe_metrics(self) -> bool:
        """Unset means no."""
        return self.can_subscribe_metrics is True

    def get_can_manage_agent_session(self) -> bool:
        """Unset means no."""
        return self.can_manage_agent_session is True

    def to_permission(self) -> models.ParticipantPermission:
        """The permission that other participants see."""
        return models.ParticipantPermission(
            can_subscribe=self.get_can_subscribe(),
            can_publish=self.get_can_publish(),
            can_publish_data=self.get_can_publish_data(),
            can_publish_sources=self.get_can_publish_sources(),
            hidden=self.hidden,
            recorder=self.recorder,
            can_update_metadata=self.get_can_update_own_metadata(),
            agent=self.agent,
            can_subscribe_metrics=self.get_can_subscribe_metrics(),
            can_manage_agent_session=self.get_can_manage_agent_session(),
        )

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Self:
        """Read the JSON object; unknown keys are ignored, wrong types refused."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            key = _camel(item.name)
            if claims.get(key) is None:
                continue
            if item.name == "can_publish_sources":
                values[item.name] = _strings(claims, key)
            elif item.name in ("room", "destination_room"):
                values[item.name] = _typed(claims, key, str, "")
            else:
                values[item.name] = _typed(claims, key, bool, False)
        return cls(**values)

    def to_claims(self) -> dict[str, Any]:
        """The JSON object, with what is zero or unset left out."""
        claims: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            optional = item.default is None
            if value is None or (not optional and not value):
                continue
            claims[_camel(item.name)] = list(value) if isinstance(value, tuple) else value
        return claims


@dataclass(frozen=True, slots=True)
class SipGrant:
    """The ``sip`` claim: ``admin`` manages trunks and rules, ``call`` makes calls."""

    admin: bool = False
    call: bool = False

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Self:
        """Read the JSON object."""
        return cls(_typed(claims, "admin", bool, False), _typed(claims, "call", bool, False))

    def to_claims(self) -> dict[str, Any]:
        """The JSON object, with what is false left out."""
        return {key: True for key, value in (("admin", self.admin), ("call", self.call)) if value}


@dataclass(frozen=True, slots=True)
class Grants:
    """All claims of one token. Times are Unix seconds, 0 when absent."""

    identity: str = ""
    name: str = ""
    kind: str = ""
    """Lower-case ``ParticipantInfo.Kind``; empty and unknown mean standard."""
    kind_details: tuple[str, ...] = ()
    video: VideoGrant | None = None
    sip: SipGrant | None = None
    agent: Mapping[str, Any] | None = None
    inference: Mapping[str, Any] | None = None
    observability: Mapping[str, Any] | None = None
    room_config: room.RoomConfiguration | None = None
    room_preset: str = ""
    sha256: str = ""
    stats: bool = False
    """lkpy's own (``"lkpy": {"stats": true}``): statistics of the whole server, which LiveKit has
    no grant for. Other servers pass it over."""
    metadata: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    not_before: float = 0.0
    expires_at: float = 0.0

    def participant_kind(self) -> models.ParticipantInfo.Kind:
        """The kind as LiveKit's enum."""
        known = models.ParticipantInfo.Kind.keys()
        name = self.kind.upper()
        value = models.ParticipantInfo.Kind.Value(name if name in known else "STANDARD")
        return cast("models.ParticipantInfo.Kind", value)

    def participant_kind_details(self) -> list[models.ParticipantInfo.KindDetail]:
        """The kind details as LiveKit's enum; unknown names are left out."""
        if not self.kind_details:
            return []
        known = models.ParticipantInfo.KindDetail.keys()
        names = (name.upper() for name in self.kind_details)
        values = [models.ParticipantInfo.KindDetail.Value(name) for name in names if name in known]
        return cast("list[models.ParticipantInfo.KindDetail]", values)

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Self:
        """Read a token's claims. The identity is ``sub``, or ``jti`` in legacy tokens; an
        ``identity`` claim is ignored, as in LiveKit."""
        video = _optional_object(claims, "video")
        sip = _optional_object(claims, "sip")
        attributes = _typed(claims, "attributes", dict, {})
        if not all(isinstance(value, str | None) for value in attributes.values()):
            raise GrantsError("claim 'attributes' must map strings to strings")
        return cls(
            identity=_typed(claims, "sub", str, "") or _typed(claims, "jti", str, ""),
            name=_typed(claims, "name", str, ""),
            kind=_typed(claims, "kind", str, ""),
            kind_details=_strings(claims, "kindDetails"),
            video=None if video is None else VideoGrant.from_claims(video),
            sip=None if sip is None else SipGrant.from_claims(sip),
            agent=_optional_object(claims, "agent"),
            inference=_optional_object(claims, "inference"),
            observability=_optional_object(claims, "observability"),
            room_config=_room_config(_optional_object(claims, "roomConfig")),
            room_preset=_typed(claims, "roomPreset", str, ""),
            sha256=_typed(claims, "sha256", str, ""),
            stats=_typed(_typed(claims, "lkpy", dict, {}), "stats", bool, False),
            metadata=_typed(claims, "metadata", str, ""),
            attributes={key: value or "" for key, value in attributes.items()},
            not_before=numeric_date(claims, "nbf"),
            expires_at=numeric_date(claims, "exp"),
        )

    def to_claims(self) -> dict[str, Any]:
        """LiveKit's part of the claims; the registered ones are added by ``token.mint``."""
        claims: dict[str, Any] = {
            "identity": self.identity,
            "name": self.name,
            "kind": self.kind,
            "kindDetails": list(self.kind_details),
            "agent": self.agent,
            "inference": self.inference,
            "observability": self.observability,
            "roomPreset": self.room_preset,
            "sha256": self.sha256,
            "lkpy": {"stats": True} if self.stats else None,
            "metadata": self.metadata,
            "attributes": dict(self.attributes),
        }
        claims = {key: value for key, value in claims.items() if value}
        if self.video is not None:
            claims["video"] = self.video.to_claims()
        if self.sip is not None:
            claims["sip"] = self.sip.to_claims()
        if self.room_config is not None:
            claims["roomConfig"] = json_format.MessageToDict(self.room_config)
        return claims

    def with_video(self, **changes: Any) -> Self:  # noqa: ANN401 - dataclasses.replace's signature
        """A copy with fields of the video grant replaced."""
        return replace(self, video=replace(self.video or VideoGrant(), **changes))


def numeric_date(claims: Mapping[str, Any], key: str) -> float:
    """A time in Unix seconds, 0 when absent; LiveKit also reads one written as text."""
    value = claims.get(key)
    if value is None:
        return 0.0
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise GrantsError(f"claim {key!r} must be a number of seconds")
    return seconds


def _room_config(claims: Mapping[str, Any] | None) -> room.RoomConfiguration | None:
    if claims is None:
        return None
    try:
        return json_format.ParseDict(
            dict(claims), room.RoomConfiguration(), ignore_unknown_fields=True
        )
    except json_format.ParseError as error:
        raise GrantsError(f"claim 'roomConfig' is not a RoomConfiguration: {error}") from error
