"""``lkpy room participants``: who is in a room, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lkpy.cli.output import EXIT_USAGE
from lkpy.cli.room.commands import Identity, Interval, Room, RoomName, Watch, admin
from lkpy.cli.room.connection import Server, with_server

if TYPE_CHECKING:
    from livekit.protocol.models import ParticipantPermission

app = typer.Typer(
    help="List, show, change, remove, forward and move participants.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Id = Annotated[str | None, typer.Argument(metavar="IDENTITY", help="Identity of the participant.")]
_IdFlag = Annotated[str | None, typer.Option("--identity", "-i", help="The same, as a flag.")]
_Destination = Annotated[str, typer.Option(help="Name of the room it goes to.")]


def _identity(server: Server, argument: str | None, flag: str | None) -> str:
    if argument and flag and argument != flag:
        server.wrong(f"two identities: {argument!r} and --identity {flag!r}")
    chosen = argument or flag
    if not chosen:
        server.wrong("no identity", "name the participant after the command")
    return chosen


@app.command("list")
@with_server
def list_participants(
    server: Server, name: RoomName, watch: Watch = False, interval: Interval = 1.0
) -> None:
    """List who is in a room.

    Examples:

      lkpy room participants list demo

      lkpy room participants list demo --watch --json
    """
    import time

    from livekit.protocol import room

    from lkpy.api_client import room_call
    from lkpy.auth.grants import VideoGrant
    from lkpy.cli import output
    from lkpy.cli.room import listing, show

    call = room_call("ListParticipants", room.ListParticipantsRequest(room=name), admin(name))

    def settle(answer: Any) -> None:  # noqa: ANN401 - a ListParticipantsResponse
        answer.participants.sort(key=lambda who: who.identity)

    def lines(answer: Any) -> list[str]:  # noqa: ANN401
        if not answer.participants:
            return [f"nobody is in room {name!r}"]
        return show.lines(show.participants_table(answer.participants, time.time()))

    if watch:
        listing.watch(server, call, settle, lines, interval, f"room {name!r}")
        return
    answer = server.call(call, f"room {name!r}")
    settle(answer)
    if not answer.participants:
        # livekit-server answers the same for a room that is not there.
        wanted = room.ListRoomsRequest(names=[name])
        rooms = server.call(room_call("ListRooms", wanted, VideoGrant(room_list=True)))
        if not rooms.rooms:
            output.fail(
                f"no room {name!r} on {server.credentials.url}",
                hint="`lkpy room list` shows the rooms there are",
                as_json=server.as_json,
            )
    server.done("\n".join(lines(answer)), answer)


@app.command()
@with_server
def get(server: Server, id_: _Id = None, *, room: Room, identity: _IdFlag = None) -> None:
    """Show a participant and its tracks.

    Example: lkpy room participants get --room demo alice
    """
    from lkpy.cli.room import show

    answer = _get(server, room, _identity(server, id_, identity))
    server.done("\n".join(show.participant_lines(answer)), answer)


def _get(server: Server, room: str, identity: str, *, read: bool = False) -> Any:  # noqa: ANN401
    from livekit.protocol import room as protocol

    from lkpy.api_client import room_call

    request = protocol.RoomParticipantIdentity(room=room, identity=identity)
    call = room_call("GetParticipant", request, admin(room))
    return server.call(call, _subject(room, identity), read=read)


def _subject(room: str, identity: str) -> str:
    return f"participant {identity!r} in room {room!r}"


@app.command()
@with_server
def remove(server: Server, id_: _Id = None, *, room: Room, identity: _IdFlag = None) -> None:
    """Send a participant away. Its token still lets it in again."""
    from livekit.protocol import room as protocol

    from lkpy.api_client import room_call

    who = _identity(server, id_, identity)
    request = protocol.RoomParticipantIdentity(room=room, identity=who)
    call = room_call("RemoveParticipant", request, admin(room))
    answer = server.call(call, _subject(room, who))
    server.done(f"removed participant {who!r} from room {room!r}", answer)


@app.command()
@with_server
def update(
    server: Server,
    id_: _Id = None,
    *,
    room: Room,
    identity: _IdFlag = None,
    name: Annotated[str, typer.Option(help="Display name.")] = "",
    metadata: Annotated[str, typer.Option(help="Metadata.")] = "",
    attribute: Annotated[
        list[str] | None, typer.Option(help="key=value; repeatable. key= removes it.")
    ] = None,
    attribute_file: Annotated[Path | None, typer.Option(help="JSON file of attributes.")] = None,
    permissions: Annotated[
        str, typer.Option(metavar="JSON", help="Permissions to change; the others stay.")
    ] = "",
) -> None:
    """Change a participant's name, metadata, attributes or permissions.

    Examples:

      lkpy room participants update --room demo alice --metadata '{"role": "host"}'

      lkpy room participants update --room demo alice --permissions '{"can_publish": false}'
    """
    from livekit.protocol import room as protocol

    from lkpy.api_client import room_call
    from lkpy.cli import inputs
    from lkpy.cli.room import show

    who = _identity(server, id_, identity)
    attributes = inputs.attributes(attribute or [], attribute_file, exit_code=EXIT_USAGE)
    if not (name or metadata or attributes or permissions):
        server.wrong(
            "nothing to change", "give --name, --metadata, --attribute, --permissions or several"
        )
    request = protocol.UpdateParticipantRequest(
        room=room, identity=who, name=name, metadata=metadata, attributes=attributes
    )
    if permissions:
        changes = _permission(server, permissions)
        request.permission.CopyFrom(_get(server, room, who, read=True).permission)
        for field, value in changes.items():
            request.permission.ClearField(field)
            request.permission.MergeFrom(value)
    call = room_call("UpdateParticipant", request, admin(room))
    answer = server.call(call, _subject(room, who))
    server.done("\n".join(show.participant_lines(answer)), answer)


def _permission(server: Server, text: str) -> dict[str, ParticipantPermission]:
    """The fields that the text names, in either of proto JSON's spellings."""
    from google.protobuf import json_format
    from livekit.protocol.models import ParticipantPermission

    from lkpy.cli.inputs import json_object

    changes = {}
    for key, value in json_object(text, "--permissions", exit_code=EXIT_USAGE).items():
        part = ParticipantPermission()
        fields = {
            name: field.name
            for field in part.DESCRIPTOR.fields
            for name in (field.name, field.json_name)
        }
        if key not in fields:
            known = ", ".join(field.name for field in part.DESCRIPTOR.fields)
            server.wrong(f"--permissions: unknown permission {key!r}", f"one of {known}")
        try:
            json_format.ParseDict({key: value}, part)
        except json_format.ParseError as error:
            server.wrong(f"--permissions: {error}")
        changes[fields[key]] = part
    return changes


@app.command()
@with_server
def forward(server: Server, room: Room, identity: Identity, destination_room: _Destination) -> None:
    """Forward a participant's tracks to another room too."""
    _take(server, "ForwardParticipant", "forwarded", room, identity, destination_room)


@app.command()
@with_server
def move(server: Server, room: Room, identity: Identity, destination_room: _Destination) -> None:
    """Move a participant to another room."""
    _take(server, "MoveParticipant", "moved", room, identity, destination_room)


def _take(
    server: Server, method: str, verb: str, room: str, identity: str, destination: str
) -> None:
    from livekit.protocol import room as protocol

    from lkpy.api_client import room_call
    from lkpy.auth.grants import VideoGrant

    request_type = getattr(protocol, f"{method}Request")
    request = request_type(room=room, identity=identity, destination_room=destination)
    grant = VideoGrant(room_admin=True, room=room, destination_room=destination)
    answer = server.call(room_call(method, request, grant), _subject(room, identity))
    server.done(f"{verb} participant {identity!r} from room {room!r} to {destination!r}", answer)
