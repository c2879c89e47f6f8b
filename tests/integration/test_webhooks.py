"""Webhooks over HTTP: requests as LiveKit sends them, and receivers that fail, hang or are gone."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import jwt
import pytest
from aiohttp import web
from livekit import api
from livekit.protocol import egress, models, rtc
from livekit.protocol.webhook import WebhookEvent

from lkpy.clock import SystemClock
from lkpy.limits import WEBHOOK_IN_FLIGHT
from lkpy.server.telemetry import webhook_queue
from lkpy.server.telemetry.webhook_events import WebhookListener
from lkpy.server.telemetry.webhook_metrics import WebhookMetrics
from lkpy.server.telemetry.webhook_notifier import WebhookNotifier, WebhookOptions
from tests.patience import PATIENCE_S
from tests.room_kit import camera, running

SECRET = "a secret that is longer than 32 characters"
Answer = Callable[[web.Request], Awaitable[web.Response]]


class Receiver:
    """Records requests and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        """For the next requests; then 200."""
        self.headers: dict[str, str] = {}
        self.hangs = False
        self.open = 0
        self.most_open = 0
        self.url = ""
        self._came = asyncio.Event()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.events]

    async def serve(self, request: web.Request) -> web.Response:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            self.requests.append((dict(request.headers), await request.read()))
            self._came.set()
            if self.hangs:
                await asyncio.Event().wait()
            status = self.statuses.pop(0) if self.statuses else 200
            return web.Response(status=status, headers=self.headers)
        finally:
            self.open -= 1

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.requests) < count:
                self._came.clear()
                await self._came.wait()


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.serve)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def notifier(*urls: str, **options: Any) -> tuple[WebhookNotifier, WebhookMetrics]:
    metrics = WebhookMetrics()
    settings = WebhookOptions(urls, "key", SECRET, **options)
    return WebhookNotifier(settings, SystemClock(), metrics), metrics


@contextlib.asynccontextmanager
async def notifying(
    *urls: str, **options: Any
) -> AsyncIterator[tuple[WebhookNotifier, WebhookMetrics]]:
    sender, metrics = notifier(*urls, **options)
    sender.start()
    try:
        yield sender, metrics
    finally:
        await sender.stop(0.1)


def started(room: str = "lobby") -> WebhookEvent:
    return WebhookEvent(event="room_started", room=models.Room(sid="RM_1", name=room))


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_queue, "WEBHOOK_RETRY_MIN_S", 0.001)


async def test_a_request_is_signed_as_livekit_signs() -> None:
    async with receiving() as receiver, notifying(receiver.url) as (sender, metrics):
        sender.notify(started())
        await receiver.wait(1)
        await sender.stop()
        headers, body = receiver.requests[0]
        assert headers["Content-Type"] == "application/webhook+json"
        assert headers["User-Agent"] == "LiveKit"
        claims = jwt.decode(headers["Authorization"], SECRET, algorithms=["HS256"])
        assert claims["iss"] == "key"
        assert claims["exp"] - claims["nbf"] == 300
        assert claims["sha256"] == base64.b64encode(hashlib.sha256(body).digest()).decode()
        assert set(claims) == {"iss", "exp", "nbf", "iat", "sha256"}
        event = json.loads(body)
        assert event.pop("id").startswith("EV_")
        assert int(event.pop("createdAt")) > 0
        assert event == {"event": "room_started", "room": {"sid": "RM_1", "name": "lobby"}}
        assert metrics.dispatch.value("success", "") == 1
        assert metrics.queue_length.count() == 1


async def test_the_official_receiver_takes_it() -> None:
    async with receiving() as receiver, notifying(receiver.url) as (sender, _):
        sender.notify(WebhookEvent(event="room_started", room=models.Room(name="zażółć")))
        await receiver.wait(1)
        headers, body = receiver.requests[0]
        official = api.WebhookReceiver(api.TokenVerifier("key", SECRET))
        event = official.receive(body.decode(), headers["Authorization"])
        assert event.event == "room_started"
        assert event.room.name == "zażółć"
        with pytest.raises(Exception, match="hash mismatch"):
            official.receive(body.decode().replace("zażółć", "other"), headers["Authorization"])


async def test_every_url_is_told_and_the_filter_asked_once() -> None:
    async with receiving() as one, receiving() as two:
        options = {"exclude_events": ("track_published",)}
        async with notifying(one.url, two.url, **options) as (sender, _):
            sender.notify(WebhookEvent(event="track_published"))
            sender.notify(started())
            await asyncio.gather(one.wait(1), two.wait(1))
            assert one.names == two.names == ["room_started"]
            assert one.events == two.events


async def test_included_events_win_over_excluded_ones() -> None:
    names = ("room_started",)
    async with receiving() as receiver:
        options = {"include_events": names, "exclude_events": names}
        async with notifying(receiver.url, **options) as (sender, _):
            sender.notify(WebhookEvent(event="room_finished"))
            sender.notify(started())
            await receiver.wait(1)
            assert receiver.names == ["room_started"]


async def test_an_egress_event_is_sent_like_any_other() -> None:
    async with receiving() as receiver, notifying(receiver.url) as (sender, _):
        info = egress.EgressInfo(egress_id="EG_1", status=egress.EgressStatus.EGRESS_ACTIVE)
        sender.notify(WebhookEvent(event="egress_started", egress_info=info))
        await receiver.wait(1)
        assert receiver.events[0]["egressInfo"] == {"egressId": "EG_1", "status": "EGRESS_ACTIVE"}


@pytest.mark.usefixtures("quick_retries")
async def test_a_failing_receiver_is_asked_again_and_order_is_kept() -> None:
    async with receiving() as receiver, notifying(receiver.url) as (sender, metrics):
        receiver.statuses = [500, 503, 429]
        receiver.headers = {"Retry-After": "0"}
        sender.notify(started())
        sender.notify(WebhookEvent(event="room_finished", room=models.Room(name="lobby")))
        await receiver.wait(5)
        await sender.stop()
        assert receiver.names == ["room_started"] * 4 + ["room_finished"]
        assert len({event["id"] for event in receiver.events[:4]}) == 1
        assert metrics.dispatch.value("success", "") == 2


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_no_receiver(status: int) -> None:
    """Row C5: whoever answers for the URL does not choose who else gets the event (nor may it name
    an address inside); the event is not lost to an answer that nobody read."""
    async with receiving() as inside, receiving() as receiver:
        receiver.headers = {"Location": inside.url}
        receiver.statuses = [status]
        async with notifying(receiver.url) as (sender, metrics):
            sender.notify(started())
            await receiver.wait(2)
            receiver.statuses = [status] * 10
            sender.notify(started("other"))
            await receiver.wait(7)
            await sender.stop()
        assert inside.requests == []
        assert {body for _, body in receiver.requests[:2]} == {receiver.requests[0][1]}
        assert metrics.dispatch.value("failure", "") == 1
        assert metrics.dispatch.value("success", "") == 1


@pytest.mark.usefixtures("quick_retries")
async def test_a_receiver_that_keeps_failing_is_given_up() -> None:
    async with receiving() as receiver, notifying(receiver.url) as (sender, metrics):
        receiver.statuses = [500] * 5
        sender.notify(started())
        sender.notify(started())
        await receiver.wait(6)
        await sender.stop()
        assert metrics.dispatch.value("failure", "") == 1
        assert metrics.dispatch.value("success", "") == 1


async def test_a_hanging_receiver_costs_nobody_else_anything() -> None:
    async with receiving() as hanging, receiving() as receiver:
        hanging.hangs = True
        urls = (hanging.url, receiver.url)
        async with notifying(*urls, max_depth=3) as (sender, metrics):
            for number in range(5):
                sender.notify(started())
                await receiver.wait(number + 1)
            assert len(hanging.requests) == 1
            # One is under way, three wait, and the fifth found the queue full.
            assert sender.queued() == 3
            assert metrics.dispatch.value("drop", "queue is full") == 1


async def test_a_hanging_receiver_is_asked_about_a_bounded_number_of_rooms() -> None:
    async with receiving() as receiver, notifying(receiver.url) as (sender, _):
        receiver.hangs = True
        for number in range(WEBHOOK_IN_FLIGHT + 50):
            sender.notify(started(f"room {number}"))
        await receiver.wait(WEBHOOK_IN_FLIGHT)
        assert sender.queued() == 50
        assert receiver.most_open == WEBHOOK_IN_FLIGHT


async def test_the_end_waits_for_what_is_under_way_but_not_for_ever() -> None:
    async with receiving() as receiver:
        sender, metrics = notifier(receiver.url)
        sender.start()
        sender.notify(started())
        sender.notify(started())
        await sender.stop()
        assert len(receiver.requests) == 2
        sender.notify(started())
        assert metrics.dispatch.value("drop", "queue is closed") == 1

        receiver.hangs = True
        sender, _ = notifier(receiver.url)
        sender.start()
        sender.notify(started())
        async with asyncio.timeout(PATIENCE_S):
            await sender.stop(0.05)
            await sender.stop(0.05)


async def test_nobody_listening_does_not_hold_up_the_end() -> None:
    async with receiving() as receiver:
        url = receiver.url
    sender, metrics = notifier(url)
    sender.start()
    sender.notify(started())
    async with asyncio.timeout(PATIENCE_S):
        await sender.stop(2 * PATIENCE_S)
    assert metrics.dispatch.value("failure", "") == 1


# -- what rooms tell ------------------------------------------------------------------------------


async def test_a_session_in_the_order_of_livekit() -> None:
    events: list[WebhookEvent] = []
    async with running() as world:
        listener = WebhookListener(events.append)
        world.listen(listener)
        alice = await world.join("alice", grants={"metadata": "m"})
        (track,) = await alice.publish(camera())
        await world.room.close(models.DisconnectReason.ROOM_DELETED)
    assert [event.event for event in events] == [
        "room_started",
        "participant_joined",
        "track_published",
        "track_unpublished",
        "participant_left",
        "room_finished",
    ]
    _, joined, published, unpublished, left, finished = events
    assert joined.participant.state == models.ParticipantInfo.State.ACTIVE
    assert joined.participant.metadata == "m"
    assert joined.room.empty_timeout == 300
    assert published.track.sid == unpublished.track.sid == track.sid
    assert published.room == models.Room(sid="RM_1", name="lobby")
    assert published.participant == models.ParticipantInfo(
        sid=joined.participant.sid, identity="alice"
    )
    assert left.participant.disconnect_reason == models.DisconnectReason.ROOM_DELETED
    assert left.participant.state == models.ParticipantInfo.State.DISCONNECTED
    assert finished.room.name == "lobby"


async def test_a_participant_that_was_never_active_is_aborted() -> None:
    events: list[WebhookEvent] = []
    async with running(auto_connect=False) as world:
        world.listen(WebhookListener(events.append))
        await world.join("alice")
    assert [event.event for event in events] == [
        "room_started",
        "participant_connection_aborted",
        "room_finished",
    ]


async def test_track_events_with_the_whole_room() -> None:
    events: list[WebhookEvent] = []
    async with running() as world:
        world.listen(WebhookListener(events.append, full_room=True))
        alice = await world.join("alice")
        await alice.publish(camera())
        (published,) = [event for event in events if event.event == "track_published"]
        assert published.room.empty_timeout == 300


async def test_a_resumed_session_joins_and_leaves_once() -> None:
    events: list[WebhookEvent] = []
    async with running() as world:
        world.listen(WebhookListener(events.append))
        first = await world.join("alice")
        first.source.close()
        await world.advance(4)
        again = await world.join("alice", reconnect=True)
        assert again.kinds()[0] == "reconnect"
        await again.send(leave=rtc.LeaveRequest())
    assert [event.event for event in events] == [
        "room_started",
        "participant_joined",
        "participant_left",
        "room_finished",
    ]


async def test_whoever_takes_an_identity_joins_after_the_other_has_left() -> None:
    events: list[WebhookEvent] = []
    async with running() as world:
        world.listen(WebhookListener(events.append))
        first = await world.join("alice")
        second = await world.join("alice")
        assert [event.event for event in events] == [
            "room_started",
            "participant_joined",
            "participant_left",
            "participant_joined",
        ]
        left, joined = events[2:]
        assert left.participant.sid == first.last("join").participant.sid
        assert left.participant.disconnect_reason == models.DisconnectReason.DUPLICATE_IDENTITY
        assert joined.participant.sid == second.participant.sid
