"""The scenario file, schema version 1: what is simulated, against whom, and what must hold.

Short forms (``subscribe: true``, ``ramp: 10s``, ``layers: [180p, 360p]``) are turned into the
long ones before validation, so the rest of the simulator knows one form only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from lkpy.errors import LkpyError
from lkpy.server_url import http_url
from lkpy.sim import units
from lkpy.sim.slo import RESERVED, Slo
from lkpy.sim.slo import implied as implied_slos
from lkpy.sim.slo import parse as parse_slo

SCHEMA_VERSION = 1

_DURATION_SCHEMA: JsonDict = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^(\d+(\.\d+)?(us|ms|s|min|m|h))+$"},
    ],
    "description": "10s, 500ms, 1m30s, or a number of seconds",
}
_BITRATE_SCHEMA: JsonDict = {
    "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}],
    "description": "150kbps, 1.5mbps, or a number of bits per second",
}

Duration = Annotated[float, BeforeValidator(units.parse_duration), WithJsonSchema(_DURATION_SCHEMA)]
Bitrate = Annotated[int, BeforeValidator(units.parse_bitrate), WithJsonSchema(_BITRATE_SCHEMA)]
Size = Annotated[
    tuple[int, int],
    BeforeValidator(units.parse_size),
    WithJsonSchema({"type": "string", "pattern": r"^\d+x\d+$", "description": "640x360"}),
]

LAYER_PRESETS: dict[str, dict[str, object]] = {
    "90p": {"size": "160x90", "bitrate": "80kbps"},
    "180p": {"size": "320x180", "bitrate": "150kbps"},
    "360p": {"size": "640x360", "bitrate": "400kbps"},
    "540p": {"size": "960x540", "bitrate": "900kbps"},
    "720p": {"size": "1280x720", "bitrate": "1.7mbps"},
}
"""Sizes with the bitrates LiveKit's clients use for them."""

Quality = Literal["low", "medium", "high"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Target(_Model):
    """The server under test."""

    server: Literal["auto"] | None = None
    """`auto` starts an embedded `lkpy server` when no url is given."""
    url: str = ""
    """ws://, wss://, http:// or https:// address of any LiveKit-compatible server."""
    api_key: str = ""
    """Key that signs the clients' tokens. Default: the environment's LIVEKIT_API_KEY."""
    api_secret: str = Field(default="", repr=False)
    """Secret of that key. Default: the environment's LIVEKIT_API_SECRET."""
    tokens: tuple[str, ...] = Field(default=(), repr=False)
    """Ready-made access tokens, one per client, instead of a key and secret."""
    mode: Literal["auto", "single", "dual"] = "auto"
    """Peer connections per client. `auto`: one, or two where the server lacks /rtc/v1."""

    @model_validator(mode="after")
    def _is_an_address(self) -> Self:
        if self.url:
            try:
                http_url(self.url)
            except LkpyError as error:
                raise ValueError(f"url: {error.message}, {error.hint}") from None
        return self


class Layer(_Model):
    """One spatial layer of a published video."""

    size: Size
    """Width and height."""
    bitrate: Bitrate
    """Target bitrate."""


def _layers(value: object) -> object:
    if not isinstance(value, list):
        return value
    return [_layer(item) for item in value]


def _layer(item: object) -> object:
    if not isinstance(item, str):
        return item
    if item not in LAYER_PRESETS:
        raise ValueError(f"{item!r} is not a layer; use one of {', '.join(LAYER_PRESETS)}")
    return dict(LAYER_PRESETS[item])


_DEFAULT_LAYERS = tuple(
    Layer.model_validate(LAYER_PRESETS[name]) for name in ("180p", "360p", "540p")
)


class PublishAudio(_Model):
    """A published microphone: an Opus tone."""

    kind: Literal["audio"]
    codec: Literal["opus"] = "opus"
    bitrate: Bitrate = 32_000
    """Target bitrate of the encoder."""
    tone: int = Field(default=440, ge=50, le=8000)
    """Frequency of the tone in hertz."""


class PublishVideo(_Model):
    """A published camera: a VP8 test pattern with one to three simulcast layers."""

    kind: Literal["video"]
    codec: Literal["vp8"] = "vp8"
    fps: int = Field(default=20, ge=1, le=60)
    """Frames per second."""
    layers: Annotated[
        tuple[Layer, ...], BeforeValidator(_layers), Field(min_length=1, max_length=3)
    ] = _DEFAULT_LAYERS
    """Small to large; with two or three the track is simulcast (rids q, h, f)."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        areas = [layer.size[0] * layer.size[1] for layer in self.layers]
        if areas != sorted(set(areas)):
            raise ValueError("layers go from the smallest picture to the largest")
        return self


Publish = Annotated[PublishAudio | PublishVideo, Field(discriminator="kind")]


class Subscribe(_Model):
    """What a client takes from the others in its room."""

    auto: bool = True
    """Take every track; false takes none."""
    quality: Quality = "high"
    """Largest simulcast layer asked for."""


def _subscribe(value: object) -> object:
    if isinstance(value, bool):
        return {"auto": value}
    if value in ("low", "medium", "high"):
        return {"quality": value}
    if not isinstance(value, dict | Subscribe):
        raise ValueError("use true, false, low, medium, high, or {auto: …, quality: …}")  # noqa: TRY004
    return value


class Stage(_Model):
    """One step of a ramp: change the number of clients, or hold it."""

    to: int | None = Field(default=None, ge=0)
    """Clients joined at the end of this step. Default: the group's count."""
    over: Duration | None = None
    """Time the change takes."""
    hold: Duration | None = None
    """Keep the number for this long."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.hold is not None and (self.to is not None or self.over is not None):
            raise ValueError("a step either holds, or goes `to` a number `over` a time")
        return self


def _ramp(value: object) -> object:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [value]
    return [{"over": value}]


class Group(_Model):
    """Clients that behave alike."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    """Used in SLOs and reports; lower-case letters, digits, `-` and `_`."""
    count: int = Field(default=1, ge=1, le=100_000)
    """Number of clients."""
    rooms: int = Field(default=1, ge=1, le=10_000)
    """Rooms the clients are spread over, in turn."""
    publish: tuple[Publish, ...] = Field(default=(), max_length=8)
    """Tracks each client publishes."""
    subscribe: Annotated[Subscribe, BeforeValidator(_subscribe)] = Subscribe()
    """true, false, a quality, or the long form."""
    start: Duration = 0.0
    """When the group's ramp begins."""
    ramp: Annotated[tuple[Stage, ...], BeforeValidator(_ramp)] = Field(
        default=(Stage(over=0.0),), min_length=1
    )
    """A time over which all join, or steps such as {to: 50, over: 10s}, {hold: 30s}."""

    @model_validator(mode="after")
    def _ramp_fits(self) -> Self:
        for stage in self.ramp:
            if stage.to is not None and stage.to > self.count:
                raise ValueError(f"the ramp goes to {stage.to}, but the group has {self.count}")
        return self


class Defaults(_Model):
    """Settings shared by every client."""

    join_timeout: Duration = 15.0
    """A client that is not connected by then counts as failed."""


class Report(_Model):
    """Files written after the run; `--report DIR` overrides their directory."""

    json_: str = Field(default="run.json", alias="json")
    html: str = "run.html"
    junit: str = "junit.xml"
    directory: str = "build/sim/{name}"
    """`{name}` stands for the scenario's name."""


def _slos(value: object) -> object:
    if isinstance(value, list):
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise ValueError(f"item {index + 1} is not text like `join.p95 < 800ms`")  # noqa: TRY004
    return value


class Scenario(_Model):
    """A simulation."""

    version: Literal[1]
    """Schema version."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$")
    """Names the run, its rooms and its report."""
    seed: int = Field(default=0, ge=0)
    """Everything random in the plan comes from it."""
    duration: Duration
    """From the start of the first ramp to the end of measuring."""
    target: Target = Target(server="auto")
    defaults: Defaults = Defaults()
    groups: tuple[Group, ...] = Field(min_length=1, max_length=100)
    slo: Annotated[tuple[str, ...], BeforeValidator(_slos)] = ()
    """Conditions on the result, such as `audience.residual_loss.mean < 0.1%`."""
    report: Report = Report()

    @field_validator("duration")
    @classmethod
    def _lasts(cls, duration: float) -> float:
        if duration <= 0:
            raise ValueError("a run lasts longer than no time")
        return duration

    @field_validator("groups")
    @classmethod
    def _names_differ(cls, groups: tuple[Group, ...]) -> tuple[Group, ...]:
        names = [group.name for group in groups]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two groups are called {name!r}")
            if name in RESERVED:
                raise ValueError(f"{name!r} is a metric's name; call the group something else")
        return groups

    def parsed_slos(self) -> tuple[Slo, ...]:
        """Return the SLOs parsed; they were checked when the file was loaded."""
        names = [group.name for group in self.groups]
        return tuple(parse_slo(text, names) for text in self.slo)

    def judged_slos(self) -> tuple[Slo, ...]:
        """Return the conditions a run is judged by: those written, and ``errors == 0`` unless they
        say how many errors are allowed."""
        written = self.parsed_slos()
        return (*written, *implied_slos(written, [group.name for group in self.groups]))


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of scenario files, for editors; short forms included."""
    schema = Scenario.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    _allow(definitions["PublishVideo"], "layers", items=[{"enum": [*LAYER_PRESETS]}])
    _allow(definitions["Group"], "ramp", whole=[_DURATION_SCHEMA, {"$ref": "#/$defs/Stage"}])
    _allow(
        definitions["Group"],
        "subscribe",
        whole=[{"type": "boolean"}, {"enum": ["low", "medium", "high"]}],
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://lkpy.dev/schema/scenario-v1.json",
        **schema,
    }


def _allow(
    model: dict[str, Any],
    name: str,
    *,
    whole: Sequence[JsonDict] = (),
    items: Sequence[JsonDict] = (),
) -> None:
    """Accept short forms of property ``name``: of its value, or of its items."""
    described = model["properties"][name]
    if items:
        described["items"] = {"anyOf": [*items, described["items"]]}
    if whole:
        notes = {key: described.pop(key) for key in ("default", "description") if key in described}
        model["properties"][name] = {"anyOf": [*whole, described], **notes}
