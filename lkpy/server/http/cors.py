"""Cross-origin requests: any site may call, the token is the authority.

The headers are those of livekit-server (rs/cors with every origin allowed): the origin is echoed,
credentials are never allowed, a preflight is answered for the methods of the API.
"""

from __future__ import annotations

from collections.abc import Mapping

METHODS = frozenset({"OPTIONS", "HEAD", "GET", "POST", "PATCH", "DELETE"})
_MAX_AGE_S = 86_400


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a request only asks what would be allowed."""
    return method == "OPTIONS" and "Access-Control-Request-Method" in headers


def preflight_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers of the 204 that answers a preflight; no allowance for an unknown method."""
    vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    method = headers.get("Access-Control-Request-Method", "")
    origin = headers.get("Origin")
    if not origin or method not in METHODS:
        return {"Vary": vary}
    answer = {
        "Vary": vary,
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": method,
        "Access-Control-Max-Age": str(_MAX_AGE_S),
    }
    wanted = headers.get("Access-Control-Request-Headers")
    if wanted:
        answer["Access-Control-Allow-Headers"] = wanted
    return answer


def response_headers(headers: Mapping[str, str], method: str) -> dict[str, str]:
    """Headers that every other answer carries."""
    origin = headers.get("Origin")
    if not origin or method not in METHODS:
        return {"Vary": "Origin"}
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "*",
    }
