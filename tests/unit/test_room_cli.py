"""``lkpy room`` without a server: what is printed, what is refused, curl commands, tables."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from livekit.protocol import models, room

from lkpy.api_client import ApiError, refusal, room_call
from lkpy.auth.grants import VideoGrant
from lkpy.auth.token import unverified_claims
from lkpy.cli import output
from lkpy.cli.room import complete, curl, show, watch
from lkpy.errors import Code

from .test_cli import lkpy, words

pytestmark = pytest.mark.filterwarnings("ignore:The HMAC key is")

NOBODY = "ws://127.0.0.1:1"
NO_LIVEKIT = "u does not serve LiveKit's API, or not this call: it answers"


# -- wrong input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("list --url localhost:7880", "'localhost:7880' is no server's address"),
        ("list --url ftp://host", "'ftp://host' is no server's address"),
        ("list --url ws://host:99999", "'ws://host:99999' is no server's address"),
        ("list --url ws://", "'ws://' is no server's address"),
        ("list --api-key k", "no API secret"),
        ("list --api-secret k", "no API key"),
        ("list --url wss://a.example", "no API key and secret"),
        ("send-data --dev --room r {", "the data is not JSON: Expecting property name"),
        ("mute-track --dev -r r -i i -m -u TR_x", "--mute and --unmute exclude each other"),
        (
            "update-subscriptions --dev -r r -i i -s -S TR_x",
            "--subscribe and --unsubscribe exclude each other",
        ),
        ("create --dev r --agents-file /nope", "/nope: cannot read"),
        ("participants get --dev --room r", "no identity"),
        ("participants get --dev --room r a -i b", "two identities: 'a' and --identity 'b'"),
        ("participants update --dev --room r a", "nothing to change"),
        ("participants update --dev --room r a --attribute x", "--attribute x: expected key=value"),
        ("participants update --dev --room r a --permissions [", "--permissions: not JSON"),
        ("participants update --dev --room r a --permissions 1", "--permissions: expected a JSON"),
        (
            'participants update --dev --room r a --permissions {"fly":true}',
            "--permissions: unknown permission 'fly'",
        ),
        (
            'participants update --dev --room r a --permissions {"canPublish":5}',
            "--permissions: Failed to parse canPublish",
        ),
    ],
)
def test_wrong_input_is_named(args: str, message: str) -> None:
    done = lkpy("room", *args.split())
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"error: {message}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("create", "Missing argument 'ROOM'"),
        ("create r --empty-timeout soon", "Invalid value for '--empty-timeout'"),
        ("create r --empty-timeout -1", "Invalid value for '--empty-timeout'"),
        ("list --watch --interval 0", "Invalid value for '--interval'"),
        ("mute-track TR_x -r r", "Missing option '--identity'"),
        ("frobnicate", "No such command 'frobnicate'"),
    ],
)
def test_usage_errors(args: str, message: str) -> None:
    done = lkpy("room", *args.split())
    assert done.returncode == 2
    assert message in done.stderr


def test_a_file_that_is_no_request(tmp_path: Path) -> None:
    path = tmp_path / "egress.json"
    path.write_text('{"room_name": "r", "colour": "red"}')
    done = lkpy(*words(f"room create --dev r --room-egress-file {path}"))
    assert done.returncode == 2
    assert f"error: {path}: not a RoomCompositeEgressRequest: " in done.stderr
    assert "colour" in done.stderr


def test_no_server() -> None:
    done = lkpy("room", "list", "--url", NOBODY)
    assert done.returncode == 3
    assert done.stderr == (
        f"Using {NOBODY} with API key 'devkey' from the development default.\n"
        f"error: cannot reach {NOBODY}: connection refused\n"
        "hint: is the server running, and is its address right? start one: "
        "lkpy server start --dev\n"
    )
    machine = lkpy("room", "list", "-q", "--json", "--url", NOBODY)
    assert json.loads(machine.stderr)["code"] == "unavailable"
    watched = lkpy("room", "list", "-q", "--watch", "--url", NOBODY)
    assert watched.returncode == 3


# -- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (
            404,
            b'{"code":"not_found","msg":"twirp error unknown: requested room does not exist"}',
            Code.NOT_FOUND,
            "requested room does not exist",
        ),
        (
            501,
            b'{"code":"unimplemented","msg":"not implemented"}',
            Code.UNIMPLEMENTED,
            "not implemented",
        ),
        (401, b"invalid API key: x\n", Code.UNAUTHENTICATED, "invalid API key: x"),
        (401, b"", Code.UNAUTHENTICATED, "status 401"),
        (
            404,
            b"<html>",
            Code.UNIMPLEMENTED,
            f"{NO_LIVEKIT} 404",
        ),
        (
            200,
            b"[]",
            Code.UNIMPLEMENTED,
            f"{NO_LIVEKIT} 200",
        ),
        (
            404,
            b'{"code":"bad_route","msg":"no handler for path"}',
            Code.UNIMPLEMENTED,
            f"{NO_LIVEKIT} 404",
        ),
    ],
)
def test_refusals(status: int, body: bytes, code: Code, message: str) -> None:
    error = refusal("u", status, body)
    assert isinstance(error, ApiError)
    assert (error.code, error.message, error.status) == (code, message, status)


# -- curl ---------------------------------------------------------------------------------------


def test_curl_takes_the_token_from_the_environment(tmp_path: Path) -> None:
    environ = {"LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "hush"}
    # No server of this machine is found there.
    done = lkpy("room", "delete", "a'b", "--curl", XDG_RUNTIME_DIR=str(tmp_path), **environ)
    assert done.returncode == 0
    assert done.stderr == (
        '# export LIVEKIT_TOKEN="$(lkpy token create --api-key key --create --token-only)"\n'
    )
    assert shlex.split(done.stdout.replace("\\\n", "")) == [
        *words("curl -sS -X POST"),
        "http://127.0.0.1:7880/twirp/livekit.RoomService/DeleteRoom",
        "-H",
        "Authorization: Bearer $LIVEKIT_TOKEN",
        "-H",
        "Content-Type: application/json",
        "--data-raw",
        '{"room":"a\'b"}',
    ]
    assert "hush" not in done.stdout + done.stderr


def test_curl_shows_the_token_when_asked() -> None:
    done = lkpy(*words("room participants remove --dev --room r a --curl --show-secrets"))
    bearer = next(w for w in shlex.split(done.stdout) if w.startswith("Authorization: Bearer "))
    claims = unverified_claims(bearer.removeprefix("Authorization: Bearer "))
    assert claims["video"] == {"roomAdmin": True, "room": "r"}
    assert done.stderr == ""


def test_curl_masks_secrets_of_the_request(tmp_path: Path) -> None:
    path = tmp_path / "egress.json"
    upload = {"access_key": "AK", "secret": "HUSH", "bucket": "b"}
    path.write_text(json.dumps({"file_outputs": [{"filepath": "f", "s3": upload}]}))
    command = words(f"room create --dev r --curl --room-egress-file {path}")
    done = lkpy(*command)
    body = json.loads(shlex.split(done.stdout.replace("\\\n", ""))[-1])
    shown = body["egress"]["room"]["file_outputs"][0]["s3"]
    assert shown == {"access_key": "***", "secret": "***", "bucket": "b"}
    assert "warning: secrets are shown as ***" in done.stderr
    assert "HUSH" in lkpy(*command, "--show-secrets").stdout


def test_the_command_that_makes_the_token() -> None:
    grant = VideoGrant(room_admin=True, room="50% off", destination_room="b")
    assert curl.token_command(grant, "k", dev=True) == (
        "export LIVEKIT_TOKEN=\"$(lkpy token create --dev --admin --room '50%% off' "
        '--grant \'{"destinationRoom": "b"}\' --token-only)"'
    )


def test_a_call_knows_its_answer() -> None:
    call = room_call("ListRooms", room.ListRoomsRequest(), VideoGrant(room_list=True))
    assert call.path == "/twirp/livekit.RoomService/ListRooms"
    assert call.answer is room.ListRoomsResponse


# -- what is shown ------------------------------------------------------------------------------


def test_json_has_the_protocols_names_and_numbers() -> None:
    who = models.ParticipantInfo(
        sid="PA_x", joined_at=7, attributes={"a": "b"}, kind=models.ParticipantInfo.Kind.AGENT
    )
    who.tracks.add(sid="TR_x", type=models.TrackType.VIDEO)
    plain = show.plain(who)
    assert plain["joined_at"] == 7
    assert plain["metadata"] == ""
    assert plain["kind"] == "AGENT"
    assert plain["attributes"] == {"a": "b"}
    assert plain["tracks"][0]["type"] == "VIDEO"
    assert "permission" not in plain
    assert show.plain(room.SendDataRequest(data=b"\0"))["data"] == "AA=="


def test_a_table_fits_the_terminal() -> None:
    rooms = [
        models.Room(name="n" * 60, sid="RM_aaaaaaaaaaaa", creation_time=100, metadata="m" * 90),
        models.Room(name="会議", sid="RM_bbbbbbbbbbbb", max_participants=5, num_participants=2),
    ]
    table = show.rooms_table(rooms, 3820.0)
    narrow = show.lines(table, 80)
    assert max(map(len, narrow)) <= 80
    assert narrow[1].startswith("nnn")
    assert "…" in narrow[1]
    assert "RM_aaaaaaaaaaaa  1h02m" in narrow[1]
    assert "2/5" in narrow[2]
    assert "m" * 90 in show.lines(table)[1], "nothing is cut where there is no terminal"


def test_others_words_do_not_reach_the_terminal_raw() -> None:
    who = models.ParticipantInfo(identity="a\x1b[2Jb\nc", metadata="x\ny\x07")
    text = "\n".join(
        (*show.lines(show.participants_table([who], 0.0)), *show.participant_lines(who))
    )
    assert "\x1b" not in text
    assert "\x07" not in text
    assert r"a\x1b[2Jb c" in text


def test_a_picture_never_scrolls() -> None:
    drawn = watch.picture([f"line {n}" for n in range(50)], "footer", 24)
    assert drawn.count("\r\n") == 23
    assert "… 29 more" in drawn
    assert drawn.endswith("footer\x1b[K\x1b[J")
    assert watch.picture(["one"], "footer", 24).count("\r\n") == 2


def test_completion_offers_no_name_that_means_something_to_a_shell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ["a-1", "a$(reboot)", "a b", "a\x1b[2J", "a;x", "añ日", "a\nb", "b"]
    monkeypatch.setattr(complete, "_rooms", lambda: names)
    assert complete.rooms("a") == ["a-1", "añ日"]


def test_json_and_errors_carry_nothing_that_acts(capsys: pytest.CaptureFixture[str]) -> None:
    output.result_json({"name": "a\x9b31m\u202eb"})
    output.warn("\x1b]0;PWN\x07")
    with pytest.raises(SystemExit):
        output.fail("the server says \x1b[31m", hint="\x9b")
    with pytest.raises(SystemExit):
        output.fail("the server says \x9b", as_json=True)
    shown = "".join(capsys.readouterr()).replace("\n", "")
    assert shown.isprintable()
    assert r"a\u009b31m\u202eb" in shown
