"""What every request meets, and what a join is refused for before it becomes a WebSocket."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from typing import Any

import aiohttp
import pytest
from livekit.protocol import models, rtc
from yarl import URL

from tests.conformance.kit import Lobby, Refused, wrap
from tests.patience import PATIENCE_S

ORIGIN = {"Origin": "https://meet.example"}
TWIRP = "/twirp/livekit.RoomService/ListRooms"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
JOIN = wrap(rtc.JoinRequest(client_info=models.ClientInfo(protocol=16)))


def wrapped(join_request: bytes, *, compressed: bool = False) -> str:
    """A ``WrappedJoinRequest`` with these bytes in it."""
    kind = rtc.WrappedJoinRequest.Compression
    message = rtc.WrappedJoinRequest(
        compression=kind.GZIP if compressed else kind.NONE, join_request=join_request
    )
    return base64.urlsafe_b64encode(message.SerializeToString()).decode()


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode()


async def validate(
    lobby: Lobby, path: str = "/rtc/validate", token: str | None = None, **params: str
) -> tuple[int, str]:
    """Status and body of a dry run."""
    token = lobby.target.token("alice", lobby.room) if token is None else token
    status, body, _ = await lobby.get(path, token or None, params=params)
    return status, body


# -- every path ---------------------------------------------------------------------------------


@pytest.mark.row(1)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_health(lobby: Lobby, method: str) -> None:
    status, body, headers = await lobby.get("/", method=method)
    assert (status, body) == (200, "" if method == "HEAD" else "OK")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.row(12)
@pytest.mark.parametrize("path", ["/nope", "/metrics", "/settings/regions", "/rtc/v2", "/rtc/"])
async def test_unknown_paths(lobby: Lobby, path: str) -> None:
    """Clients tell these from a room that does not exist by the words."""
    status, body, headers = await lobby.get(path)
    assert (status, body) == (404, "404 page not found\n")
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.row(2)
@pytest.mark.parametrize("path", ["/", "/nope", "/rtc", TWIRP])
async def test_cors_on_every_route(lobby: Lobby, path: str) -> None:
    _, _, headers = await lobby.get(path, headers=ORIGIN)
    assert headers["Access-Control-Allow-Origin"] == "https://meet.example"
    assert headers["Access-Control-Expose-Headers"] == "*"
    assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.row(2)
async def test_preflight(lobby: Lobby) -> None:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    status, body, headers = await lobby.get(TWIRP, method="OPTIONS", headers=ORIGIN | asked)
    assert (status, body) == (204, "")
    assert headers["Access-Control-Allow-Origin"] == "https://meet.example"
    assert headers["Access-Control-Allow-Methods"] == "POST"
    assert headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert headers["Access-Control-Max-Age"] == "86400"
    assert "Access-Control-Request-Method" in headers["Vary"]


@pytest.mark.row(2)
@pytest.mark.parametrize("method", ["PUT", "get", "BREW"])
async def test_preflight_of_another_method(lobby: Lobby, method: str) -> None:
    asked = ORIGIN | {"Access-Control-Request-Method": method}
    status, _, headers = await lobby.get("/", method="OPTIONS", headers=asked)
    assert status == 204
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.row(2, 11)
async def test_every_page_may_read_why_a_join_is_refused(lobby: Lobby) -> None:
    for path in ("/rtc/validate", "/rtc/v1/validate"):
        _, _, headers = await lobby.get(path)
        assert headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.row(3)
async def test_one_slash_too_many(lobby: Lobby) -> None:
    token = lobby.target.token("alice", lobby.room)
    url = URL(f"{lobby.target.url}//rtc/validate", encoded=True)
    headers = {"Authorization": f"Bearer {token}"}
    async with lobby.session.get(url, headers=headers) as response:
        assert (response.status, await response.text()) == (200, "success")
    signal = await lobby.signal("alice", path="//rtc")
    assert signal.join.participant.identity == "alice"


@pytest.mark.row(3)
async def test_other_unclean_paths_are_redirected(lobby: Lobby) -> None:
    url = URL(f"{lobby.target.url}/rtc//validate?a=b", encoded=True)
    async with lobby.session.get(url, allow_redirects=False) as response:
        assert response.status in (301, 307)
        assert response.headers["Location"] == "/rtc/validate?a=b"


@pytest.mark.row(4)
async def test_body_limit(lobby: Lobby) -> None:
    headers = {"Content-Type": "application/json"}
    body = b"x" * (10 * 1024 * 1024 + 1)
    status, text, _ = await lobby.get(TWIRP, method="POST", headers=headers, data=body)
    assert (status, text) == (413, "request body too large")


# -- where a token may be -----------------------------------------------------------------------


@pytest.mark.row(5)
async def test_where_the_token_is_looked_for(lobby: Lobby) -> None:
    good = lobby.target.token("alice", lobby.room)
    path = "/rtc/validate"
    assert (await lobby.get(path, good))[:2] == (200, "success")
    assert (await lobby.get(f"{path}?access_token={good}"))[:2] == (200, "success")
    # The header wins. In a form it is not looked for: a query is known before a body is read.
    assert (await lobby.get(f"{path}?access_token=bad", good))[0] == 200
    assert (await lobby.get(f"{path}?access_token={good}", "bad"))[0] == 401
    for method in ("POST", "PUT", "PATCH"):
        form = {"access_token": good}
        assert (await lobby.get(path, method=method, data=form))[0] == 401, method
        form = {"access_token": "bad"}
        url = f"{path}?access_token={good}"
        status, body, _ = await lobby.get(url, method=method, data=form)
        assert (status, body) == (200, "success"), method


@pytest.mark.row(5, 6)
@pytest.mark.parametrize("value", ["Basic abc", "bearer abc", "Bearer"])
async def test_another_authorization_header(lobby: Lobby, value: str) -> None:
    status, body, _ = await lobby.get("/", headers={"Authorization": value})
    # Clients of HTTP strip the space of an empty one.
    assert (status, body) == (401, "invalid authorization header. Must start with Bearer ")


@pytest.mark.row(6)
async def test_a_bad_token_is_refused_everywhere(lobby: Lobby) -> None:
    for path in ("/", "/nope", "/rtc", "/rtc/v1/validate", TWIRP):
        status, body, headers = await lobby.get(path, "abc")
        assert (status, body) == (401, "invalid authorization token"), path
        assert headers["Content-Type"] == "text/plain; charset=utf-8"


# -- what a join is refused for -----------------------------------------------------------------

LONG = 257 * "x"
REFUSALS: list[tuple[dict[str, Any], dict[str, str], int, str]] = [
    ({"video": None}, {}, 401, "no permissions to access the room"),
    ({"video": {"room": "r"}}, {}, 401, "permissions denied"),
    ({"sub": None}, {}, 400, "identity cannot be empty"),
    (
        {"sub": LONG},
        {},
        400,
        "participant identity length exceeds limits: max length 256",
    ),
    ({"video": {"roomJoin": True}}, {}, 400, "no room name"),
    (
        {"video": {"roomJoin": True, "room": LONG}},
        {},
        400,
        "room name length exceeds limits: max length 256",
    ),
    # An empty identity is noticed before a missing room, and both before permissions.
    ({"sub": None, "video": {"roomJoin": True}}, {}, 400, "identity cannot be empty"),
    (
        {"video": {"roomJoin": True, "room": "r", "canPublish": False}},
        {"publish": "screen"},
        401,
        "no permissions to access the room",
    ),
    ({}, {"attributes": encoded(b'{"a": "b"}')}, 401, "no permissions to access the room"),
]


@pytest.mark.row(6, 11)
@pytest.mark.parametrize(("claims", "params", "status", "body"), REFUSALS)
async def test_join_refusals(
    lobby: Lobby, claims: dict[str, Any], params: dict[str, str], status: int, body: str
) -> None:
    token = lobby.target.token("alice", lobby.room, claims=claims)
    assert await validate(lobby, token=token, **params) == (status, body)
    with pytest.raises(Refused) as refused:
        await lobby.signal(token=token, params=params)
    assert refused.value.status == status
    if params:
        return
    answer = await validate(lobby, "/rtc/v1/validate", token, join_request=JOIN)
    assert answer == (status, body)


@pytest.mark.row(6, 11)
async def test_a_join_without_token(lobby: Lobby) -> None:
    for path in ("/rtc/validate", "/rtc/v1/validate"):
        answer = await validate(lobby, path, "")
        assert answer == (401, "no permissions to access the room")


@pytest.mark.row(11)
async def test_validate(lobby: Lobby) -> None:
    assert await validate(lobby) == (200, "success")
    assert await validate(lobby, join_request=JOIN) == (200, "success")
    v1 = "/rtc/v1/validate"
    assert await validate(lobby, v1) == (400, "join_request is required")
    assert await validate(lobby, v1, join_request=JOIN) == (200, "success")


@pytest.mark.row(12)
async def test_a_request_that_is_no_handshake(lobby: Lobby) -> None:
    token = lobby.target.token("alice", lobby.room)
    for path in ("/rtc", "/rtc/v1"):
        for changes in ({"Upgrade": "h2c"}, {"Connection": "keep-alive"}):
            headers = UPGRADE | changes
            status, body, _ = await lobby.get(f"{path}?access_token={token}", headers=headers)
            assert (status, body) == (404, "")


@pytest.mark.row(12)
@pytest.mark.parametrize(
    ("changes", "method", "status"),
    [
        ({"Sec-WebSocket-Version": "8"}, "GET", 400),
        ({"Sec-WebSocket-Key": "abc"}, "GET", 400),
        ({}, "POST", 405),
    ],
)
async def test_a_handshake_that_cannot_succeed(
    lobby: Lobby, changes: dict[str, str], method: str, status: int
) -> None:
    token = lobby.target.token("alice", lobby.room)
    answer = await lobby.get(f"/rtc?access_token={token}", method=method, headers=UPGRADE | changes)
    assert answer[0] == status
    assert "websocket: " in answer[1]
    assert answer[2]["Sec-WebSocket-Version"] == "13"


# -- join_request -------------------------------------------------------------------------------

JOIN_REQUESTS = [
    ("!!!!", "cannot base64 decode wrapped join request"),
    ("+/+/", "cannot base64 decode wrapped join request"),
    (JOIN + "A", "cannot base64 decode wrapped join request"),
    (encoded(b"\xff\xff\xff"), "cannot unmarshal wrapped join request"),
    (wrapped(b"\xff\xff"), "cannot unmarshal join request"),
    (
        wrapped(gzip.compress(b"\xff\xff", mtime=0), compressed=True),
        "cannot unmarshal join request",
    ),
    (wrapped(b"abc", compressed=True), "cannot read decompressed join request"),
    (wrapped(b"", compressed=True), "cannot read decompressed join request"),
    (
        wrapped(gzip.compress(b"a" * 100, mtime=0)[:-4], compressed=True),
        "cannot read decompressed join request",
    ),
    (wrapped(gzip.compress(bytes(1 << 20) + b"\0"), compressed=True), "join request too large"),
]


@pytest.mark.row(10, 6)
@pytest.mark.parametrize(("value", "body"), JOIN_REQUESTS)
async def test_bad_join_requests(lobby: Lobby, value: str, body: str) -> None:
    for path in ("/rtc/validate", "/rtc/v1/validate"):
        assert await validate(lobby, path, join_request=value) == (400, body)
    with pytest.raises(Refused) as refused:
        await lobby.signal("alice", path="/rtc/v1", params={"join_request": value})
    assert refused.value.status == 400


@pytest.mark.row(7, 9, 10)
@pytest.mark.parametrize("path", ["/rtc", "/rtc/v1"])
@pytest.mark.parametrize("compress", [False, True])
async def test_a_join_request_means_one_peer_connection(
    lobby: Lobby, path: str, compress: bool
) -> None:
    join = rtc.JoinRequest(
        client_info=models.ClientInfo(sdk=models.ClientInfo.SDK.JS, protocol=16),
        add_track_requests=[
            rtc.AddTrackRequest(cid="c1", name="voice", type=models.TrackType.AUDIO)
        ],
    )
    signal = await lobby.signal(
        "alice", path=path, params={"join_request": wrap(join, compress=compress)}
    )
    assert not signal.join.subscriber_primary
    published = await signal.expect("track_published")
    assert (published.cid, published.track.name) == ("c1", "voice")
    await signal.never("offer", 0.3)


@pytest.mark.row(8)
async def test_without_a_join_request_there_are_two(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    assert signal.join.subscriber_primary
    assert (await signal.expect("offer")).type == "offer"


@pytest.mark.row(7)
async def test_v1_without_join_request(lobby: Lobby) -> None:
    with pytest.raises(Refused) as refused:
        await lobby.signal("alice", path="/rtc/v1")
    assert refused.value.status == 400


@pytest.mark.row(7, 81)
async def test_a_join_request_may_describe_its_participant(lobby: Lobby) -> None:
    join = rtc.JoinRequest(metadata="mine", participant_attributes={"a": "b", "empty": ""})
    claims = {"metadata": "theirs", "attributes": {"a": "x", "c": "d", "empty": "e"}}
    with pytest.raises(Refused) as refused:
        await lobby.signal("alice", join=join, claims=claims)
    assert refused.value.status == 401
    signal = await lobby.signal("alice", join=join, claims=claims, canUpdateOwnMetadata=True)
    participant = signal.join.participant
    assert participant.metadata == "mine"
    assert dict(participant.attributes) == {"a": "b", "c": "d", "empty": "e"}


@pytest.mark.row(7)
async def test_oversize_metadata_is_found_by_the_room(lobby: Lobby) -> None:
    """The answer is that of every session that cannot start; why is only logged."""
    token = lobby.target.token("alice", lobby.room, canUpdateOwnMetadata=True)
    join = rtc.JoinRequest(metadata="m" * 600_000)
    query = {"access_token": token, "join_request": wrap(join, compress=True)}
    async with lobby.session.get(
        f"{lobby.target.url}/rtc/v1", params=query, headers=UPGRADE
    ) as response:
        assert (response.status, await response.text()) == (500, "connection closed by media")


# -- query parameters ---------------------------------------------------------------------------


@pytest.mark.row(13)
async def test_attributes_of_the_query(lobby: Lobby) -> None:
    own = {"canUpdateOwnMetadata": True}
    params = {"attributes": encoded(json.dumps({"a": "b"}).encode())}
    signal = await lobby.signal("alice", params=params, **own)
    assert dict(signal.join.participant.attributes) == {"a": "b"}
    for broken in ("!!", encoded(b"[]"), encoded(b'{"a": 1}'), "+/+/"):
        token = lobby.target.token("bob", lobby.room, **own)
        answer = await validate(lobby, token=token, attributes=broken)
        assert answer == (400, "cannot decode attributes"), broken
        # A join ignores them.
        signal = await lobby.signal("bob", params={"attributes": broken}, **own)
        assert not signal.join.participant.attributes


@pytest.mark.row(14)
async def test_publish_only_identity(lobby: Lobby) -> None:
    await lobby.signal("alice")
    second = await lobby.signal("alice", params={"publish": "screen"})
    participant = second.join.participant
    assert participant.identity == "alice#screen"
    assert participant.permission.can_publish
    assert not participant.permission.can_subscribe


@pytest.mark.row(15)
@pytest.mark.parametrize(
    ("agent", "limited"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", True),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/126.0.0.0 Safari/537.36",
            False,
        ),
    ],
)
async def test_the_user_agent_names_the_browser(lobby: Lobby, agent: str, limited: bool) -> None:
    """Firefox is told which codecs not to publish, also when only the header says that it is
    Firefox."""
    token = lobby.target.token("alice", lobby.room)
    async with (
        aiohttp.ClientSession(headers={"User-Agent": agent}) as session,
        session.ws_connect(
            f"{lobby.target.url}/rtc?access_token={token}&sdk=js&protocol=16"
        ) as socket,
    ):
        join = rtc.SignalResponse.FromString(await socket.receive_bytes(timeout=PATIENCE_S)).join
    disabled = join.client_configuration.disabled_codecs
    assert bool([*disabled.codecs, *disabled.publish]) is limited


# -- frames -------------------------------------------------------------------------------------


@pytest.mark.row(27)
async def test_json_frames_are_answered_in_json(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    assert signal.text_frames == 0
    await signal.send_raw(json.dumps({"pingReq": {"timestamp": "42"}, "unknown": 1}))
    assert (await signal.expect("pong_resp")).last_ping_timestamp == 42
    assert signal.text_frames > 0
    await signal.send(ping=1)
    await signal.expect("pong")
    frames = signal.text_frames
    await signal.send(ping=2)
    await signal.expect("pong")
    assert signal.text_frames == frames


@pytest.mark.row(28)
async def test_permessage_deflate(lobby: Lobby) -> None:
    signal = await lobby.signal("alice", compress=15)
    answered = signal._socket._response.headers["Sec-WebSocket-Extensions"]
    assert answered == (
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    )
    for number in range(3):
        await signal.send(ping_req=rtc.Ping(timestamp=number))
        assert (await signal.expect("pong_resp")).last_ping_timestamp == number
    plain = await lobby.signal("bob")
    assert "Sec-WebSocket-Extensions" not in plain._socket._response.headers


@pytest.mark.row(33)
async def test_control_pings_keep_proxies_from_closing(lobby: Lobby) -> None:
    token = lobby.target.token("alice", lobby.room)
    url = f"{lobby.target.url}/rtc?access_token={token}&protocol=16"
    async with lobby.session.ws_connect(url, autoping=False) as socket, asyncio.timeout(PATIENCE_S):
        while (await socket.receive()).type is not aiohttp.WSMsgType.PING:
            pass


@pytest.mark.row(29)
async def test_a_frame_over_two_mebibytes(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    await signal.send_raw(bytes(2 * 1024 * 1024 + 1))
    assert (await signal.ended()).code == 1009


@pytest.mark.row(29)
async def test_a_small_frame_that_inflates_to_more(lobby: Lobby) -> None:
    signal = await lobby.signal("alice", compress=15)
    await signal.send_raw(bytes(16 * 1024 * 1024))
    await signal.ended()
    assert (await lobby.signal("bob")).join.participant.identity == "bob"


@pytest.mark.row(26)
async def test_a_frame_that_is_no_request_ends_the_connection(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    await signal.send_raw(b"\xff\xff\xff")
    await signal.ended()
