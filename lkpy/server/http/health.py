"""The health route: whether the server's own loop and its media workers still turn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from aiohttp import web

from lkpy.auth.token import Verified
from lkpy.clock import Clock
from lkpy.server.http.service import text
from lkpy.server.routing.node import LocalNode


class HasNode(Protocol):
    """The part of the router that this needs."""

    @property
    def node(self) -> LocalNode:
        """This node."""


class Health:
    """``GET /``: 200 while the node's statistics are fresh and its media engine works, else 406."""

    def __init__(
        self, router: HasNode, clock: Clock, trouble: Callable[[], str] = lambda: ""
    ) -> None:
        self._router = router
        self._clock = clock
        self._trouble = trouble

    async def serve(self, _request: web.Request, _token: Verified | None) -> web.StreamResponse:
        """Answer a load balancer."""
        node = self._router.node
        trouble = self._trouble()
        if trouble:
            return text(406, f"Not Ready\n{trouble}")
        if node.is_fresh(self._clock.wall()):
            return text(200, "OK")
        updated = datetime.fromtimestamp(node.stats.updated_at, UTC)
        return text(406, f"Not Ready\nNode Updated At {updated:%Y-%m-%d %H:%M:%S} +0000 UTC")
