"""``lkpy sim``: simulated participants, through our server or any other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lkpy.cli import output

if TYPE_CHECKING:
    from lkpy.sim.plan import Plan
    from lkpy.sim.result import RunResult
    from lkpy.sim.scenario import Scenario

app = typer.Typer(
    help="Send simulated participants through a server, and judge what comes out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EXIT_INTERRUPTED = 130
_TARGET, _OUTPUT = "Target", "Output"

_ScenarioFile = Annotated[
    Path,
    typer.Argument(metavar="SCENARIO", help="Scenario file (YAML); - is standard input."),
]
_Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=_OUTPUT)
]
_Seed = Annotated[int | None, typer.Option(min=0, help="Instead of the scenario's seed.")]
_Duration = Annotated[
    str | None, typer.Option(metavar="TIME", help="Instead of the scenario's duration: 30s, 5m.")
]


@app.command(
    epilog="Exit status: 0 passed · 1 failure, or passed without its report · 2 bad usage or "
    "scenario · 3 server unreachable or unauthorised · 4 run invalid · 99 SLO breached, or the "
    "server died · 130 interrupted."
)
def run(
    scenario: _ScenarioFile,
    url: Annotated[
        str,
        typer.Option(help="Server to test, instead of the scenario's.", rich_help_panel=_TARGET),
    ] = "",
    embedded: Annotated[
        bool,
        typer.Option(
            "--embedded", help="Start a server, whatever a url says.", rich_help_panel=_TARGET
        ),
    ] = False,
    api_key: Annotated[
        str, typer.Option(help="Default: LIVEKIT_API_KEY.", rich_help_panel=_TARGET)
    ] = "",
    api_secret: Annotated[
        str,
        typer.Option(help="Default: LIVEKIT_API_SECRET.", rich_help_panel=_TARGET),
    ] = "",
    mode: Annotated[
        str,
        typer.Option(
            metavar="auto|single|dual", help="Peer connections per client.", rich_help_panel=_TARGET
        ),
    ] = "",
    server_stats: Annotated[
        bool,
        typer.Option(
            help="Ask the server for its statistics, which is work for it too.",
            rich_help_panel=_TARGET,
        ),
    ] = True,
    processes: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Generator processes; default: half the cores."),
    ] = None,
    seed: _Seed = None,
    duration: _Duration = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory of the reports.", rich_help_panel=_OUTPUT),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress.", rich_help_panel=_OUTPUT)
    ] = False,
    json: _Json = False,
) -> None:
    """Run a scenario and judge the result by its SLOs."""
    import asyncio

    from lkpy.errors import ConfigError, LkpyError
    from lkpy.sim import plan as planning
    from lkpy.sim import progress, target
    from lkpy.sim.report import document, files, terminal
    from lkpy.sim.runner import Runner

    loaded = _load(scenario, seed=seed, duration=duration, as_json=json)
    if mode not in ("", "auto", "single", "dual"):
        output.fail(
            f"--mode {mode}: use auto, single or dual", exit_code=output.EXIT_USAGE, as_json=json
        )
    try:
        given = None
        if not embedded:
            given = target.resolve(
                loaded,
                planning.make(loaded),
                os.environ,
                url=url,
                api_key=api_key,
                api_secret=api_secret,
                mode=mode,
            )
        where = files.directory(loaded.report, loaded.name, report)
        files.prepare(where)
    except ConfigError as error:
        output.fail(error, exit_code=output.EXIT_USAGE, as_json=json)
    clients = sum(group.count for group in loaded.groups)
    errors = output.console(stderr=True)
    try:
        with progress.make(clients, loaded.duration, errors, quiet=quiet) as display:
            runner = Runner(
                loaded, given, display, processes=processes, mode=mode, server_stats=server_stats
            )
            result = asyncio.run(_until_done(runner))
    except LkpyError as error:
        output.fail(error, exit_code=output.EXIT_SERVER, as_json=json)
    made = document.build(result)
    # The verdict first: nothing that happens to the files may take it away.
    if not json:
        terminal.show(output.console(), made)
    paths, failures = files.write(made, loaded.report, where)
    if json:
        output.result_json({**made, "report": {kind: str(p) for kind, p in paths.items()}})
    elif "html" in paths:
        output.result(f"report    {paths['html']}")
    for failure in failures:
        output.warn(failure)
    raise typer.Exit(result.exit_code or (output.EXIT_FAILURE if failures else 0))


async def _until_done(runner: Any) -> RunResult:  # noqa: ANN401 - the class loads only when used
    """Run; the first signal stops the run and keeps its report, the second one stops at once."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(runner.run())
    signals = 0

    def stop() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            output.status("stopping; press Ctrl-C again to stop without a report")
            runner.interrupt()
        else:
            runner.abort()
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        result: RunResult = await task
    except asyncio.CancelledError:
        raise SystemExit(EXIT_INTERRUPTED) from None
    return result


@app.command()
def validate(scenario: _ScenarioFile, json: _Json = False) -> None:
    """Check a scenario file."""
    loaded = _load(scenario, as_json=json)
    clients = sum(group.count for group in loaded.groups)
    if json:
        output.result_json(
            {
                "schema": "lkpy.sim.validate/1",
                "valid": True,
                "name": loaded.name,
                "clients": clients,
            }
        )
    else:
        output.result(
            f"{scenario}: valid: {clients} clients in {len(loaded.groups)} groups, "
            f"{len(loaded.slo)} SLOs"
        )


@app.command()
def plan(
    scenario: _ScenarioFile,
    seed: _Seed = None,
    duration: _Duration = None,
    actions: Annotated[bool, typer.Option("--actions", help="List every action.")] = False,
    json: _Json = False,
) -> None:
    """Show what a scenario would do and the load it makes, without doing it."""
    from lkpy.sim import plan as planning

    loaded = _load(scenario, seed=seed, duration=duration, as_json=json)
    made = planning.make(loaded)
    if json:
        output.result_json(_plan_document(loaded, made))
    else:
        _print_plan(loaded, made, actions=actions)


def _plan_document(scenario: Scenario, plan: Plan) -> dict[str, Any]:
    import dataclasses

    return {
        "schema": "lkpy.sim.plan/1",
        "name": scenario.name,
        "seed": scenario.seed,
        "duration_s": plan.duration,
        "rooms": list(plan.rooms),
        "clients": [
            {**dataclasses.asdict(client), "group": scenario.groups[client.group].name}
            for client in plan.clients
        ],
        "actions": [
            {"at_s": action.at, "client": action.client, "do": str(action.kind)}
            for action in plan.actions
        ],
        "loads": [dataclasses.asdict(load) for load in plan.loads],
    }


def _print_plan(scenario: Scenario, plan: Plan, *, actions: bool) -> None:
    from rich.table import Table

    from lkpy.sim import units

    console = output.console()
    console.width = max(console.width, output.WIDE)
    rooms = f"{len(plan.rooms)} room{'s' if len(plan.rooms) > 1 else ''}"
    console.print(
        f"{scenario.name}: {len(plan.clients)} clients in {rooms}, "
        f"{units.format_duration(plan.duration)}, seed {scenario.seed}\n"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("group", no_wrap=True)
    for name in ("clients", "join", "send pps", "send", "tracks", "take pps", "take"):
        table.add_column(name, justify="right", no_wrap=True)
    for index, load in enumerate(plan.loads):
        times = [a.at for a in plan.actions if plan.clients[a.client].group == index]
        span = f"{min(times):g}-{max(times):g} s" if times else "never"
        table.add_row(
            load.group,
            f"{load.clients}",
            span,
            f"{load.sent.packets:,.0f}",
            units.format_bitrate(load.sent.bits),
            f"{load.tracks:,}",
            f"{load.received.packets:,.0f}",
            units.format_bitrate(load.received.bits),
        )
    console.print(table)
    console.print(
        f"\nserver forwards {plan.received.packets:,.0f} packets/s, "
        f"{units.format_bitrate(plan.received.bits)}, once all are there"
    )
    if actions:
        console.print()
        for action in plan.actions:
            client = plan.clients[action.client]
            console.print(f"{action.at:8.3f} s  {action.kind}  {client.identity}  {client.room}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from lkpy.sim.scenario import json_schema

    output.result_json(json_schema())


@app.command()
def report(
    result: Annotated[Path, typer.Argument(metavar="RUN.JSON", help="Result of a run.")],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the HTML report here.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write JUnit XML here.")
    ] = None,
) -> None:
    """Show a finished run again, or make its reports again."""
    from lkpy.errors import ConfigError
    from lkpy.sim.report import document, terminal
    from lkpy.sim.report import html as html_report
    from lkpy.sim.report import junit as junit_report

    try:
        made = document.read(result.read_text("utf-8"), str(result))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        output.fail(f"{result}: cannot read: {(reason or '').lower()}", exit_code=output.EXIT_USAGE)
    except ConfigError as error:
        output.fail(error, exit_code=output.EXIT_USAGE)
    try:
        for path, render in ((html, html_report.render), (junit, junit_report.render)):
            if path is not None:
                path.write_text(render(made), "utf-8")
                output.status(f"wrote {path}")
    except OSError as error:
        output.fail(f"{error.filename}: cannot write: {(error.strerror or '').lower()}")
    except (KeyError, TypeError):
        output.fail(f"{result}: parts of the result are missing", exit_code=output.EXIT_USAGE)
    if html is None and junit is None:
        terminal.show(output.console(), made)


def _load(
    path: Path, *, as_json: bool, seed: int | None = None, duration: str | None = None
) -> Scenario:
    """Read a scenario and apply what the command line changes; exits when it is wrong."""
    from lkpy.errors import ConfigError
    from lkpy.sim import loader, units

    try:
        scenario = loader.load(path)
    except ConfigError as error:
        output.fail(error, exit_code=output.EXIT_USAGE, as_json=as_json)
    changes: dict[str, Any] = {}
    if seed is not None:
        changes["seed"] = seed
    if duration is not None:
        try:
            changes["duration"] = units.parse_duration(
                float(duration) if duration.replace(".", "", 1).isdigit() else duration
            )
        except ValueError as error:
            output.fail(f"--duration: {error}", exit_code=output.EXIT_USAGE, as_json=as_json)
        if not changes["duration"]:
            output.fail("--duration: zero", exit_code=output.EXIT_USAGE, as_json=as_json)
    return scenario.model_copy(update=changes) if changes else scenario
