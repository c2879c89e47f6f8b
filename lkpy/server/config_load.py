"""Puts a configuration together: defaults, file, environment, flags, in rising order."""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lkpy.errors import ConfigError
from lkpy.server.config import PortRange, ServerConfig
from lkpy.server.config_keys import DEFAULTS, PENDING, REFUSED
from lkpy.server.config_yaml import Document, Path, parse, suggestion
from lkpy.server.telemetry.webhook_events import EVENTS

DEV_KEY, DEV_SECRET = "devkey", "secret"
DEV_ADDRESSES = ("127.0.0.1", "::1")
DEV_UDP_PORT = 7882
SECRET_LENGTH = 32

_LISTS = (
    "keys",
    "bind_addresses",
    "enabled_codecs",
    "stun_servers",
    "turn_servers",
    "includes",
    "excludes",
    "additional_host_ips",
    "urls",
    "include_events",
    "exclude_events",
)
"""Keys with several values: the environment has no name for them."""

_FREE_FORM = ("keys", "room.room_configurations")
"""Mappings whose keys are the operator's."""


@dataclass(frozen=True, slots=True)
class Override:
    """A value from outside the file; ``origin`` is the flag's or the variable's name."""

    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and what the operator should hear about it."""

    config: ServerConfig
    warnings: tuple[str, ...]


def load(
    *,
    config_file: str | None = None,
    config_body: str | None = None,
    overrides: Mapping[str, Override] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Read the configuration. ``overrides`` maps dotted keys to values from flags.

    ``config_body`` (``LIVEKIT_CONFIG`` where it is not given) wins over ``config_file``. Raises
    :class:`ConfigError`.
    """
    environ = {} if environ is None else environ
    document = _document(config_file, config_body, environ)
    warnings = list(_check_keys(document))
    values = _without_pending(document.values)
    outside = {**_from_environment(environ), **(overrides or {})}
    for key, override in outside.items():
        _assign(values, tuple(key.split(".")), override.value)
    _move_older_names(values)
    _expand_keys(values)
    try:
        config = ServerConfig.model_validate(values)
    except ValidationError as error:
        raise _config_error(error.errors()[0], document, outside) from error
    config = _with_turn_secrets(_with_development(config))
    if not config.keys:
        raise ConfigError(
            "one of key_file or keys must be provided",
            hint="use --dev for devkey/secret, or --keys 'key: secret', or `keys:` in the file",
        )
    config = _with_telemetry(config, document, warnings)
    warnings += [
        f"secret of API key '{key}' is shorter than {SECRET_LENGTH} characters"
        for key, secret in config.keys.items()
        if len(secret) < SECRET_LENGTH and not config.development
    ]
    return Loaded(config, tuple(warnings))


def parse_keys(text: str) -> dict[str, str]:
    """``key: secret`` lines, as in ``LIVEKIT_KEYS``. Raises :class:`ConfigError`."""
    document = parse(text if ": " in text or "\n" in text else text.replace(":", ": "), "keys")
    keys = {str(key): value for key, value in document.values.items()}
    if not all(isinstance(value, str | int) and str(value) for value in keys.values()):
        raise ConfigError(
            "keys: could not parse keys", hint="write `key: secret`, with a space after the colon"
        )
    return {key: str(value) for key, value in keys.items()}


def _document(file: str | None, body: str | None, environ: Mapping[str, str]) -> Document:
    variable = environ.get("LIVEKIT_CONFIG", "")
    if body:
        return parse(body, "LIVEKIT_CONFIG" if body == variable else "--config-body")
    if variable:
        return parse(variable, "LIVEKIT_CONFIG")
    if file:
        try:
            return parse(FilePath(file).read_text(encoding="utf-8"), file)
        except OSError as error:
            raise ConfigError(f"{file}: cannot read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{file}: not UTF-8 text") from error
    return Document("configuration")


# -- keys ---------------------------------------------------------------------------------------


def _model_at(path: Path) -> type[BaseModel] | None:
    model: type[BaseModel] = ServerConfig
    for name in path:
        item = next((f for n, f in model.model_fields.items() if (f.alias or n) == name), None)
        annotation = None if item is None else item.annotation
        candidates = (annotation, *get_args(annotation))
        found = next(
            (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None
        )
        if found is None:
            return None
        model = found
    return model


def _names_at(path: Path) -> set[str] | None:
    """Keys known under ``path``, or None when what is below is not checked here."""
    model = _model_at(path)
    names = set(PENDING.get(".".join(path), ()))
    names |= {section.split(".")[-1] for section in PENDING if _parent(section) == path}
    if model is not None:
        names |= {item.alias or name for name, item in model.model_fields.items()}
    return names or None


def _parent(section: str) -> Path | None:
    return tuple(section.split(".")[:-1]) if section else None


def _check_keys(document: Document) -> list[str]:
    """Refuse unknown keys and missing features; return warnings for keys without effect."""
    warnings: list[str] = []
    try:
        _walk(document, document.values, (), warnings)
    except RecursionError as error:
        raise ConfigError(f"{document.source}: nested too deeply") from error
    return warnings


def _walk(document: Document, value: object, path: Path, warnings: list[str]) -> None:
    dotted = ".".join(path)
    if dotted in REFUSED and value:
        raise ConfigError(
            f"{document.place(path)}: '{dotted}' is set, but not supported", hint=REFUSED[dotted]
        )
    names = _names_at(path)
    if isinstance(value, dict) and dotted not in _FREE_FORM:
        for key, inner in value.items():
            below = (*path, str(key))
            if names is not None and str(key) not in names:
                raise ConfigError(
                    f"{document.place(below)}: unknown key '{'.'.join(below)}'"
                    + suggestion(str(key), names)
                )
            _walk(document, inner, below, warnings)
    elif _is_pending(path) and value and DEFAULTS.get(dotted) != value:
        warnings.append(f"{document.place(path)}: '{dotted}' has no effect")


def _is_pending(path: Path) -> bool:
    """Whether the key, or a section above it, is one of those without effect."""
    for depth in range(1, len(path) + 1):
        section, name = ".".join(path[: depth - 1]), path[depth - 1]
        if name in PENDING.get(section, ()):
            return True
        if ".".join(path[:depth]) in PENDING and _model_at(path[:depth]) is None:
            return True
    return False


def _without_pending(values: dict[str, Any], path: Path = ()) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in values.items():
        below = (*path, str(key))
        if _is_pending(below):
            continue
        nested = isinstance(value, dict) and _model_at(below) is not None
        kept[str(key)] = _without_pending(value, below) if nested else value
    return kept


# -- environment and flags ----------------------------------------------------------------------


def _scalar_paths(model: type[BaseModel] = ServerConfig, path: Path = ()) -> dict[str, Path]:
    """``LIVEKIT_<PATH>`` names of the keys that are single values."""
    names: dict[str, Path] = {}
    for name in model.model_fields:
        below = (*path, name)
        nested = _model_at(below)
        if nested is not None and name not in _LISTS:
            names |= _scalar_paths(nested, below)
        elif name not in _LISTS:
            names["LIVEKIT_" + "_".join(below).upper()] = below
    return names


def _from_environment(environ: Mapping[str, str]) -> dict[str, Override]:
    values: dict[str, Override] = {}
    for variable, path in _scalar_paths().items():
        if variable in environ:
            values[".".join(path)] = Override(environ[variable], variable)
    for variable, key in (("NODE_IP", "rtc.node_ip"), ("UDP_PORT", "rtc.udp_port")):
        if environ.get(variable):
            values[key] = Override(environ[variable], variable)
    if environ.get("LIVEKIT_KEYS"):
        values["keys"] = Override(parse_keys(environ["LIVEKIT_KEYS"]), "LIVEKIT_KEYS")
    if environ.get("REDIS_HOST"):
        raise ConfigError("REDIS_HOST is set, but not supported", hint=REFUSED["redis.address"])
    return values


def _assign(values: dict[str, Any], path: Path, value: object) -> None:
    for name in path[:-1]:
        inner = values.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        values = inner
    values[path[-1]] = value


_OLDER_NAMES = {
    "log_level": ("logging", "level"),
    "room.max_metadata_size": ("limit", "max_metadata_size"),
    "room.max_room_name_length": ("limit", "max_room_name_length"),
    "room.max_participant_identity_length": ("limit", "max_participant_identity_length"),
}


def _move_older_names(values: dict[str, Any]) -> None:
    for name, path in _OLDER_NAMES.items():
        found: Any = values
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found:
            _assign(values, path, found)


def _private_text(name: str, what: str) -> str:
    """What a file holds that others must not read. Raises :class:`ConfigError`."""
    file = FilePath(os.path.expandvars(name)).expanduser()
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot read {what} file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text") from error
    if mode & (stat.S_IRWXO):
        raise ConfigError(
            f"{file}: {what} file others permissions must be set to 0", hint=f"chmod o-rwx {file}"
        )
    return text


def _expand_keys(values: dict[str, Any]) -> None:
    """Replace ``key_file`` by the keys it holds."""
    name = values.get("key_file")
    if name and isinstance(name, str):
        document = parse(_private_text(name, "key"), name)
        values["keys"] = {str(key): str(value) for key, value in document.values.items()}


def _with_turn_secrets(config: ServerConfig) -> ServerConfig:
    """Read the ``secret_file`` of TURN servers that have no ``secret``."""
    servers = tuple(
        server.model_copy(
            update={"secret": _private_text(server.secret_file, "turn secret").strip()}
        )
        if server.secret_file and not server.secret
        else server
        for server in config.rtc.turn_servers
    )
    if servers == config.rtc.turn_servers:
        return config
    rtc = config.rtc.model_copy(update={"turn_servers": servers})
    return config.model_copy(update={"rtc": rtc})


def _config_error(
    error: ErrorDetails, document: Document, outside: Mapping[str, Override]
) -> ConfigError:
    path = tuple(str(part) for part in error["loc"])
    # pydantic may add names of its own types after the last key of ours.
    while len(path) > 1 and path not in document.marks and not _is_field(path):
        path = path[:-1]
    override = outside.get(".".join(path))
    place = document.place(path) if override is None else override.origin
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        message = f"'{error['loc'][-1]}' is missing"
    return ConfigError(f"{place}: '{'.'.join(path)}': {message}")


def _is_field(path: Path) -> bool:
    model = _model_at(path[:-1])
    return model is not None and any(
        path[-1] == (item.alias or name) for name, item in model.model_fields.items()
    )


def _with_development(config: ServerConfig) -> ServerConfig:
    """Apply ``--dev``: placeholder keys on loopback, one well-known media port."""
    if not config.development:
        return config
    changes: dict[str, Any] = {}
    if not config.keys:
        changes["keys"] = {DEV_KEY: DEV_SECRET}
        if not config.bind_addresses:
            changes["bind_addresses"] = DEV_ADDRESSES
    if config.rtc.udp_port is None and not config.rtc.port_range_start:
        port = PortRange(DEV_UDP_PORT, DEV_UDP_PORT)
        changes["rtc"] = config.rtc.model_copy(update={"udp_port": port})
    if config.logging.level is None:
        changes["logging"] = config.logging.model_copy(update={"level": "debug"})
    return config.model_copy(update=changes)


def _with_telemetry(config: ServerConfig, document: Document, warnings: list[str]) -> ServerConfig:
    """Check what webhooks and metrics need together. Raises :class:`ConfigError`."""
    webhook = config.webhook
    if webhook.urls and webhook.api_key not in config.keys:
        place = document.place(("webhook", "api_key" if webhook.api_key else "urls"))
        named = f"'{webhook.api_key}' is none of the API keys"
        missing = "api_key is required to use webhooks"
        raise ConfigError(
            f"{place}: 'webhook.api_key': {named if webhook.api_key else missing}",
            hint=f"name one of: {', '.join(config.keys)}",
        )
    for kind in ("include_events", "exclude_events"):
        path = ("webhook", "filter_params", kind)
        warnings += [
            f"{document.place(path)}: '{'.'.join(path)}': there is no event '{name}'"
            + suggestion(name, set(EVENTS))
            for name in getattr(webhook.filter_params, kind)
            if name not in EVENTS
        ]
    if config.prometheus_port:
        warnings.append("prometheus_port is deprecated, please switch to prometheus.port instead")
        prometheus = config.prometheus.model_copy(update={"port": config.prometheus_port})
        config = config.model_copy(update={"prometheus": prometheus})
    if bool(config.prometheus.username) != bool(config.prometheus.password):
        given = "username" if config.prometheus.username else "password"
        raise ConfigError(
            f"{document.place(('prometheus', given))}: 'prometheus.{given}' is set alone",
            hint="set both prometheus.username and prometheus.password, or none",
        )
    return config


def is_loopback(address: str) -> bool:
    """Whether an address cannot be reached from other machines."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
