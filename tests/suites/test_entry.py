"""The gate in the tests of a user's repository, by the entry point that pytest finds by itself."""

import json
import linecache
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from conftest import ThreeCells, edit
from quantbench.errors import BadInput, Exit
from quantbench.records import Judgement, Kind, Verdict
from quantbench.suites import entry
from quantbench.suites.checks import Shared, asked_in
from quantbench.suites.outcomes import refused, state_cell
from user_repository import TEN_LINES, lay_repository, lay_site, run_pytest

# What must not be imported where no test asks.
HEAVY = ("numpy", "tensorflow", "pydantic", "quantbench.core", "quantbench.engine", "quantbench.suites.checks")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return lay_site(tmp_path / "site")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return lay_repository(tmp_path / "repository")


# ---------------------------------------------------------------- where no test asks


def test_nothing_heavy_is_imported_where_no_test_asks(tmp_path: Path, site: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n\ndef test_other(request):\n"
        '    assert request.config.pluginmanager.has_plugin("quantbench")\n'
        f"    assert [name for name in {HEAVY!r} if name in sys.modules] == []\n"
    )
    # Other plugins of this environment import what they like.
    others = ["-p", "no:hypothesispytest", "-p", "no:benchmark"]
    done = run_pytest(tmp_path, site, "-q", "-p", "no:cacheprovider", *others)
    assert done.returncode == 0, done.stdout
    assert "quantbench" not in done.stdout
    assert {path.name for path in tmp_path.iterdir() if path.name != "__pycache__"} == {"site", "test_other.py"}


def test_the_marker_is_known_and_the_fixtures_are_described(tmp_path: Path, site: Path) -> None:
    assert "@pytest.mark.quantbench(models=" in run_pytest(tmp_path, site, "--markers").stdout
    shown = run_pytest(tmp_path, site, "--fixtures", "-q").stdout
    assert 'quantbench.check("kws", "ptq_float16")' in shown


# ---------------------------------------------------------------- which cells


def test_the_marker_makes_a_test_of_each_cell(repository: Path, site: Path) -> None:
    done = run_pytest(repository, site, "--collect-only", "-q", "-p", "no:cacheprovider")
    assert done.stdout.splitlines()[:3] == [
        "test_gate.py::test_my_model",
        "test_gate.py::test_cells[seed_cnn/float32]",
        "test_gate.py::test_cells[seed_cnn/ptq_float16]",
    ]


WRONG = {
    "models='seed_cn'": "@pytest.mark.quantbench: unknown name 'seed_cn'; did you mean seed_cnn?",
    "variants=['ptq_flot16']": "did you mean ptq_float16?",
    "variants=[]": "variants: expected text, or a list of texts, found []",
    "model='seed_cnn'": "expected models=... and variants=..., found model",
    "'seed_cnn'": "expected models=... and variants=..., found 'seed_cnn'",
}


NO_CELLS = """
import unittest

import pytest

@pytest.mark.quantbench(models="seed_cnn")
def test_nothing_is_checked():
    pass

@pytest.mark.quantbench(models="seed_cnn")
def test_other_cells_are_checked(quantbench):
    pass

@pytest.mark.quantbench
def test_marked_to_be_selected(quantbench):
    pass

@pytest.mark.quantbench
class Test(unittest.TestCase):
    def test(self):
        pass
"""


def test_a_wrong_marker_and_one_without_its_fixture_are_told_in_one_sentence(repository: Path, site: Path) -> None:
    marked = [
        f"@pytest.mark.quantbench({marker})\ndef test_{number}(quantbench_cell):\n    pass\n"
        for number, marker in enumerate(WRONG)
    ]
    (repository / "test_gate.py").write_text("\n".join(["import pytest\n", *marked, "def test_other():\n    pass\n"]))
    (repository / "test_no_cells.py").write_text(NO_CELLS)
    done = run_pytest(repository, site, "-q", "-p", "no:cacheprovider")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "8 failed, 2 passed" in done.stdout, "wrong markers are no reason to run nothing else"
    assert [sentence for sentence in WRONG.values() if sentence not in done.stdout] == []
    assert "Traceback" not in done.stdout
    for number in range(len(WRONG)):
        assert f"FAILED test_gate.py::test_{number}" in done.stdout
    assert (
        "@pytest.mark.quantbench: the test does not take quantbench_cell, so that it checks none of these cells; write "
        "def test_nothing_is_checked(quantbench, quantbench_cell): quantbench.check(quantbench_cell)"
    ) in done.stdout
    for name in ("test_nothing_is_checked", "test_other_cells_are_checked", "Test::test"):
        assert f"FAILED test_no_cells.py::{name}" in done.stdout


@pytest.mark.parametrize("words", [(), pytest.param(("-n", "2"), marks=pytest.mark.nightly)])
def test_a_wrong_config_fails_the_tests_of_the_gate_alone(repository: Path, site: Path, words: tuple[str, ...]) -> None:
    (repository / "pyproject.toml").write_text("[tool.quantbench]\nseads = 1\n")
    (repository / "test_gate.py").write_text(
        "import pytest\n\n@pytest.mark.quantbench\ndef test_cell(quantbench_cell):\n    pass\n\n"
        'def test_asks(quantbench):\n    quantbench.check("seed_cnn", "float32")\n\n'
        "def test_other():\n    pass\n"
    )
    done = run_pytest(repository, site, "-q", "-p", "no:cacheprovider", *words)
    assert "1 failed, 1 passed, 1 error" in done.stdout
    assert done.stdout.count("pyproject.toml:2: tool.quantbench.seads: unknown key; did you mean seeds?") >= 2
    assert "Traceback" not in done.stdout
    assert "During handling" not in done.stdout


def test_the_reports_of_other_processes_are_told_at_the_end() -> None:
    """What pytest-xdist says of a process that has ended is what its own session told it."""
    config = cast(Any, SimpleNamespace(stash=pytest.Stash()))
    for name in ("one", "two"):
        entry.pytest_testnodedown(SimpleNamespace(config=config, workeroutput={entry.TOLD: [name]}))
    entry.pytest_testnodedown(SimpleNamespace(config=config))  # one that crashed
    lines: list[str] = []
    entry.pytest_terminal_summary(SimpleNamespace(section=lines.append, write_line=lines.append), config)
    assert lines == ["quantbench", "report: one", "report: two"]


@pytest.mark.parametrize(
    ("config", "words", "sentence"),
    [
        ("[tool.quantbench]\n", ("--quantbench", "seeds=0"), "--quantbench seeds: expected a whole number of at least"),
        *(
            pytest.param(*one, marks=pytest.mark.nightly)
            for one in (
                ("[tool.quantbench]\nmodel_dir = 'gone'\n", (), "pyproject.toml:2: model_dir: no such folder: "),
                ("[tool.quantbench]\n", ("--quantbench", "modeldir=ml"), "did you mean model_dir?"),
                (
                    "[tool.quantbench]\n",
                    ("--quantbench", "model_dir=ml"),
                    "--baseline-dir: no such folder: /nowhere/at/",
                ),
            )
        ),
    ],
)
def test_wrong_settings_fail_the_test_in_one_sentence(
    repository: Path, site: Path, config: str, words: tuple[str, ...], sentence: str
) -> None:
    (repository / "pyproject.toml").write_text(config + 'baseline_dir = "/nowhere/at/all"\n')
    (repository / "test_gate.py").write_text(TEN_LINES.partition("@")[0])
    done = run_pytest(repository, site, "-q", "-p", "no:cacheprovider", *words)
    assert done.returncode == 1
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout
    assert "During handling" not in done.stdout


def a_test(source: str, **parameters: str) -> pytest.Item:
    """Make a test of this source, as far as reading it needs one."""

    class Item(pytest.Function):
        def __init__(self) -> None:
            pass

    item = Item.__new__(Item)
    item.fixturenames = ["quantbench", *parameters]  # type: ignore[misc]
    linecache.cache["made_up.py"] = (len(source), None, source.splitlines(keepends=True), "made_up.py")
    code: dict[str, Any] = {}
    exec(compile(source, "made_up.py", "exec"), code)
    item._obj = code["test"]
    if parameters:
        item.callspec = cast(Any, SimpleNamespace(params=parameters))
    return item


@pytest.mark.parametrize(
    ("body", "parameters", "found"),
    [
        ('quantbench.check("m", "v")', {}, [("m", "v", False)]),
        ('quantbench.check(model="m", variant="v", latency=True)', {}, [("m", "v", True)]),
        ('quantbench.check("m", variant="v")', {}, [("m", "v", False)]),
        ("quantbench.check(quantbench_cell)", {"quantbench_cell": "m/v"}, [("m/v", "", False)]),
        ('quantbench.check("m", variant)', {"variant": "v"}, [("m", "v", False)]),
        ('quantbench.check("m", "v" + "w")', {}, []),
        ('quantbench.check("m", unknown)', {}, []),
        ('other.check("m", "v")', {}, []),
    ],
)
def test_what_a_test_will_ask_for_is_read_from_its_source(
    body: str, parameters: dict[str, str], found: list[tuple[str, str, bool]]
) -> None:
    assert asked_in(a_test(f"def test(quantbench):\n    {body}\n", **parameters)) == found


def test_a_cell_is_named_in_one_way() -> None:
    shared = Shared.__new__(Shared)
    shared.models = cast(Any, {"m": None, "n": None})
    assert shared.cell("m", "float32") == shared.cell("m/float32", "") == "m/float32"
    wrong_types: list[tuple[Any, Any]] = [("m", ["float32"]), (None, ""), (["m"], "float32")]
    wrong = [("m", ""), ("m/float32", "float32"), ("m,n", "float32"), ("o", "float32"), ("m", "flot32")]
    for given in (*wrong, *wrong_types):
        with pytest.raises(BadInput, match=r"^check: "):
            shared.cell(*given)


# ---------------------------------------------------------------- verdicts


def judged(kind: Kind, verdict: Verdict, message: str = "said") -> Judgement:
    return Judgement(kind=kind, measurement="m", against="baseline", verdict=verdict, message=message)


@pytest.mark.parametrize("verdict", [Verdict.REGRESSED, Verdict.ERROR, Verdict.MISSING])
def test_what_is_missing_fails_as_what_got_worse_does(verdict: Verdict) -> None:
    with pytest.raises(pytest.fail.Exception, match=f"{verdict.upper()} of size") as failed:
        state_cell([judged(Kind.ACCURACY, Verdict.XFAIL), judged(Kind.SIZE, verdict, "of size")])
    assert not failed.value.pytrace


def test_other_verdicts_end_as_pytest_calls_them() -> None:
    good, unjudged = judged(Kind.ACCURACY, Verdict.PASS), judged(Kind.LATENCY, Verdict.UNJUDGED)
    state_cell([good, judged(Kind.MEMORY, Verdict.UNJUDGED), judged(Kind.STRUCTURE, Verdict.UNSUPPORTED)])
    with pytest.raises(pytest.skip.Exception):
        state_cell([unjudged])
    with pytest.raises(pytest.skip.Exception):
        state_cell([good, unjudged], [unjudged])
    with pytest.raises(pytest.xfail.Exception):
        state_cell([good, judged(Kind.SIZE, Verdict.XFAIL)])
    with pytest.raises(pytest.xfail.Exception, match=r"^UNSUPPORTED said$"):
        state_cell([judged(kind, Verdict.UNSUPPORTED) for kind in (Kind.ACCURACY, Kind.SIZE)])


def test_bad_input_is_a_failure_in_one_sentence_without_its_exception() -> None:
    with pytest.raises(pytest.fail.Exception) as failed, refused():
        raise BadInput("file: field: wrong")
    assert str(failed.value) == "file: field: wrong"
    assert failed.value.__suppress_context__


# ---------------------------------------------------------------- whole sessions


@pytest.mark.slow
def test_ten_lines_pass_and_fail_with_our_sentence_on_a_planted_file(
    repository: Path, site: Path, three_cells: ThreeCells, tmp_path: Path
) -> None:
    store = three_cells.copied_store(tmp_path / "store")
    done = run_pytest(repository, site, "-q", "--junitxml=j.xml", store=store)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    cases = ElementTree.parse(repository / "j.xml").getroot().iter("testcase")
    said = {case.get("name"): {one.get("name"): one.get("value") for one in case.iter("property")} for case in cases}
    assert said["test_my_model"]["quantbench.cell"] == "seed_cnn/ptq_static_wi8_ai8"
    assert said["test_my_model"]["quantbench.accuracy"] == "pass"
    # One run made all cells, and each is judged by an even share of the budget among all that have a baseline.
    [folder] = [path for path in (repository / "reports").iterdir() if path.is_dir() and not path.is_symlink()]
    report = json.loads((folder / "report.json").read_text())
    assert {cell["variant"] for cell in report["cells"]} == {"float32", "ptq_float16", "ptq_static_wi8_ai8"}
    assert (report["state"], report["exit_status"]) == ("complete", Exit.GREEN)
    accepted = json.loads((repository / "baselines" / "seed_cnn.json").read_text())["cells"]
    assert report["false_alarms"]["judgements"] >= len(accepted)

    def smaller(baseline: dict[str, Any]) -> None:
        baseline["cells"]["ptq_static_wi8_ai8"]["measurements"]["size"]["value"] -= 5000
        del baseline["cells"]["ptq_float16"]

    edit(repository / "baselines" / "seed_cnn.json", smaller)
    done = run_pytest(repository, site, "-q", store=store)
    assert done.returncode == 1
    assert "REGRESSED size" in done.stdout
    assert "MISSING no baseline for" in done.stdout
    assert "baseline update" in done.stdout
    assert "--model-dir" not in done.stdout, "a command that is pasted here finds the folders by the config"
    assert "Traceback" not in done.stdout
    assert "2 failed, 1 passed" in done.stdout
    again = run_pytest(repository, site, "-q", "--lf", "-n", "2", store=store)
    assert "2 failed" in again.stdout
    assert "REGRESSED size" in again.stdout
    told = [line.removeprefix("report: ") for line in again.stdout.splitlines() if line.startswith("report: ")]
    assert told, "where the reports of the processes are"
    assert all(Path(path).is_file() for path in told)


@pytest.mark.slow
def test_the_suites_run_in_a_users_repository(
    repository: Path, site: Path, three_cells: ThreeCells, tmp_path: Path
) -> None:
    store = three_cells.copied_store(tmp_path / "store")
    words = ["--pyargs", "quantbench.suites", "--variants", "float32,ptq_float16"]
    done = run_pytest(repository, site, *words, store=store)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "GREEN (2 cells" in done.stdout
    report = json.loads((repository / "reports" / "latest" / "report.json").read_text())
    assert {tuple(sorted(cell["verdicts"])) for cell in report["cells"]} == {
        ("accuracy", "memory", "size", "structure")
    }
