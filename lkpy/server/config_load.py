"""Puts a configuration together: defaults, file, environment, flags, in rising order."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lkpy.errors import ConfigError
from lkpy.server.config import PortRange, ServerConfig
from lkpy.server.config_checks import check_keys, from_text
from lkpy.server.config_schema import model_at, scalars
from lkpy.server.config_secrets import private_text, with_turn_credentials
from lkpy.server.config_yaml import Document, Path, parse, suggestion
from lkpy.server.telemetry.webhook_events import EVENTS

DEV_KEY, DEV_SECRET = "devkey", "secret"
DEV_ADDRESSES = ("127.0.0.1", "::1")
DEV_UDP_PORT = 7882
SECRET_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Override:
    """A value from outside the file; ``origin`` is the flag's or the variable's name."""

    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Sources:
    """Where values were written."""

    document: Document
    outside: Mapping[str, Override]

    def knows(self, path: Path) -> bool:
        """Whether somebody wrote exactly this key."""
        return path in self.document.marks or ".".join(path) in self.outside

    def place(self, path: Path) -> str:
        """The flag or variable that gave a key its value, else its place in the file."""
        dotted = ".".join(path)
        override = self.outside.get(dotted)
        if override is None and path not in self.document.marks:
            # Addresses and port ranges may be given in parts.
            parts = (o for key, o in self.outside.items() if key.startswith(f"{dotted}."))
            override = next(parts, None) if model_at(path) is None else None
        return self.document.place(path) if override is None else override.origin


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, what the operator should hear about it, and where it is from."""

    config: ServerConfig
    warnings: tuple[str, ...]
    sources: Sources
    derived: Mapping[str, str]
    """What changed keys that nobody wrote, by their dotted names."""

    def origin(self, path: Path) -> str:
        """Where the value of a key is from: a place in the file, a flag, a variable, ``default``,
        or what it follows from."""
        if self.sources.knows(path):
            return self.sources.place(path)
        return self.derived.get(".".join(path), "default")


_LOOPBACK = {*DEV_ADDRESSES, "localhost"}


def load(
    *,
    config_file: str | None = None,
    config_body: str | None = None,
    overrides: Mapping[str, Override] | None = None,
    environ: Mapping[str, str] | None = None,
    strict: bool = True,
    need_keys: bool = True,
) -> Loaded:
    """Read the configuration. ``overrides`` maps dotted keys to values from flags.

    ``config_body`` (``LIVEKIT_CONFIG`` where it is not given) wins over ``config_file``. Unless
    ``strict``, unknown keys are only warned of. Raises one :class:`ConfigError`, which has a line
    for each thing that is wrong.
    """
    environ = {} if environ is None else environ
    document = _document(config_file, config_body, environ)
    outside = {**_from_environment(environ), **(overrides or {})}
    sources = Sources(document, outside)
    try:
        values = copy.deepcopy(document.values)
        for key, override in outside.items():
            _assign(values, tuple(key.split(".")), override.value)
        checked = check_keys(values, sources.place, strict=strict)
    except RecursionError as error:
        raise ConfigError(f"{document.source}: nested too deeply") from error
    derived = _move_older_names(checked.values)
    derived |= _expand_keys(checked.values)
    try:
        read = ServerConfig.model_validate(checked.values)
    except ValidationError as error:
        wrong = [_config_error(item, sources) for item in error.errors()]
        raise _together([*checked.errors, *wrong]) from error
    if checked.errors:
        raise _together(checked.errors)
    config, by_development = _with_development(read)
    derived |= by_development
    rtc = with_turn_credentials(config.rtc, sources.place, checked.warnings)
    config = config.model_copy(update={"rtc": rtc})
    if need_keys and not config.keys:
        raise ConfigError(
            "one of key_file or keys must be provided",
            hint="use --dev for devkey/secret, or --keys 'key: secret', or `keys:` in the file",
        )
    if config.rtc.force_tcp and not config.rtc.tcp_port:
        place = sources.place(("rtc", "force_tcp"))
        raise ConfigError(
            f"{place}: 'rtc.force_tcp': TCP is forced but not configured",
            hint="set rtc.tcp_port, or remove rtc.force_tcp",
        )
    config = _with_telemetry(config, document, checked.warnings)
    checked.warnings += [
        f"secret of API key '{key}' is shorter than {SECRET_LENGTH} characters"
        for key, secret in config.keys.items()
        if len(secret) < SECRET_LENGTH and not _is_for_this_machine(config)
    ]
    return Loaded(config, tuple(checked.warnings), sources, derived)


def _is_for_this_machine(config: ServerConfig) -> bool:
    """A development server that nobody else can reach."""
    addresses = config.bind_addresses
    return config.development and bool(addresses) and set(addresses) <= _LOOPBACK


def _together(errors: Sequence[ConfigError]) -> ConfigError:
    lines = dict.fromkeys(error.message for error in errors)
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    return ConfigError("\n".join(lines), hint="; ".join(hints) or None)


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


# -- environment and flags ----------------------------------------------------------------------


_SHORT_NAMES = {
    "NODE_IP": "rtc.node_ip",
    "UDP_PORT": "rtc.udp_port",
    "REDIS_HOST": "redis.address",
    "REDIS_PASSWORD": "redis.password",
    "LIVEKIT_TURN_CERT": "turn.cert_file",
    "LIVEKIT_TURN_KEY": "turn.key_file",
}
"""Variables of LiveKit that are not named after their keys."""


def _from_environment(environ: Mapping[str, str]) -> dict[str, Override]:
    values: dict[str, Override] = {}
    for scalar in scalars():
        text = environ.get(scalar.variable)
        if text is not None:
            values[".".join(scalar.path)] = Override(from_text(text, scalar.kind), scalar.variable)
    for variable, key in _SHORT_NAMES.items():
        if environ.get(variable):
            values[key] = Override(environ[variable], variable)
    if environ.get("LIVEKIT_KEYS"):
        values["keys"] = Override(parse_keys(environ["LIVEKIT_KEYS"]), "LIVEKIT_KEYS")
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


def _move_older_names(values: dict[str, Any]) -> dict[str, str]:
    derived: dict[str, str] = {}
    for name, path in _OLDER_NAMES.items():
        found: Any = values
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found:
            _assign(values, path, found)
            derived[".".join(path)] = name
    return derived


def _expand_keys(values: dict[str, Any]) -> dict[str, str]:
    """Replace ``key_file`` by the keys it holds."""
    name = values.get("key_file")
    if not name or not isinstance(name, str):
        return {}
    document = parse(private_text(name, "key"), name)
    values["keys"] = {str(key): str(value) for key, value in document.values.items()}
    return {"keys": name}


_WORDS = {
    "tuple_type": "expected a list",
    "dict_type": "expected a mapping of keys to values",
    "model_type": "expected a mapping of keys to values",
}
"""What pydantic calls by the names of Python's types."""


def _config_error(error: ErrorDetails, sources: Sources) -> ConfigError:
    path = tuple(str(part) for part in error["loc"])
    # pydantic may add names of its own types after the last key of ours.
    while len(path) > 1 and not sources.knows(path) and not _is_field(path):
        path = path[:-1]
    if not sources.knows(path):
        # The value was written under an older name, and is judged there too.
        older = (name for name, now in _OLDER_NAMES.items() if now == path)
        path = next((tuple(name.split(".")) for name in older), path)
    message = error["msg"].removeprefix("Value error, ")
    message = _WORDS.get(error["type"], message)
    if error["type"] == "missing":
        message = f"'{error['loc'][-1]}' is missing"
    return ConfigError(f"{sources.place(path)}: '{'.'.join(path)}': {message}")


def _is_field(path: Path) -> bool:
    model = model_at(path[:-1])
    return model is not None and any(
        path[-1] == (item.alias or name) for name, item in model.model_fields.items()
    )


def _with_development(config: ServerConfig) -> tuple[ServerConfig, dict[str, str]]:
    """Apply ``--dev``: placeholder keys on loopback, one well-known media port."""
    if not config.development:
        return config, {}
    changes: dict[str, Any] = {}
    derived: list[str] = []
    if not config.keys:
        changes["keys"] = {DEV_KEY: DEV_SECRET}
        if not config.bind_addresses:
            changes["bind_addresses"] = DEV_ADDRESSES
        derived += changes
    if config.rtc.udp_port is None and not config.rtc.port_range_start:
        port = PortRange(DEV_UDP_PORT, DEV_UDP_PORT)
        changes["rtc"] = config.rtc.model_copy(update={"udp_port": port})
        derived.append("rtc.udp_port")
    if config.logging.level is None:
        changes["logging"] = config.logging.model_copy(update={"level": "debug"})
        derived.append("logging.level")
    return config.model_copy(update=changes), dict.fromkeys(derived, "development")


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
