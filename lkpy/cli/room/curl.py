"""A call as a curl command that does the same."""

from __future__ import annotations

import json
import shlex
from typing import Any

from google.protobuf import json_format

from lkpy.api_client import Call
from lkpy.auth.grants import VideoGrant
from lkpy.server_url import http_url

TOKEN_VARIABLE = "LIVEKIT_TOKEN"  # noqa: S105 - the name of a variable
MASK = "***"

_SECRETS = frozenset(
    {
        "access_key",
        "account_key",
        "assume_role_arn",
        "assume_role_external_id",
        "credentials",
        "password",
        "secret",
        "session_token",
        "signing_key",
        "stream_keys",
        "turn_password",
        "urls",
    }
)
"""Fields that LiveKit keeps out of its logs (``logger.redact`` in ``livekit_egress.proto``), and
addresses of streams, which hold their key."""


def command(call: Call, url: str, *, token: str | None = None) -> tuple[str, bool]:
    """The command, and whether secrets in it are masked.

    Without a token the command takes it from the environment, and secrets of the request are
    masked; a token says that they may be seen.
    """
    body = json_format.MessageToDict(call.request, preserving_proto_field_name=True)
    masked = False
    if token is None:
        body, masked = _mask(body)
    bearer = f'"Authorization: Bearer ${TOKEN_VARIABLE}"'
    if token is not None:
        bearer = shlex.quote(f"Authorization: Bearer {token}")
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    lines = (
        f"curl -sS -X POST {shlex.quote(http_url(url) + call.path)}",
        f"-H {bearer}",
        "-H 'Content-Type: application/json'",
        f"--data-raw {shlex.quote(text)}",
    )
    return " \\\n  ".join(lines), masked


def token_command(grant: VideoGrant, api_key: str, *, dev: bool) -> str:
    """The command that sets the variable; the secret comes from the environment."""
    flags = [
        flag
        for flag, wanted in (
            ("--create", grant.room_create),
            ("--list", grant.room_list),
            ("--admin", grant.room_admin),
            ("--egress", grant.room_record),
        )
        if wanted
    ]
    if grant.room:
        flags.append(f"--room {shlex.quote(grant.room.replace('%', '%%'))}")
    if grant.destination_room:
        extra = json.dumps({"destinationRoom": grant.destination_room})
        flags.append(f"--grant {shlex.quote(extra)}")
    signer = "--dev" if dev else f"--api-key {shlex.quote(api_key)}"
    made = f"lkpy token create {signer} {' '.join(flags)} --token-only"
    return f'export {TOKEN_VARIABLE}="$({made})"'


def _mask(value: Any) -> tuple[Any, bool]:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        found = False
        out = {}
        for key, item in value.items():
            if key in _SECRETS and item:
                out[key], found = MASK, True
            else:
                out[key], inner = _mask(item)
                found |= inner
        return out, found
    if isinstance(value, list):
        items = [_mask(item) for item in value]
        return [item for item, _ in items], any(inner for _, inner in items)
    return value, False
