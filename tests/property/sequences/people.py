"""Clients on whose signal connections every message is checked."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

from livekit.protocol import models, rtc

from lkpy.errors import LkpyError
from lkpy.sdp import SessionDescription
from lkpy.sdp.model import Group
from lkpy.server.routing.channel import MessageChannel
from lkpy.server.rtc.client_info import supports_reconnect_response
from lkpy.server.rtc.session import StartSession
from tests.property.sequences.watching import check
from tests.room_kit import JOIN_OFFER, Client, World

State = models.ParticipantInfo.State
_MAX_SECTIONS = 24


class Line(Client):
    """A signal connection on which every message is checked."""

    def __init__(self, world: World, start: StartSession, person: Person) -> None:
        super().__init__(world, start)
        self.sink = MessageChannel("responses", size=10_000 if person.unharmed else 200)
        self.person = person
        self.count = 0
        self.last_kind = ""
        self.refused = False

    def collect(self) -> None:
        if not self.person.reads and not self.sink.closed:
            return
        while len(self.sink):
            response = self.sink._messages.popleft()
            self.look(response)
            if self.person.line is self:
                self.person.hear(self, response)
        if self.sink.closed and not self.source.closed:
            # The socket closes, and with it what the client may still say.
            self.source.close()

    def look(self, response: rtc.SignalResponse) -> None:
        """What holds of every message."""
        kind = response.WhichOneof("message") or ""
        client, single = self.start.client, self.start.single_pc
        check(rtc.SignalResponse.FromString(response.SerializeToString()) == response, kind)
        check(kind, "an empty message")
        check(self.last_kind != "leave", f"{kind} after leave")
        if not self.start.reconnect:
            check((kind == "join") == (self.count == 0), f"message {self.count} is {kind}")
        else:
            expected = "reconnect" if supports_reconnect_response(client) else "update"
            if self.count == 0:
                check(kind in (expected, "leave"), f"a resume begins with {kind}")
            check(kind != "join", "join after a resume")
        if kind == "track_unpublished":
            check(client.protocol >= 7, "track_unpublished to an old client")
        elif kind == "speakers_changed":
            check(client.protocol >= 3, "speakers_changed to an old client")
        elif kind == "leave" and client.protocol < 13:
            check(response.leave.action == 0, "an action for an old client")
        elif kind in ("request_response", "track_subscribed"):
            early = client.sdk == models.ClientInfo.RUST and client.protocol < 10
            check(not early, f"{kind} to an early Rust client")
            ok = kind == "request_response" and response.request_response.reason == 0
            check(not ok or client.protocol >= 15, "request_response OK to an old client")
        elif kind == "offer":
            check(not single, "an offer for a single connection")
        elif kind == "media_sections_requirement":
            check(single, "media sections are required of two connections")
        self.count += 1
        self.last_kind = kind

    def say(self, **request: Any) -> None:
        """Send a request if the connection is there."""
        with contextlib.suppress(LkpyError):
            self.source.write(rtc.SignalRequest(**request))

    def answer(self, offer: rtc.SessionDescription) -> None:
        with contextlib.suppress(LkpyError):
            super().answer(offer)


class Person:
    """Whoever has an identity, over all its sessions."""

    def __init__(self, identity: str, *, unharmed: bool = False) -> None:
        self.identity = identity
        self.unharmed = unharmed
        self.line: Line | None = None
        self.reads = True
        self.answers = True
        self.people: dict[str, models.ParticipantInfo] = {}
        """Who is there, by all that was said to it."""
        self.newest: dict[str, int] = {}
        """Newest version by sid."""
        self.offer: rtc.SessionDescription | None = None
        """The server's last."""
        self.offer_id = 10
        self.text = JOIN_OFFER
        """What it last offered on a single connection."""

    @property
    def online(self) -> bool:
        """Whether it can say something that is heard."""
        return self.line is not None and not self.line.source.closed

    @property
    def goes_by_identity(self) -> bool:
        """Whether it takes a session for the one before of its identity."""
        return self.line is not None and self.line.start.client.protocol >= 12

    def hear(self, line: Line, response: rtc.SignalResponse) -> None:
        """Take what the server says, as an SDK does."""
        kind = response.WhichOneof("message")
        if kind == "join":
            self.newest = {}
            self.people = {}
            for info in (*response.join.other_participants, response.join.participant):
                self.newest[info.sid] = info.version
                self.people[info.identity] = info
        elif kind == "update":
            for info in response.update.participants:
                self._update(info)
        elif kind == "offer":
            self.offer = response.offer
            if self.answers:
                line.answer(response.offer)
        elif kind == "media_sections_requirement" and self.answers:
            requirement = response.media_sections_requirement
            self.text = more_sections(self.text, requirement.num_audios, requirement.num_videos)
            self.offer_id += 1
            line.say(offer=rtc.SessionDescription(type="offer", sdp=self.text, id=self.offer_id))

    def _update(self, info: models.ParticipantInfo) -> None:
        newest = self.newest.get(info.sid, -1)
        check(info.version >= newest, f"{info.identity} falls from {newest} to {info.version}")
        self.newest[info.sid] = info.version
        known = self.people.get(info.identity)
        if info.state != State.DISCONNECTED:
            self.people[info.identity] = info
        elif known is not None and (self.goes_by_identity or known.sid == info.sid):
            del self.people[info.identity]


def more_sections(text: str, audios: int, videos: int) -> str:
    """A description that receives more; not without end."""
    description = SessionDescription.parse(text)
    media = description.media
    for kind, count in (("audio", audios), ("video", videos)):
        like = next(m for m in media if m.kind == kind and not m.msids)
        for _ in range(count):
            if len(media) < _MAX_SECTIONS:
                section = copy.deepcopy(like)
                section.mid = str(len(media) + 100)
                media.append(section)
    description.groups = [Group("BUNDLE", tuple(section.mid for section in media))]
    return str(description)
