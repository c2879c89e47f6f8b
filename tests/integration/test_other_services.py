"""AgentDispatchService, and the services that need other processes: Egress, Ingress and SIP."""

from __future__ import annotations

from typing import Any

import pytest

from lkpy.auth.grants import Grants, SipGrant, VideoGrant
from tests.control_plane import Harness, receive, running

DENIED = (401, {"code": "unauthenticated", "msg": "permissions denied"})
NO_RESPONSE = (503, {"code": "unavailable", "msg": "no response from servers"})
ADMIN = {"room_admin": True, "room": "lobby"}


@pytest.fixture
async def server():
    async with running() as harness:
        yield harness


def not_connected(service: str) -> tuple[int, dict[str, str]]:
    return 500, {"code": "internal", "msg": f"{service} not connected (redis required)"}


class Dispatching:
    def __init__(self, server: Harness) -> None:
        self.server = server
        self.token = server.token(**ADMIN)

    async def __call__(
        self, method: str, request_id: str = "", **body: Any
    ) -> tuple[int, dict[str, Any]]:
        call = {"room": "lobby"} | body
        headers = {"X-Livekit-Request-Id": request_id} if request_id else {}
        service = "AgentDispatchService"
        return await self.server.twirp(method, call, self.token, service=service, headers=headers)


@pytest.fixture
def dispatching(server: Harness) -> Dispatching:
    return Dispatching(server)


# -- agent dispatches -------------------------------------------------------------------------


async def test_dispatches_are_stored_listed_and_deleted(dispatching: Dispatching) -> None:
    status, created = await dispatching(
        "CreateDispatch",
        agent_name="helper",
        metadata="m",
        deployment="blue",
        attributes={"k": "v"},
        restart_policy="JRP_NEVER",
    )
    assert status == 200
    assert created["id"].startswith("AD_")
    state = created.pop("state")
    assert (state["jobs"], state["deleted_at"]) == ([], "0")
    assert int(state["created_at"]) > 1e18, "nanoseconds"
    assert created == {
        "id": created["id"],
        "agent_name": "helper",
        "room": "lobby",
        "metadata": "m",
        "restart_policy": "JRP_NEVER",
        "deployment": "blue",
        "attributes": {"k": "v"},
    }
    # The room came into being with the call, open to agents without a name.
    _, listed = await dispatching("ListDispatch")
    assert {d["agent_name"] for d in listed["agent_dispatches"]} == {"", "helper"}
    _, one = await dispatching("ListDispatch", dispatch_id=created["id"])
    assert [d["id"] for d in one["agent_dispatches"]] == [created["id"]]
    assert await dispatching("ListDispatch", dispatch_id="AD_no") == (200, {"agent_dispatches": []})
    _, deleted = await dispatching("DeleteDispatch", dispatch_id=created["id"])
    assert deleted["id"] == created["id"]
    assert await dispatching("DeleteDispatch", dispatch_id=created["id"]) == (
        404,
        {"code": "not_found", "msg": "dispatch ID not found"},
    )


async def test_every_try_of_a_call_gets_the_same_dispatch(dispatching: Dispatching) -> None:
    _, first = await dispatching("CreateDispatch", "req 1", agent_name="helper")
    assert first["id"].startswith("AD_")
    assert await dispatching("CreateDispatch", "req 1", agent_name="helper") == (200, first)
    others = [
        await dispatching("CreateDispatch", r, agent_name="helper") for r in ("req 2", "", "")
    ]
    assert len({first["id"], *(other["id"] for _, other in others)}) == 4
    elsewhere = dispatching.server.token(room_admin=True, room="hall")
    _, other = await dispatching.server.twirp(
        "CreateDispatch",
        {"room": "hall", "agent_name": "helper"},
        elsewhere,
        service="AgentDispatchService",
        headers={"X-Livekit-Request-Id": "req 1"},
    )
    assert other["room"] == "hall"
    await dispatching("DeleteDispatch", dispatch_id=first["id"])
    _, again = await dispatching("CreateDispatch", "req 1", agent_name="helper")
    assert again["id"] == first["id"]


async def test_agents_of_the_room_are_dispatches(server: Harness) -> None:
    agents = [
        {"agent_name": "a", "metadata": "m", "attributes": {"k": "v"}},
        {"agent_name": "left out", "deployment": "not_possible"},
    ]
    call = {"name": "lobby", "agents": agents}
    await server.twirp("CreateRoom", call, server.token(room_create=True))
    _, listed = await Dispatching(server)("ListDispatch")
    (dispatch,) = listed["agent_dispatches"]
    assert (dispatch["agent_name"], dispatch["metadata"]) == ("a", "m")
    assert dispatch["attributes"] == {"k": "v"}


async def test_agents_of_the_token_that_opens_the_room(server: Harness) -> None:
    grants = Grants.from_claims(
        {
            "sub": "alice",
            "video": {"roomJoin": True, "room": "lobby"},
            "roomConfig": {"agents": [{"agentName": "from token"}]},
        }
    )
    await receive(await server.join(server.token_for(grants)))
    _, listed = await Dispatching(server)("ListDispatch")
    assert [d["agent_name"] for d in listed["agent_dispatches"]] == ["from token"]


async def test_dispatches_end_with_their_room(server: Harness, dispatching: Dispatching) -> None:
    assert await dispatching("ListDispatch") == NO_RESPONSE
    assert await dispatching("DeleteDispatch", dispatch_id="AD_x") == NO_RESPONSE
    await dispatching("CreateDispatch", agent_name="x")
    await server.twirp("DeleteRoom", {"room": "lobby"}, server.token(room_create=True))
    assert await dispatching("ListDispatch") == NO_RESPONSE
    async with running({"room": {"auto_create": False}}) as other:
        assert await Dispatching(other)("CreateDispatch") == NO_RESPONSE


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"deployment": "a_b"}, "deployment contains reserved character '_'"),
        ({"deployment": "a b"}, "deployment contains whitespace or control byte at position 1"),
        ({"deployment": "\x7f"}, "deployment contains whitespace or control byte at position 0"),
        ({"deployment": "x" * 65}, "deployment exceeds 64 bytes"),
        ({"metadata": "m" * (512 * 1024 + 1)}, "metadata size exceeds limits"),
        ({"attributes": {"k": "v" * 64 * 1024}}, "attribute size exceeds limits"),
    ],
)
async def test_bad_dispatches(dispatching: Dispatching, body: dict[str, Any], message: str) -> None:
    answer = await dispatching("CreateDispatch", **body)
    assert answer == (400, {"code": "invalid_argument", "msg": message})


@pytest.mark.parametrize("method", ["CreateDispatch", "DeleteDispatch", "ListDispatch"])
async def test_dispatching_needs_the_admin_grant(dispatching: Dispatching, method: str) -> None:
    assert await dispatching(method, room="other") == DENIED


# -- without Redis ----------------------------------------------------------------------------

EGRESS = [
    "StartEgress",
    "StartRoomCompositeEgress",
    "StartWebEgress",
    "StartParticipantEgress",
    "StartTrackCompositeEgress",
    "StartTrackEgress",
]


async def test_egress(server: Harness) -> None:
    async def call(method: str, **body: Any) -> tuple[int, dict[str, Any]]:
        token = server.token(room_record=True)
        return await server.twirp(method, body, token, service="Egress")

    await server.twirp("CreateRoom", {"name": "lobby"}, server.token(room_create=True))
    no_room = (404, {"code": "not_found", "msg": "requested room does not exist"})
    for method in EGRESS:
        assert await call(method) == NO_RESPONSE
        if method != "StartWebEgress":
            assert await call(method, room_name="lobby") == NO_RESPONSE
            assert await call(method, room_name="absent") == no_room
    for method in ("UpdateLayout", "UpdateStream", "ListEgress", "StopEgress"):
        assert await call(method) == not_connected("egress")
    for method in [*EGRESS, "UpdateLayout", "UpdateStream", "ListEgress", "StopEgress"]:
        assert await server.twirp(method, {}, server.token(**ADMIN), service="Egress") == DENIED


async def test_ingress(server: Harness) -> None:
    token = server.token(ingress_admin=True)
    for method in ("CreateIngress", "UpdateIngress", "ListIngress", "DeleteIngress"):
        answer = await server.twirp(method, {}, token, service="Ingress")
        assert answer == not_connected("ingress")
        assert await server.twirp(method, {}, server.token(**ADMIN), service="Ingress") == DENIED
    # The type is looked at first, whoever asks.
    assert await server.twirp("CreateIngress", {"input_type": 7}, service="Ingress") == (
        400,
        {"code": "invalid_argument", "msg": "invalid ingress type"},
    )


async def test_sip(server: Harness) -> None:
    def token(sip: SipGrant | None, **video: Any) -> str:
        return server.token_for(Grants(identity="x", sip=sip, video=VideoGrant(**video)))

    admin, caller = token(SipGrant(admin=True)), token(SipGrant(call=True))
    for method in ("ListSIPInboundTrunk", "CreateSIPDispatchRule", "DeleteSIPTrunk"):
        assert await server.twirp(method, {}, admin, service="SIP") == not_connected("sip")
        assert await server.twirp(method, {}, caller, service="SIP") == DENIED
    answer = await server.twirp("CreateSIPParticipant", {}, caller, service="SIP")
    assert answer == not_connected("sip")
    assert await server.twirp("CreateSIPParticipant", {}, admin, service="SIP") == DENIED

    async def transfer(token: str = caller, **body: Any) -> tuple[int, str]:
        status, answer = await server.twirp("TransferSIPParticipant", body, token, service="SIP")
        return status, answer["msg"]

    assert await transfer() == (400, "Missing room name")
    assert await transfer(room_name="lobby") == (400, "Missing participant identity")
    target = {"room_name": "lobby", "participant_identity": "alice"}
    assert await transfer(**target) == (401, "permissions denied")
    both = token(SipGrant(call=True), **ADMIN)
    assert await transfer(both, **target) == (400, "missing transfer to")
    assert (await transfer(both, **target, transfer_to="somebody"))[0] == 400
    target["transfer_to"] = "tel:+123"
    assert await transfer(both, **target) == (404, "participant does not exist")
    await receive(await server.join(server.token()))
    answer = await transfer(both, **target)
    assert answer == (400, "no SIP session associated with participant")
    video = VideoGrant(room_join=True, room="lobby")
    called = Grants(identity="alice", attributes={"sip.callID": "SCL_1"}, video=video)
    await receive(await server.join(server.token_for(called)))
    assert await transfer(both, **target) == (503, "no response from servers")
