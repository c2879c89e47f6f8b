"""``lkpy token``: create, verify and read access tokens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from livekit.protocol.room import RoomConfiguration

    from lkpy.auth.grants import Grants, VideoGrant

app = typer.Typer(
    help="Create, verify and read access tokens.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_GRANTS, _HOLDER, _KEYS, _OUTPUT = "What it allows", "Who holds it", "Signing", "Output"

Url = Annotated[
    str | None,
    typer.Option(envvar="LIVEKIT_URL", help="Server the token is for.", rich_help_panel=_KEYS),
]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="LIVEKIT_API_KEY", help="API key.", rich_help_panel=_KEYS),
]
ApiSecret = Annotated[
    str | None,
    typer.Option(
        envvar="LIVEKIT_API_SECRET", help="API secret.", rich_help_panel=_KEYS, show_default=False
    ),
]
Dev = Annotated[
    bool,
    typer.Option("--dev", help="Use devkey/secret of a development server.", rich_help_panel=_KEYS),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document.", rich_help_panel=_OUTPUT)]
Token = Annotated[str, typer.Argument(metavar="TOKEN", help="The token, or - for standard input.")]


def _grant(flag: str, text: str) -> Any:  # noqa: ANN401 - what typer.Option returns
    return typer.Option(flag, help=text, rich_help_panel=_GRANTS)


@app.command()
def create(
    room: Annotated[
        str | None,
        typer.Option("--room", "-r", help="Room; may hold %t, %x ….", rich_help_panel=_HOLDER),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option("--identity", "-i", help="Identity; generated if absent."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="Display name.", rich_help_panel=_HOLDER)
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            help="standard, ingress, egress, sip, agent, connector or bridge.",
            rich_help_panel=_HOLDER,
        ),
    ] = "",
    metadata: Annotated[str, typer.Option(help="Metadata.", rich_help_panel=_HOLDER)] = "",
    attribute: Annotated[
        list[str] | None,
        typer.Option(help="Attribute as key=value; repeatable.", rich_help_panel=_HOLDER),
    ] = None,
    attribute_file: Annotated[
        Path | None, typer.Option(help="JSON file of attributes.", rich_help_panel=_HOLDER)
    ] = None,
    valid_for: Annotated[
        str, typer.Option(help="How long it is valid: 30s, 5m, 24h.", rich_help_panel=_HOLDER)
    ] = "5m",
    join: Annotated[bool, _grant("--join", "Join the room.")] = False,
    create_room: Annotated[bool, _grant("--create", "Create and delete rooms.")] = False,
    list_rooms: Annotated[bool, _grant("--list", "List rooms.")] = False,
    admin: Annotated[bool, _grant("--admin", "Administer the room.")] = False,
    stats: Annotated[
        bool, _grant("--stats", "See the statistics of a whole server (lkpy).")
    ] = False,
    egress: Annotated[bool, _grant("--egress", "Record rooms.")] = False,
    ingress: Annotated[bool, _grant("--ingress", "Manage ingress.")] = False,
    inference: Annotated[bool, _grant("--inference", "Use inference (LiveKit Cloud).")] = False,
    agent_worker: Annotated[bool, _grant("--agent-worker", "Register as an agent worker.")] = False,
    sip_admin: Annotated[bool, _grant("--sip-admin", "Manage SIP trunks and rules.")] = False,
    sip_call: Annotated[bool, _grant("--sip-call", "Make SIP calls.")] = False,
    no_publish: Annotated[bool, _grant("--no-publish", "Forbid publishing.")] = False,
    no_subscribe: Annotated[bool, _grant("--no-subscribe", "Forbid subscribing.")] = False,
    no_publish_data: Annotated[bool, _grant("--no-publish-data", "Forbid sending data.")] = False,
    hidden: Annotated[bool, _grant("--hidden", "Invisible to other participants.")] = False,
    recorder: Annotated[bool, _grant("--recorder", "Marks a recorder.")] = False,
    allow_update_metadata: Annotated[
        bool, _grant("--allow-update-metadata", "Change its own metadata and attributes.")
    ] = False,
    allow_source: Annotated[
        str,
        _grant(
            "--allow-source",
            "Only these sources, comma-separated: camera, microphone, screen_share, "
            "screen_share_audio.",
        ),
    ] = "",
    grant: Annotated[str, _grant("--grant", "JSON merged into the video grant.")] = "",
    agent: Annotated[
        str,
        typer.Option(help="Dispatch this agent when the room is created.", rich_help_panel="Room"),
    ] = "",
    job_metadata: Annotated[
        str, typer.Option(help="Metadata of that agent's job.", rich_help_panel="Room")
    ] = "",
    deployment: Annotated[
        str, typer.Option("--deployment", "-d", help="Its deployment.", rich_help_panel="Room")
    ] = "",
    max_participants: Annotated[
        int,
        typer.Option(min=0, help="Of the room, if this creates it.", rich_help_panel="Room"),
    ] = 0,
    room_config: Annotated[
        Path | None,
        typer.Option(help="JSON file of a RoomConfiguration.", rich_help_panel="Room"),
    ] = None,
    room_preset: Annotated[
        str, typer.Option(help="Name in the server's presets.", rich_help_panel="Room")
    ] = "",
    url: Url = None,
    api_key: ApiKey = None,
    api_secret: ApiSecret = None,
    dev: Dev = False,
    json_output: Json = False,
    token_only: Annotated[
        bool, typer.Option("--token-only", help="Only the token.", rich_help_panel=_OUTPUT)
    ] = False,
) -> None:
    """Create a token.

    Examples:

      lkpy token create --dev --join --room demo --identity alice

      lkpy token create --dev --join --room demo --no-publish --token-only

      lkpy token create --list --admin --room demo --valid-for 24h --json
    """
    from lkpy.auth.grants import Grants, SipGrant, VideoGrant
    from lkpy.auth.token import mint
    from lkpy.cli import credentials, inputs, names
    from lkpy.cli.output import fail, result, result_json, status
    from lkpy.clock import SystemClock

    if json_output and token_only:
        fail("--json and --token-only exclude each other")
    signer = credentials.resolve(url, api_key, api_secret, dev)
    status(f"Signing with API key {signer.api_key!r} from {signer.origin}.")
    room = names.expand(room or ("room-%t" if join else ""))
    video = _video_grant(
        VideoGrant(
            room_join=join,
            room=room,
            room_create=create_room,
            room_list=list_rooms,
            room_admin=admin,
            room_record=egress,
            ingress_admin=ingress,
            agent=agent_worker,
            can_publish=False if no_publish else None,
            can_subscribe=False if no_subscribe else None,
            can_publish_data=False if no_publish_data else None,
            can_publish_sources=_sources(allow_source),
            can_update_own_metadata=True if allow_update_metadata else None,
            hidden=hidden,
            recorder=recorder,
        ),
        grant,
    )
    grants = Grants(
        identity=names.expand(identity or "participant-%x"),
        name=names.expand(name or ""),
        kind=_kind(kind),
        video=video,
        sip=SipGrant(sip_admin, sip_call) if sip_admin or sip_call else None,
        inference={"perform": True} if inference else None,
        stats=stats,
        room_config=_room_configuration(
            room_config, (agent, job_metadata, deployment), max_participants
        ),
        room_preset=room_preset,
        metadata=metadata,
        attributes=inputs.attributes(attribute or [], attribute_file),
    )
    if not _allows_something(grants):
        fail(
            "the token would allow nothing",
            hint="add --join --room NAME, --create, --list, --admin or another grant",
        )
    if admin and not room:
        fail("--admin needs --room: it allows to administer one room")
    token = mint(
        grants,
        api_key=signer.api_key,
        api_secret=signer.api_secret,
        ttl_s=_seconds(valid_for),
        now=SystemClock().wall(),
    )
    if token_only:
        result(token)
    elif json_output:
        result_json(
            {
                "access_token": token,
                "project_url": signer.url,
                "identity": grants.identity,
                "name": grants.name,
                "room": room,
                "grants": grants.to_claims(),
            }
        )
    else:
        _print_created(grants, signer.url, token)


@app.command()
def verify(
    token: Token,
    api_key: ApiKey = None,
    api_secret: ApiSecret = None,
    dev: Dev = False,
    json_output: Json = False,
) -> None:
    """Check a token as a server would; exit 1 when it would be refused."""
    from lkpy.auth.describe import describe
    from lkpy.auth.token import verify as verify_token
    from lkpy.cli import credentials
    from lkpy.cli.output import fail, result, result_json
    from lkpy.clock import SystemClock
    from lkpy.errors import LkpyError
    from lkpy.text import one_line

    signer = credentials.resolve(None, api_key, api_secret, dev)
    now = SystemClock().wall()
    try:
        verified = verify_token(_read(token), {signer.api_key: signer.api_secret}, now=now)
    except LkpyError as error:
        fail(error, as_json=json_output, hint="`lkpy token inspect` shows what it says")
    if json_output:
        result_json({"valid": True, "api_key": verified.api_key, **_facts(verified.grants)})
        return
    result("The token is valid.")
    for line in describe(verified.grants, api_key=verified.api_key, now=now):
        result(one_line(line))


@app.command()
def inspect(token: Token, json_output: Json = False) -> None:
    """Say in words what a token allows. The signature is not checked."""
    from lkpy.auth.describe import describe
    from lkpy.auth.grants import Grants
    from lkpy.auth.token import unverified_claims
    from lkpy.cli.output import result, result_json
    from lkpy.clock import SystemClock
    from lkpy.text import one_line

    claims = unverified_claims(_read(token))
    if json_output:
        result_json(claims)
        return
    issuer = str(claims.get("iss", ""))
    for line in describe(Grants.from_claims(claims), api_key=issuer, now=SystemClock().wall()):
        result(one_line(line))
    result("The signature was not checked: `lkpy token verify` does.")


# -- reading flags ------------------------------------------------------------------------------


def _read(token: str) -> str:
    from_stdin = token == "-"  # noqa: S105 - a dash
    return (sys.stdin.read() if from_stdin else token).strip()


def _seconds(text: str) -> float:
    from lkpy.cli.output import fail
    from lkpy.server.config import parse_duration

    try:
        value = parse_duration(text)
    except ValueError:
        value = 0
    if not isinstance(value, float | int) or value <= 0:
        fail(f"--valid-for {text}: not a duration", hint="write 30s, 5m, 24h or 1h30m")
    return float(value)


def _video_grant(video: VideoGrant, extra: str) -> VideoGrant:
    from lkpy.auth.grants import VideoGrant
    from lkpy.cli.inputs import json_object

    if not extra:
        return video
    return VideoGrant.from_claims({**video.to_claims(), **json_object(extra, "--grant")})


def _sources(text: str) -> tuple[str, ...]:
    from lkpy.cli.output import fail

    known = ("camera", "microphone", "screen_share", "screen_share_audio")
    sources = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for source in sources:
        if source not in known:
            fail(f"--allow-source {source}: unknown source", hint=f"one of {', '.join(known)}")
    return sources


def _kind(text: str) -> str:
    from livekit.protocol import models

    from lkpy.cli.output import fail

    known = [name.lower() for name, _ in models.ParticipantInfo.Kind.items()]
    if text and text not in known:
        fail(f"--kind {text}: unknown kind", hint=f"one of {', '.join(known)}")
    return text


def _room_configuration(
    file: Path | None, agent: tuple[str, str, str], max_participants: int
) -> RoomConfiguration | None:
    name, job_metadata, deployment = agent
    if not (file or name or max_participants):
        return None
    from google.protobuf import json_format
    from livekit.protocol import room

    from lkpy.cli.inputs import file_text, json_object
    from lkpy.cli.output import fail

    configuration = room.RoomConfiguration(max_participants=max_participants)
    if file:
        try:
            json_format.ParseDict(json_object(file_text(file), str(file)), configuration)
        except json_format.ParseError as error:
            fail(f"{file}: not a RoomConfiguration: {error}")
    if name:
        configuration.agents.add(agent_name=name, metadata=job_metadata, deployment=deployment)
    return configuration


def _allows_something(grants: Grants) -> bool:
    video = grants.video
    return (
        video is not None
        and any(
            (
                video.room_join,
                video.room_create,
                video.room_list,
                video.room_admin,
                video.room_record,
                video.ingress_admin,
                video.agent,
            )
        )
    ) or bool(grants.sip or grants.inference or grants.stats)


# -- output -------------------------------------------------------------------------------------


def _facts(grants: Grants) -> dict[str, Any]:
    return {
        "identity": grants.identity,
        "expires_at": int(grants.expires_at),
        "grants": grants.to_claims(),
    }


def _print_created(grants: Grants, url: str, token: str) -> None:
    from lkpy.cli.output import result
    from lkpy.text import json_text

    result("Token grants:")
    result(json_text(grants.to_claims(), indent=2))
    result(f"\nProject URL: {url}")
    result(f"Access token: {token}")
