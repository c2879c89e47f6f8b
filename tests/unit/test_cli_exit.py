"""Every command with wrong input: an exit code that is not 0, one line that says what is wrong,
nothing on standard output. As livekit-server since 1.13.10."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lkpy.cli.main import COMMANDS, load
from lkpy.server.config_schema import Kind, scalars
from tests.patience import PATIENCE_S
from tests.unit.test_cli import Done, lkpy

pytestmark = pytest.mark.filterwarnings("ignore:The HMAC key is")

WRONG = "-no-such-value-"
"""No number, no duration, no file, no address; what may be any text takes it."""

WITHOUT_ARGUMENTS = {
    ("server", "generate-keys"),
    ("server", "help-verbose"),
    ("server", "ports"),
    ("sim", "schema"),
    ("version",),
}
"""What has nothing to be told."""

STATUS = ("Using ws://", "Signing with ")
"""What is being tried."""

Words = tuple[str, ...]


def walk(command: Any, words: Words) -> Iterator[tuple[Words, Any]]:
    """Every command below this one, groups too."""
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*words, name))


TREE = [
    (words, command)
    for name, (target, _) in COMMANDS.items()
    for words, command in walk(load(target, name), (name,))
]
GROUPS = [words for words, command in TREE if hasattr(command, "commands")]
LEAVES = [(words, command) for words, command in TREE if not hasattr(command, "commands")]
OPTIONS = [
    (words, parameter)
    for words, command in LEAVES
    for parameter in command.params
    if parameter.param_type_name == "option" and not parameter.is_flag
]
NUMBERS = [
    (words, option)
    for words, option in OPTIONS
    if any(f"<class '{name}'>" in repr(option.type_descriptor) for name in ("int", "float"))
]


def named(cases: list[Any]) -> dict[str, Any]:
    ids = [
        " ".join((*words, *option.opts[:1])) if hasattr(option, "opts") else " ".join(words)
        for words, option in cases
    ]
    return {"argvalues": cases, "ids": ids}


def run(*words: str) -> Done:
    return lkpy(*words, COLUMNS="80", LINES="24")


def is_refused(done: Done) -> None:
    """The command failed, and said so in a line for each thing that is wrong."""
    assert done.returncode in (1, 2, 3), done
    assert done.stdout == ""
    lines = done.stderr.removesuffix("\n").split("\n")
    kinds = [line.partition(" ")[0] for line in lines if not line.startswith(STATUS)]
    assert kinds in (["error:"], ["error:", "hint:"]), done.stderr
    for never in ("Traceback", "internal error", "\x1b"):
        assert never not in done.stderr


def test_the_tree_is_whole() -> None:
    words = {words for words, _ in TREE}
    assert {(name,) for name in COMMANDS} <= words
    assert ("room", "participants", "get") in words
    assert ("server", "create-join-token") in words
    assert len(LEAVES) > 25
    assert len(NUMBERS) > 8


@pytest.mark.parametrize("words", GROUPS, ids=" ".join)
def test_a_command_that_is_not_there(words: Words) -> None:
    done = run(*words, "frobnicate")
    assert done.returncode == 2
    is_refused(done)


@pytest.mark.parametrize("words", [words for words, _ in LEAVES], ids=" ".join)
def test_an_option_that_is_not_there(words: Words) -> None:
    done = run(*words, "--frobnicate")
    assert done.returncode == 2
    is_refused(done)
    assert "--frobnicate" in done.stderr or "Missing option" in done.stderr


@pytest.mark.parametrize("words", [words for words, _ in LEAVES], ids=" ".join)
def test_nothing_is_said(words: Words) -> None:
    done = run(*words)
    if words in WITHOUT_ARGUMENTS:
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout
    else:
        is_refused(done)


@pytest.mark.parametrize("words", [words for words, _ in LEAVES], ids=" ".join)
def test_arguments_that_nobody_asked_for(words: Words) -> None:
    is_refused(run(*words, *(WRONG.strip("-") for _ in range(9))))


@pytest.mark.parametrize(("words", "option"), **named(OPTIONS))
def test_an_option_without_its_value(words: Words, option: Any) -> None:
    done = run(*words, option.opts[0])
    assert done.returncode == 2
    is_refused(done)
    assert option.opts[0] in done.stderr


@pytest.mark.parametrize(("words", "option"), **named(NUMBERS))
def test_a_number_that_is_none(words: Words, option: Any) -> None:
    done = run(*words, f"{option.opts[0]}={WRONG}")
    assert done.returncode == 2
    is_refused(done)
    assert option.opts[0] in done.stderr


FLAGS = [
    scalar
    for scalar in scalars()
    if scalar.kind in (Kind.BOOL, Kind.INT, Kind.FLOAT, Kind.DURATION)
]


VARIABLES = Counter(scalar.variable for scalar in FLAGS)
"""``LIVEKIT_PROMETHEUS_PORT`` is of two keys, also in livekit-server."""


@pytest.mark.parametrize("command", ["config", "ports"])
def test_every_flag_and_variable_of_the_configuration(command: str) -> None:
    assert len(FLAGS) > 200
    key = ("--keys", "key: " + 32 * "s")
    for number, scalar in enumerate(FLAGS):
        if number % 2 or VARIABLES[scalar.variable] > 1:
            done, name = run("server", command, *key, f"{scalar.flag}=x"), scalar.flag
        else:
            done = lkpy("server", command, *key, **{scalar.variable: "x"})
            name = scalar.variable
        assert done.returncode == 1, scalar
        is_refused(done)
        path = scalar.path[:-1] if scalar.path[-1] in ("start", "end") else scalar.path
        assert done.stderr.startswith(f"error: {name}: '{'.'.join(path)}': "), done.stderr


def test_a_file_that_is_not_there() -> None:
    for words, message in (
        (("server", "config", "--config", "/absent"), "/absent: cannot read"),
        (("server", "ports", "--config", "/absent"), "/absent: cannot read"),
        (("server", "start", "--key-file", "/absent"), "/absent: cannot read key file"),
        (("sim", "validate", "/absent"), "/absent"),
        (("sim", "run", "/absent"), "/absent"),
        (("sim", "report", "/absent"), "/absent"),
        (("token", "create", "--dev", "--join", "--room-config", "/absent"), "/absent"),
    ):
        done = run(*words)
        assert message in done.stderr, done
        is_refused(done)


CASES = [
    ("frobnicate",),
    ("server", "ports", "--port", "x", "--dev"),
    ("room", "create"),
    ("server", "list-nodes"),
]


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_without_a_terminal(words: Words, tmp_path: Path) -> None:
    """Nor with an input, a terminal's name, or a language that has more than ASCII."""
    done = subprocess.run(
        [sys.executable, "-m", "lkpy", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", "XDG_RUNTIME_DIR": str(tmp_path)}
        | {name: value for name, value in os.environ.items() if name == "PYTHONPATH"},
    )
    is_refused(Done(done.returncode, done.stdout, done.stderr))


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_on_a_terminal_of_80_by_24(words: Words, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environ = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24", "NO_COLOR": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "lkpy", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            env=environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
        )
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 1)
    finally:
        os.close(ours)
        os.close(theirs)
    is_refused(Done(done.returncode, "", done.stderr))
