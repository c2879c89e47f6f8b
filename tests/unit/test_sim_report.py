"""Reports: one document, and what is made from it."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from rich.console import Console

from lkpy.errors import ConfigError
from lkpy.sim import loader, plan, slo
from lkpy.sim.histogram import Histogram
from lkpy.sim.judge.health import Health
from lkpy.sim.judge.silence import Silence
from lkpy.sim.metrics import Summary
from lkpy.sim.report import document, files, html, junit, terminal
from lkpy.sim.result import EXIT_CODES, Event, RunResult, Sample, Status
from lkpy.sim.scenario import Report
from lkpy.sim.server_stats import ServerSample
from lkpy.sim.target import Target
from lkpy.sim.worker import SAMPLE_COUNTERS

TEXT = """\
version: 1
name: talk
duration: 3s
target: {url: "ws://host:7880", api_key: key, api_secret: hush, tokens: [tok-1, tok-2]}
groups:
  - {name: audience, count: 2}
slo:
  - joined == 2
  - join.p95 < 100ms
"""


def sample(at: int, packets: int) -> Sample:
    counters = dict.fromkeys(SAMPLE_COUNTERS, 0.0)
    counters |= {"packets": packets, "bytes": packets * 1000, "connected": 2}
    return Sample(at, {"audience": counters}, cpu=[0.25], lag=0.004, processes=1)


def result(
    status: Status = Status.BREACHED, *, text: str = "went <b>away</b> & \x1b[31m"
) -> RunResult:
    scenario = loader.parse(TEXT, "talk.yaml", {})
    summary = Summary(counts={"clients": 2, "joined": 2, "errors": 1, "packets": 90})
    for value in (0.05, 0.25):
        summary.record("join", value)
    summary.record("residual_loss", 0.0)
    made = RunResult(
        scenario=scenario,
        plan=plan.make(scenario),
        target=Target(url="ws://host:7880", api_secret="hush"),
        processes=1,
        started_at=1_700_000_000.0,
        elapsed=3.0,
        status=status,
        groups={"audience": summary},
        whole=summary,
        samples=[sample(1, 30), sample(2, 70), sample(3, 90)],
        events=[Event(1.5, "audience-1", text)],
        health=[Health(lag=Histogram.of([0.001]), cpu_s=1, wall_s=3, packets=90)],
        server_samples=[ServerSample(1.0, 0.5, 1.0, 50_000_000, 2)],
        cpu_per_packet=4.2e-6,
        measured_packets=60,
    )
    made.verdicts = slo.evaluate(scenario.parsed_slos(), made.lookup)
    return made


def built(**kwargs: Any) -> dict[str, Any]:
    return document.build(result(**kwargs))


def test_the_document_is_json_with_a_schema_and_no_secret() -> None:
    text = json.dumps(built())
    for secret in ("hush", "tok-1", "tok-2"):
        assert secret not in text
    read = document.read(text, "run.json")
    assert read["schema"] == "lkpy.sim/1"
    assert read["metrics"]["audience"]["join"]["max"] == pytest.approx(0.25)
    assert [item["passed"] for item in read["slos"]] == [True, False]


def test_series_are_differences_per_second() -> None:
    series = built()["series"]
    assert series["t_s"] == [1, 2, 3]
    assert series["groups"]["audience"]["received_pps"] == [30, 40, 20]
    assert series["groups"]["audience"]["received_bps"] == [240_000, 320_000, 160_000]
    assert series["groups"]["audience"]["connected"] == [2, 2, 2]


def test_summaries_can_be_merged_again() -> None:
    again = Summary.from_dict(built()["summaries"]["audience"])
    assert again.distributions["join"].count == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "lkpy.sim/2"}', "nonsense"])
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="run"):
        document.read(text, "run.json")


def test_every_status_has_an_exit_code_and_words() -> None:
    assert EXIT_CODES[Status.BREACHED] == 99
    for status in Status:
        shown = render(built(status=status))
        assert document.build(result(status))["exit_code"] == EXIT_CODES[status]
        assert shown.strip()


def render(made: dict[str, Any], width: int = 80) -> str:
    out = io.StringIO()
    terminal.show(Console(file=out, width=width, no_color=True), made)
    return out.getvalue()


def test_the_terminal_shows_verdicts_within_80_columns() -> None:
    text = render(built())
    assert "✓ joined == 2   2" in text
    assert "✗ join.p95 < 100ms   250 ms" in text
    assert "audience-1: went" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


class Checker(HTMLParser):
    """Notes what a page would fetch, and that its elements nest."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_escapes_what_others_wrote() -> None:
    hostile = "</script><script>alert(1)</script>"
    page = html.render(built(text=hostile))
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.fetched == []
    assert checker.tags.count("script") == 2
    assert "alert(1)</script>" not in page
    outside = re.sub(r"http://www\.w3\.org/2000/svg", "", page)
    assert "https://" not in outside
    assert "http://" not in outside
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["charts"]


def test_junit_has_a_case_per_slo() -> None:
    root = Xml.fromstring(junit.render(built()))
    (suite,) = root
    names = [case.get("name") for case in suite.iter("testcase")]
    assert names == ["run", "joined == 2", "join.p95 < 100ms"]
    (failure,) = suite.iter("failure")
    assert "250 ms" in (failure.get("message") or "")
    broken = Xml.fromstring(junit.render(built(status=Status.INVALID)))
    assert len(list(broken.iter("error"))) == 1


def died() -> dict[str, Any]:
    made = result(Status.SERVER_DIED)
    made.reasons = ["the embedded server was killed by signal 9\n  | \x1b[31mlast words"]
    made.server_died_at = 2.5
    made.silences = [Silence(1, "stage-0-0", 0, "microphone", 1.25, 2.0)]
    made.events += [Event(2.0, f"audience-{n}", "the connection was lost") for n in range(40)]
    made.verdicts = slo.evaluate(
        [*made.scenario.judged_slos(), slo.parse("silences == 1", [])], made.lookup
    )
    return document.build(made)


def test_a_dead_server_and_silences_are_in_every_report() -> None:
    made = died()
    assert (made["status"], made["exit_code"], made["server_died_at_s"]) == ("server_died", 99, 2.5)
    assert made["silences"] == [
        {
            "client": "audience-1",
            "publisher": "audience-0",
            "track": "stage-0-0",
            "source": "microphone",
            "from_s": 1.25,
            "to_s": 2.0,
            "publisher_was": "sending",
        }
    ]
    implied = [item["text"] for item in made["slos"] if item["implied"]]
    assert implied == ["errors == 0"]
    page = html.render(made)
    assert 'class="status server_died">the server died<' in page
    assert "\x1b" not in page
    suite = Xml.fromstring(junit.render(made))[0]
    run = next(case for case in suite.iter("testcase") if case.get("name") == "run")
    assert [(child.tag, child.get("message")) for child in run][:1] == [
        ("failure", "the server died")
    ]
    assert "2.0 s  audience-0 and 39 more: the connection was lost" in (
        run.findtext("system-out") or ""
    )
    assert any(case.get("name") == "errors == 0 (implied)" for case in suite.iter("testcase"))
    text = printed(made)
    assert "audience-0 and 39 more: the connection was lost" in text
    assert "✗ errors == 0 (implied)   1" in text
    assert text.rstrip().endswith("the server died")
    assert "\x1b" not in text


def printed(made: dict[str, Any], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, no_color=True, highlight=False)
    terminal.show(console, made)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_no_figure_is_cut_in_a_narrow_place() -> None:
    made = built()
    made["metrics"]["audience"] |= {"packets": 1_234_567_890, "packets_residual": 12_345_678}
    text = printed(made, width=60)
    assert "1,234,567,890" in text
    assert "12,345,678" in text
    assert "…" not in text


def test_a_file_that_cannot_be_written_spares_the_others(tmp_path: Path) -> None:
    (tmp_path / "run.html").mkdir()
    paths, failures = files.write(built(), Report(), tmp_path)
    assert sorted(paths) == ["json", "junit"]
    (failure,) = failures
    assert failure.startswith(f"cannot write {tmp_path / 'run.html'}: ")
    full = Report(json="/dev/full", html="again.html")
    paths, failures = files.write(built(), full, tmp_path)
    assert sorted(paths) == ["html", "junit"]
    assert failures == ["cannot write /dev/full: no space left on device"]


def test_files_are_written_where_the_scenario_says(tmp_path: Path) -> None:
    where = files.directory(Report(directory=str(tmp_path / "{name}")), "talk")
    files.prepare(where)
    paths, failures = files.write(built(), Report(), where)
    assert failures == []
    assert sorted(p.name for p in where.iterdir()) == ["junit.xml", "run.html", "run.json"]
    assert document.read(paths["json"].read_text("utf-8"), "run.json")["name"] == "talk"
    assert files.directory(Report(), "talk", tmp_path) == tmp_path


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write reports"):
        files.prepare(tmp_path / "file" / "below")
