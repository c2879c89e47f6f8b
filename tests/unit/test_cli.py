"""The command line: start-up, token commands, errors in words."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from lkpy.auth.token import unverified_claims
from lkpy.cli import dotenv, names
from lkpy.cli.main import main
from lkpy.cli.output import use_colour

# Development's secret is short on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:The HMAC key is")


def words(text: str) -> list[str]:
    return text.split()


HEAVY = words(
    "aiohttp aiortc av google.protobuf jwt livekit numpy psutil pydantic rich textual uvloop yaml"
)


@dataclass
class Done:
    """What a finished command left."""

    returncode: int
    stdout: str
    stderr: str


def lkpy(*args: str, stdin: str = "", **environ: str) -> Done:
    """Run a command in this process."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LIVEKIT_", "LKPY_"))}
    # Servers that run on this machine are not meant.
    nowhere = str(Path(os.sep, "no-such-directory"))
    clean |= {"NO_COLOR": "1", "COLUMNS": "100", "XDG_RUNTIME_DIR": nowhere} | environ
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        mock.patch.dict(os.environ, clean, clear=True),
        mock.patch.object(sys, "argv", ["lkpy", *args]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
    return Done(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


def test_python_m_lkpy() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lkpy", "version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("lkpy ")


def test_the_root_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['lkpy', '--help']\n"
        "from lkpy.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.strip() == "[]"
    for command in ("server", "token", "room", "sim", "top", "version"):
        assert command in done.stdout


def test_usage_errors_exit_2() -> None:
    done = lkpy("frobnicate")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "No such command 'frobnicate'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["--url", "host:7880"], 2, "invalid_argument"),
        (["--api-key", "key"], 2, "invalid_argument"),
        (["--url", "ws://127.0.0.1:1"], 3, "unavailable"),
    ],
)
def test_top_tells_wrong_usage_from_a_server_that_is_not_there(
    arguments: list[str], code: int, kind: str
) -> None:
    done = lkpy("top", "--json", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert json.loads(done.stderr)["code"] == kind


def test_version() -> None:
    from lkpy import __version__

    assert lkpy("version").stdout.startswith(f"lkpy {__version__} ")
    facts = json.loads(lkpy("version", "--json").stdout)
    assert facts["lkpy"] == __version__
    assert facts["signal_protocol"] == 18
    assert lkpy("--version").stdout.strip() == __version__


def test_create_then_verify_and_inspect() -> None:
    flags = "--dev --join --room demo -i alice --no-publish --allow-update-metadata --hidden"
    done = lkpy("token", "create", *flags.split(), "--token-only")
    assert done.stderr == "Signing with API key 'devkey' from --dev.\n"
    token = done.stdout.strip()
    claims = unverified_claims(token)
    assert claims["sub"] == "alice"
    assert claims["video"] == {
        "roomJoin": True,
        "room": "demo",
        "canPublish": False,
        "canUpdateOwnMetadata": True,
        "hidden": True,
    }
    assert claims["exp"] - claims["nbf"] == 300

    verified = lkpy("token", "verify", "--dev", token)
    assert verified.returncode == 0
    assert verified.stdout.startswith("The token is valid.\n")
    assert "cannot publish" in verified.stdout
    inspected = lkpy("token", "inspect", "-", stdin=token + "\n")
    assert "May join room 'demo'." in inspected.stdout
    assert "signature was not checked" in inspected.stdout
    as_json = json.loads(lkpy("token", "inspect", token, "--json").stdout)
    assert as_json == claims


def test_verify_refuses_the_wrong_secret() -> None:
    token = lkpy("token", "create", "--dev", "--list", "--token-only").stdout.strip()
    done = lkpy("token", "verify", "--api-key", "devkey", "--api-secret", "x" * 32, token)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: invalid authorization token: token signature is invalid")
    assert "hint: " in done.stderr
    machine = lkpy(
        "token", "verify", "--json", token, LIVEKIT_API_KEY="other", LIVEKIT_API_SECRET="x" * 32
    )
    assert json.loads(machine.stderr)["message"] == "invalid API key"


def test_create_as_json_with_everything(tmp_path: Path) -> None:
    attributes = tmp_path / "attributes.json"
    attributes.write_text('{"seat": "12"}')
    config = tmp_path / "room.json"
    config.write_text('{"empty_timeout": 5}')
    done = lkpy(
        *words("token create --dev --join --create --list --admin --egress --ingress --inference"),
        *words("--agent-worker --sip-admin --sip-call --no-subscribe --no-publish-data"),
        *words("--recorder --room demo --identity bob --name Bob --kind sip --metadata m"),
        *words("--attribute a=b=c --valid-for 1h30m --agent helper --job-metadata job"),
        *words(f"--attribute-file {attributes} --room-config {config} --room-preset small"),
        *words("--max-participants 4 --allow-source camera,microphone --url wss://x.example"),
        "--grant",
        '{"canSubscribeMetrics": true, "destinationRoom": "z"}',
        "--json",
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["project_url"] == "wss://x.example"
    assert (answer["identity"], answer["name"], answer["room"]) == ("bob", "Bob", "demo")
    claims = unverified_claims(answer["access_token"])
    assert claims["exp"] - claims["nbf"] == 5400
    assert claims["video"] == {
        "roomCreate": True,
        "roomList": True,
        "roomRecord": True,
        "roomAdmin": True,
        "roomJoin": True,
        "room": "demo",
        "canSubscribe": False,
        "canPublishData": False,
        "canPublishSources": ["camera", "microphone"],
        "ingressAdmin": True,
        "recorder": True,
        "agent": True,
        "canSubscribeMetrics": True,
        "destinationRoom": "z",
    }
    assert claims["sip"] == {"admin": True, "call": True}
    assert claims["inference"] == {"perform": True}
    assert claims["attributes"] == {"seat": "12", "a": "b=c"}
    assert (claims["kind"], claims["metadata"]) == ("sip", "m")
    assert claims["roomPreset"] == "small"
    assert claims["roomConfig"]["maxParticipants"] == 4
    assert claims["roomConfig"]["agents"] == [{"agentName": "helper", "metadata": "job"}]


def test_plain_output_names_url_and_token() -> None:
    done = lkpy("token", "create", "--dev", "--list")
    assert "Project URL: ws://127.0.0.1:7880" in done.stdout
    assert "Access token: ey" in done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--dev", "the token would allow nothing"),
        ("--dev --admin", "--admin needs --room"),
        ("--list", "no API key and secret"),
        ("--list --api-key k", "no API secret"),
        ("--dev --list --json --token-only", "--json and --token-only exclude each other"),
        ("--dev --list --valid-for soon", "--valid-for soon: not a duration"),
        ("--dev --list --valid-for 0s", "--valid-for 0s: not a duration"),
        ("--dev --list --grant [1]", "--grant: expected a JSON object"),
        ("--dev --list --grant {", "--grant: not JSON"),
        ('--dev --list --grant {"roomJoin":5}', "claim 'roomJoin' must be bool"),
        ("--dev --list --attribute novalue", "--attribute novalue: expected key=value"),
        ("--dev --list --attribute-file /nope", "/nope: cannot read"),
        ("--dev --list --room-config /nope", "/nope: cannot read"),
        ("--dev --list --allow-source eyes", "--allow-source eyes: unknown source"),
        ("--dev --list --kind robot", "--kind robot: unknown kind"),
    ],
)
def test_create_explains_what_is_wrong(args: str, message: str) -> None:
    done = lkpy("token", "create", *args.split())
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"error: {message}" in done.stderr
    assert "Traceback" not in done.stderr


def test_inspect_refuses_garbage() -> None:
    done = lkpy("token", "inspect", "garbage")
    assert done.returncode == 1
    assert done.stderr == "error: invalid authorization token\n"


@pytest.mark.parametrize(
    ("args", "environ", "message"),
    [
        ((), {}, "one of key_file or keys must be provided"),
        (("--config", "/nope.yaml"), {}, "/nope.yaml: cannot read"),
        (("--dev", "--config-body", "prot: 1"), {}, "--config-body:1:1: unknown key 'prot'"),
        (("--dev",), {"LIVEKIT_CONFIG": "a: ["}, "LIVEKIT_CONFIG:1:5: not valid YAML"),
        (("--keys", "nonsense"), {}, "expected a mapping of keys to values"),
        (("--dev", "--udp-port", "x"), {}, "--udp-port: 'rtc.udp_port': expected a port"),
        (("--dev", "--node-ip", "home"), {}, "--node-ip: 'rtc.node_ip': 'home' does not appear"),
        (("--dev",), {"UDP_PORT": "x"}, "'rtc.udp_port': expected a port"),
        (("--dev", "--log-level", "loud"), {}, "--log-level: 'logging.level': Input should be"),
        (("--dev", "--bind", "192.0.2.99"), {}, "cannot listen on 192.0.2.99"),
    ],
)
def test_a_start_that_fails_says_why(
    args: tuple[str, ...], environ: dict[str, str], message: str
) -> None:
    done = lkpy("server", "start", *args, **environ)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "error: " in done.stderr
    assert message in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_name_templates() -> None:
    assert names.expand("plain") == "plain"
    assert names.expand("100%%") == "100%"
    assert names.expand("%q%") == "%q%"
    assert len(names.expand("%x")) == 12
    assert names.expand("%p") == str(os.getpid())
    assert names.expand("%Y%m%d%H%M%S")[:8] == names.expand("%t")[:8]


def test_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert use_colour(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not use_colour(Terminal())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert use_colour(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not use_colour(Terminal())


# -- .env ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("A=b", ("A", "b")),
        ("  export A = b c  # comment", ("A", "b c")),
        ("A=b#c", ("A", "b#c")),
        ("A='b # \\n c' # comment", ("A", "b # \\n c")),
        ('A="b\\nc\\"d"', ("A", 'b\nc"d')),
        ("A=", ("A", "")),
        ("A='b", ("A", "'b")),
        ("# A=b", None),
        ("A b", None),
        ("1A=b", None),
    ],
)
def test_lines_of_env_files(line: str, expected: tuple[str, str] | None) -> None:
    assert list(dotenv.parse(line)) == ([] if expected is None else [expected])


def test_credentials_of_env_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    create = ("token", "create", "--list", "--json")
    assert lkpy(*create).returncode == 1
    (tmp_path / ".env").write_text(
        "LIVEKIT_URL=wss://a.example\nLIVEKIT_API_KEY=filed\nLIVEKIT_API_SECRET=hush\n"
    )
    done = lkpy(*create)
    assert done.stderr == "Signing with API key 'filed' from .env.\n"
    document = json.loads(done.stdout)
    assert document["project_url"] == "wss://a.example"
    assert unverified_claims(document["access_token"])["iss"] == "filed"
    (tmp_path / ".env.local").write_text("LIVEKIT_API_KEY=near\nLIVEKIT_API_SECRET=hush\n")
    assert "'near' from .env.local" in lkpy(*create).stderr
    (tmp_path / ".env.local").write_text("LIVEKIT_API_KEY=near\n")
    assert "no API key and secret" in lkpy(*create).stderr, "the two are of different files"
    environ = {"LIVEKIT_API_KEY": "env", "LIVEKIT_API_SECRET": "s"}
    assert "'env' from flags or environment" in lkpy(*create, **environ).stderr


def test_an_agent_and_its_deployment() -> None:
    flags = ("--join", "--agent", "a", "--job-metadata", "m", "-d", "blue", "--token-only")
    claims = unverified_claims(lkpy("token", "create", "--dev", *flags).stdout.strip())
    expected = {"agentName": "a", "metadata": "m", "deployment": "blue"}
    assert claims["roomConfig"]["agents"] == [expected]
