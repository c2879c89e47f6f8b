"""Accepts participants' signal connections on the room's node."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from livekit.protocol import rtc

from lkpy.errors import LkpyError
from lkpy.ids import NodeID
from lkpy.server.routing.endpoint import RelayEndpoint
from lkpy.server.routing.local_bus import LocalBus, SignalStream
from lkpy.server.rtc.session import SessionHandler, StartSession
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)


class SignalServer:
    """The room's side of the relay."""

    def __init__(self, node_id: NodeID, bus: LocalBus, handler: SessionHandler) -> None:
        self._node_id = node_id
        self._bus = bus
        self._handler = handler
        self._starting: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Take streams that are opened to this node."""
        self._bus.serve(self._node_id, self._accept)

    async def stop(self) -> None:
        """Take no more streams and give up the joins that have not finished."""
        self._bus.withdraw(self._node_id)
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)

    def _accept(self, start: StartSession, stream: SignalStream) -> None:
        """Join step 6: make this side's sink and source and hand the session over."""
        endpoint: RelayEndpoint[rtc.SignalResponse, rtc.SignalRequest] = RelayEndpoint(
            stream, "signal request"
        )
        task = asyncio.create_task(self._start_session(start, endpoint))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        # Whoever closes the stream has given up: what was not begun by then is not begun.
        endpoint.source.on_close(task.cancel)

    async def _start_session(
        self, start: StartSession, endpoint: RelayEndpoint[rtc.SignalResponse, rtc.SignalRequest]
    ) -> None:
        about = partial(
            fields,
            room=start.room,
            participant=start.identity,
            connID=start.connection_id,
        )
        try:
            await self._handler.start_session(start, endpoint.sink, endpoint.source)
        except LkpyError as error:
            logger.warning(
                "could not start session", extra=about(code=error.code, error=str(error))
            )
            endpoint.sink.close(error.message)
        except asyncio.CancelledError:
            endpoint.sink.close("given up")
            raise
        except Exception:
            # One participant's failure must not reach the others: the client sees a 500.
            logger.exception("starting a session failed", extra=about())
            endpoint.sink.close("internal error")
