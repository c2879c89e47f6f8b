"""Secrets that a configuration names the files of: keys, and credentials of TURN servers
(livekit-server ``pkg/config/config.go`` LoadTURNSecrets)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import yaml

from lkpy.errors import ConfigError
from lkpy.server.config_rtc import TURN_TTL_MAX_S, TURN_TTL_MIN_S, RtcConfig, TurnServerConfig
from lkpy.server.config_yaml import Path

_NO_CREDENTIALS = "turn server has no usable credentials"
_CREDENTIALS_HINT = "set secret or secret_file, username and credential, or credentials_file"


def private_text(name: str, what: str) -> str:
    """What a file holds that others must not read. Raises :class:`ConfigError`."""
    file = FilePath(os.path.expandvars(name)).expanduser()
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot read {what} file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text") from error
    if mode & stat.S_IRWXO:
        raise ConfigError(
            f"{file}: {what} file others permissions must be set to 0", hint=f"chmod o-rwx {file}"
        )
    return text


def with_turn_credentials(
    rtc: RtcConfig, place: Callable[[Path], str], warnings: list[str]
) -> RtcConfig:
    """TURN servers with what their files hold. Raises :class:`ConfigError` where clients could not
    use a server."""
    servers = tuple(
        _with_credentials(server, place(("rtc", "turn_servers", str(index))), warnings)
        for index, server in enumerate(rtc.turn_servers)
    )
    return rtc.model_copy(update={"turn_servers": servers})


def _with_credentials(
    server: TurnServerConfig, place: str, warnings: list[str]
) -> TurnServerConfig:
    changes: dict[str, Any] = {"secret": server.secret.strip()}
    if server.secret_file and changes["secret"]:
        warnings.append(f"{place}: secret_file of the TURN server is not read: secret is set too")
    elif server.secret_file:
        changes["secret"] = private_text(server.secret_file, "turn secret").strip()
        if not changes["secret"]:
            raise ConfigError(f"{server.secret_file}: turn secret is empty")
    if server.credentials_file and (server.username or server.credential):
        warnings.append(
            f"{place}: credentials_file of the TURN server is not read: "
            "username or credential is set too"
        )
    elif server.credentials_file:
        changes |= _credentials(server.credentials_file)
    if (server.ttl > TURN_TTL_MAX_S) or server.ttl < 0:
        changes["ttl"] = TURN_TTL_MAX_S if server.ttl > 0 else TURN_TTL_MIN_S
        warnings.append(
            f"{place}: ttl of the TURN server is out of range: it is {changes['ttl']}, "
            f"not {server.ttl}"
        )
    read = server.model_copy(update=changes)
    if not read.secret and not (read.username and read.credential):
        raise ConfigError(f"{place}: '{read.host}': {_NO_CREDENTIALS}", hint=_CREDENTIALS_HINT)
    return read


def _credentials(name: str) -> dict[str, str]:
    """``username`` and ``credential`` of a file. Raises :class:`ConfigError`, without its text."""
    text = private_text(name, "turn credentials")
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        values = text
    if not isinstance(values, dict | None):
        raise ConfigError(f"{name}: expected a YAML mapping with username and credential")
    found = {key: (values or {}).get(key) or "" for key in ("username", "credential")}
    if not all(isinstance(value, str | int) for value in found.values()):
        raise ConfigError(f"{name}: username and credential must be text")
    return {key: str(value) for key, value in found.items()}
