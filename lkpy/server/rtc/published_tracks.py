"""What a participant publishes: tracks asked for, tracks that have media, and how they meet. Pure.

Join step 12: an AddTrackRequest makes a pending track; the media section with its cid, or else the
first of its kind, makes it a published one. Either may come first (LiveKit
``pkg/rtc/participant.go``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from livekit.protocol import models, rtc

from lkpy.engine.api import MediaKind
from lkpy.limits import (
    MAX_CIDS,
    MAX_PENDING_TRACKS,
    MAX_QUEUED_TRACKS_PER_CID,
    MAX_RELEASED_TRACKS,
)
from lkpy.server.rtc.media_sections import MediaSectionTrack
from lkpy.server.rtc.media_track import MediaTrack, Source
from lkpy.server.rtc.track_info import mime_name, new_track_sid, requested_info, update_codecs

Reason = rtc.RequestResponse.Reason

_NAMELESS = "-"
"""``sdp_cid`` of a track whose section names no track id."""


@dataclass(slots=True)
class PendingTrack:
    """A track that was asked for and has no media section yet."""

    cid: str
    info: models.TrackInfo
    cids: set[str]
    sdp_cid: str = ""
    """The section that it was matched with, if that names the track otherwise than AddTrack did."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an AddTrackRequest was not taken."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Added:
    """An AddTrackRequest was taken; the client is told with ``track_published``."""

    cid: str
    info: models.TrackInfo


class PublishedTracks:
    """The pending and published tracks of one participant.

    ``may_publish`` says whether a source is allowed; ``enabled`` are the mime types that the room
    and the client have, in the room's order.
    """

    def __init__(
        self, enabled: tuple[str, ...], may_publish: Callable[[models.TrackSource], bool]
    ) -> None:
        self._enabled = tuple(mime_name(mime) for mime in enabled)
        self.may_publish = may_publish
        self._pending: list[PendingTrack] = []
        self._queued: dict[str, deque[PendingTrack]] = {}
        self._tracks: dict[str, MediaTrack] = {}
        self._released: deque[frozenset[str]] = deque(maxlen=MAX_RELEASED_TRACKS)
        """Names of tracks that made room for others: what comes under one is nobody else's."""

    def __iter__(self) -> Iterator[MediaTrack]:
        return iter(list(self._tracks.values()))

    def get(self, sid: str) -> MediaTrack | None:
        """A published track."""
        return self._tracks.get(sid)

    def unpublished(self, sid: str) -> list[models.TrackInfo]:
        """The descriptions of pending and queued tracks; a track that is queued behind one that
        is pending has its sid."""
        waiting = [*self._pending, *(p for queue in self._queued.values() for p in queue)]
        return [pending.info for pending in waiting if pending.info.sid == sid]

    def by_receiver(self, receiver: int) -> MediaTrack | None:
        """The track that a receiver of the engine belongs to."""
        for track in self._tracks.values():
            if any(source.receiver == receiver for source in track.sources):
                return track
        return None

    # -- AddTrack ---------------------------------------------------------------------------------

    def add(self, request: rtc.AddTrackRequest) -> Added | Refusal:
        """Take a request. A refusal with QUEUED is taken too, and comes up in :meth:`remove`."""
        if not self.may_publish(request.source):
            return Refusal(Reason.NOT_ALLOWED, "does not have permission to publish this source")
        if request.type not in (models.TrackType.AUDIO, models.TrackType.VIDEO):
            return Refusal(Reason.UNSUPPORTED_TYPE, "only audio and video tracks are published so")
        if request.sid:
            return self._add_codec(request)
        if self.is_full:
            message = (
                f"too many pending tracks, rejecting new track, numPendingTracks: {self.pending}"
            )
            return Refusal(Reason.LIMIT_EXCEEDED, message)
        names = _cids(request)
        again = [released for released in self._released if released & names]
        for released in again:
            self._released.remove(released)
        before = next((p for p in self._pending if p.cid == request.cid), None)
        sid = new_track_sid(request) if before is None else before.info.sid
        info = requested_info(request, self._enabled, sid)
        pending = PendingTrack(request.cid, info, names)
        if before is not None or any(request.cid in t.cids for t in self._tracks.values()):
            queue = self._queued.setdefault(request.cid, deque())
            waiting = len(queue) + (before is not None)
            if waiting >= MAX_QUEUED_TRACKS_PER_CID:
                message = "too many pending queued tracks, rejecting new track, "
                message += f"numPendingTracksQueued: {waiting}"
                return Refusal(Reason.LIMIT_EXCEEDED, message)
            queue.append(pending)
            return Refusal(Reason.QUEUED, "")
        return self._add(pending)

    @property
    def pending(self) -> int:
        """Names under which tracks wait, for media or for others to end."""
        return len({pending.cid for pending in self._pending} | self._queued.keys())

    @property
    def is_full(self) -> bool:
        """Whether no further track is taken."""
        return self.pending >= MAX_PENDING_TRACKS

    def release(self, sids: Collection[str]) -> list[str]:
        """Forget pending tracks, and what is queued behind them. Returns which there were."""
        released = [pending for pending in self._pending if pending.info.sid in sids]
        for pending in released:
            self._pending.remove(pending)
            self._queued.pop(pending.cid, None)
            self._released.append(frozenset(pending.cids | {pending.sdp_cid} - {"", _NAMELESS}))
        return [pending.info.sid for pending in released]

    def _add(self, pending: PendingTrack) -> Added:
        self._pending.append(pending)
        return Added(pending.cid, _copy(pending.info))

    def _add_codec(self, request: rtc.AddTrackRequest) -> Added | Refusal:
        track = self._tracks.get(request.sid)
        if track is None:
            return Refusal(Reason.NOT_FOUND, f"no published track {request.sid}")
        cids = track.cids | _cids(request)
        if len(cids) > MAX_CIDS:
            return Refusal(Reason.LIMIT_EXCEEDED, f"a track has at most {MAX_CIDS} cids")
        update_codecs(track.info, request.simulcast_codecs)
        track.cids = cids
        return Added(request.cid, _copy(track.info))

    # -- media sections ---------------------------------------------------------------------------

    def lookup(self, cid: str, kind: MediaKind) -> models.TrackInfo | None:
        """The track that a media section with ``cid`` carries. A pending track that no section
        names is given to the first section of its kind that names nothing known."""
        found = self._match(cid, kind)
        return None if found is None else found.info

    def _match(self, cid: str, kind: MediaKind) -> PendingTrack | MediaTrack | None:
        if cid:
            for track in self._tracks.values():
                if cid in track.cids:
                    return track
            for pending in self._pending:
                if cid in pending.cids or pending.sdp_cid == cid:
                    return pending
            if any(cid in released for released in self._released):
                return None
        wanted = models.TrackType.AUDIO if kind is MediaKind.AUDIO else models.TrackType.VIDEO
        for pending in self._pending:
            if pending.info.type == wanted and pending.sdp_cid in ("", cid or _NAMELESS):
                pending.sdp_cid = cid or _NAMELESS
                if cid and pending.info.codecs:
                    pending.info.codecs[0].sdp_cid = cid
                return pending
        return self._match_backup(cid, kind) if cid else None

    def _match_backup(self, cid: str, kind: MediaKind) -> MediaTrack | None:
        """A backup codec's section may name its track otherwise than AddTrack did, too."""
        for track in self._tracks.values():
            awaited = track.awaits_backup if track.kind is kind else None
            if awaited is not None:
                awaited.sdp_cid = cid
                track.cids.add(cid)
                return track
        return None

    def publish(
        self, section: MediaSectionTrack, receiver: Callable[[models.TrackInfo], int]
    ) -> tuple[MediaTrack, Source] | None:
        """Join a section with its track; ``receiver`` makes the engine's receiver for it. Returns
        the track and its source, or None while no AddTrackRequest fits."""
        match = self._match(section.cid, section.kind)
        if match is None:
            return None
        if isinstance(match, PendingTrack):
            self._pending.remove(match)
            match = MediaTrack(match.info, match.cids | {section.cid} - {""})
            self._tracks[match.sid] = match
        return match, match.begin(section, receiver(match.info))

    def section_closed(self, mid: str) -> MediaTrack | None:
        """A section's sender went away. Returns its track, which may have other sources."""
        return next((t for t in self._tracks.values() if t.section_closed(mid)), None)

    def remove(self, sid: str) -> list[Added]:
        """Forget a published track. Returns what was queued behind its cid and is pending now."""
        track = self._tracks.pop(sid, None)
        added: list[Added] = []
        for cid in track.cids if track is not None else ():
            queue = self._queued.get(cid)
            if queue:
                added.append(self._add(queue.popleft()))
                if not queue:
                    del self._queued[cid]
        return added


def _cids(request: rtc.AddTrackRequest) -> set[str]:
    return {cid for cid in (request.cid, *(c.cid for c in request.simulcast_codecs)) if cid}


def _copy(info: models.TrackInfo) -> models.TrackInfo:
    copy = models.TrackInfo()
    copy.CopyFrom(info)
    return copy
