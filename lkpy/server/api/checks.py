"""What API methods check before they do anything: the token's grants and the sizes of what they
are given (livekit-server ``pkg/service/auth.go``, ``pkg/config/config.go``).

What a token does not allow is ``unauthenticated``, not ``permission_denied``, as in LiveKit.
"""

from __future__ import annotations

from collections.abc import Mapping

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.errors import Code, LkpyError, TwirpError
from lkpy.limits import Limits, attributes_size


def _denied() -> TwirpError:
    return TwirpError(Code.UNAUTHENTICATED, "permissions denied")


def _video(grants: Grants | None) -> VideoGrant:
    if grants is None or grants.video is None:
        raise _denied()
    return grants.video


def _require(allowed: bool) -> None:
    if not allowed:
        raise _denied()


def require_create(grants: Grants | None) -> None:
    """Rooms may be created and deleted."""
    _require(_video(grants).room_create)


def require_list(grants: Grants | None) -> None:
    """Rooms may be listed."""
    _require(_video(grants).room_list)


def require_admin(grants: Grants | None, room: str) -> None:
    """This room may be administered; a token that names no room administers the room without a
    name only."""
    video = _video(grants)
    _require(video.room_admin and video.room == room)


def require_destination(grants: Grants | None, room: str, destination: str) -> None:
    """Participants of ``room`` may be taken to ``destination``."""
    require_admin(grants, room)
    _require(_video(grants).destination_room == destination)


def require_record(grants: Grants | None) -> None:
    """Rooms may be recorded."""
    _require(_video(grants).room_record)


def require_ingress_admin(grants: Grants | None) -> None:
    """Ingresses may be administered."""
    _require(_video(grants).ingress_admin)


def require_sip_admin(grants: Grants | None) -> None:
    """Trunks and dispatch rules may be administered."""
    _require(grants is not None and grants.sip is not None and grants.sip.admin)


def require_sip_call(grants: Grants | None) -> None:
    """Calls may be made."""
    _require(grants is not None and grants.sip is not None and grants.sip.call)


def invalid_argument(argument: str, problem: str) -> TwirpError:
    """Twirp's own form of a bad argument: the message begins with the argument, which is in the
    metadata too. LiveKit passes what is wrong as the argument, and the limit as the problem."""
    return TwirpError(Code.INVALID_ARGUMENT, f"{argument} {problem}", {"argument": argument})


def check_name(limits: Limits, name: str) -> None:
    """A participant's name."""
    limit = limits.max_participant_name_length
    if 0 < limit < len(name.encode()):
        raise invalid_argument("name length exceeds limits", str(limit))


def check_metadata(limits: Limits, metadata: str) -> None:
    """Metadata of a room, a participant or an agent."""
    limit = limits.max_metadata_size
    if 0 < limit < len(metadata.encode()):
        raise invalid_argument("metadata size exceeds limits", str(limit))


def check_attributes(limits: Limits, attributes: Mapping[str, str]) -> None:
    """Keys and values together."""
    limit = limits.max_attributes_size
    if 0 < limit < attributes_size(attributes):
        raise invalid_argument("attribute size exceeds limits", str(limit))


def check_room_name(limits: Limits, name: str) -> None:
    """The name of a room that is created."""
    limit = limits.max_room_name_length
    if 0 < limit < len(name.encode()):
        raise LkpyError(
            Code.INVALID_ARGUMENT, f"room name length exceeds limits: max length {limit}"
        )
