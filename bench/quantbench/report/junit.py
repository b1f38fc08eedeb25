"""Write ``junit.xml``, the run as CI systems read test results: one test case per cell and kind of check.

It is written from the report and not by pytest, so that merged and old reports have it too. Each test case carries its
measurements as properties, in the form of pytest's ``record_property``.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from quantbench import files
from quantbench.core.echo import plain
from quantbench.records import Cell, Judgement, Kind, Pooled, Report, Verdict
from quantbench.records.measurements import kind_of
from quantbench.report.formatting import step
from quantbench.report.intervals import interval

JUNIT = "junit.xml"
# How a CI system reads a verdict; the others pass. Missing data never passes.
_RESULTS = {
    Verdict.REGRESSED: "failure",
    Verdict.ERROR: "error",
    Verdict.MISSING: "error",
    Verdict.UNSUPPORTED: "skipped",
    Verdict.XFAIL: "skipped",
    Verdict.UNJUDGED: "skipped",
}
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(path: Path, report: Report) -> None:
    """Write the file atomically."""
    files.replace(path, render(report))


def render(report: Report) -> bytes:
    """Render the whole file; characters that XML does not allow are replaced."""
    cases = [_case(cell, kind) for cell in report.cells for kind in Kind if kind in cell.verdicts]
    cases += [_together(pooled) for pooled in report.pooled]
    if report.state != "complete":
        cases.append(_partial(report))
    suite = Element("testsuite", name="quantbench", timestamp=report.started, time=f"{report.seconds:.3f}")
    suite.set("tests", str(len(cases)))
    for attribute, tag in _COUNTED.items():
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    _properties(suite, _of_run(report))
    suite.extend(cases)
    whole = Element("testsuites", {name: value for name, value in suite.attrib.items() if name != "timestamp"})
    whole.append(suite)
    for element in whole.iter():
        element.attrib = {name: _clean(value) for name, value in element.attrib.items()}
        element.text = _clean(element.text) if element.text else None
    indent(whole, " ")
    return bytes(tostring(whole, encoding="utf-8", xml_declaration=True)) + b"\n"


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", plain(text))


def _of_run(report: Report) -> Iterator[tuple[str, str]]:
    here = report.environment
    yield from {
        "run": report.run,
        "state": report.state,
        "exit status": str(report.exit_status),
        "selection": report.selection or "everything",
        "commit": here.repository_commit or here.git_commit or "unknown",
        "local changes": str(bool(here.repository_dirty if here.repository_commit else here.git_dirty)).lower(),
        "machine class": here.machine_class,
        "results class": here.results_class,
        "CPU": here.cpu,
        "OS": here.os,
        "Python": here.python,
        "GPU": " and ".join(one.label for one in here.gpus.values()) or here.no_gpu or "none measured",
        "false-alarm budget": f"{report.false_alarms.budget:g}",
    }.items()
    yield from sorted(here.packages.items())
    if report.shard is not None:
        yield "shard", f"{report.shard.index}/{report.shard.of}"


def _partial(report: Report) -> Element:
    """Make an error of a run that did not finish, whatever its finished tests say."""
    case = Element("testcase", classname="quantbench", name="the whole run", time="0")
    unfinished = sum(not cell.verdicts for cell in report.cells)
    message = f"the run is {report.state}: {unfinished} of {len(report.cells)} cells have no verdict"
    SubElement(case, "error", message=message, type=report.state)
    return case


def _case(cell: Cell, kind: Kind) -> Element:
    verdict = cell.verdicts[kind]
    judged = [judgement for judgement in cell.judgements if judgement.kind is kind]
    case = Element("testcase", classname=f"quantbench.{kind}", name=cell.id, time=f"{_seconds(cell, kind):.3f}")
    _properties(case, _of_case(cell, kind, judged))
    deciding = [judgement for judgement in judged if judgement.verdict is verdict]
    tag = _RESULTS.get(verdict)
    if tag is not None:
        message = "; ".join(judgement.message for judgement in deciding)
        SubElement(case, tag, message=message, type=str(verdict)).text = "\n".join(
            _described(judgement) for judgement in deciding
        )
    rest = [
        judgement
        for judgement in judged
        if (tag is None or judgement not in deciding) and judgement.verdict is not Verdict.PASS
    ]
    if rest:
        SubElement(case, "system-out").text = "\n".join(_described(judgement) for judgement in rest)
    return case


def _together(pooled: Pooled) -> Element:
    """Several cells of one model, judged together."""
    said = pooled.judgement
    case = Element("testcase", classname="quantbench.accuracy", name=pooled.id, time="0")
    values = {"cells": ", ".join(pooled.cells), "verdict": str(said.verdict)}
    values |= {} if said.p_value is None else {"p_value": f"{said.p_value:.3g}"}
    values |= {} if said.change is None else {"change": f"{said.change:.9g} {said.unit}"}
    _properties(case, iter(values.items()))
    tag = _RESULTS.get(said.verdict)
    if tag is not None:
        SubElement(case, tag, message=said.message, type=str(said.verdict)).text = _described(said)
    elif said.verdict is not Verdict.PASS:
        SubElement(case, "system-out").text = _described(said)
    return case


def _seconds(cell: Cell, kind: Kind) -> float:
    """Return the seconds of a check: the first of a cell includes building and evaluating, the last what ran alone."""
    kinds = [other for other in Kind if other in cell.verdicts]
    made = cell.seconds if kind is kinds[0] else 0.0
    return made + ((cell.alone_seconds or 0.0) if kind is kinds[-1] else 0.0)


def _of_case(cell: Cell, kind: Kind, judged: list[Judgement]) -> Iterator[tuple[str, str]]:
    yield from {"cell": cell.id, "kind": str(kind), "verdict": str(cell.verdicts[kind])}.items()
    if not cell.selected:
        yield "brought along as control", "true"
    if cell.artifact_sha256:
        yield "artifact sha256", cell.artifact_sha256
    for name, measured in sorted(cell.measurements.items()):
        if kind_of(name) is kind:
            yield name, f"{measured.value:.9g} {measured.unit}"
            yield f"{name}.n", str(measured.n)
            ends = interval(cell, name, measured)
            if ends is not None:
                yield f"{name}.interval", f"{ends[0]:.9g} to {ends[1]:.9g} {measured.unit} (95 %)"
    for judgement in judged:
        prefix = (
            judgement.measurement
            if judgement.against == "baseline"
            else f"{judgement.measurement} against {judgement.against}"
        )
        if judgement.reference is not None:
            yield f"{prefix}.reference", f"{judgement.reference:.9g}"
        for name, value in (("change", judgement.change), ("tolerance", judgement.tolerance)):
            if value is not None:
                yield f"{prefix}.{name}", f"{value:.9g} {judgement.unit}".strip()
        if judgement.p_value is not None:
            yield f"{prefix}.p_value", f"{judgement.p_value:.3g}"


def _described(judgement: Judgement) -> str:
    return "\n  → ".join([f"{judgement.verdict.shown.upper()} {judgement.message}", *map(step, judgement.actions)])


def _properties(parent: Element, values: Iterator[tuple[str, str]]) -> None:
    element = SubElement(parent, "properties")
    for name, value in values:
        SubElement(element, "property", name=name, value=value)
