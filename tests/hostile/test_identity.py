"""Rows J: tokens that are forged, old, broken or carry what they should not.

Forms and signatures are in ``tests/unit/test_token.py`` and ``tests/conformance/test_tokens.py``.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.auth.token import TokenError, refresh, verify
from lkpy.engine.fake import FakeEngine
from lkpy.limits import TOKEN_REFRESH_TTL_S
from lkpy.server.media import EnginePlane
from tests.control_plane import KEY, SECRET, Harness, config_of, receive, running

NOW = 1_700_000_000.0
KEYS = {KEY: SECRET}
OTHER = "another secret that is longer than 32 characters"
URL = "http://127.0.0.1/keys"
TWICE = '{"alg":"HS256","alg":"none"}'
PAIR = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9
q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==
-----END PUBLIC KEY-----"""


@pytest.fixture
async def server() -> AsyncIterator[Harness]:
    async with running() as harness:
        yield harness


def part(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def signed(**claims: Any) -> str:
    return jwt.encode({"iss": KEY, "exp": NOW + 60} | claims, SECRET, algorithm="HS256")


def _forged() -> dict[str, str]:
    good = signed(sub="alice", video={"roomJoin": True, "room": "lobby"})
    _, claims, signature = good.split(".")
    own = {"typ": "JWT", "alg": "HS256"}
    jwk = {"kty": "oct", "k": part(OTHER)}
    return {
        "none": f"{part({'alg': 'none'})}.{claims}.",
        "none in other letters": f"{part({'alg': 'nOnE'})}.{claims}.",
        "none with the signature": f"{part({'alg': 'none'})}.{claims}.{signature}",
        "another hash": jwt.encode({"iss": KEY, "exp": NOW + 60}, SECRET, algorithm="HS384"),
        "RS256": f"{part({'alg': 'RS256'})}.{claims}.{signature}",
        "a public key as the secret": jwt.encode({"iss": KEY}, part(PAIR), algorithm="HS256"),
        "crit": jwt.encode({"iss": KEY, "exp": NOW + 60}, SECRET, headers={"crit": ["exp"]}),
        "crit of b64": jwt.encode(
            {"iss": KEY, "exp": NOW + 60}, SECRET, headers={"crit": ["b64"], "b64": False}
        ),
        "key of its own": jwt.encode({"iss": KEY, "exp": NOW + 60}, OTHER, headers={"jwk": jwk}),
        "key of somebody": jwt.encode({"iss": KEY, "exp": NOW + 60}, OTHER, headers={"jku": URL}),
        "key by name": f"{part(own | {'kid': '../../dev/null'})}.{claims}.{signature}",
        "two algorithms": f"{part(TWICE)}.{claims}.{signature}",
        "no algorithm": f"{part({})}.{claims}.{signature}",
        "a list for a header": f"{part([])}.{claims}.{signature}",
        "no signature": f"{part(own)}.{claims}.",
        "claims of another": f"{good.split('.')[0]}.{part({'iss': KEY, 'exp': NOW})}.{signature}",
        "five parts": f"{part({'alg': 'dir', 'enc': 'A256GCM'})}..a.b.c",
        "nested": jwt.encode({"iss": KEY, "exp": NOW + 60, "x": good}, OTHER),
        "another issuer": jwt.encode({"iss": "nobody", "exp": NOW + 60}, SECRET),
        "no issuer": jwt.encode({"exp": NOW + 60}, SECRET),
        "no end": jwt.encode({"iss": KEY, "sub": "alice"}, SECRET),
        "an end of null": jwt.encode({"iss": KEY, "exp": None}, SECRET),
        "an end that is none": jwt.encode({"iss": KEY, "exp": 1e400}, SECRET),
        "deep": f"{part(own)}.{part('[' * 20_000)}.{signature}",
        "deep and whole": f"{part(own)}.{part('[' * 9_000 + ']' * 9_000)}.{signature}",
    }


@pytest.mark.parametrize("name", list(_forged()))
def test_row_j1_j2_what_is_no_token(name: str) -> None:
    with pytest.raises(TokenError):
        verify(_forged()[name], KEYS, now=NOW)


def test_the_good_one_passes() -> None:
    token = signed(sub="alice", video={"roomJoin": True, "room": "lobby"})
    assert verify(token, KEYS, now=NOW).grants.identity == "alice"


@pytest.mark.parametrize(
    ("claims", "accepted"),
    [
        ({"exp": NOW - 59}, True),
        ({"exp": NOW - 61}, False),
        ({"nbf": NOW + 59}, True),
        ({"nbf": NOW + 61}, False),
    ],
)
def test_row_j3_a_minute_of_leeway(claims: dict[str, float], accepted: bool) -> None:
    if accepted:
        verify(signed(**claims), KEYS, now=NOW)
    else:
        with pytest.raises(TokenError):
            verify(signed(**claims), KEYS, now=NOW)


async def test_row_j4_a_token_is_good_until_it_ends(server: Harness) -> None:
    """As in LiveKit: whoever has it may join again. Its time is its bound."""
    token = server.token("alice")
    for _ in range(3):
        assert (await receive(await server.join(token))).join.participant.identity == "alice"


async def test_row_j8_credentials_in_a_token_are_warned_of(
    server: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    secret = {"s3": {"accessKey": "AK-CANARY", "secret": "S3-CANARY", "bucket": "b"}}
    claims = {
        "iss": KEY,
        "sub": "alice",
        "exp": time.time() + 60,
        "video": {"roomJoin": True, "room": "lobby"},
        "roomConfig": {"egress": {"room": {"fileOutputs": [{"filepath": "a", **secret}]}}},
    }
    with caplog.at_level(logging.DEBUG):
        token = jwt.encode(claims, SECRET, algorithm="HS256")
        await server.get("/rtc/validate", token)
        await server.get("/rtc/validate", server.token("bob"))
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "carries credentials" in warning.message
    about = warning.__dict__["lkpy_fields"]
    assert (about["room"], about["participant"]) == ("lobby", "alice")
    assert "CANARY" not in caplog.text


async def test_row_j9_an_identity_means_somebody_in_one_room(server: Harness) -> None:
    """``a_b`` and ``c`` are not ``a`` and ``b_c``, though both joined are the same text."""
    pairs = [("a_b", "c"), ("a", "b_c")]
    sockets = [
        await server.join(server.token(identity, room_join=True, room=room))
        for room, identity in pairs
    ]
    for socket in sockets:
        await receive(socket)
    admin = server.token(room_admin=True, room="a_b")
    call = {"room": "a_b", "identity": "c"}
    assert (await server.twirp("RemoveParticipant", call, admin))[0] == 200
    call = {"room": "a", "identity": "b_c"}
    assert (await server.twirp("RemoveParticipant", call, admin))[0] == 401
    assert [p.identity for p in server.media.rooms["a"].participants()] == ["b_c"]
    assert server.media.rooms["a_b"].participants() == []


async def test_row_j9_the_suffix_of_a_second_connection(server: Harness) -> None:
    """It is no way to another's identity: what comes before ``#`` is the token's."""
    socket = await server.join(
        server.token("alice"), path="/rtc", params={"publish": "x#bob", "protocol": "16"}
    )
    assert (await receive(socket)).join.participant.identity == "alice#x#bob"


def test_row_j11_a_refreshed_token_allows_no_more() -> None:
    video = VideoGrant(room_join=True, room="lobby", can_publish=False, can_subscribe=True)
    first = Grants(identity="alice", video=video, stats=True, expires_at=NOW + 60)
    token = refresh(first, api_key=KEY, api_secret=SECRET, now=NOW)
    again = verify(token, KEYS, now=NOW).grants
    assert (again.identity, again.video, again.stats) == ("alice", video, False)
    assert again.expires_at == NOW + TOKEN_REFRESH_TTL_S
    with pytest.raises(TokenError):
        verify(token, KEYS, now=NOW + TOKEN_REFRESH_TTL_S + 61)


async def test_half_a_character(server: Harness) -> None:
    """JSON can escape half a surrogate pair, and JavaScript does; Go reads U+FFFD."""
    claims = {
        "iss": KEY,
        "sub": "al\ud800ice",
        "name": "\udc00",
        "metadata": "\ud83d\ude00 \ud83d",
        "attributes": {"k\ud800": "v\udfff"},
        "exp": time.time() + 60,
        "video": {"roomJoin": True, "room": "lobby", "canUpdateOwnMetadata": True},
    }
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    person = (await receive(await server.join(token))).join.participant
    assert person.identity == "al\ufffdice"
    assert person.metadata == "\U0001f600 \ufffd"
    assert dict(person.attributes) == {"k\ufffd": "v\ufffd"}
    own = base64.urlsafe_b64encode(json.dumps({"a": "\ud800"}).encode()).decode()
    params = {"attributes": own, "protocol": "16"}
    socket = await server.join(token, path="/rtc", params=params)
    assert (await receive(socket)).join.participant.attributes["a"] == "\ufffd"


async def test_half_a_character_of_an_api_call(server: Harness) -> None:
    token = server.token(room_create=True)
    body = b'{"name":"a\\ud800"}'
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    url = server.url("/twirp/livekit.RoomService/CreateRoom")
    async with server.http.post(url, data=body, headers=headers) as response:
        assert response.status in (200, 400)


def test_row_n4_a_token_is_refreshed_with_its_own_key() -> None:
    keys = {KEY: SECRET, "second": OTHER}
    plane = EnginePlane(config_of({"keys": keys}), engine=FakeEngine())
    grants = Grants(identity="alice", video=VideoGrant(room_join=True, room="lobby"))
    for key, signer in ((KEY, KEY), ("second", "second"), ("removed", KEY)):
        token = plane._refresh_token(grants, key)
        assert verify(token, keys, now=time.time()).api_key == signer
