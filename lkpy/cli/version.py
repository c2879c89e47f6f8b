"""``lkpy version``."""

from __future__ import annotations

from typing import Annotated

import typer


def version(
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Print the versions of lkpy and of what it is built on."""
    import importlib.metadata
    import importlib.util
    import platform

    from lkpy import __version__
    from lkpy.baseline import LIVEKIT_VERSION, SIGNAL_PROTOCOL
    from lkpy.cli.output import result, result_json

    facts = {
        "lkpy": __version__,
        "livekit": LIVEKIT_VERSION,
        "signal_protocol": SIGNAL_PROTOCOL,
        "livekit_protocol": importlib.metadata.version("livekit-protocol"),
        "media_engine": importlib.util.find_spec("lkpy._engine") is not None,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    if json_output:
        result_json(facts)
        return
    result(
        f"lkpy {facts['lkpy']} (as livekit-server {facts['livekit']}, "
        f"signal protocol {facts['signal_protocol']}, "
        f"livekit-protocol {facts['livekit_protocol']}, "
        f"media engine {'built' if facts['media_engine'] else 'not built'}, "
        f"Python {facts['python']}, {facts['platform']})"
    )
