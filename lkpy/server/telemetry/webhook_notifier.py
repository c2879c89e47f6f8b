"""Sends webhooks: the driver of :mod:`lkpy.server.telemetry.webhook_queue` on an HTTP client.

The request is LiveKit's (protocol ``webhook/resource_url_notifier.go``): a JSON body of its own
content type, and a token whose ``sha256`` claim is the body's, bare in ``Authorization``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
from dataclasses import dataclass
from functools import cached_property

import aiohttp
from aiohttp import hdrs
from google.protobuf import json_format
from livekit.protocol.webhook import WebhookEvent
from yarl import URL

from lkpy.auth.grants import Grants
from lkpy.auth.token import mint
from lkpy.clock import Clock
from lkpy.ids import new_id
from lkpy.limits import (
    WEBHOOK_FLUSH_S,
    WEBHOOK_IN_FLIGHT,
    WEBHOOK_TIMEOUT_S,
    WEBHOOK_TOKEN_TTL_S,
)
from lkpy.server.background import background
from lkpy.server.telemetry.log import fields
from lkpy.server.telemetry.redact import redact
from lkpy.server.telemetry.webhook_events import EventFilter, resource_of
from lkpy.server.telemetry.webhook_metrics import WebhookMetrics
from lkpy.server.telemetry.webhook_queue import Delivery, Outcome, WebhookQueue

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/webhook+json"
EVENT_PREFIX = "EV_"
_MAX_RETRY_AFTER_DIGITS = 6
_ASKS_FOR_TIME = (429, 503)


@dataclass(frozen=True)
class WebhookOptions:
    """Where webhooks go and how they are signed (``webhook.*`` of livekit.yaml)."""

    urls: tuple[str, ...]
    api_key: str
    api_secret: str
    include_events: tuple[str, ...] = ()
    exclude_events: tuple[str, ...] = ()
    max_depth: int = 200
    max_age_s: float = 30.0


class Message:
    """An event that is serialised once, for all URLs, when it is first sent."""

    def __init__(self, event: WebhookEvent) -> None:
        self.event = event

    @cached_property
    def body(self) -> bytes:
        """The event in protobuf's JSON form: camelCase, fields with default values left out."""
        values = json_format.MessageToDict(self.event)
        return json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()

    @cached_property
    def sha256(self) -> str:
        """The token's claim."""
        return base64.b64encode(hashlib.sha256(self.body).digest()).decode()


class WebhookNotifier:
    """Signs and sends events to every URL. Notifying never waits."""

    def __init__(self, options: WebhookOptions, clock: Clock, metrics: WebhookMetrics) -> None:
        self._options = options
        self._clock = clock
        self._metrics = metrics
        self._filter = EventFilter(options.include_events, options.exclude_events)
        self._targets = [_Target(self, url, options) for url in options.urls]
        self._client: aiohttp.ClientSession | None = None

    def start(self) -> None:
        """Begin to send, on the running loop."""
        # Cookies would carry state between unrelated events.
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=WEBHOOK_IN_FLIGHT),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=WEBHOOK_TIMEOUT_S),
        )
        for target in self._targets:
            target.start()

    def notify(self, event: WebhookEvent) -> None:
        """Give an event its id and time and queue it for every URL."""
        if not self._filter.allows(event.event):
            return
        event.id = new_id(EVENT_PREFIX)
        event.created_at = int(self._clock.wall())
        message = Message(event)
        for target in self._targets:
            target.queue_message(message)

    def queued(self) -> int:
        """Events that wait, of all URLs."""
        return sum(len(target.queue) for target in self._targets)

    async def stop(self, flush_s: float = WEBHOOK_FLUSH_S) -> None:
        """Send what is left, each with one more attempt and for ``flush_s`` at most, and end.
        Idempotent."""
        await asyncio.gather(*(target.stop(flush_s) for target in self._targets))
        if self._client is not None:
            await self._client.close()
            self._client = None

    # -- what targets use -------------------------------------------------------------------------

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.now()

    def dropped(self, message: Message, url: str, reason: str) -> None:
        """An event is not sent."""
        self._metrics.dispatched("drop", reason)
        logger.info("dropped webhook", extra=_about(message, url, reason=reason))

    def queued_at_depth(self, depth: int) -> None:
        """An event was queued as the ``depth``-th of its resource."""
        self._metrics.queued(depth)

    def ended(self, message: Message, url: str, *, error: str | None, status: int | None) -> None:
        """An event was sent, or given up with an ``error``."""
        self._metrics.dispatched("success" if error is None else "failure")
        level = logging.DEBUG if error is None else logging.WARNING
        text = "sent webhook" if error is None else "failed to send webhook"
        logger.log(level, text, extra=_about(message, url, status=status, error=error))

    async def post(self, url: str, message: Message) -> tuple[int, float | None]:
        """One attempt: the answer's status, and the seconds that the receiver asks for."""
        if self._client is None:
            raise RuntimeError("the notifier is not started")
        token = mint(
            Grants(sha256=message.sha256),
            api_key=self._options.api_key,
            api_secret=self._options.api_secret,
            now=self._clock.wall(),
            ttl_s=WEBHOOK_TOKEN_TTL_S,
        )
        headers = {
            hdrs.AUTHORIZATION: token,
            hdrs.CONTENT_TYPE: CONTENT_TYPE,
            hdrs.USER_AGENT: "LiveKit",
        }
        # Whoever may answer for a URL may not choose who else gets the event.
        post = self._client.post(url, data=message.body, headers=headers, allow_redirects=False)
        async with post as response:
            retry_after = response.headers.get(hdrs.RETRY_AFTER, "")
            asked = response.status in _ASKS_FOR_TIME and _is_seconds(retry_after)
            return response.status, float(retry_after) if asked else None


class _Target:
    """One URL: its queue, the task that drives it and the attempts under way."""

    def __init__(self, notifier: WebhookNotifier, url: str, options: WebhookOptions) -> None:
        self.queue: WebhookQueue[Message] = WebhookQueue(
            max_depth=options.max_depth, max_age_s=options.max_age_s
        )
        self._notifier = notifier
        self._url = url
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._attempts: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._task = background("webhooks", self._run)

    def queue_message(self, message: Message) -> None:
        now = self._notifier.now()
        depth, drop = self.queue.add(now, resource_of(message.event), message)
        if drop is None:
            self._notifier.queued_at_depth(depth)
            self._wake.set()
        else:
            self._notifier.dropped(message, self._url, drop)

    async def stop(self, flush_s: float) -> None:
        self.queue.close()
        self._closing = True
        self._wake.set()
        if self._task is None:
            return
        try:
            async with asyncio.timeout(flush_s):
                await self._task
        except TimeoutError:
            logger.warning(
                "webhooks were not sent before the end",
                extra=fields(url=_place(self._url), waiting=len(self.queue)),
            )
        for attempt in self._attempts:
            attempt.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)
        self._task = None

    async def _run(self) -> None:
        while not (self._closing and self.queue.idle):
            self._wake.clear()
            now = self._notifier.now()
            due = self.queue.due(now)
            for old in due.dropped:
                self._notifier.dropped(old.item, self._url, "age")
            for delivery in due.send:
                attempt = asyncio.create_task(self._attempt(delivery))
                self._attempts.add(attempt)
                attempt.add_done_callback(self._attempts.discard)
            deadline = self.queue.next_deadline()
            if self._closing and self.queue.idle:
                return
            try:
                async with asyncio.timeout(None if deadline is None else max(0.0, deadline - now)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _attempt(self, delivery: Delivery[Message]) -> None:
        status: int | None = None
        retry_after_s, error, recoverable = None, None, True
        try:
            status, retry_after_s = await self._notifier.post(self._url, delivery.item)
        except aiohttp.ClientConnectorCertificateError as failure:
            error, recoverable = redact(str(failure)) or type(failure).__name__, False
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            error = redact(str(failure)) or type(failure).__name__
        except Exception as failure:
            logger.exception("sending a webhook failed", extra=_about(delivery.item, self._url))
            error, recoverable = type(failure).__name__, False
        outcome = self.queue.finish(
            self._notifier.now(),
            delivery,
            status,
            recoverable=recoverable,
            retry_after_s=retry_after_s,
        )
        if outcome is not Outcome.RETRY:
            if outcome is Outcome.FAILED and error is None:
                error = f"unexpected HTTP status {status}"
            self._notifier.ended(delivery.item, self._url, error=error, status=status)
        self._wake.set()


def _is_seconds(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_RETRY_AFTER_DIGITS


def _place(url: str) -> str:
    """A URL without what may be secret in it."""
    return str(URL(url).with_user(None).with_query(None).with_fragment(None))


def _about(
    message: Message,
    url: str,
    *,
    reason: str | None = None,
    status: int | None = None,
    error: str | None = None,
) -> dict[str, object]:
    event = message.event
    return fields(
        room=event.room.name or None,
        participant=event.participant.identity or None,
        track=event.track.sid or None,
        event=event.event,
        id=event.id,
        url=_place(url),
        reason=reason,
        status=status,
        error=error,
    )
