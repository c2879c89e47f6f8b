"""Agent dispatches, and the services that need other processes."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.protocol import agent_dispatch

from tests.conformance.api_kit import (
    BIG_ATTRIBUTES,
    BIG_METADATA,
    DENIED,
    NO_PARTICIPANT,
    NO_RESPONSE,
    NO_ROOM,
    create,
    not_found,
    refused,
)
from tests.conformance.kit import Lobby

# -- agent dispatches ----------------------------------------------------------------------------


async def dispatches(lobby: Lobby, **request: Any) -> list[agent_dispatch.AgentDispatch]:
    listed = await lobby.call(
        "ListDispatch",
        {"room": lobby.room} | request,
        agent_dispatch.ListAgentDispatchResponse,
        service="AgentDispatchService",
    )
    return list(listed.agent_dispatches)


@pytest.mark.row(103)
async def test_agent_dispatches(lobby: Lobby) -> None:
    request = agent_dispatch.CreateAgentDispatchRequest(
        room=lobby.room,
        agent_name="helper",
        metadata="m",
        deployment="blue",
        attributes={"k": "v"},
        restart_policy=agent_dispatch.JobRestartPolicy.JRP_NEVER,
    )
    service = {"service": "AgentDispatchService"}
    created = await lobby.call("CreateDispatch", request, agent_dispatch.AgentDispatch, **service)
    assert created.id.startswith("AD_")
    assert (created.room, created.agent_name, created.metadata) == (lobby.room, "helper", "m")
    assert (created.deployment, dict(created.attributes)) == ("blue", {"k": "v"})
    assert created.restart_policy == agent_dispatch.JobRestartPolicy.JRP_NEVER
    assert created.state.created_at > 10**18, "nanoseconds"
    assert not created.state.jobs
    # The room came into being, open to agents without a name.
    assert {d.agent_name for d in await dispatches(lobby)} == {"", "helper"}
    assert [d.id for d in await dispatches(lobby, dispatch_id=created.id)] == [created.id]
    assert await dispatches(lobby, dispatch_id="AD_nobody") == []
    target = {"room": lobby.room, "dispatch_id": created.id}
    deleted = await lobby.call("DeleteDispatch", target, agent_dispatch.AgentDispatch, **service)
    assert deleted.id == created.id
    assert {d.agent_name for d in await dispatches(lobby)} == {""}
    gone = await refused(lobby, "DeleteDispatch", target, **service)
    assert gone == not_found("dispatch ID not found")


@pytest.mark.row(103)
async def test_a_repeated_call_makes_nothing_more(lobby: Lobby) -> None:
    """SDKs send an id with every try of a call."""
    if not lobby.target.ours:
        pytest.skip("livekit-server 1.13.11 has the ids, and reads none")
    service = {"service": "AgentDispatchService"}
    request = agent_dispatch.CreateAgentDispatchRequest(room=lobby.room, agent_name="helper")
    made = [
        await lobby.call(
            "CreateDispatch",
            request,
            agent_dispatch.AgentDispatch,
            request_id=identifier,
            **service,
        )
        for identifier in ("one", "one", "another", "")
    ]
    assert made[0] == made[1]
    assert len({dispatch.id for dispatch in made}) == 3
    listed = [d for d in await dispatches(lobby) if d.agent_name == "helper"]
    assert {d.id for d in listed} == {d.id for d in made}


@pytest.mark.row(103, 91)
async def test_agents_of_a_room_are_dispatches(lobby: Lobby) -> None:
    await create(
        lobby,
        agents=[
            {"agent_name": "one", "metadata": "m"},
            {"agent_name": "impossible", "deployment": "a_b"},
        ],
    )
    (dispatch,) = await dispatches(lobby)
    assert (dispatch.agent_name, dispatch.metadata) == ("one", "m")


@pytest.mark.row(103, 83)
async def test_agents_of_the_token_that_opens_a_room(lobby: Lobby) -> None:
    config = {"agents": [{"agentName": "from-token", "metadata": "m"}]}
    await lobby.signal("alice", claims={"roomConfig": config})
    (dispatch,) = await dispatches(lobby)
    assert (dispatch.agent_name, dispatch.metadata) == ("from-token", "m")


@pytest.mark.row(103)
async def test_dispatches_that_cannot_be(lobby: Lobby) -> None:
    async def wrong(method: str = "CreateDispatch", **values: Any) -> tuple[int, str, str]:
        request = {"room": lobby.room} | values
        return await refused(lobby, method, request, service="AgentDispatchService")

    assert await wrong("ListDispatch") == NO_RESPONSE
    for values, message in (
        ({"deployment": "a_b"}, "deployment contains reserved character '_'"),
        ({"deployment": "a b"}, "deployment contains whitespace or control byte at position 1"),
        ({"deployment": "x" * 65}, "deployment exceeds 64 bytes"),
        ({"metadata": BIG_METADATA}, "metadata size exceeds limits"),
        ({"attributes": BIG_ATTRIBUTES}, "attribute size exceeds limits"),
    ):
        assert await wrong(**values) == (400, "invalid_argument", message)
    for method in ("CreateDispatch", "ListDispatch", "DeleteDispatch"):
        assert await wrong(method, room="another") == DENIED


# -- services without their workers --------------------------------------------------------------


def not_connected(service: str) -> tuple[int, str, str]:
    return 500, "internal", f"{service} not connected (redis required)"


@pytest.mark.row(104)
async def test_egress(lobby: Lobby) -> None:
    async def call(method: str, **request: Any) -> tuple[int, str, str]:
        return await refused(lobby, method, request, service="Egress", roomRecord=True)

    for method in ("UpdateLayout", "UpdateStream", "ListEgress", "StopEgress"):
        assert await call(method) == not_connected("egress")
    starts = ("RoomComposite", "Participant", "TrackComposite", "Track")
    for method in ["StartEgress", *(f"Start{name}Egress" for name in starts)]:
        assert await call(method, room_name=lobby.room) == NO_ROOM
        assert await refused(lobby, method, {}, service="Egress", roomCreate=True) == DENIED
    assert await refused(lobby, "ListEgress", {}, service="Egress", roomCreate=True) == DENIED


@pytest.mark.row(107)
async def test_ingress(lobby: Lobby) -> None:
    async def call(method: str, request: Any, **grant: Any) -> tuple[int, str, str]:
        grant = grant or {"ingressAdmin": True}
        return await refused(lobby, method, request, service="Ingress", **grant)

    for kind in ("RTMP_INPUT", "WHIP_INPUT", "URL_INPUT"):
        assert await call("CreateIngress", {"input_type": kind}) == not_connected("ingress")
    assert await call("ListIngress", {}) == not_connected("ingress")
    if lobby.target.ours:
        # livekit-server panics in these two.
        for method in ("UpdateIngress", "DeleteIngress"):
            assert await call(method, {}) == not_connected("ingress")
    for method in ("CreateIngress", "UpdateIngress", "ListIngress", "DeleteIngress"):
        assert await call(method, {}, roomCreate=True) == DENIED
    kind = (400, "invalid_argument", "invalid ingress type")
    assert await call("CreateIngress", {"input_type": 7}, roomCreate=True) == kind


@pytest.mark.row(108, 109, 88)
async def test_sip(lobby: Lobby) -> None:
    async def call(
        method: str, request: dict[str, Any], *, sip: Any, **video: Any
    ) -> tuple[int, str, str]:
        token = lobby.target.token("api", claims={"sip": sip}, **video)
        return await refused(lobby, method, request, service="SIP", token=token)

    admin, caller = {"admin": True}, {"call": True}
    if (await call("ListSIPInboundTrunk", {}, sip=admin))[0] == 404:
        pytest.skip("the server was built without SIP")
    for method in (
        "ListSIPInboundTrunk",
        "CreateSIPInboundTrunk",
        "DeleteSIPTrunk",
        "ListSIPDispatchRule",
    ):
        assert await call(method, {}, sip=admin) == not_connected("sip")
        assert await call(method, {}, sip=caller) == DENIED
    assert await call("CreateSIPParticipant", {}, sip=caller) == not_connected("sip")
    assert await call("CreateSIPParticipant", {}, sip=admin) == DENIED
    transfer: dict[str, Any] = {}
    wrong = (400, "invalid_argument", "Missing room name")
    assert await call("TransferSIPParticipant", transfer, sip=None) == wrong
    transfer |= {"room_name": lobby.room, "participant_identity": "alice"}
    assert await call("TransferSIPParticipant", transfer, sip=caller) == DENIED
    transfer |= {"transfer_to": "tel:+1234"}
    room_admin = {"roomAdmin": True, "room": lobby.room}
    absent = await call("TransferSIPParticipant", transfer, sip=caller, **room_admin)
    assert absent == NO_PARTICIPANT


@pytest.mark.row(110)
@pytest.mark.parametrize("service", ["Connector", "CloudAgent", "PhoneNumberService", "Simulation"])
async def test_services_that_servers_do_not_have(lobby: Lobby, service: str) -> None:
    status, _, message = await refused(lobby, "Anything", {}, service=service)
    assert (status, message.strip()) == (404, "404 page not found")
