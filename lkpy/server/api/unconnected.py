"""LiveKit's services whose work other processes do: Egress, Ingress and SIP.

Those processes are reached through Redis, and there is none. Every method looks at its token and
arguments in livekit-server's order and then answers what livekit-server without Redis answers
(``pkg/service/egress.go``, ``ingress.go``, ``sip.go``). Two things differ, on purpose. Starting an
egress fails at once: livekit-server waits 23 s for a worker before it gives the same error. And
updating or deleting an ingress is an error like the others: livekit-server panics.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from livekit.protocol import egress as egress_pb
from livekit.protocol import ingress as ingress_pb
from livekit.protocol import sip as sip_pb

from lkpy.auth.grants import Grants
from lkpy.errors import Blame, Code, LkpyError, TwirpError
from lkpy.ids import ParticipantIdentity, RoomName
from lkpy.server.api.checks import (
    require_admin,
    require_ingress_admin,
    require_record,
    require_sip_admin,
    require_sip_call,
)
from lkpy.server.rooms.allocator import ROOM_NOT_FOUND
from lkpy.server.rooms.manager import no_response
from lkpy.server.rooms.store import LocalStore
from lkpy.server.rtc.room_api import PARTICIPANT_NOT_FOUND

Method = Callable[[Any, Grants | None], Awaitable[Message]]

EGRESS = egress_pb.DESCRIPTOR.services_by_name["Egress"]
INGRESS = ingress_pb.DESCRIPTOR.services_by_name["Ingress"]
SIP = sip_pb.DESCRIPTOR.services_by_name["SIP"]

_SIP_CALL_ID = "sip.callID"
"""Attribute of a participant that is on a call."""


def _not_connected(service: str) -> LkpyError:
    return LkpyError(
        Code.INTERNAL, f"{service} not connected (redis required)", blame=Blame.OPERATOR
    )


def _every(descriptor: ServiceDescriptor, method: Method) -> dict[str, Method]:
    return {described.name: method for described in descriptor.methods}


def egress_methods(store: LocalStore) -> Mapping[str, Method]:
    """The methods of ``livekit.Egress``."""

    async def start(request: Any, grants: Grants | None) -> NoReturn:  # noqa: ANN401 - six types
        """A recording of a room needs the room to be there."""
        require_record(grants)
        room = getattr(request, "room_name", "")
        if room and store.load_room(RoomName(room)) is None:
            raise LkpyError(Code.NOT_FOUND, ROOM_NOT_FOUND)
        raise no_response()

    async def other(_request: Message, grants: Grants | None) -> NoReturn:
        require_record(grants)
        raise _not_connected("egress")

    methods = _every(EGRESS, other)
    return {name: start if name.startswith("Start") else method for name, method in methods.items()}


def ingress_methods() -> Mapping[str, Method]:
    """The methods of ``livekit.Ingress``."""

    async def create(request: ingress_pb.CreateIngressRequest, grants: Grants | None) -> NoReturn:
        if request.input_type not in ingress_pb.IngressInput.values():
            raise LkpyError(Code.INVALID_ARGUMENT, "invalid ingress type")
        await other(request, grants)

    async def other(_request: Message, grants: Grants | None) -> NoReturn:
        require_ingress_admin(grants)
        raise _not_connected("ingress")

    return _every(INGRESS, other) | {"CreateIngress": create}


def _check_transfer_to(uri: str) -> None:
    if not uri:
        raise TwirpError(Code.INVALID_ARGUMENT, "missing transfer to")
    if not uri.removeprefix("<").startswith(("sip:", "sips:", "tel:")):
        message = "transfer_to must be a valid SIP(s) or TEL URI (sip:, sips: or tel:)"
        raise TwirpError(Code.INVALID_ARGUMENT, message)


def sip_methods(store: LocalStore) -> Mapping[str, Method]:
    """The methods of ``livekit.SIP``."""

    async def administer(_request: Message, grants: Grants | None) -> NoReturn:
        require_sip_admin(grants)
        raise _not_connected("sip")

    async def call(_request: Message, grants: Grants | None) -> NoReturn:
        require_sip_call(grants)
        raise _not_connected("sip")

    async def transfer(
        request: sip_pb.TransferSIPParticipantRequest, grants: Grants | None
    ) -> NoReturn:
        """Needs no store of trunks, so it gets as far as the call that nobody answers."""
        if not request.room_name:
            raise LkpyError(Code.INVALID_ARGUMENT, "Missing room name")
        if not request.participant_identity:
            raise LkpyError(Code.INVALID_ARGUMENT, "Missing participant identity")
        require_sip_call(grants)
        require_admin(grants, request.room_name)
        _check_transfer_to(request.transfer_to)
        participant = store.load_participant(
            RoomName(request.room_name), ParticipantIdentity(request.participant_identity)
        )
        if participant is None:
            raise LkpyError(Code.NOT_FOUND, PARTICIPANT_NOT_FOUND)
        if _SIP_CALL_ID not in participant.attributes:
            message = "no SIP session associated with participant"
            raise LkpyError(Code.INVALID_ARGUMENT, message)
        raise no_response()

    return _every(SIP, administer) | {
        "CreateSIPParticipant": call,
        "TransferSIPParticipant": transfer,
    }
