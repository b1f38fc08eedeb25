"""Reports of other versions, and damaged ones, before every command that reads them: read, refused or skipped."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import cell, measured, report, write
from quantbench.comparison import compare
from quantbench.comparison.history import read_history
from quantbench.comparison.load import read_sides
from quantbench.errors import BadInput
from quantbench.records import SCHEMA_VERSION
from quantbench.records.run_folder import read
from quantbench.report import comparison
from quantbench.report.evidence import Behind
from quantbench.report.history import overview
from quantbench.report.html import page
from quantbench.report.markdown import render

NEW_IN = {  # what a version wrote first, in a cell and in its environment
    "1.1": ({"census", "reference_sha256"}, set()),
    "1.2": ({"drift", "exceptions", "gpu_left", "overlay", "untimed"}, {"gpu", "load", "no_gpu", "results_class"}),
}
DAY = "2026-01-0{}T00-00-00Z"


def run(folder: Path, day: int, size: float = 1000.0) -> Path:
    return write(folder, report([cell(measurements={"size": measured(size)})], DAY.format(day)))


def rewritten(path: Path, **more: Any) -> Path:
    found = json.loads((path / "report.json").read_text()) | more
    (path / "report.json").write_text(json.dumps(found))
    return path


def as_of(path: Path, version: str) -> Path:
    """The run as that version wrote it: without what came later."""
    found = json.loads((path / "report.json").read_text())
    for later, (of_cell, of_environment) in NEW_IN.items():
        if later > version:
            for one in found["cells"]:
                for name in of_cell:
                    one.pop(name, None)
            for name in of_environment:
                found["environment"].pop(name, None)
    return rewritten(path, cells=found["cells"], environment=found["environment"], schema_version=version)


def asked(path: Path, other: Path) -> list[Callable[[], object]]:
    """Every command that reads one run: report, and either side of compare."""
    return [lambda: read(path), lambda: read_sides(path, other), lambda: read_sides(other, path)]


def test_what_only_another_runtime_did_not_run_decides_no_cell_of_an_older_report(tmp_path: Path) -> None:
    path = run(tmp_path, 1)
    found = json.loads((path / "report.json").read_text())
    for parts, decided in (
        ({"accuracy": "improved", "micro": "unsupported", "gpu": "unsupported"}, "improved"),
        ({"structure": "unsupported", "size": "pass", "micro": "unsupported"}, "unsupported"),
        ({"micro": "unsupported"}, "unsupported"),
    ):
        found["cells"][0] |= {"verdict": "unsupported", "verdicts": parts}
        rewritten(path, cells=found["cells"], schema_version="1.9")
        assert str(read(path)[0].cells[0].verdict) == decided


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_older_versions_are_read_by_all(tmp_path: Path, version: str) -> None:
    old, new = as_of(run(tmp_path, 1), version), run(tmp_path, 2, size=2000)
    loaded, folder = read(old)
    assert "| `v`" in render(loaded)
    assert 'id="m/v"' in page.render(loaded, Behind.of(folder, loaded, {}))
    for sides, outcome in ((read_sides(old, new), "worse"), (read_sides(new, old), "better")):
        assert f"| `m/v`  | size          | {outcome}" in comparison.render(compare(*sides, lambda _model: "unknown"))
    told = overview(read_history(tmp_path))
    assert told.startswith("# 2 runs, 1 of 1 cell changed")
    assert "skipped" not in told


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("1.99", f"1.99 is newer than this quantbench reads ({SCHEMA_VERSION}); upgrade quantbench"),
        ("2.0", f"2.0 is newer than this quantbench reads ({SCHEMA_VERSION}); upgrade quantbench"),
        ("truncated", "report is not JSON"),
        ("nothing", "report is not JSON"),
        ("another kind", "this is not a report"),
        ("unknown key", "field 'cells.0.surprise'"),
    ],
)
def test_what_cannot_be_read_is_refused_by_all_and_skipped_by_history(tmp_path: Path, how: str, words: str) -> None:
    broken, good = run(tmp_path, 1), run(tmp_path, 2)
    file = broken / "report.json"
    if how in ("truncated", "nothing"):
        file.write_bytes(file.read_bytes()[: 300 if how == "truncated" else 0])
    elif how == "another kind":
        rewritten(broken, kind="quantbench.selftest")
    elif how == "unknown key":
        rewritten(broken, cells=[json.loads(file.read_text())["cells"][0] | {"surprise": 1}])
    else:
        rewritten(broken, schema_version=how)
    for ask in asked(broken, good):
        with pytest.raises(BadInput) as refused:
            ask()
        assert str(file) in str(refused.value)
        assert words in str(refused.value)
        assert "\n" not in str(refused.value)
    told = overview(read_history(tmp_path))
    assert f"1 folder skipped:\n\n- `{DAY.format(1)}`: " in told
    assert words in told


def test_a_run_that_lies_there_twice_counts_once(tmp_path: Path) -> None:
    first, second = run(tmp_path, 1), run(tmp_path, 2, size=2000)
    shutil.copytree(second, tmp_path / "copy")
    told = overview(read_history(tmp_path))
    assert told.startswith("# 2 runs, 1 of 1 cell changed")
    assert f"- `copy`: the same run as {DAY.format(2)}" in told
    for other, same in ((second, True), (first, False)):
        found = compare(*read_sides(other, tmp_path / "copy"), lambda _model: "unknown")
        assert ("both are the same run" in comparison.render(found)) == same
