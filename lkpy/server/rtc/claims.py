"""What a participant is and may do: its token's grants, as changed since. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from livekit.protocol import models, rtc

from lkpy.auth.grants import Grants
from lkpy.limits import Limits, attributes_size

Kind = models.ParticipantInfo.Kind
Reason = rtc.RequestResponse.Reason


def source_names(sources: Iterable[models.TrackSource]) -> tuple[str, ...]:
    """Track sources as a token names them; one that is not known is ``unknown``."""
    known = models.TrackSource.values()
    return tuple(
        models.TrackSource.Name(source if source in known else models.TrackSource.UNKNOWN).lower()
        for source in sources
    )


@dataclass(slots=True)
class Claims:
    """Read from the join token; only the room's task changes them."""

    grants: Grants
    name: str
    metadata: str = field(init=False)
    attributes: dict[str, str] = field(init=False)
    permission: models.ParticipantPermission = field(init=False)
    kind: models.ParticipantInfo.Kind = field(init=False)
    is_agent: bool = field(init=False)
    """It may speak for others."""
    is_recorder: bool = field(init=False)
    """It records, so the room is being recorded."""
    is_dependent: bool = field(init=False)
    """It is there for others: the room does not stay open for it and does not count it."""

    def __post_init__(self) -> None:
        self.name = self.name or self.grants.name
        self.metadata = self.grants.metadata
        self.attributes = dict(self.grants.attributes)
        self.kind = self.grants.participant_kind()
        self._derive()

    def _derive(self) -> None:
        """What follows from the video grant. A room asks everybody whenever somebody comes or
        goes, so it is not worked out each time."""
        video = self.grants.video
        self.permission = models.ParticipantPermission() if video is None else video.to_permission()
        self.is_agent = self.kind == Kind.AGENT or self.permission.agent
        self.is_recorder = self.kind == Kind.EGRESS or self.permission.recorder
        self.is_dependent = (
            self.kind in (Kind.AGENT, Kind.EGRESS)
            or self.permission.agent
            or self.permission.recorder
        )

    @property
    def described(self) -> tuple[str, str, dict[str, str]]:
        """Name, metadata and attributes."""
        return self.name, self.metadata, self.attributes

    def may_publish(self, source: models.TrackSource) -> bool:
        """Whether the permission covers ``source``."""
        sources = self.permission.can_publish_sources
        return self.permission.can_publish and (not sources or source in sources)

    def set_permission(self, permission: models.ParticipantPermission) -> bool:
        """Replace every permission; False: they were the same. The rest of the video grant (the
        room, for one) stays."""
        if permission == self.permission:
            return False
        self.grants = self.grants.with_video(
            can_subscribe=permission.can_subscribe,
            can_publish=permission.can_publish,
            can_publish_data=permission.can_publish_data,
            can_publish_sources=source_names(permission.can_publish_sources),
            hidden=permission.hidden,
            recorder=permission.recorder,
            can_update_own_metadata=permission.can_update_metadata,
            agent=permission.agent,
            can_subscribe_metrics=permission.can_subscribe_metrics,
            can_manage_agent_session=permission.can_manage_agent_session,
        )
        self._derive()
        return True

    def update_metadata(
        self,
        request: rtc.UpdateParticipantMetadata,
        limits: Limits,
        *,
        from_admin: bool = False,
    ) -> tuple[Reason, str]:
        """Apply a change of the metadata. Values that are not empty are set, attributes are merged
        and deleted by an empty value. Returns the reason to answer.

        LiveKit measures the attributes of the request alone; here it is all that result, so that
        many small requests cannot make a participant of any size."""
        if not (from_admin or self.permission.can_update_metadata):
            return Reason.NOT_ALLOWED, "does not have permission to update own metadata"
        if len(request.name.encode()) > limits.max_participant_name_length > 0:
            return Reason.LIMIT_EXCEEDED, "exceeds name length limit"
        if len(request.metadata.encode()) > limits.max_metadata_size > 0:
            return Reason.LIMIT_EXCEEDED, "exceeds metadata size limit"
        merged = {**self.attributes, **request.attributes}
        attributes = {key: value for key, value in merged.items() if value}
        if attributes_size(attributes) > limits.max_attributes_size > 0:
            return Reason.LIMIT_EXCEEDED, "exceeds attributes size limit"
        self.name = request.name or self.name
        self.metadata = request.metadata or self.metadata
        self.attributes = attributes
        return Reason.OK, ""

    def is_told(
        self,
        before: tuple[str, str, dict[str, str]],
        request: rtc.UpdateParticipantMetadata,
    ) -> bool:
        """Whether others hear of a request that was applied to what :attr:`described` was: of a
        name or metadata when they are different ones, of attributes always (livekit-server
        ``pkg/rtc/participant.go`` SetName, SetMetadata, SetAttributes)."""
        return self.described != before or bool(request.attributes)

    def current_grants(self) -> Grants:
        """What a refreshed token says."""
        return replace(
            self.grants,
            name=self.name,
            metadata=self.metadata,
            attributes=dict(self.attributes),
        )
