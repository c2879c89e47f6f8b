"""``lkpy``: the commands, each loaded only when it is used."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from lkpy.cli.output import EXIT_USAGE, fail

COMMANDS = {
    "server": ("lkpy.cli.server:app", "Run a LiveKit-compatible server."),
    "token": ("lkpy.cli.token:app", "Create, verify and read access tokens."),
    "room": ("lkpy.cli.room.main:app", "Create, watch, moderate and join rooms of any server."),
    "sim": ("lkpy.cli.sim:app", "Send simulated participants through a server."),
    "top": ("lkpy.cli.top:top", "Watch a server's rooms, participants and tracks."),
    "version": ("lkpy.cli.version:version", "Print versions."),
}
"""Name to ``module:object``, which is a Typer application or a function, and its help."""


def load(target: str, name: str) -> Any:  # noqa: ANN401 - Typer keeps click's classes private
    """The command that ``module:object`` stands for."""
    module, _, attribute = target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, typer.Typer):
        command = typer.main.get_command(found)
    else:
        single = typer.Typer(add_completion=False, context_settings=CONTEXT_SETTINGS)
        single.command(name)(found)
        command = typer.main.get_command(single)
    command.name = name
    return command


class LazyGroup(TyperGroup):
    """Knows names and help of the commands, and imports the one that is run."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401
        """Names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
        """A stand-in with the command's help."""
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        """The command that is about to run, or be completed."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in COMMANDS:
            command = load(COMMANDS[name][0], name)
        return name, command, rest


CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    cls=LazyGroup,
    help="LiveKit-compatible SFU server, token tool, simulator and monitor.",
    epilog="Start with: lkpy server start --dev",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Rich takes twice as long to import as everything else here; commands use it for their help.
    rich_markup_mode=None,
    context_settings=CONTEXT_SETTINGS,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from lkpy import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print lkpy's version.", callback=_print_version),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run, and turn whatever goes wrong into words and an exit code."""
    from lkpy.errors import LkpyError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that is not UTF-8 shows "?" for what it lacks; that is no failure of ours.
            stream.reconfigure(errors="replace")
    try:
        code = app(standalone_mode=False)
    except LkpyError as error:
        fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        # Whoever read us has had enough (`lkpy … | head`); Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except Exception as error:
        _fail_usage(error)
        if os.environ.get("LKPY_DEBUG"):
            raise
        fail(
            f"internal error: {type(error).__name__}: {error}",
            hint="LKPY_DEBUG=1 shows where; please report it",
        )
    # A command that calls an end of it is answered with its exit code, others with nothing.
    raise SystemExit(code if isinstance(code, int) else 0)


def _fail_usage(error: Exception) -> None:
    """Say what is wrong with the command line, as everything else is said. Typer keeps the classes
    of these errors private."""
    words = getattr(error, "format_message", None)
    if words is None:
        return
    exit_code = getattr(error, "exit_code", EXIT_USAGE)
    if type(error).__name__ == "NoArgsIsHelpError":
        # Groups that Rich helps have printed it already.
        if words():
            print(words(), file=sys.stderr)
        raise SystemExit(exit_code)
    command = getattr(getattr(error, "ctx", None), "command_path", "lkpy")
    fail(words(), hint=f"`{command} --help` shows how to use it", exit_code=exit_code)
