"""What a participant is and may do: its token's grants, as changed since. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from livekit.protocol import models, rtc

from lkpy.auth.grants import Grants
from lkpy.limits import Limits

Kind = models.ParticipantInfo.Kind
Reason = rtc.RequestResponse.Reason


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
        video = self.grants.video
        self.permission = models.ParticipantPermission() if video is None else video.to_permission()
        self.kind = self.grants.participant_kind()
        # A room asks everybody for these whenever somebody comes or goes.
        self.is_agent = self.kind == Kind.AGENT or self.permission.agent
        self.is_recorder = self.kind == Kind.EGRESS or self.permission.recorder
        self.is_dependent = self.is_agent or self.is_recorder

    def may_publish(self, source: models.TrackSource) -> bool:
        """Whether the permission covers ``source``."""
        sources = self.permission.can_publish_sources
        return self.permission.can_publish and (not sources or source in sources)

    def update_metadata(
        self, request: rtc.UpdateParticipantMetadata, limits: Limits
    ) -> tuple[Reason, str]:
        """Apply a participant's change of its own metadata. Values that are not empty are set,
        attributes are merged and deleted by an empty value. Returns the reason to answer."""
        if not self.permission.can_update_metadata:
            return Reason.NOT_ALLOWED, "does not have permission to update own metadata"
        if len(request.name.encode()) > limits.max_participant_name_length > 0:
            return Reason.LIMIT_EXCEEDED, "exceeds name length limit"
        if len(request.metadata.encode()) > limits.max_metadata_size > 0:
            return Reason.LIMIT_EXCEEDED, "exceeds metadata size limit"
        merged = {**self.attributes, **request.attributes}
        attributes = {key: value for key, value in merged.items() if value}
        size = sum(len(k.encode()) + len(v.encode()) for k, v in attributes.items())
        if size > limits.max_attributes_size > 0:
            return Reason.LIMIT_EXCEEDED, "exceeds attributes size limit"
        self.name = request.name or self.name
        self.metadata = request.metadata or self.metadata
        self.attributes = attributes
        return Reason.OK, ""

    def current_grants(self) -> Grants:
        """What a refreshed token says."""
        return replace(
            self.grants,
            name=self.name,
            metadata=self.metadata,
            attributes=dict(self.attributes),
        )
