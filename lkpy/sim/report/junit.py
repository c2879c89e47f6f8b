"""The result as JUnit XML, one test case per SLO, for continuous integration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as Xml

from lkpy.sim.report import words
from lkpy.text import printable


def render(document: Mapping[str, Any]) -> str:
    """Return the XML text."""
    name = f"lkpy.sim.{document['name']}"
    slos = document["slos"]
    failed = sum(1 for slo in slos if not slo["passed"])
    status = str(document["status"])
    broken = status in ("failed", "invalid", "interrupted")
    died = status == "server_died"
    counts = {
        "tests": str(len(slos) + 1),
        "failures": str(failed + int(died)),
        "errors": str(int(broken)),
        "time": f"{document['elapsed_s']:.3f}",
    }
    root = Xml.Element("testsuites", {"name": "lkpy sim", **counts})
    attributes = {"name": name, **counts, "timestamp": document["started_at"]}
    suite = Xml.SubElement(root, "testsuite", attributes)
    properties = Xml.SubElement(suite, "properties")
    for key in ("seed", "scenario_hash", "lkpy_version", "status"):
        Xml.SubElement(properties, "property", {"name": key, "value": str(document[key])})
    run = Xml.SubElement(
        suite, "testcase", {"classname": name, "name": "run", "time": counts["time"]}
    )
    if broken or died:
        message = words.STATUS_WORDS[status]
        reasons = "\n".join(document["reasons"]) or message
        kind = "failure" if died else "error"
        Xml.SubElement(run, kind, {"message": message}).text = printable(reasons)
    if document["events"]:
        # What went wrong and when, beside the verdict: continuous integration shows it.
        lines = (f"{at:.1f} s  {who}: {text}" for at, who, text in words.events(document))
        Xml.SubElement(run, "system-out").text = printable("\n".join(lines))
    for slo in slos:
        case = Xml.SubElement(suite, "testcase", {"classname": name, "name": words.condition(slo)})
        if not slo["passed"]:
            message = f"{slo['text']}: observed {words.verdict(slo)}"
            details = f"{message}\nsamples: {slo['samples']}"
            Xml.SubElement(case, "failure", {"message": message}).text = printable(details)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
