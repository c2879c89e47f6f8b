"""The down tracks of one peer connection: waiting for a media section, bound to one, removed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from lkpy.engine.api import (
    CloseDownTrack,
    CreateDownTrack,
    MediaKind,
    RenegotiateDownTrack,
    RtpCodec,
    UpdateDownTrack,
)
from lkpy.sdp import Codec, HeaderExtension
from lkpy.server.rtc.codecs import add_red, codecs_for_source, engine_codecs, red_first
from lkpy.server.rtc.direction_config import engine_extensions
from lkpy.server.rtc.ice_dtls import EngineLink
from lkpy.server.rtc.media_sections import DownTrackHandle, Section
from lkpy.server.rtc.options import PlayoutDelay


class DownTracks:
    """Which down tracks exist and which still have no media section, oldest first."""

    def __init__(
        self,
        engine: EngineLink,
        transport: int,
        used_extensions: dict[MediaKind, tuple[str, ...]],
        *,
        active_red: bool,
        playout_delay: PlayoutDelay | None,
    ) -> None:
        self._engine = engine
        self._transport = transport
        self._used_extensions = used_extensions
        self._active_red = active_red
        self._playout_delay = playout_delay
        self._waiting: list[DownTrackHandle] = []
        self._ssrcs: set[int] = set()

    def add(
        self,
        *,
        receivers: Mapping[str, int],
        kind: MediaKind,
        track_sid: str,
        stream_id: str,
        codecs: tuple[RtpCodec, ...],
        stereo: bool = False,
        red: bool = False,
        encrypted: bool = False,
        strip_trailer: bool = False,
        max_spatial: int = 2,
        max_temporal: int = 3,
        muted: bool = False,
    ) -> DownTrackHandle:
        """Make a down track of a published track. It waits for a media section.

        ``codecs`` are the publisher's, the preferred one first, ``receivers`` the engine's by mime
        type; ``stream_id`` is ``PA_x|TR_y``. ``red``: the track may be sent as RED.
        """
        handle = DownTrackHandle(
            id=self._engine.new_id(),
            receivers=receivers,
            kind=kind,
            track_sid=track_sid,
            stream_id=stream_id,
            source_codecs=codecs,
            ssrc=self._new_ssrc(),
            rtx_ssrc=self._new_ssrc() if kind is MediaKind.VIDEO else None,
            stereo=stereo,
            red=red,
            translate_red=kind is MediaKind.AUDIO and not encrypted,
            make_red=self._active_red and red and not encrypted,
            strip_trailer=strip_trailer,
            max_spatial=max_spatial,
            max_temporal=max_temporal,
            muted=muted,
        )
        self._waiting.append(handle)
        return handle

    def _new_ssrc(self) -> int:
        while True:
            ssrc = secrets.randbits(32)
            if ssrc and ssrc not in self._ssrcs:
                self._ssrcs.add(ssrc)
                return ssrc

    def waiting(self, kind: MediaKind) -> int:
        """How many of ``kind`` have no media section."""
        return sum(handle.kind is kind for handle in self._waiting)

    def next_waiting(self, kind: MediaKind) -> DownTrackHandle | None:
        """Take the oldest of ``kind`` that has no media section."""
        for handle in self._waiting:
            if handle.kind is kind:
                self._waiting.remove(handle)
                return handle
        return None

    def place(self, handle: DownTrackHandle, section: Section) -> None:
        """Give ``handle`` the section; it is bound when that is negotiated."""
        section.sender = handle
        handle.mid = section.mid

    def displace(self, section: Section) -> None:
        """The section went away under its down track, which waits for another."""
        handle = section.sender
        section.sender = None
        if handle is not None and not handle.removed:
            # Its numbers would begin again under its ssrc.
            self.renew(handle)
            handle.mid = ""
            self._waiting.append(handle)

    def source_codecs(
        self, handle: DownTrackHandle, negotiated: tuple[Codec, ...]
    ) -> tuple[RtpCodec, ...]:
        """Of the negotiated codecs those that the publisher sends."""
        subscriber = engine_codecs(handle.kind, negotiated)
        chosen = codecs_for_source(handle.source_codecs, subscriber)
        return add_red(chosen, subscriber) if handle.make_red else chosen

    def bind(
        self,
        handle: DownTrackHandle,
        codecs: tuple[RtpCodec, ...],
        extensions: tuple[HeaderExtension, ...],
    ) -> None:
        """The section is negotiated: forward into it, at once if its codec is published."""
        handle.bound = True
        handle.codecs = codecs
        handle.mime_type = codecs[0].mime_type
        used = self._used_extensions[handle.kind]
        handle.header_extensions = engine_extensions(extensions, used)
        self._forward(handle)

    def goes_on(self, handle: DownTrackHandle, codecs: tuple[RtpCodec, ...]) -> bool:
        """Whether what a bound down track is sent in is among ``codecs``."""
        return any(codec.mime_type == handle.mime_type for codec in codecs)

    def renegotiate(
        self,
        handle: DownTrackHandle,
        codecs: tuple[RtpCodec, ...],
        extensions: tuple[HeaderExtension, ...],
    ) -> None:
        """The section of a bound down track is described anew: it goes on with these numbers."""
        used = engine_extensions(extensions, self._used_extensions[handle.kind])
        if (codecs, used) == (handle.codecs, handle.header_extensions):
            return
        handle.codecs, handle.header_extensions = codecs, used
        if handle.forwarding:
            ordered = red_first(codecs) if handle.make_red else codecs
            self._engine.submit(RenegotiateDownTrack(handle.id, ordered, used))

    def pause(self, handle: DownTrackHandle, paused: bool) -> None:
        """The client does not receive in the section for now (RFC 3264 8.4), or does again."""
        if handle.paused is not paused:
            handle.paused = paused
            self._update(handle)

    def _forward(self, handle: DownTrackHandle) -> None:
        receiver = handle.receivers.get(handle.mime_type)
        if receiver is None:
            return
        handle.forwarding = True
        has_rtx = any(codec.rtx_payload_type is not None for codec in handle.codecs)
        delay = self._playout_delay if handle.kind is MediaKind.VIDEO else None
        self._engine.submit(
            CreateDownTrack(
                down_track=handle.id,
                transport=self._transport,
                receiver=receiver,
                mid=handle.mid,
                ssrc=handle.ssrc,
                rtx_ssrc=handle.rtx_ssrc if has_rtx else None,
                cname=handle.stream_id,
                codecs=red_first(handle.codecs) if handle.make_red else handle.codecs,
                header_extensions=handle.header_extensions,
                max_spatial=handle.max_spatial,
                max_temporal=handle.max_temporal,
                muted=handle.muted or handle.paused,
                translate_red=handle.translate_red,
                playout_delay=None if delay is None else (delay.min_ms, delay.max_ms),
                strip_trailer=handle.strip_trailer,
            )
        )

    def published(
        self, handle: DownTrackHandle, codecs: tuple[RtpCodec, ...], receivers: Mapping[str, int]
    ) -> bool:
        """The publisher's codecs or receivers changed. Returns whether the down track begins to
        forward now."""
        handle.source_codecs, handle.receivers = codecs, receivers
        if handle.bound and not handle.forwarding:
            self._forward(handle)
            return handle.forwarding
        return False

    def renew(self, handle: DownTrackHandle) -> None:
        """Negotiate the down track once more in its section, for another of its codecs. Its SSRCs
        change, because another encoder's packets follow."""
        self._unbind(handle)
        self._ssrcs -= {handle.ssrc, handle.rtx_ssrc}
        handle.id = self._engine.new_id()
        handle.ssrc = self._new_ssrc()
        handle.rtx_ssrc = self._new_ssrc() if handle.kind is MediaKind.VIDEO else None

    def reject(self, handle: DownTrackHandle) -> None:
        """The client can decode nothing of it; it stays out until removed."""
        handle.unsupported = True
        handle.mid = ""
        self._unbind(handle)

    def update(
        self, handle: DownTrackHandle, *, max_spatial: int, max_temporal: int, muted: bool
    ) -> None:
        """Change what may be sent, now or once bound."""
        handle.max_spatial, handle.max_temporal, handle.muted = max_spatial, max_temporal, muted
        self._update(handle)

    def _update(self, handle: DownTrackHandle) -> None:
        if handle.forwarding:
            muted = handle.muted or handle.paused
            self._engine.submit(
                UpdateDownTrack(handle.id, handle.max_spatial, handle.max_temporal, muted)
            )

    def remove(self, handle: DownTrackHandle) -> None:
        """Stop and forget it. Idempotent. Its section learns so with the next description."""
        if handle.removed:
            return
        handle.removed = True
        self._unbind(handle)
        self._ssrcs -= {handle.ssrc, handle.rtx_ssrc}
        if handle in self._waiting:
            self._waiting.remove(handle)

    def _unbind(self, handle: DownTrackHandle) -> None:
        handle.bound = handle.paused = False
        handle.mime_type = ""
        if handle.forwarding:
            handle.forwarding = False
            self._engine.release(CloseDownTrack(handle.id))
