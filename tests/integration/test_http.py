"""What every request meets: health, CORS, tokens, limits, and paths that do not exist."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import jwt
import pytest
from yarl import URL

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.auth.token import mint
from lkpy.clock import SystemClock
from tests.control_plane import KEY, SECRET, Harness, running

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
ORIGIN = {"Origin": "https://meet.example"}


@pytest.fixture
async def server():
    async with running() as harness:
        yield harness


def claims(**changes: object) -> dict[str, object]:
    now = int(SystemClock().wall())
    values = {
        "iss": KEY,
        "sub": "alice",
        "nbf": now,
        "exp": now + 60,
        "video": {"roomJoin": True, "room": "lobby"},
    }
    return {key: value for key, value in (values | changes).items() if value is not None}


async def test_health(server: Harness) -> None:
    assert await server.get("/") == (200, "OK")


async def test_health_of_a_stuck_server(server: Harness) -> None:
    server.server._node.stats.updated_at -= 5
    status, body = await server.get("/")
    assert status == 406
    assert body.startswith("Not Ready\nNode Updated At 20")


async def test_a_bad_token_is_refused_even_by_health(server: Harness) -> None:
    assert await server.get("/", "abc") == (401, "invalid authorization token")


async def test_header_without_bearer(server: Harness) -> None:
    async with server.http.get(server.url("/"), headers={"Authorization": "Basic x"}) as response:
        assert response.status == 401
        body = await response.text()
    assert body == "invalid authorization header. Must start with Bearer "


@pytest.mark.parametrize(
    ("token", "body"),
    [
        (jwt.encode(claims(iss="other"), SECRET), "invalid API key"),
        (jwt.encode(claims(iss=None), SECRET), "invalid API key"),
        (
            jwt.encode(claims(), "x" * 32),
            "invalid authorization token: token signature is invalid: signature is invalid",
        ),
        (
            jwt.encode(claims(exp=None), SECRET),
            "invalid authorization token: token has invalid claims: "
            "token is missing required claim: exp claim is required",
        ),
        (
            jwt.encode(claims(exp=1000), SECRET),
            "invalid authorization token: token has invalid claims: token is expired",
        ),
        (
            jwt.encode(claims(nbf=int(SystemClock().wall()) + 3600), SECRET),
            "invalid authorization token: token has invalid claims: token is not valid yet",
        ),
        (
            jwt.encode(claims(), None, algorithm="none"),
            "invalid authorization token: token signature is invalid: "
            "signing method none is invalid",
        ),
        (
            jwt.encode(claims(), SECRET, algorithm="HS384"),
            "invalid authorization token: token signature is invalid: "
            "signing method HS384 is invalid",
        ),
        (
            jwt.encode(claims(), SECRET, headers={"crit": ["b64"], "b64": True}),
            "invalid authorization token",
        ),
        (
            jwt.encode(claims(video={"roomJoin": "yes"}), SECRET),
            "invalid authorization token: token is malformed: "
            "claim 'roomJoin' must be bool, not str",
        ),
        ("a.b", "invalid authorization token"),
        ("." * 5000, "invalid authorization token"),
    ],
)
async def test_unacceptable_tokens(server: Harness, token: str, body: str) -> None:
    assert await server.get("/rtc/validate", token) == (401, body)


async def test_validate_lets_every_origin_read_the_answer(server: Harness) -> None:
    for path in ("/rtc/validate", "/rtc/v1/validate"):
        async with server.http.get(server.url(path)) as response:
            assert response.status == 401
            assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_cors_echoes_the_origin(server: Harness) -> None:
    async with server.http.get(server.url("/"), headers=ORIGIN) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "https://meet.example"
        assert response.headers["Access-Control-Expose-Headers"] == "*"
        assert response.headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Credentials" not in response.headers


async def test_preflight(server: Harness) -> None:
    headers = ORIGIN | {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-foo",
    }
    url = server.url("/twirp/livekit.RoomService/ListRooms")
    async with server.http.options(url, headers=headers) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "https://meet.example"
        assert response.headers["Access-Control-Allow-Methods"] == "POST"
        assert response.headers["Access-Control-Allow-Headers"] == "authorization,x-foo"
        assert response.headers["Access-Control-Max-Age"] == "86400"
    headers["Access-Control-Request-Method"] = "PUT"
    async with server.http.options(url, headers=headers) as response:
        assert response.status == 204
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_unknown_paths(server: Harness) -> None:
    for path in ("/nope", "/metrics", "/settings/regions", "/twirp/livekit.CloudAgent/ListAgents"):
        assert await server.get(path) == (404, "404 page not found\n")


_CALLS = {
    "/twirp/livekit.RoomService/": ("POST", "ListRooms", "application/json"),
    "/twirp/livekit.AgentDispatchService/": ("POST", "ListDispatch", "application/json"),
    "/twirp/livekit.Egress/": ("POST", "ListEgress", "application/json"),
    "/twirp/livekit.Ingress/": ("POST", "ListIngress", "application/json"),
    "/twirp/livekit.SIP/": ("POST", "ListSIPInboundTrunk", "application/json"),
    "/whip/v1": ("POST", "", "application/sdp"),
    "/whip/v1/": ("DELETE", "PA_nobody", "application/sdp"),
}
"""Method, rest of the path and content type, where they are not those of a plain GET."""


async def test_every_route_wants_a_token_except_health(server: Harness) -> None:
    """Whoever adds a route decides here whether it is open."""
    service = server.server._http_service()
    open_routes = {"/", "/lkpy/v1/ready"}
    for path in service.routes:
        method, rest, content_type = _CALLS.get(path, ("GET", "", ""))
        call = {"data": "{}", "headers": {"Content-Type": content_type}} if content_type else {}
        async with server.http.request(method, server.url(path + rest), **call) as response:
            expected = {200} if path in open_routes else {401, 404}
            assert response.status in expected, path


async def test_a_form_comes_before_the_query_but_for_the_token(server: Harness) -> None:
    token = server.token()
    wrong = "AA"
    for method in ("POST", "PUT", "PATCH"):
        url = server.url(f"/rtc/validate?access_token={token}&join_request={wrong}")
        form = {"access_token": "abc", "join_request": ""}
        async with server.http.request(method, url, data=form) as response:
            assert (response.status, await response.text()) == (200, "success")
        form = {"join_request": wrong}
        url = server.url(f"/rtc/validate?access_token={token}")
        async with server.http.request(method, url, data=form) as response:
            assert response.status == 400
        async with server.http.request(
            method, server.url("/rtc/validate"), data={"access_token": token}
        ) as response:
            assert response.status == 401


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("///rtc/validate", "/rtc/validate"),
        ("/rtc//validate?a=b%20c", "/rtc/validate?a=b%20c"),
        ("/a/../rtc/", "/rtc/"),
        ("/./rtc/.", "/rtc"),
    ],
)
async def test_paths_that_are_not_clean_are_redirected(
    server: Harness, path: str, clean: str
) -> None:
    url = URL(server.url(path), encoded=True)
    async with server.http.get(url, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (307, clean)
        assert await response.text() == f'<a href="{clean}">Temporary Redirect</a>.\n\n'


async def test_no_answer_names_the_software(server: Harness) -> None:
    for path in ("/", "/nope"):
        async with server.http.get(server.url(path)) as response:
            assert "Server" not in response.headers


@pytest.mark.parametrize(
    ("changes", "method", "status", "body"),
    [
        ({"Connection": "close"}, "GET", 404, ""),
        ({"Upgrade": "h2c"}, "GET", 404, ""),
        ({}, "POST", 405, "request method is not GET"),
        ({"Sec-WebSocket-Version": "8"}, "GET", 400, "unsupported version"),
        ({"Sec-WebSocket-Key": "abc"}, "GET", 400, "must be Base64 encoded value of 16-byte"),
    ],
)
async def test_handshakes_that_cannot_succeed(
    server: Harness, changes: dict[str, str], method: str, status: int, body: str
) -> None:
    url = server.url(f"/rtc?access_token={server.token()}")
    async with server.http.request(method, url, headers=UPGRADE | changes) as response:
        assert response.status == status
        assert body in await response.text()
    assert not server.media.rooms, "no session was started for it"


async def test_body_limit() -> None:
    async with running({"limit": {"max_api_request_body_size": 1000}}) as server:
        url = server.url("/twirp/livekit.RoomService/ListRooms")
        async with server.http.post(url, data=b"x" * 1001) as response:
            assert (response.status, await response.text()) == (413, "request body too large")

        async def chunks():
            for _ in range(20):
                yield b"x" * 100

        headers = {"Content-Type": "application/json"}
        async with server.http.post(url, data=chunks(), headers=headers) as response:
            assert (response.status, await response.text()) == (413, "request body too large")


async def test_identity_falls_back_to_jti(server: Harness) -> None:
    token = jwt.encode(claims(sub=None, jti="legacy", identity="ignored"), SECRET)
    assert await server.get("/rtc/validate", token) == (200, "success")
    from tests.control_plane import receive

    socket = await server.join(token)
    assert (await receive(socket)).join.participant.identity == "legacy"


async def test_leeway_of_a_minute(server: Harness) -> None:
    grants = Grants(identity="a", video=VideoGrant(room_join=True, room="r"))
    now = SystemClock().wall()
    expired = mint(grants, api_key=KEY, api_secret=SECRET, ttl_s=-50, now=now)
    assert await server.get("/rtc/validate", expired) == (200, "success")
    early = mint(replace(grants, not_before=now + 50), api_key=KEY, api_secret=SECRET, now=now)
    assert await server.get("/rtc/validate", early) == (200, "success")


async def test_a_token_with_two_algorithms(server: Harness) -> None:
    _, payload, signature = jwt.encode(claims(), SECRET).split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","alg":"none"}').rstrip(b"=").decode()
    status, _ = await server.get("/rtc/validate", f"{header}.{payload}.{signature}")
    assert status == 401


async def test_headers_as_large_as_a_join_request_are_read(server: Harness) -> None:
    attributes = base64.urlsafe_b64encode(json.dumps({"k": "x" * 300_000}).encode()).decode()
    status, body = await server.get(f"/rtc/validate?attributes={attributes}", server.token())
    assert (status, body) == (401, "no permissions to access the room")
