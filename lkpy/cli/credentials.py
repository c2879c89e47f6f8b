"""Which API key and secret a command uses, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    """``--dev`` wins over everything, then flags and ``LIVEKIT_URL``, ``LIVEKIT_API_KEY`` and
    ``LIVEKIT_API_SECRET`` of the environment, then those of ``.env.local`` and ``.env`` here.

    Raises :class:`lkpy.errors.LkpyError`.
    """
    from lkpy.cli import dotenv
    from lkpy.errors import Blame, Code, LkpyError

    if dev:
        return Credentials(url or DEFAULT_URL, DEV_KEY, DEV_SECRET, "--dev")
    if api_key and api_secret:
        return Credentials(url or DEFAULT_URL, api_key, api_secret, "flags or environment")
    if not api_key and not api_secret:
        written = dotenv.read(Path.cwd())
        key, secret = written.get("LIVEKIT_API_KEY"), written.get("LIVEKIT_API_SECRET")
        # Both of one file: a key of one project does not go with the secret of another.
        if key and secret and key.file == secret.file:
            named = written.get("LIVEKIT_URL")
            address = url or (named.value if named else DEFAULT_URL)
            return Credentials(address, key.value, secret.value, key.file)
    missing = "API secret" if api_key else "API key" if api_secret else "API key and secret"
    raise LkpyError(
        Code.INVALID_ARGUMENT,
        f"no {missing}",
        blame=Blame.OPERATOR,
        hint=(
            "set LIVEKIT_API_KEY and LIVEKIT_API_SECRET, also in a .env file, or use --dev for "
            "devkey/secret"
        ),
    )
