"""``lkpy server``: run the server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lkpy.cli.server_flags import CONTEXT, load_config

if TYPE_CHECKING:
    from lkpy.server.app import Server
    from lkpy.server.config_load import Loaded

app = typer.Typer(
    help="Run a LiveKit-compatible server, and what belongs to it.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_NETWORK, _KEYS, _CONFIG, _OUTPUT = "Network", "Keys", "Configuration", "Output"
_DEV_TOKEN_S = 24 * 3600.0
_JOIN_TOKEN_S = 30 * 24 * 3600.0
_SECRET_BYTES = 32
_PORT_MAX = 65535

Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@app.command(context_settings=CONTEXT)
def start(
    ctx: typer.Context,
    dev: Annotated[
        bool,
        typer.Option("--dev", help="Development: keys devkey/secret on loopback, UDP 7882."),
    ] = False,
    config: Annotated[
        str | None,
        typer.Option(help="livekit.yaml to read.", rich_help_panel=_CONFIG),
    ] = None,
    config_body: Annotated[
        str | None,
        typer.Option(envvar="LIVEKIT_CONFIG", help="YAML text instead.", rich_help_panel=_CONFIG),
    ] = None,
    bind: Annotated[
        list[str] | None,
        typer.Option(help="Address to listen on; repeatable.", rich_help_panel=_NETWORK),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=_PORT_MAX, help="HTTP port; 0 picks one.", rich_help_panel=_NETWORK
        ),
    ] = None,
    udp_port: Annotated[
        str | None,
        typer.Option(
            envvar="UDP_PORT",
            help="Media port or range 7882-7892; 0 picks one.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    tcp_port: Annotated[
        int | None,
        typer.Option(min=0, max=_PORT_MAX, help="ICE over TCP; 0: none.", rich_help_panel=_NETWORK),
    ] = None,
    node_ip: Annotated[
        str | None,
        typer.Option(
            envvar="NODE_IP",
            help="Address to tell clients: v4[,v6].",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(envvar="LIVEKIT_REGION", help="Name of the region.", rich_help_panel=_CONFIG),
    ] = None,
    keys: Annotated[
        str | None,
        typer.Option(envvar="LIVEKIT_KEYS", help="Lines of `key: secret`.", rich_help_panel=_KEYS),
    ] = None,
    key_file: Annotated[
        str | None,
        typer.Option(help="YAML file of keys and secrets.", rich_help_panel=_KEYS),
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option(help="Write URL, keys and ports as JSON once serving."),
    ] = None,
    drain_timeout: Annotated[
        str | None,
        typer.Option(help="Longest wait for participants to leave: 30s, 5m; default: none."),
    ] = None,
    until_stdin_closes: Annotated[
        bool,
        typer.Option(
            "--until-stdin-closes", help="Stop at once when standard input ends.", hidden=True
        ),
    ] = False,
    print_env: Annotated[
        bool,
        typer.Option(
            "--print-env", help="Print LIVEKIT_… assignments once serving.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    log_level: Annotated[
        str | None,
        typer.Option(help="debug, info, warn or error.", rich_help_panel=_OUTPUT),
    ] = None,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Logs as JSON lines.", rich_help_panel=_OUTPUT)
    ] = False,
) -> None:
    """Start a server and run until interrupted.

    The first SIGINT or SIGTERM waits until the participants have left, the second stops at once.
    Every key of the configuration has an option and a variable: lkpy server help-verbose.

    Examples:

      lkpy server start --dev

      lkpy server start --config livekit.yaml

      lkpy server start --config livekit.yaml --rtc.tcp_port 7891

      lkpy server start --dev --port 0 --udp-port 0 --ready-file server.json
    """
    from lkpy.cli.output import status, warn
    from lkpy.server.config_load import Override, parse_keys

    flags = {
        "port": ("--port", port),
        "bind_addresses": ("--bind", tuple(bind) if bind else None),
        "rtc.udp_port": ("--udp-port", udp_port),
        "rtc.tcp_port": ("--tcp-port", tcp_port),
        "rtc.node_ip": ("--node-ip", node_ip),
        "region": ("--region", region),
        "key_file": ("--key-file", key_file),
        "keys": ("--keys", parse_keys(keys) if keys else None),
        "development": ("--dev", True if dev else None),
        "logging.level": ("--log-level", log_level),
        "logging.json": ("--log-json", True if log_json else None),
    }
    given = {
        key: Override(value, flag) for key, (flag, value) in flags.items() if value is not None
    }
    drain_s = _duration(drain_timeout, "--drain-timeout")
    loaded = load_config(ctx.args, given, config=config, config_body=config_body)
    for text in loaded.warnings:
        warn(text)
    if dev:
        status("Development mode: do not expose this server.")
    _serve(loaded, ready_file, print_env, until_stdin_closes, drain_s)


@app.command(context_settings=CONTEXT)
def config(ctx: typer.Context, json_output: Json = False) -> None:
    """Check a configuration and print it, with where each value is from.

    Takes the options of lkpy server start. Exits with 1 when a server would not start with it;
    secrets are not shown.

    Examples:

      lkpy server config --config livekit.yaml

      lkpy server config --dev --rtc.tcp_port 7891
    """
    from lkpy.cli.output import result_json, warn
    from lkpy.server.config_print import as_dict, as_yaml

    loaded = load_config(ctx.args)
    for text in loaded.warnings:
        warn(text)
    if json_output:
        result_json(as_dict(loaded))
    else:
        print(as_yaml(loaded), end="")


@app.command(context_settings=CONTEXT)
def ports(ctx: typer.Context, json_output: Json = False) -> None:
    """Print the ports that a server with this configuration listens on.

    Takes the options of lkpy server start.
    """
    from lkpy.cli.output import result, result_json
    from lkpy.server.media import udp_ports

    config = load_config(ctx.args, need_keys=False).config
    media = udp_ports(config)
    udp = str(media.start) if media.start == media.end else f"{media.start}-{media.end}"
    tcp = {
        "HTTP service": config.port,
        "ICE/TCP": config.rtc.tcp_port,
        "Prometheus": config.prometheus.port,
        "debug": config.debug_handler.port,
    }
    tcp = {name: port for name, port in tcp.items() if port or name == "HTTP service"}
    if json_output:
        result_json({"tcp": tcp, "udp": {"ICE/UDP": udp}})
        return
    result("TCP Ports")
    for name, port in tcp.items():
        result(f"{port} - {name}")
    result("UDP Ports")
    result(f"{udp} - ICE/UDP")


@app.command("generate-keys")
def generate_keys(json_output: Json = False) -> None:
    """Make an API key and a secret."""
    import secrets

    from lkpy.cli.output import result, result_json
    from lkpy.ids import API_KEY_PREFIX, new_id

    key, secret = new_id(API_KEY_PREFIX), secrets.token_urlsafe(_SECRET_BYTES)
    if json_output:
        result_json({"api_key": key, "api_secret": secret})
        return
    result(f"API Key:  {key}")
    result(f"API Secret:  {secret}")


@app.command("list-nodes", context_settings=CONTEXT)
def list_nodes(ctx: typer.Context) -> None:
    """List the nodes of a cluster, which needs Redis.

    Takes the options of lkpy server start.
    """
    from lkpy.cli.output import fail

    load_config(ctx.args, need_keys=False)
    fail(
        "nodes are listed in Redis, which this server does not use: it is the only one",
        hint="`lkpy top` shows a running server",
    )


@app.command("create-join-token", hidden=True, context_settings=CONTEXT)
def create_join_token(
    ctx: typer.Context,
    room: Annotated[str, typer.Option(help="Room to join.")],
    identity: Annotated[str, typer.Option(help="Identity of the participant.")],
    recorder: Annotated[
        bool, typer.Option("--recorder", help="Hidden, and may only subscribe.")
    ] = False,
) -> None:
    """Create a token of 30 days with the first configured key; lkpy token create can do more."""
    from lkpy.auth.grants import Grants, VideoGrant
    from lkpy.auth.token import mint
    from lkpy.cli.output import result
    from lkpy.clock import SystemClock

    api_key, api_secret = next(iter(load_config(ctx.args).config.keys.items()))
    video = VideoGrant(room_join=True, room=room)
    if recorder:
        video = VideoGrant(
            room_join=True,
            room=room,
            hidden=True,
            recorder=True,
            can_publish=False,
            can_publish_data=False,
        )
    token = mint(
        Grants(identity=identity, video=video),
        api_key=api_key,
        api_secret=api_secret,
        ttl_s=_JOIN_TOKEN_S,
        now=SystemClock().wall(),
    )
    result(f"Token: {token}")


@app.command("help-verbose")
def help_verbose() -> None:
    """List the option, variable and default of every key of the configuration."""
    from lkpy.cli.output import result
    from lkpy.server.config_print import default_of
    from lkpy.server.config_schema import pending_kind, scalars

    for scalar in scalars():
        unused = pending_kind(scalar.path) is not None
        default = default_of(scalar.path)
        note = " (no effect)" if unused else f" (default: {default})" if default else ""
        result(f"{scalar.flag} <{scalar.kind}>{note}")
        result(f"    {scalar.variable}")


def _duration(text: str | None, flag: str) -> float | None:
    from lkpy.cli.output import fail
    from lkpy.server.config_types import parse_duration

    try:
        value = None if text is None else parse_duration(text)
    except ValueError as error:
        fail(f"{flag} {text}: {error}")
    return value if isinstance(value, float | int) else None


def _serve(
    loaded: Loaded,
    ready_file: Path | None,
    print_env: bool,
    until_stdin_closes: bool,
    drain_timeout_s: float | None,
) -> None:
    import asyncio

    from lkpy.cli.output import status
    from lkpy.server.app import Server, run_server
    from lkpy.server.media import EnginePlane
    from lkpy.server.telemetry import log

    config = loaded.config
    log.configure(level=config.logging.level or "info", as_json=config.logging.json_format)

    written: list[Path] = []

    def ready(server: Server) -> None:
        if ready_file is not None:
            _write_ready_file(server, ready_file)
            written.append(ready_file)
        if print_env:
            _print_env(server)
        else:
            _print_banner(server)

    def draining(left: int) -> None:
        people = "participant" if left == 1 else "participants"
        status(f"Waiting for {left} {people} to leave; interrupt again to stop now.")

    async def main() -> None:
        server = Server(config, EnginePlane(config))
        lifeline = sys.stdin.fileno() if until_stdin_closes else None
        await run_server(
            server,
            on_ready=ready,
            on_drain=draining,
            lifeline=lifeline,
            drain_timeout_s=drain_timeout_s,
        )

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(main())
    finally:
        if written:
            written.pop().unlink(missing_ok=True)


def _loop_factory() -> Any:  # noqa: ANN401 - uvloop is optional
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _write_ready_file(server: Server, path: Path) -> None:
    """Write atomically: whoever waits for the file never reads half of it."""
    import json

    from lkpy.errors import Blame, Code, LkpyError

    facts = {
        "url": server.url,
        "api_key": server.api_key,
        "api_secret": server.api_secret,
        "udp_port": server.udp_port,
        "tcp_port": server.tcp_port,
        "node_id": server.node_id,
        "pid": os.getpid(),
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(facts, file)
        partial.replace(path)
    except OSError as error:
        raise LkpyError(
            Code.INVALID_ARGUMENT,
            f"cannot write ready file {path}: {error.strerror}",
            blame=Blame.OPERATOR,
        ) from error


def _print_env(server: Server) -> None:
    from shlex import quote

    from lkpy.cli.output import result

    result(f"LIVEKIT_URL={quote(server.url)}")
    result(f"LIVEKIT_API_KEY={quote(server.api_key)}")
    result(f"LIVEKIT_API_SECRET={quote(server.api_secret)}")


def _print_banner(server: Server) -> None:
    from lkpy.auth.grants import Grants, VideoGrant
    from lkpy.auth.token import mint
    from lkpy.cli.output import result
    from lkpy.clock import SystemClock

    result(f"URL         {server.url}")
    result(f"Media       UDP {server.udp_port}, TCP {server.tcp_port or 'off'}")
    if not server.config.development:
        result(f"API keys    {', '.join(server.config.keys)}")
        return
    token = mint(
        Grants(identity="dev", video=VideoGrant(room_join=True, room="dev")),
        api_key=server.api_key,
        api_secret=server.api_secret,
        ttl_s=_DEV_TOKEN_S,
        now=SystemClock().wall(),
    )
    result(f"API key     {server.api_key}")
    result(f"API secret  {server.api_secret}")
    result(f"Join token  {token}")
    result("            (room dev, identity dev, 24 h; more: lkpy token create --dev --join …)")
