"""Flags of the server's configuration: LiveKit's short ones, and one for every key.

``lkpy server start`` declares those that people type, so that its help shows them; what is left of
the command line is read here (livekit-server ``cmd/server/main.go``, ``pkg/config/config.go``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from lkpy.server.config_load import Loaded, Override

CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "allow_extra_args": True,
    "ignore_unknown_options": True,
}
"""For commands that take these flags."""

_SHORT = {
    "--bind": "bind_addresses",
    "--key-file": "key_file",
    "--node-ip": "rtc.node_ip",
    "--udp-port": "rtc.udp_port",
    "--tcp-port": "rtc.tcp_port",
    "--redis-host": "redis.address",
    "--redis-password": "redis.password",
    "--turn-cert": "turn.cert_file",
    "--turn-key": "turn.key_file",
    "--log-level": "logging.level",
}
_SWITCHES = {"--dev": "development", "--log-json": "logging.json"}
_TEXTS = ("--config", "--config-body", "--keys")
_NOT_STRICT = "--disable-strict-config"


def load_config(
    arguments: Sequence[str],
    given: Mapping[str, Override] | None = None,
    *,
    config: str | None = None,
    config_body: str | None = None,
    need_keys: bool = True,
) -> Loaded:
    """The configuration that these flags, the environment and a file make.

    ``given`` and the two keywords are flags that were declared. Raises
    :class:`lkpy.errors.ConfigError`.
    """
    from lkpy.errors import ConfigError
    from lkpy.server.config_load import load

    overrides, texts, strict = _read(arguments)
    try:
        return load(
            config_file=texts.get("--config", config),
            config_body=texts.get("--config-body", config_body),
            overrides={**overrides, **(given or {})},
            environ=os.environ,
            strict=strict,
            need_keys=need_keys,
        )
    except ConfigError as error:
        error.hint = error.hint or "`lkpy server help-verbose` lists the keys"
        raise


def _read(arguments: Sequence[str]) -> tuple[dict[str, Override], dict[str, str], bool]:
    from lkpy.server.config_checks import from_text
    from lkpy.server.config_load import Override, parse_keys
    from lkpy.server.config_schema import Kind, scalars

    kinds = {scalar.flag: scalar.kind for scalar in scalars()}
    overrides: dict[str, Override] = {}
    texts: dict[str, str] = {}
    binds: list[str] = []
    strict = True
    rest = iter(arguments)
    for argument in rest:
        flag, has_value, value = argument.partition("=")
        if flag == _NOT_STRICT:
            strict = False
        elif flag in _SWITCHES or kinds.get(flag) is Kind.BOOL:
            key = _SWITCHES.get(flag, flag.removeprefix("--"))
            overrides[key] = Override(from_text(value or "true", Kind.BOOL), flag)
        elif flag in _TEXTS:
            texts[flag] = value if has_value else _next(rest, flag)
        elif flag in _SHORT or flag in kinds:
            value = value if has_value else _next(rest, flag)
            key = _SHORT.get(flag, flag.removeprefix("--"))
            overrides[key] = Override(from_text(value, kinds.get(flag, Kind.TEXT)), flag)
            binds += [value] if flag == "--bind" else []
        else:
            _unknown(flag, [*kinds, *_SHORT, *_SWITCHES, *_TEXTS])
    if binds:
        overrides["bind_addresses"] = Override(binds, "--bind")
    if "--keys" in texts:
        overrides["keys"] = Override(parse_keys(texts["--keys"]), "--keys")
    return overrides, texts, strict


def _next(rest: Iterator[str], flag: str) -> str:
    from lkpy.cli.output import EXIT_USAGE, fail

    value = next(rest, None)
    if value is None:
        fail(f"{flag} needs a value", exit_code=EXIT_USAGE)
    return value


def _unknown(flag: str, known: Sequence[str]) -> NoReturn:
    from lkpy.cli.output import EXIT_USAGE, fail
    from lkpy.server.config_yaml import suggestion

    if not flag.startswith("-"):
        fail(f"unexpected argument {flag!r}", exit_code=EXIT_USAGE)
    fail(
        f"no such option: {flag}{suggestion(flag, known)}",
        hint="`lkpy server help-verbose` lists an option for every key",
        exit_code=EXIT_USAGE,
    )
