"""What a participant is sent, message by message, with the gates of its protocol version."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable

from livekit.protocol import models, rtc

from lkpy.errors import LkpyError
from lkpy.server.rtc.session import MessageSink

logger = logging.getLogger(__name__)

_SPEAKERS_CHANGED = 3
_TRACK_UNPUBLISHED = 7
_LEAVE_ACTION = 13
_REQUEST_RESPONSE_OK = 15
_RUST_NEWER_MESSAGES = 10
"""Protocol versions from which a message exists (``pkg/rtc/types/protocol_version.go``)."""

Action = rtc.LeaveRequest.Action


def leave(
    client: models.ClientInfo, reason: models.DisconnectReason, action: rtc.LeaveRequest.Action
) -> rtc.SignalResponse:
    """A leave message in the form that the client's protocol has."""
    request = rtc.LeaveRequest(reason=reason)
    if client.protocol >= _LEAVE_ACTION:
        request.action = action
    else:
        request.can_reconnect = action == Action.RECONNECT
    return rtc.SignalResponse(leave=request)


def speakers_changed(speakers: Iterable[models.SpeakerInfo]) -> rtc.SignalResponse:
    """Changes of who speaks, for all who are to hear the same."""
    return rtc.SignalResponse(speakers_changed=rtc.SpeakersChanged(speakers=speakers))


def refuse_resume(sink: MessageSink, client: models.ClientInfo) -> None:
    """Tell a client that what it wants to resume is not here: it has to join afresh."""
    with contextlib.suppress(LkpyError):
        sink.write(leave(client, models.DisconnectReason.STATE_MISMATCH, Action.RECONNECT))
    sink.close("resume refused")


def knows_newer_messages(client: models.ClientInfo) -> bool:
    """Early Rust clients fail on messages that they do not know."""
    return client.sdk != models.ClientInfo.RUST or client.protocol >= _RUST_NEWER_MESSAGES


class SignalSender:
    """One participant's sink. Nothing but the first response is sent before :meth:`open`: what
    happens before it is in that response."""

    def __init__(self, sink: MessageSink, client: models.ClientInfo) -> None:
        self._sink = sink
        self._client = client
        self._open = False

    @property
    def closed(self) -> bool:
        """Whether the signal connection is gone."""
        return self._sink.closed

    def open(self, first: rtc.SignalResponse) -> None:
        """Send the first response and let the others follow."""
        self._open = True
        self.send(first)

    def send(self, response: rtc.SignalResponse) -> None:
        """Queue a response. A connection that cannot take it is closed by the sink itself."""
        if self._open and not self._sink.closed:
            with contextlib.suppress(LkpyError):
                self._sink.write(response)

    def close(self, reason: str) -> None:
        """End the signal connection after what is queued."""
        self._sink.close(reason)

    def swap(self, sink: MessageSink) -> None:
        """The client has another signal connection: the one before ends."""
        self._sink.close("resumed on another connection")
        self._sink = sink

    def leave(self, reason: models.DisconnectReason, action: rtc.LeaveRequest.Action) -> None:
        """Tell the client to go, to resume or to join afresh. Clients that do not know actions
        resume by themselves when the signal connection ends."""
        if action != Action.RESUME or self._client.protocol >= _LEAVE_ACTION:
            self.send(leave(self._client, reason, action))

    def speakers(self, changes: rtc.SignalResponse) -> None:
        """Changes of who speaks, as :func:`speakers_changed` makes them."""
        if self._client.protocol >= _SPEAKERS_CHANGED:
            self.send(changes)

    def track_unpublished(self, sid: str) -> None:
        """The server unpublished a track; older clients are told to mute it."""
        if self._client.protocol >= _TRACK_UNPUBLISHED:
            unpublished = rtc.TrackUnpublishedResponse(track_sid=sid)
            self.send(rtc.SignalResponse(track_unpublished=unpublished))
        else:
            self.mute(sid, muted=True)

    def mute(self, sid: str, *, muted: bool) -> None:
        """The server muted or unmuted a track."""
        self.send(rtc.SignalResponse(mute=rtc.MuteTrackRequest(sid=sid, muted=muted)))

    def request_response(self, response: rtc.RequestResponse) -> None:
        """The outcome of a request."""
        ok = response.reason == rtc.RequestResponse.Reason.OK
        protocol = self._client.protocol
        if ok and protocol < _REQUEST_RESPONSE_OK:
            return
        if knows_newer_messages(self._client):
            self.send(rtc.SignalResponse(request_response=response))

    def track_subscribed(self, sid: str) -> None:
        """Somebody receives a track of this participant."""
        if knows_newer_messages(self._client):
            self.send(rtc.SignalResponse(track_subscribed=rtc.TrackSubscribed(track_sid=sid)))
