"""The server under test: its address, the clients' tokens, and whether it answers at all."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.auth.token import mint
from lkpy.errors import Blame, Code, ConfigError, LkpyError
from lkpy.server_url import UnreachableError, http_url
from lkpy.sim.plan import ClientPlan, Plan
from lkpy.sim.scenario import Scenario

TOKEN_MARGIN_S = 600.0
_DEFAULT_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}


class TargetError(LkpyError):
    """The server does not let us in, or is no server for us."""

    def __init__(self, code: Code, message: str, *, hint: str | None = None) -> None:
        super().__init__(code, message, blame=Blame.OPERATOR, hint=hint)


@dataclass(frozen=True)
class Target:
    """Where to connect, and with what."""

    url: str
    api_key: str = ""
    api_secret: str = field(default="", repr=False)
    tokens: tuple[str, ...] = field(default=(), repr=False)
    mode: str = "auto"
    embedded: bool = False
    room_suffix: str = ""
    """Appended to room names, so that two runs on one server do not meet."""

    @property
    def host(self) -> str:
        """Host of the signal connection."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Port of the signal connection."""
        parts = urlsplit(self.url)
        return parts.port or _DEFAULT_PORTS[parts.scheme]

    @property
    def http_url(self) -> str:
        """The same server for HTTP requests."""
        return http_url(self.url)

    def client_tokens(self, scenario: Scenario, plan: Plan) -> dict[int, str]:
        """Return every client's token by its number."""
        if self.tokens:
            return {client.number: self.tokens[client.number] for client in plan.clients}
        now = time.time()
        ttl = scenario.duration + TOKEN_MARGIN_S
        return {
            client.number: mint(
                _grants(
                    client,
                    room=client.room + self.room_suffix,
                    publishes=bool(scenario.groups[client.group].publish),
                ),
                api_key=self.api_key,
                api_secret=self.api_secret,
                now=now,
                ttl_s=ttl,
            )
            for client in plan.clients
        }

    def stats_token(self) -> str | None:
        """Return a token for the server's statistics; None without a key."""
        if not self.api_key:
            return None
        grants = Grants(stats=True)
        return mint(
            grants, api_key=self.api_key, api_secret=self.api_secret, now=time.time(), ttl_s=3600
        )


def _grants(client: ClientPlan, *, room: str, publishes: bool) -> Grants:
    return Grants(
        identity=client.identity,
        name=client.identity,
        video=VideoGrant(
            room_join=True,
            room=room,
            can_publish=publishes,
            can_subscribe=True,
            can_publish_data=True,
        ),
    )


def resolve(
    scenario: Scenario,
    plan: Plan,
    environment: Mapping[str, str],
    *,
    url: str = "",
    api_key: str = "",
    api_secret: str = "",
    mode: str = "",
) -> Target | None:
    """Return the target, or None when a server is to be started.

    A flag beats the scenario, which beats the environment. Raises :class:`ConfigError`.
    """
    chosen = url or scenario.target.url
    tokens = scenario.target.tokens
    if not chosen:
        if scenario.target.server != "auto":
            raise ConfigError(
                f"scenario {scenario.name}: no target",
                hint="set target.url, or target.server: auto, or pass --url",
            )
        return None
    try:
        http_url(chosen)
    except LkpyError as error:
        raise ConfigError(error.message, hint=error.hint) from None
    key = api_key or scenario.target.api_key or environment.get("LIVEKIT_API_KEY", "")
    secret = api_secret or scenario.target.api_secret or environment.get("LIVEKIT_API_SECRET", "")
    if tokens and len(tokens) < len(plan.clients):
        raise ConfigError(f"target.tokens has {len(tokens)} tokens for {len(plan.clients)} clients")
    if not tokens and not (key and secret):
        raise ConfigError(
            f"no credentials for {chosen}",
            hint="set LIVEKIT_API_KEY and LIVEKIT_API_SECRET, or pass --api-key and --api-secret",
        )
    return Target(
        url=chosen,
        api_key=key,
        api_secret=secret,
        tokens=tokens,
        mode=mode or scenario.target.mode,
        room_suffix=f"-{secrets.token_hex(3)}",
    )


async def check(target: Target, token: str, *, timeout_s: float = 10.0) -> None:
    """Ask the server whether it would let a client in. Raises :class:`TargetError`
    and :class:`UnreachableError`."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    headers = {"Authorization": f"Bearer {token}"}
    address = f"{target.http_url}/rtc/validate"
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(address, headers=headers) as response,
        ):
            body = (await response.content.read(2000)).decode("utf-8", "replace").strip()
            body = body.replace(token, "<token>")  # livekit-server repeats what it refuses
            status = response.status
    except TimeoutError:
        raise UnreachableError(target.url, f"no answer within {timeout_s:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise UnreachableError(target.url, error) from None
    if status in (401, 403):
        raise TargetError(
            Code.UNAUTHENTICATED,
            f"{target.url} refuses our token: {body or status}",
            hint="are the API key and secret the server's?",
        )
    if status == 404:
        hint = "is that a LiveKit-compatible server?"
        raise TargetError(Code.NOT_FOUND, f"{target.url} has no /rtc/validate", hint=hint)
    if status >= 400:
        raise TargetError(Code.UNAVAILABLE, f"{target.url} answers {status}: {body[:200]}")
