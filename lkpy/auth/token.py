"""Access tokens: mint, verify, refresh.

A token is a JWT signed with HS256 by an API secret and issued (``iss``) by the API key
(protocol ``auth/accesstoken.go``, ``auth/verifier.go``). Nothing here reads a clock: callers pass
``now`` in Unix seconds.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.algorithms import HMACAlgorithm

from lkpy.auth.grants import Grants, GrantsError, numeric_date
from lkpy.errors import Code, LkpyError
from lkpy.json_values import well_formed
from lkpy.limits import TOKEN_DEFAULT_TTL_S, TOKEN_LEEWAY_S, TOKEN_MAX_SIZE, TOKEN_REFRESH_TTL_S

# The operator hears of short secrets when the server starts; PyJWT would repeat it per token.
warnings.filterwarnings("ignore", message="The HMAC key is", module="jwt")

_ALGORITHM = "HS256"
_HS256 = HMACAlgorithm(HMACAlgorithm.SHA256)
# PyJWT does the arithmetic and judges keys. A token is taken apart and put together here: by
# PyJWT that is four times the work, which every join has twice.
_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_ALGORITHMS = frozenset(
    {"none", "EdDSA"}
    | {family + bits for family in ("HS", "RS", "ES", "PS") for bits in ("256", "384", "512")}
)
"""Known to LiveKit's JWT library: these fail as a signature, other names as a token."""
_WORDS = ("iss", "sub", "jti")

INVALID_TOKEN = "invalid authorization token"  # noqa: S105 - a message
INVALID_KEY = "invalid API key"
_BAD_SIGNATURE = "token signature is invalid"


class TokenError(LkpyError):
    """A token is not acceptable; the message is the body of the 401."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(Code.UNAUTHENTICATED, message, hint=hint)


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that passed: what it allows and the key that issued it."""

    grants: Grants
    api_key: str


def mint(
    grants: Grants,
    *,
    api_key: str,
    api_secret: str,
    now: float,
    ttl_s: float = TOKEN_DEFAULT_TTL_S,
) -> str:
    """Sign a token valid from ``now`` for ``ttl_s`` seconds."""
    claims: dict[str, Any] = {
        "iss": api_key,
        "iat": int(now),
        "nbf": int(grants.not_before or now),
        "exp": int(now + ttl_s),
    }
    if grants.identity:
        claims["sub"] = grants.identity
    payload = json.dumps(claims | grants.to_claims(), separators=(",", ":")).encode()
    signed = b"%s.%s" % (_HEADER, _encoded(payload))
    return f"{signed.decode()}.{_encoded(_HS256.sign(signed, _key(api_secret))).decode()}"


def verify(token: str, keys: Mapping[str, str], *, now: float) -> Verified:
    """Check a token against the API keys.

    The order of the checks decides which message a client sees: form, issuer, then algorithm,
    signature, the claims' types, and times.
    """
    header, claims = _unverified(token)
    api_key: str = claims.get("iss") or ""
    secret = keys.get(api_key)
    if not secret:
        raise TokenError(INVALID_KEY)
    if header["alg"] != _ALGORITHM:
        raise _invalid(f"{_BAD_SIGNATURE}: signing method {header['alg']} is invalid")
    signed, _, signature = token.rpartition(".")
    if not _HS256.verify(signed.encode(), _key(secret), _signature(signature)):
        raise _invalid(f"{_BAD_SIGNATURE}: signature is invalid")
    try:
        grants = Grants.from_claims(well_formed(claims))
    except GrantsError as error:
        raise _invalid(f"token is malformed: {error}") from error
    if claims.get("exp") is None:
        raise _invalid(
            "token has invalid claims: token is missing required claim: exp claim is required"
        )
    wrong = []
    if now - TOKEN_LEEWAY_S >= grants.expires_at:
        wrong.append("token is expired")
    if now + TOKEN_LEEWAY_S < grants.not_before:
        wrong.append("token is not valid yet")
    if wrong:
        raise _invalid(f"token has invalid claims: {', '.join(wrong)}")
    return Verified(grants, api_key)


def unverified_claims(token: str) -> dict[str, Any]:
    """The claims of a token whose signature nobody checked: for display only."""
    _check_form(token)
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError as error:
        raise _invalid(str(error)) from error
    return claims


def refresh(grants: Grants, *, api_key: str, api_secret: str, now: float) -> str:
    """Mint the token that a connected client reconnects with.

    It keeps who the participant is and what it may do, and lives for ten minutes or for what
    remains of the original. ``kindDetails``, ``sip``, ``agent``, ``inference`` and
    ``observability`` are not carried over, as in livekit-server ``pkg/service/roommanager.go``.
    """
    carried = Grants(
        identity=grants.identity,
        name=grants.name,
        kind=grants.kind,
        video=grants.video,
        room_config=grants.room_config,
        room_preset=grants.room_preset,
        metadata=grants.metadata,
        attributes=grants.attributes,
    )
    ttl_s = max(TOKEN_REFRESH_TTL_S, grants.expires_at - now)
    return mint(carried, api_key=api_key, api_secret=api_secret, now=now, ttl_s=ttl_s)


def _invalid(detail: str) -> TokenError:
    """The words after the colon are those of LiveKit's JWT library."""
    return TokenError(f"{INVALID_TOKEN}: {detail}")


def _check_form(token: str) -> None:
    if len(token) > TOKEN_MAX_SIZE or token.count(".") != 2:
        raise TokenError(INVALID_TOKEN)


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a well-formed token, with registered claims of the right types."""
    _check_form(token)
    header, claims = (_json_segment(segment) for segment in token.split(".")[:2])
    # An extension that must be understood (RFC 7515 4.1.11) is never one of ours.
    if header.get("alg") not in _ALGORITHMS or "crit" in header:
        raise TokenError(INVALID_TOKEN)
    if not all(isinstance(claims.get(name), str | None) for name in _WORDS):
        raise TokenError(INVALID_TOKEN)
    try:
        for name in ("exp", "nbf", "iat"):
            numeric_date(claims, name)
    except GrantsError as error:
        raise TokenError(INVALID_TOKEN) from error
    return header, claims


@functools.lru_cache(maxsize=64)
def _key(secret: str) -> bytes:
    """An API secret as a key. Raises :class:`jwt.InvalidKeyError` for what is no secret, as the
    PEM of a public key."""
    return _HS256.prepare_key(secret)


def _encoded(data: bytes) -> bytes:
    """base64url without padding (RFC 7515 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _signature(segment: str) -> bytes:
    why = "token is malformed: the signature is not base64url"
    if not _BASE64URL.fullmatch(segment):
        raise _invalid(why)
    try:
        return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError as error:
        raise _invalid(why) from error


def _json_segment(segment: str) -> dict[str, Any]:
    """One part of a JWS: a base64url JSON object without padding (RFC 7515 3.1)."""
    if not _BASE64URL.fullmatch(segment):
        raise TokenError(INVALID_TOKEN)
    try:
        value = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, RecursionError) as error:
        raise TokenError(INVALID_TOKEN) from error
    if not isinstance(value, dict):
        raise TokenError(INVALID_TOKEN)
    return value
