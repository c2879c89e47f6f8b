"""The WHIP routes on a server whose rooms are on an engine without a network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from livekit.protocol import models

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.engine.fake import FakeEngine
from lkpy.limits import MAX_SUBSCRIPTIONS
from lkpy.sdp import SessionDescription
from lkpy.server.app import Server
from lkpy.server.http import whip
from lkpy.server.media import EnginePlane
from tests.control_plane import Harness, MediaDouble, config_of, serving
from tests.room_kit import PUBLISH_OFFER
from tests.transport_kit import DIGEST

OFFER = SessionDescription.parse(PUBLISH_OFFER)
FRAGMENT = (
    f"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{OFFER.media[0].mid}\r\n"
    f"a=ice-ufrag:{OFFER.media[0].transport.ice_ufrag}\r\n"
    f"a=ice-pwd:{OFFER.media[0].transport.ice_pwd}\r\n"
)


@contextlib.asynccontextmanager
async def server_of(values: Mapping[str, Any] | None = None) -> AsyncIterator[Harness]:
    config = config_of(values)
    plane = EnginePlane(config, engine=FakeEngine(auto_connect=True))
    async with serving(Server(config, plane), MediaDouble()) as harness:
        yield harness


@pytest.fixture
async def server() -> AsyncIterator[Harness]:
    async with server_of() as harness:
        yield harness


async def request(
    server: Harness, method: str, path: str, body: str = "", *, token: str = "", **headers: str
) -> tuple[int, str, Mapping[str, str]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named["Authorization"] = f"Bearer {token or server.token()}"
    url = server.url(path)
    async with server.http.request(method, url, data=body, headers=named) as response:
        return response.status, await response.text(), response.headers


async def post(
    server: Harness, sdp: str = PUBLISH_OFFER, **options: str
) -> tuple[int, str, Mapping[str, str]]:
    return await request(
        server, "POST", "/whip/v1", sdp, **({"Content_Type": "application/sdp"} | options)
    )


async def patch(server: Harness, created: Mapping[str, str], body: str, tag: str) -> int:
    kind = "application/trickle-ice-sdpfrag"
    status, _, _ = await request(
        server, "PATCH", created["Location"], body, Content_Type=kind, If_Match=tag
    )
    return status


async def test_the_tag_may_come_back_in_quotes(server: Harness) -> None:
    _, _, created = await post(server)
    tag = created["ETag"]
    for written in (tag, f'"{tag}"', f'W/"{tag}"'):
        assert await patch(server, created, FRAGMENT, written) == 204
    assert await patch(server, created, FRAGMENT, f'"{tag}x"') == 412


async def test_the_answer_names_what_patches_it_takes(server: Harness) -> None:
    _, _, created = await post(server)
    assert created["Accept-Patch"] == "application/trickle-ice-sdpfrag"
    _, _, options = await request(server, "OPTIONS", "/whip/v1")
    assert options["Accept-Post"] == "application/sdp"


async def test_ice_servers_are_links() -> None:
    turn = {"host": "turn.example", "port": 3478, "protocol": "udp", "username": 'a"b'}
    turn |= {"credential": "back\\slash"}
    async with server_of({"rtc": {"turn_servers": [turn], "stun_servers": ["s:1"]}}) as server:
        _, _, created = await post(server)
        assert created.getall("Link") == [
            '<turn:turn.example:3478?transport=udp>; rel="ice-server"; username="a\\"b"; '
            'credential="back\\\\slash"',
            '<stun:s:1>; rel="ice-server"',
        ]


async def test_who_the_client_is(server: Harness) -> None:
    told = {"User_Agent": "Mozilla/5.0 (X11; Linux x86_64) OBS-Studio/30.0"}
    await post(server, **told)
    _, _, _ = await post(server, token=server.token("go"), X_Unused="")
    (room,) = server.server._manager.rooms
    alice, go = (room._participants[name] for name in ("alice", "go"))
    assert (alice.client.browser, alice.client.protocol) == ("OBS Studio", 18)
    assert alice.client.address == "127.0.0.1"
    assert go.client.sdk == models.ClientInfo.UNKNOWN


async def test_offers_that_cannot_be_negotiated(server: Harness) -> None:
    for line, error in (
        ("a=fingerprint:", "malformed SDP offer: no a=fingerprint"),
        ("a=ice-pwd:", "malformed SDP offer: no a=ice-pwd"),
    ):
        lines = PUBLISH_OFFER.split("\r\n")
        sdp = "\r\n".join(text for text in lines if not text.startswith(line))
        status, body, headers = await post(server, sdp)
        assert (status, body) == (400, f'{{"error":"{error}"}}\n')
        assert headers["Content-Type"] == "application/json"
    status, body, _ = await post(server, PUBLISH_OFFER.replace("m=video 9", "m=video x"))
    assert (status, "m=: port must be a number" in body) == (400, True)
    assert server.server._manager.rooms == [], "nothing was begun"


async def test_no_codec_in_common(server: Harness) -> None:
    sdp = (
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
        "m=audio 9 UDP/TLS/RTP/SAVPF 97\r\na=mid:0\r\na=rtpmap:97 speex/16000\r\n"
        f"a=ice-ufrag:abcd\r\na=ice-pwd:{'p' * 24}\r\na=fingerprint:sha-256 {DIGEST}\r\n"
        "a=setup:actpass\r\na=sendonly\r\na=rtcp-mux\r\n"
    )
    status, body, _ = await post(server, sdp)
    error = "no media section of the offer can be used: audio speex"
    assert (status, body) == (400, f'{{"error":"{error}"}}\n')
    (room,) = server.server._manager.rooms
    assert room.participants() == []


async def test_a_room_that_is_full_and_metadata_that_is_too_large() -> None:
    values = {"room": {"max_participants": 1}, "limit": {"max_metadata_size": 10}}
    async with server_of(values) as server:
        assert (await post(server))[0] == 201
        status, body, _ = await post(server, token=server.token("bob"))
        assert (status, "max participants" in body) == (503, True)
        video = VideoGrant(room_join=True, room="lobby")
        large = server.token_for(Grants(identity="alice", metadata="m" * 11, video=video))
        status, body, _ = await post(server, token=large)
        assert (status, body) == (503, '{"error":"metadata size exceeds limits"}\n')


async def test_rooms_that_nobody_made() -> None:
    async with server_of({"room": {"auto_create": False}}) as server:
        status, body, _ = await post(server)
        assert (status, body) == (404, '{"error":"requested room does not exist"}\n')
        maker = server.token(room_join=True, room="lobby", room_create=True)
        assert (await post(server, token=maker))[0] == 201


async def test_a_node_that_takes_no_rooms(server: Harness) -> None:
    _, _, created = await post(server)
    draining = asyncio.create_task(server.server.drain())
    await asyncio.sleep(0)
    elsewhere = server.token(room_join=True, room="elsewhere")
    status, body, _ = await post(server, token=elsewhere)
    assert (status, body) == (503, '{"error":"could not find any available nodes"}\n')
    assert (await request(server, "DELETE", created["Location"]))[0] == 200
    await draining


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ("[]", "Input should be"),
        ('{"subscribedParticipantTrackNames": 3}', "subscribedParticipantTrackNames: Input"),
        ('{"subscribedParticipantTrackNames": {"bob": "x"}}', "subscribedParticipantTrackNames: "),
        (
            '{"subscribedParticipantTrackNames": {"bob": ['
            + ",".join(f'"{number}"' for number in range(MAX_SUBSCRIPTIONS + 1))
            + "]}}",
            f"client info header names more than {MAX_SUBSCRIPTIONS} tracks",
        ),
    ],
)
async def test_client_info_that_is_wrong(server: Harness, header: str, error: str) -> None:
    status, body, _ = await post(server, X_LiveKit_ClientInfo=header)
    assert (status, error in body) == (400, True), body


async def test_tracks_that_do_not_come(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whip, "WHIP_TRACKS_S", 0.1)
    wanted = '{"subscribedParticipantTrackNames": {"bob": ["voice"]}}'
    status, body, _ = await post(server, X_LiveKit_ClientInfo=wanted)
    error = "could not subscribe to tracks: bob publishes no voice"
    assert (status, body) == (503, f'{{"error":"{error}"}}\n')
    assert server.server._manager.rooms == []


async def test_bodies_that_are_not_text(server: Harness) -> None:
    status, body, _ = await post(server, b"v=0\r\n\xff")  # type: ignore[arg-type]
    assert (status, body) == (400, '{"error":"malformed SDP offer: not UTF-8 at byte 5"}\n')
    _, _, created = await post(server)
    assert await patch(server, created, b"\xff", "*") == 400  # type: ignore[arg-type]


async def test_whip_in_a_room_that_is_not_there(server: Harness) -> None:
    status, body, _ = await request(server, "DELETE", "/whip/v1/PA_x")
    assert (status, body) == (404, '{"error":"requested room does not exist"}\n')
