"""Flags that every ``lkpy room`` command has: which server, with what keys, in what form."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_type_hints

import typer

from lkpy.cli import output

if TYPE_CHECKING:
    from lkpy.api_client import ApiError, Call
    from lkpy.cli.credentials import Credentials
    from lkpy.errors import LkpyError

_SERVER, _OUTPUT = "Server", "Output"
_FLAGS: dict[str, tuple[Any, object]] = {
    "url": (
        Annotated[
            str | None,
            typer.Option(
                envvar="LIVEKIT_URL",
                help="Address; default: the newest server on this machine.",
                rich_help_panel=_SERVER,
            ),
        ],
        None,
    ),
    "api_key": (
        Annotated[
            str | None,
            typer.Option(envvar="LIVEKIT_API_KEY", help="API key.", rich_help_panel=_SERVER),
        ],
        None,
    ),
    "api_secret": (
        Annotated[
            str | None,
            typer.Option(envvar="LIVEKIT_API_SECRET", help="API secret.", rich_help_panel=_SERVER),
        ],
        None,
    ),
    "dev": (
        Annotated[
            bool,
            typer.Option(
                "--dev", help="devkey/secret of a development server.", rich_help_panel=_SERVER
            ),
        ],
        False,
    ),
    "curl": (
        Annotated[
            bool,
            typer.Option(
                "--curl",
                help="Print the curl command instead of calling; the token is $LIVEKIT_TOKEN.",
                rich_help_panel=_OUTPUT,
            ),
        ],
        False,
    ),
    "show_secrets": (
        Annotated[
            bool,
            typer.Option(
                "--show-secrets",
                help="With --curl: the token and secrets in clear.",
                rich_help_panel=_OUTPUT,
            ),
        ],
        False,
    ),
    "as_json": (
        Annotated[bool, typer.Option("--json", help="JSON.", rich_help_panel=_OUTPUT)],
        False,
    ),
    "quiet": (
        Annotated[
            bool,
            typer.Option("--quiet", "-q", help="Only results and errors.", rich_help_panel=_OUTPUT),
        ],
        False,
    ),
}


@dataclass(frozen=True, slots=True)
class Server:
    """The server that a command talks to, and how it shows what comes of it."""

    credentials: Credentials
    curl: bool
    show_secrets: bool
    as_json: bool
    quiet: bool

    def call(self, call: Call, subject: str = "", *, read: bool = False) -> Any:  # noqa: ANN401
        """Make a call, or print it as curl and exit.

        ``subject`` names in errors what the call is about. ``read`` marks a call that only
        prepares another one: it is made with ``--curl`` too.
        """
        if self.curl and not read:
            self._print_curl(call)
        import asyncio

        return asyncio.run(self._call(call, subject))

    async def _call(self, call: Call, subject: str) -> Any:  # noqa: ANN401 - its answer's type
        from lkpy.api_client import ApiClient, ApiError

        chosen = self.credentials
        async with ApiClient(chosen.url, chosen.api_key, chosen.api_secret) as client:
            try:
                return await client.call(call)
            except ApiError as error:
                raise explained(error, chosen, subject) from None

    def _print_curl(self, call: Call) -> NoReturn:
        from lkpy.api_client import ApiClient
        from lkpy.cli.room import curl

        chosen = self.credentials
        token = None
        if self.show_secrets:
            token = ApiClient(chosen.url, chosen.api_key, chosen.api_secret).token(call.grant)
        text, masked = curl.command(call, chosen.url, token=token)
        if token is None:
            dev = chosen.api_key == "devkey"
            output.status(f"# {curl.token_command(call.grant, chosen.api_key, dev=dev)}")
        if masked:
            output.warn(f"secrets are shown as {curl.MASK}; --show-secrets shows them")
        output.result(text)
        raise typer.Exit

    def status(self, text: str) -> None:
        """Say what is going on, unless it should be quiet."""
        if not self.quiet:
            output.status(text)

    def done(self, text: str, answer: object = None) -> None:
        """Say what was done: in words, or as the server's answer in JSON."""
        if self.as_json:
            from google.protobuf.message import Message

            from lkpy.cli.room import show

            output.result_json(show.plain(answer) if isinstance(answer, Message) else {})
        else:
            output.result(text)

    def wrong(self, message: str, hint: str | None = None) -> NoReturn:
        """Exit because of what was given on the command line."""
        output.fail(message, hint=hint, exit_code=output.EXIT_USAGE, as_json=self.as_json)


def refused_key(chosen: Credentials, message: str) -> LkpyError:
    """The error of a server that does not accept the key, or its secret."""
    from lkpy.errors import Blame, Code, LkpyError

    return LkpyError(
        Code.UNAUTHENTICATED,
        f"{chosen.url} refuses API key {chosen.api_key!r} from {chosen.origin}: {message}",
        blame=Blame.OPERATOR,
        hint="set LIVEKIT_API_KEY and LIVEKIT_API_SECRET to a key and secret of that server",
    )


def explained(error: ApiError, chosen: Credentials, subject: str) -> LkpyError:
    """The error with what it is about, and what can be done."""
    from lkpy.api_client import NoSuchServiceError
    from lkpy.errors import Code, LkpyError

    if error.code is Code.UNAUTHENTICATED:
        return refused_key(chosen, error.message)
    if isinstance(error, NoSuchServiceError):
        return error
    hint = error.hint or _HINTS.get(error.message)
    message = f"{subject}: {error.message}" if subject else error.message
    return LkpyError(error.code, message, hint=hint)


_HINTS = {
    "requested room does not exist": "`lkpy room list` shows the rooms there are",
    "participant does not exist": "`lkpy room participants list ROOM` shows who is there",
    "no response from servers": "there is no such room, or no such participant in it: "
    "`lkpy room participants list ROOM`",
    "remote unmute not enabled": "the server's configuration has to set "
    "room.enable_remote_unmute to allow that",
}


def with_server(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags above; it gets them as a :class:`Server`, its first argument."""
    hints = get_type_hints(command, include_extras=True)
    own = list(inspect.signature(command).parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [p.replace(annotation=hints[p.name], kind=keyword) for p in own]
    parameters += [
        inspect.Parameter(name, keyword, annotation=annotation, default=default)
        for name, (annotation, default) in _FLAGS.items()
    ]

    def run(**values: Any) -> None:  # noqa: ANN401 - whatever the command takes
        from lkpy.api_client import NoSuchServiceError
        from lkpy.errors import Code, LkpyError
        from lkpy.server_url import UnreachableError

        flags = {name: values.pop(name) for name in _FLAGS}
        try:
            command(_server(**flags), **values)
        except LkpyError as error:
            unusable = error.code is Code.UNAUTHENTICATED or isinstance(
                error, UnreachableError | NoSuchServiceError
            )
            code = output.EXIT_SERVER if unusable else output.EXIT_FAILURE
            output.fail(error, exit_code=code, as_json=flags["as_json"])

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _server(
    *,
    url: str | None,
    api_key: str | None,
    api_secret: str | None,
    dev: bool,
    curl: bool,
    show_secrets: bool,
    as_json: bool,
    quiet: bool,
) -> Server:
    from lkpy.errors import LkpyError
    from lkpy.server_url import http_url

    try:
        if url is not None:
            http_url(url)
        chosen = credentials_of(url, api_key, api_secret, dev=dev)
        http_url(chosen.url)
    except LkpyError as error:
        output.fail(error, exit_code=output.EXIT_USAGE, as_json=as_json)
    server = Server(chosen, curl, show_secrets, as_json, quiet)
    if not curl:
        server.status(f"Using {chosen.url} with API key {chosen.api_key!r} from {chosen.origin}.")
    return server


def credentials_of(
    url: str | None, api_key: str | None, api_secret: str | None, *, dev: bool
) -> Credentials:
    """As the other commands, and without any key a development server on this machine is meant."""
    from dataclasses import replace

    from lkpy import local_servers
    from lkpy.cli import credentials
    from lkpy.errors import LkpyError

    try:
        chosen = credentials.resolve(url, api_key, api_secret, dev)
    except LkpyError:
        if api_key or api_secret or not _is_local(url):
            raise
        default = "the development default"
        address = url or credentials.DEFAULT_URL
        chosen = credentials.Credentials(
            address, credentials.DEV_KEY, credentials.DEV_SECRET, default
        )
    if url is None and chosen.url == credentials.DEFAULT_URL:
        running = local_servers.running()
        if running:
            chosen = replace(chosen, url=running[0].url)
    return chosen


def _is_local(url: str | None) -> bool:
    from urllib.parse import urlsplit

    try:
        return url is None or urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError:
        return False
