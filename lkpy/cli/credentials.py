"""Which API key and secret a command uses, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_URL = "ws://127.0.0.1:7880"
DEV_KEY, DEV_SECRET = "devkey", "secret"


@dataclass(frozen=True, slots=True)
class Credentials:
    """``origin`` says who named them."""

    url: str
    api_key: str
    api_secret: str
    origin: str


def resolve(url: str | None, api_key: str | None, api_secret: str | None, dev: bool) -> Credentials:
    """``--dev`` wins over everything, then flags and ``LIVEKIT_API_KEY``/``_SECRET``.

    Raises :class:`lkpy.errors.LkpyError`.
    """
    from lkpy.errors import Blame, Code, LkpyError

    if dev:
        return Credentials(url or DEFAULT_URL, DEV_KEY, DEV_SECRET, "--dev")
    if api_key and api_secret:
        return Credentials(url or DEFAULT_URL, api_key, api_secret, "flags or environment")
    missing = "API secret" if api_key else "API key" if api_secret else "API key and secret"
    raise LkpyError(
        Code.INVALID_ARGUMENT,
        f"no {missing}",
        blame=Blame.OPERATOR,
        hint="set LIVEKIT_API_KEY and LIVEKIT_API_SECRET, or use --dev for devkey/secret",
    )
