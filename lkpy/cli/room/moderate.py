"""Commands of ``lkpy room`` that act on what is in a room: its tracks, its participants' data."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lkpy.cli.room.commands import Identity, Room, admin, app
from lkpy.cli.room.connection import Server, with_server

Tracks = Annotated[list[str], typer.Argument(metavar="TRACK_SID", help="Tracks, as TR_….")]


@app.command()
@with_server
def mute_track(
    server: Server,
    track: Annotated[str, typer.Argument(metavar="TRACK_SID", help="The track, as TR_….")],
    room: Room,
    identity: Identity,
    mute: Annotated[bool, typer.Option("--mute", "-m", help="Mute it; the default.")] = False,
    unmute: Annotated[bool, typer.Option("--unmute", "-u", help="Unmute it.")] = False,
) -> None:
    """Mute or unmute a track.

    Example: lkpy room mute-track --room demo --identity alice TR_AMxyz
    """
    from livekit.protocol import room as protocol

    from lkpy.api_client import room_call

    if mute and unmute:
        server.wrong("--mute and --unmute exclude each other")
    request = protocol.MuteRoomTrackRequest(
        room=room, identity=identity, track_sid=track, muted=not unmute
    )
    subject = f"track {track!r} of participant {identity!r} in room {room!r}"
    answer = server.call(room_call("MutePublishedTrack", request, admin(room)), subject)
    server.done(f"{'unmuted' if unmute else 'muted'} track {track}", answer)


@app.command()
@with_server
def update_subscriptions(
    server: Server,
    tracks: Tracks,
    room: Room,
    identity: Identity,
    subscribe: Annotated[
        bool, typer.Option("--subscribe", "-s", help="Subscribe; the default.")
    ] = False,
    unsubscribe: Annotated[bool, typer.Option("--unsubscribe", "-S", help="Unsubscribe.")] = False,
) -> None:
    """Subscribe a participant to tracks, or unsubscribe it.

    Example: lkpy room update-subscriptions --room demo --identity bob -S TR_AMxyz TR_VCxyz
    """
    from livekit.protocol import room as protocol

    from lkpy.api_client import room_call

    if subscribe and unsubscribe:
        server.wrong("--subscribe and --unsubscribe exclude each other")
    request = protocol.UpdateSubscriptionsRequest(
        room=room, identity=identity, track_sids=tracks, subscribe=not unsubscribe
    )
    subject = f"participant {identity!r} in room {room!r}"
    answer = server.call(room_call("UpdateSubscriptions", request, admin(room)), subject)
    verb = "unsubscribed" if unsubscribe else "subscribed"
    preposition = "from" if unsubscribe else "to"
    server.done(f"{verb} {identity!r} {preposition} {', '.join(tracks)}", answer)


@app.command()
@with_server
def send_data(
    server: Server,
    data: Annotated[str, typer.Argument(metavar="JSON", help="What to send; - is standard input.")],
    room: Room,
    topic: Annotated[str | None, typer.Option(help="Topic of the message.")] = None,
    identity: Annotated[
        list[str] | None,
        typer.Option("--identity", "-i", help="To whom; repeatable. Everybody if absent."),
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="Any text, not only JSON.")] = False,
    lossy: Annotated[bool, typer.Option("--lossy", help="On the unreliable channel.")] = False,
) -> None:
    """Send data to the participants of a room.

    Examples:

      lkpy room send-data --room demo --topic chat '{"message": "hello"}'

      lkpy room send-data --room demo --identity alice --text hello
    """
    import json
    import secrets

    from livekit.protocol import models
    from livekit.protocol import room as protocol

    from lkpy.api_client import room_call

    payload = sys.stdin.read() if data == "-" else data
    if not text:
        try:
            json.loads(payload)
        except (ValueError, RecursionError) as error:
            server.wrong(f"the data is not JSON: {error}", "--text sends any text")
    kind = models.DataPacket.Kind.LOSSY if lossy else models.DataPacket.Kind.RELIABLE
    request = protocol.SendDataRequest(
        room=room,
        data=payload.encode(),
        kind=kind,
        topic=topic,
        destination_identities=identity,
        nonce=secrets.token_bytes(16),
    )
    answer = server.call(room_call("SendData", request, admin(room)), f"room {room!r}")
    whom = ", ".join(identity) if identity else "everybody"
    server.done(f"sent {len(request.data)} bytes to {whom} in room {room!r}", answer)


@app.command()
@with_server
def rpc(
    server: Server,
    method: Annotated[str, typer.Argument(help="Method that the participant has registered.")],
    payload: Annotated[str, typer.Argument(help="Its argument; - is standard input.")] = "",
    *,
    room: Room,
    identity: Identity,
    timeout: Annotated[
        float, typer.Option(min=0.001, max=3600, metavar="SECS", help="Wait so long for an answer.")
    ] = 10.0,
) -> None:
    """Call a method of a participant and print its answer.

    Example: lkpy room rpc --room demo --identity agent greet '{"who": "bob"}'
    """
    from livekit.protocol import room as protocol

    from lkpy.api_client import TIMEOUT_S, room_call

    request = protocol.PerformRpcRequest(
        room=room,
        destination_identity=identity,
        method=method,
        payload=sys.stdin.read() if payload == "-" else payload,
        response_timeout_ms=max(1, round(timeout * 1000)),
    )
    call = room_call("PerformRpc", request, admin(room), timeout_s=timeout + TIMEOUT_S)
    subject = f"method {method!r} of participant {identity!r} in room {room!r}"
    answer = server.call(call, subject)
    # Programs get it as it came; on a terminal it must not act.
    from lkpy.text import printable

    payload = printable(answer.payload) if sys.stdout.isatty() else answer.payload
    server.done(payload, answer)
