"""Where snapshots come from: the server's statistics endpoint, once or as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import aiohttp
from google.protobuf.message import DecodeError

from lkpy.errors import Blame, Code, LkpyError
from lkpy.server_url import UnreachableError, http_url, ws_url
from lkpy.stats.v1 import stats_pb2 as stats

PATH = "/lkpy/v1/stats"
CONNECT_TIMEOUT_S = 5.0
MESSAGE_MAX = 64 * 1024 * 1024
"""A snapshot of 10,000 participants with 30 down tracks each is about 40 MB."""


@dataclass(frozen=True, slots=True)
class StatsSource:
    """A server's address (http or ws) and a token for its statistics, or none."""

    url: str
    token: str | None = None

    async def once(self) -> stats.Snapshot:
        """Fetch one snapshot."""
        headers = {**self._headers(), "Accept": "application/x-protobuf"}
        timeout = aiohttp.ClientTimeout(total=CONNECT_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(http_url(self.url) + PATH, headers=headers) as response,
            ):
                if response.status != 200:
                    raise _refused(self.url, response.status, await response.text())
                return _decode(await response.read(), self.url)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(self.url, error) from error

    async def stream(self, interval_ms: int) -> AsyncGenerator[stats.Snapshot, None]:
        """Yield a snapshot per interval until the server closes; then raise ``unavailable``."""
        address = f"{ws_url(self.url)}{PATH}?interval={interval_ms}"
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(
                    address,
                    headers=self._headers(),
                    max_msg_size=MESSAGE_MAX,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                ) as socket,
            ):
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.BINARY:
                        yield _decode(message.data, self.url)
        except aiohttp.WSServerHandshakeError as error:
            raise _refused(self.url, error.status, error.message) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(self.url, error) from error
        raise LkpyError(
            Code.UNAVAILABLE, f"{self.url} closed the stream of statistics", blame=Blame.OPERATOR
        )

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def _decode(data: bytes, url: str) -> stats.Snapshot:
    snapshot = stats.Snapshot()
    try:
        snapshot.ParseFromString(data)
    except DecodeError as error:
        raise LkpyError(
            Code.MALFORMED, f"{url} answered with something that is no snapshot", blame=Blame.PEER
        ) from error
    return snapshot


def _refused(url: str, status: int, body: str) -> LkpyError:
    if status in (401, 403):
        return LkpyError(
            Code.UNAUTHENTICATED,
            f"{url} refused: {body.strip() or status}",
            hint="give the server's --api-key and --api-secret, or a `lkpy token create --stats`",
        )
    if status == 404:
        return LkpyError(
            Code.UNIMPLEMENTED,
            f"{url} has no {PATH}: it is not an lkpy server",
            hint="lkpy top needs the statistics that lkpy server offers",
        )
    return LkpyError(Code.UNAVAILABLE, f"{url} answered {status}: {body.strip()[:200]}")
