"""Scenario files: what is accepted, and that every mistake is pointed at."""

from __future__ import annotations

import json

import pytest

from lkpy.errors import ConfigError
from lkpy.sim import loader, units
from lkpy.sim.scenario import PublishVideo, Scenario, json_schema

GOOD = """\
version: 1
name: talk
duration: 10s
groups:
  - name: stage
    publish:
      - {kind: audio}
      - {kind: video, layers: [180p, {size: 640x360, bitrate: 400kbps}]}
    subscribe: false
  - {name: audience, count: 3, ramp: 2s, subscribe: low}
slo:
  - joined == 4
"""


def parse(text: str, **environment: str) -> Scenario:
    return loader.parse(text, "talk.yaml", environment)


def test_short_forms_become_long_ones() -> None:
    stage, audience = parse(GOOD).groups
    video = stage.publish[1]
    assert isinstance(video, PublishVideo)
    assert [(layer.size, layer.bitrate) for layer in video.layers] == [
        ((320, 180), 150_000),
        ((640, 360), 400_000),
    ]
    assert not stage.subscribe.auto
    assert audience.subscribe.quality == "low"
    assert audience.ramp[0].over == 2.0


def test_a_scenario_survives_its_journey_to_a_worker() -> None:
    scenario = parse(GOOD)
    sent = json.loads(json.dumps(scenario.model_dump(mode="json", by_alias=True)))
    assert Scenario.model_validate(sent) == scenario


@pytest.mark.parametrize(
    ("wrong", "right", "place", "words"),
    [
        ("subscrib: false", "subscribe: false", "9:5", "did you mean `subscribe`?"),
        ("{kind: audo}", "{kind: audio}", "7:9", "kind: audio"),
        ("layer: [180p", "layers: [180p", "8:23", "did you mean `layers`?"),
        ("[181p", "[180p", "8:31", "'181p' is not a layer"),
        ("640x361", "640x360", "8:45", "even"),
        ("count: many", "count: 3", "10:29", "integer"),
        ("ramp: soon", "ramp: 2s", "10:38", "not a duration"),
        ("ramp: [{to: 9}]", "ramp: 2s", "10:5", "goes to 9, but the group has 3"),
        ("subscribe: lowest", "subscribe: low", "10:53", "use true, false, low"),
        ("name: stage, count", "name: audience, count", "5:3", "two groups are called 'stage'"),
        ("joinde == 4", "joined == 4", "12:5", "did you mean 'joined'?"),
        ("audience.join.p95 < 4", "joined == 4", "12:26", "needs a unit"),
        ("version: 3", "version: 1", "1:10", "should be 1"),
        ("groop:", "groups:", "4:1", "unknown key `groop`; did you mean `groups`?"),
        ("ramp: ${SOON}", "ramp: 2s", "10:38", "environment variable SOON is not set"),
        ("duration: 0s", "duration: 10s", "3:11", "longer than no time"),
        ("name: talk\nname: talk", "name: talk", "3:1", "written twice; the first is on line 2"),
    ],
)
def test_mistakes_are_pointed_at(wrong: str, right: str, place: str, words: str) -> None:
    text = GOOD.replace(right, wrong)
    assert text != GOOD
    with pytest.raises(ConfigError) as caught:
        parse(text)
    message = caught.value.message
    assert message.startswith(f"talk.yaml:{place}: ")
    assert words in message
    # The excerpt's caret stands under the column named.
    line, caret = message.splitlines()[-2:]
    column = int(place.split(":")[1])
    assert caret.index("^") - (line.index("|") + 2) == column - 1


@pytest.mark.parametrize(
    "text",
    ["", "- 1", "just words", "a: [1,", "? {a: b}\n: c", "a: &x [*x]", "a: !!int b", "\t- x"],
)
def test_what_is_no_scenario_is_refused_in_words(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^talk\.yaml:\d+:\d+: "):
        parse(text)


def test_agent_scenarios_are_recognised() -> None:
    text = "name: a\nscenarios:\n  - label: hello\n    instructions: greet\n"
    with pytest.raises(ConfigError, match="agent scenario file") as caught:
        parse(text)
    assert "groups" in (caught.value.hint or "")


def test_environment_fills_values_and_never_structure() -> None:
    text = GOOD.replace("name: talk", "name: ${NAME:-talk}").replace("count: 3", "count: ${N:-5}")
    assert parse(text).groups[1].count == 5
    assert parse(text, N="7").groups[1].count == 7
    assert parse(text, N="").groups[1].count == 5
    with pytest.raises(ConfigError, match=r"^talk\.yaml:10:29: groups\[1\]\.count"):
        parse(text, N="3, ramp: 9s")


def test_a_default_with_yaml_characters_keeps_columns_true() -> None:
    text = GOOD + "target: {url: ${URL:-ws://[::1]:7880}, modus: dual}\n"
    with pytest.raises(ConfigError, match=r"^talk\.yaml:13:40: unknown key `modus`"):
        parse(text)
    good = parse(text.replace("modus", "mode"))
    assert good.target.url == "ws://[::1]:7880"


def test_secrets_do_not_show() -> None:
    scenario = parse(GOOD + "target: {api_key: key, api_secret: hush, tokens: [tok]}\n")
    assert "hush" not in repr(scenario)
    assert "tok" not in repr(scenario.target)


def test_unreadable_files(tmp_path: object) -> None:
    from pathlib import Path

    directory = Path(str(tmp_path))
    with pytest.raises(ConfigError, match="no such file"):
        loader.load(directory / "absent.yaml")
    with pytest.raises(ConfigError, match="is a directory"):
        loader.load(directory)
    (directory / "binary.yaml").write_bytes(b"version: 1\nname: \xff\n")
    with pytest.raises(ConfigError, match=r"binary\.yaml:2:1: not UTF-8"):
        loader.load(directory / "binary.yaml")
    (directory / "large.yaml").write_bytes(b"#" * (loader.MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        loader.load(directory / "large.yaml")


def test_the_schema_knows_short_forms_and_descriptions() -> None:
    schema = json_schema()
    group = schema["$defs"]["Group"]["properties"]
    assert {"type": "boolean"} in group["subscribe"]["anyOf"]
    assert {"$ref": "#/$defs/Stage"} in group["ramp"]["anyOf"]
    assert group["count"]["description"] == "Number of clients."
    assert schema["properties"]["version"]["const"] == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1m30s", 90), ("500ms", 0.5), (2, 2), (0.25, 0.25), ("1h", 3600)],
)
def test_durations(text: object, seconds: float) -> None:
    assert units.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 week", "1s2", True, None, -1, float("nan")])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message depends on the text
        units.parse_duration(text)


def test_quantities_for_people() -> None:
    assert units.format_duration(0.0421) == "42 ms"
    assert units.format_duration(1.25) == "1.2 s"
    assert units.format_duration(125) == "2 m 05 s"
    assert units.format_bitrate(1_250_000) == "1.25 Mbit/s"
    assert units.format_ratio(0.00012) == "0.012 %"
    assert units.parse_bitrate("1.5mbps") == 1_500_000
    assert units.parse_bitrate("900 kbit/s") == 900_000
