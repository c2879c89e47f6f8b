"""The commands of ``lkpy room``, with the verbs and flags of LiveKit's ``lk room``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lkpy.cli import output
from lkpy.cli.output import EXIT_USAGE
from lkpy.cli.room import complete
from lkpy.cli.room.connection import Server, with_server

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from lkpy.auth.grants import VideoGrant

RoomName = Annotated[
    str, typer.Argument(metavar="ROOM", help="Name of the room.", autocompletion=complete.rooms)
]
Room = Annotated[
    str,
    typer.Option("--room", "-r", help="Name of the room.", autocompletion=complete.rooms),
]
Identity = Annotated[str, typer.Option("--identity", "-i", help="Identity of the participant.")]
Watch = Annotated[
    bool, typer.Option("--watch", "-w", help="Show it again when it changes, until Ctrl-C.")
]
Interval = Annotated[
    float, typer.Option(min=0.1, max=3600, help="With --watch: seconds between two looks.")
]
_Json = typer.Option(metavar="FILE", help="JSON file of the request.")

app = typer.Typer(
    help="Create, show, change and delete rooms; moderate who is in them; join them.",
    epilog="Start with: lkpy room list",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def admin(room: str) -> VideoGrant:
    """What administering a room needs."""
    from lkpy.auth.grants import VideoGrant

    return VideoGrant(room_admin=True, room=room)


def request_file(server: Server, path: Path, message: Message) -> None:
    """Read proto JSON of a file into a message; exits when it is not that."""
    from google.protobuf import json_format

    from lkpy.cli.inputs import file_text, json_object

    values = json_object(file_text(path, exit_code=EXIT_USAGE), str(path), exit_code=EXIT_USAGE)
    try:
        json_format.ParseDict(values, message)
    except json_format.ParseError as error:
        server.wrong(f"{path}: not a {message.DESCRIPTOR.name}: {error}")


@app.command()
@with_server
def create(
    server: Server,
    name: RoomName,
    metadata: Annotated[str, typer.Option(help="Metadata of the room.")] = "",
    max_participants: Annotated[int, typer.Option(min=0, help="0 is no limit.")] = 0,
    empty_timeout: Annotated[
        int, typer.Option(min=0, metavar="SECS", help="Kept before anybody joins.")
    ] = 0,
    departure_timeout: Annotated[
        int, typer.Option(min=0, metavar="SECS", help="Kept after the last one has left.")
    ] = 0,
    min_playout_delay: Annotated[
        int, typer.Option(min=0, metavar="MS", help="Least playout delay of video.")
    ] = 0,
    max_playout_delay: Annotated[
        int, typer.Option(min=0, metavar="MS", help="Greatest playout delay of video.")
    ] = 0,
    sync_streams: Annotated[
        bool, typer.Option("--sync-streams", help="Audio and video of one stream, for lip sync.")
    ] = False,
    room_preset: Annotated[str, typer.Option(help="Name in the server's presets.")] = "",
    agents_file: Annotated[Path | None, _Json] = None,
    room_egress_file: Annotated[Path | None, _Json] = None,
    participant_egress_file: Annotated[Path | None, _Json] = None,
    track_egress_file: Annotated[Path | None, _Json] = None,
) -> None:
    """Create a room, or show it if it is there.

    Examples:

      lkpy room create demo --empty-timeout 600 --max-participants 20

      lkpy room create "load-%t" --metadata '{"purpose": "test"}' --json
    """
    from livekit.protocol import room

    from lkpy.api_client import room_call
    from lkpy.auth.grants import VideoGrant
    from lkpy.cli import names
    from lkpy.cli.room import show

    request = room.CreateRoomRequest(
        name=names.expand(name),
        metadata=metadata,
        max_participants=max_participants,
        empty_timeout=empty_timeout,
        departure_timeout=departure_timeout,
        min_playout_delay=min_playout_delay,
        max_playout_delay=max_playout_delay,
        sync_streams=sync_streams,
        room_preset=room_preset,
    )
    if room_egress_file is not None:
        request_file(server, room_egress_file, request.egress.room)
    if participant_egress_file is not None:
        request_file(server, participant_egress_file, request.egress.participant)
    if track_egress_file is not None:
        request_file(server, track_egress_file, request.egress.tracks)
    if agents_file is not None:
        agents = room.RoomAgent()
        request_file(server, agents_file, agents)
        request.agents.extend(agents.dispatches)
    grant = VideoGrant(room_create=True, room_record=request.HasField("egress"))
    made = server.call(room_call("CreateRoom", request, grant), f"room {request.name!r}")
    server.done("\n".join(show.room_lines(made)), made)


@app.command("list")
@with_server
def list_rooms(
    server: Server,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="ROOM", help="Only these rooms.")
    ] = None,
    watch: Watch = False,
    interval: Interval = 1.0,
) -> None:
    """List the rooms there are.

    Examples:

      lkpy room list

      lkpy room list demo --json

      lkpy room list --watch
    """
    import time

    from livekit.protocol import room

    from lkpy.api_client import room_call
    from lkpy.auth.grants import VideoGrant
    from lkpy.cli.room import listing, show

    call = room_call("ListRooms", room.ListRoomsRequest(names=names), VideoGrant(room_list=True))

    def settle(answer: Any) -> None:  # noqa: ANN401 - a ListRoomsResponse
        answer.rooms.sort(key=lambda item: item.name)

    def lines(answer: Any) -> list[str]:  # noqa: ANN401
        if not answer.rooms:
            return ["no rooms"]
        return show.lines(show.rooms_table(answer.rooms, time.time()))

    if watch:
        listing.watch(server, call, settle, lines, interval)
        return
    answer = listing.once(server, call, settle, lines)
    there = {item.name for item in answer.rooms}
    for name in names or ():
        if name not in there:
            output.warn(f"no room {name!r} on {server.credentials.url}")


@app.command()
@with_server
def update(
    server: Server,
    name: RoomName,
    metadata: Annotated[str, typer.Option(help="Metadata of the room.")],
) -> None:
    """Change a room's metadata.

    Example: lkpy room update demo --metadata '{"topic": "tests"}'
    """
    from livekit.protocol import room

    from lkpy.api_client import room_call

    request = room.UpdateRoomMetadataRequest(room=name, metadata=metadata)
    answer = server.call(room_call("UpdateRoomMetadata", request, admin(name)), f"room {name!r}")
    server.done(f"updated room {name!r}", answer)


@app.command()
@with_server
def delete(server: Server, name: RoomName) -> None:
    """Delete a room; who is in it is sent away."""
    from livekit.protocol import room

    from lkpy.api_client import room_call
    from lkpy.auth.grants import VideoGrant

    request = room.DeleteRoomRequest(room=name)
    grant = VideoGrant(room_create=True)
    answer = server.call(room_call("DeleteRoom", request, grant), f"room {name!r}")
    server.done(f"deleted room {name!r}", answer)


@app.command()
@with_server
def join(
    server: Server,
    name: RoomName,
    identity: Annotated[
        str, typer.Option("--identity", "-i", help="Who joins; generated if absent.")
    ] = "participant-%x",
    display_name: Annotated[str, typer.Option("--name", "-n", help="Display name.")] = "",
    metadata: Annotated[str, typer.Option(help="Metadata.")] = "",
    attribute: Annotated[
        list[str] | None, typer.Option(help="Attribute as key=value; repeatable.")
    ] = None,
    attribute_file: Annotated[Path | None, typer.Option(help="JSON file of attributes.")] = None,
    publish_demo: Annotated[
        bool, typer.Option("--publish-demo", help="Publish a tone and a test picture.")
    ] = False,
    auto_subscribe: Annotated[
        bool, typer.Option("--auto-subscribe", help="Receive the tracks of the others.")
    ] = False,
) -> None:
    """Join a room and print what happens there, until Ctrl-C.

    Examples:

      lkpy room join demo --identity alice --publish-demo

      lkpy room join demo --json | jq .event
    """
    import asyncio

    from lkpy.auth.grants import Grants, VideoGrant
    from lkpy.cli import inputs, names
    from lkpy.cli.room import join as joining

    if server.curl:
        server.wrong("joining is no API call: there is no curl command for it")
    grants = Grants(
        identity=names.expand(identity),
        name=names.expand(display_name),
        metadata=metadata,
        attributes=inputs.attributes(attribute or [], attribute_file, exit_code=EXIT_USAGE),
        video=VideoGrant(room_join=True, room=names.expand(name)),
    )
    who = joining.Joining(grants, publish_demo, auto_subscribe, server.as_json)
    asyncio.run(joining.run(server.credentials, who))
