"""The result as JUnit XML, one test case per SLO, for continuous integration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as Xml

from lkpy.sim import units
from lkpy.sim.report import words


def render(document: Mapping[str, Any]) -> str:
    """Return the XML text."""
    name = f"lkpy.sim.{document['name']}"
    slos = document["slos"]
    failed = sum(1 for slo in slos if not slo["passed"])
    broken = document["status"] in ("failed", "invalid", "interrupted")
    counts = {
        "tests": str(len(slos) + 1),
        "failures": str(failed),
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
    if broken:
        reasons = "\n".join(document["reasons"]) or words.STATUS_WORDS[document["status"]]
        message = words.STATUS_WORDS[document["status"]]
        Xml.SubElement(run, "error", {"message": message}).text = units.printable(reasons)
    for slo in slos:
        case = Xml.SubElement(suite, "testcase", {"classname": name, "name": slo["text"]})
        if not slo["passed"]:
            message = f"{slo['text']}: observed {words.verdict(slo)}"
            details = f"{message}\nsamples: {slo['samples']}"
            Xml.SubElement(case, "failure", {"message": message}).text = units.printable(details)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
