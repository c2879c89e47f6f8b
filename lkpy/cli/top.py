"""``lkpy top``: live rooms, participants and tracks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lkpy.top.source import StatsSource

DEFAULT_URL = "ws://127.0.0.1:7880"
TOKEN_TTL_S = 24 * 3600.0


def top(
    url: Annotated[
        str | None,
        typer.Option(
            envvar="LIVEKIT_URL", help="Server address; the newest local server if absent."
        ),
    ] = None,
    api_key: Annotated[str | None, typer.Option(envvar="LIVEKIT_API_KEY", help="API key.")] = None,
    api_secret: Annotated[
        str | None, typer.Option(envvar="LIVEKIT_API_SECRET", help="API secret.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="Token of `lkpy token create --stats`, instead of key and secret."),
    ] = None,
    once: Annotated[
        bool,
        typer.Option("--once", help="Print one snapshot and exit; implied without a terminal."),
    ] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="With --once: the snapshot as JSON.")
    ] = False,
    room: Annotated[str | None, typer.Option(help="With --once: only this room.")] = None,
    interval: Annotated[
        float, typer.Option(min=0.2, max=10.0, help="Seconds between two pictures.")
    ] = 1.0,
    ascii_only: Annotated[
        bool, typer.Option("--ascii", help="No characters outside ASCII.")
    ] = False,
) -> None:
    """Watch a server: rooms, participants, tracks, layers, bitrate, loss and RTT.

    A development server on this machine needs no keys.
    """
    from lkpy.cli.output import EXIT_FAILURE, EXIT_SERVER, EXIT_USAGE, fail
    from lkpy.errors import Code, LkpyError

    try:
        source = _source(url, api_key, api_secret, token)
    except LkpyError as error:
        fail(error, exit_code=EXIT_USAGE, as_json=json_output)
    try:
        if once or json_output or room or not sys.stdout.isatty():
            _print_once(source, json_output, room, ascii_only)
        else:
            from lkpy.top.app import TopApp

            TopApp(source, interval_ms=int(interval * 1000), ascii_only=ascii_only).run()
    except LkpyError as error:
        code = EXIT_FAILURE if error.code is Code.NOT_FOUND else EXIT_SERVER
        fail(error, exit_code=code, as_json=json_output)


def _source(
    url: str | None, api_key: str | None, api_secret: str | None, token: str | None
) -> StatsSource:
    from lkpy import local_servers
    from lkpy.auth.grants import Grants
    from lkpy.auth.token import mint
    from lkpy.clock import SystemClock
    from lkpy.errors import Code, LkpyError
    from lkpy.server_url import http_url
    from lkpy.top.source import StatsSource

    if url is None:
        local = local_servers.running()
        url = local[0].url if local else DEFAULT_URL
    http_url(url)
    if bool(api_key) != bool(api_secret):
        raise LkpyError(Code.INVALID_ARGUMENT, "an API key and its secret are given together")
    if token is None and api_key and api_secret:
        grants = Grants(identity="lkpy-top", stats=True)
        token = mint(
            grants,
            api_key=api_key,
            api_secret=api_secret,
            ttl_s=TOKEN_TTL_S,
            now=SystemClock().wall(),
        )
    return StatsSource(url, token)


def _print_once(source: StatsSource, json_output: bool, room: str | None, ascii_only: bool) -> None:
    import asyncio

    from lkpy.errors import Code, LkpyError
    from lkpy.top import plain

    snapshot = asyncio.run(source.once())
    if room is not None:
        rooms = [r for r in snapshot.rooms if r.name == room]
        if not rooms:
            raise LkpyError(Code.NOT_FOUND, f"no room {room!r} on {source.url}")
        del snapshot.rooms[:]
        snapshot.rooms.extend(rooms)
    if json_output:
        typer.echo(plain.as_json(snapshot))
    else:
        for text in plain.as_text(snapshot, room, ascii_only=ascii_only):
            typer.echo(text)
