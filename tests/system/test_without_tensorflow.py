"""Reports and files are read, compared and judged where TensorFlow, and all that reading does not need, is absent.

``requirements-reports.txt`` names what a container then installs; everything else is made absent here.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT, SOURCE, ThreeCells, made_once, run_quantbench, surroundings

REQUIREMENTS = ROOT / "requirements-reports.txt"
# Import name of every dependency of which it is not the distribution's own with underscores.
IMPORTED = {"pillow": "PIL", "py-cpuinfo2": "cpuinfo"}
# What comes with TensorFlow, or is the quantizer under its former name, and is therefore absent too.
WITH_TENSORFLOW = ("keras", "ai_edge_quantizer")
# As where they are not installed: neither imported nor found.
ABSENT = """
import importlib.machinery, os
absent = set(os.environ["QUANTBENCH_TEST_ABSENT"].split(","))
real = importlib.machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in absent else real(name, path, target)
importlib.machinery.PathFinder.find_spec = staticmethod(find_spec)
"""


def _lines(texts: list[str]) -> set[str]:
    return {line.strip() for line in texts if line.strip() and not line.strip().startswith("#")}


def _needed() -> set[str]:
    return _lines(REQUIREMENTS.read_text().splitlines())


def _all() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])


def _imported(requirement: str) -> str:
    name = re.split(r"[><=!~ \[]", requirement)[0]
    return IMPORTED.get(name, name.replace("-", "_"))


LEFT_OUT = sorted({_imported(requirement) for requirement in _all() - _needed()} | set(WITH_TENSORFLOW))


# All commands in one process, which saves the imports of each: their names, exit statuses and what they said, as JSON.
DRIVER = """
import json, sys
from typer.testing import CliRunner
from quantbench.cli.app import app
told = {}
for name, arguments in json.loads(sys.argv[1]).items():
    done = CliRunner().invoke(app, arguments)
    told[name] = [done.exit_code, done.output + (repr(done.exception) if done.exception else "")]
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Runs:
    """Hold what commands read: a run, the folder that it is in, the same run in two parts, and an artifact of it."""

    run: Path
    runs: Path
    shards: list[Path]
    artifact: Path


@pytest.fixture(scope="module")
def runs(three_cells: ThreeCells, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    def make(folder: Path) -> None:
        shutil.copytree(three_cells.run, folder / "whole" / three_cells.run.name)
        chosen = ["--models=seed_cnn", "--variants=float32,ptq_float16", "--no-latency", "--no-gpu", "--workers=1"]
        for part in ("1/2", "2/2"):
            reports = str(folder / part.replace("/", "-of-"))
            done = run_quantbench("run", *chosen, "--shard", part, "--report-dir", reports, store=three_cells.store)
            assert done.returncode == 0, done.stdout + done.stderr

    folder = made_once(tmp_path_factory, "slim", make)
    artifact = next(three_cells.store.glob("??/*/artifact.tflite"))
    shards = [(folder / name / "latest").resolve() for name in ("1-of-2", "2-of-2")]
    return Runs(folder / "whole" / three_cells.run.name, folder / "whole", shards, artifact)


def commands(runs: Runs) -> dict[str, list[str]]:
    """What has to work, in this order, in a folder with a copy of the baselines."""
    run, all_runs = str(runs.run), ["--report-dir", str(runs.runs)]
    return {
        "models": ["models"],
        "variants": ["variants"],
        "schema": ["schema", "report"],
        "report": ["report", run],
        "summary": ["report", run, "--summary"],
        "page": ["report", run, "--html", "page.html"],
        "charts": ["report", run, "--charts"],
        "merge": ["report", *map(str, runs.shards), "--report-dir", "merged"],
        "compare": ["compare", run, run],
        "history": ["history", *all_runs],
        "history of a cell": ["history", "seed_cnn/ptq_float16", *all_runs, "--chart", "chart.svg"],
        "site": ["site", str(runs.runs), "site"],
        "inspect a cell": ["inspect", "seed_cnn/ptq_float16", "--run", run],
        "inspect a file": ["inspect", str(runs.artifact)],
        "diff": ["baseline", "diff", run],
        "update": [
            *("baseline", "update", run, "--baseline-dir", "baselines"),
            *("--reason", "a test", "--allow-dirty"),
        ],
        "check": ["baseline", "check", "--baseline-dir", "baselines"],
        "cache": ["cache", "ls"],
    }


def environment(folder: Path, also: str = "") -> dict[str, str]:
    """Make all that is left out absent, in a folder of its own."""
    (folder / "absent").mkdir(exist_ok=True)
    (folder / "absent" / "sitecustomize.py").write_text(ABSENT)
    absent = ",".join([*LEFT_OUT, *also.split()])
    return {"PYTHONPATH": f"{folder / 'absent'}:{SOURCE}", "QUANTBENCH_TEST_ABSENT": absent}


@pytest.fixture(scope="module")
def told(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    folder = tmp_path_factory.mktemp("slim")
    shutil.copytree(ROOT / "baselines", folder / "baselines")
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(commands(runs))],
        cwd=folder,
        env=surroundings(QUANTBENCH_CACHE=str(folder / "store"), **environment(folder)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_each_module_that_is_required_comes_from_one_distribution() -> None:
    """Of two that install the same module, the order of installing says which stays: py-cpuinfo, and its fork."""
    owners = metadata.packages_distributions()
    twice = {name: owners[name] for name in map(_imported, _all()) if len(set(owners.get(name, []))) > 1}
    assert not twice


def test_the_list_holds_lines_of_the_project_s_own_and_no_tensorflow() -> None:
    assert _needed() <= _all()
    assert {"tensorflow", "tf_keras", "keras", "tensorflow_model_optimization", "litert_quantizer"} <= set(LEFT_OUT)


@pytest.mark.slow
@pytest.mark.parametrize("name", commands(Runs(Path(), Path(), [], Path())))
def test_reading_and_judging_need_no_tensorflow(told: dict[str, tuple[int, str]], name: str) -> None:
    status, said = told[name]
    assert status == 0, said
    assert said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "absent", "needed"),
    [
        (["run", "--models", "seed_cnn"], "", "pytest"),
        (["inspect", "ARTIFACT"], "ai_edge_litert", "ai-edge-litert"),
    ],
)
def test_a_command_that_needs_more_says_what_to_install(
    runs: Runs, arguments: list[str], absent: str, needed: str, tmp_path: Path
) -> None:
    given = [str(runs.artifact) if word == "ARTIFACT" else word for word in arguments]
    done = run_quantbench(*given, store=tmp_path / "store", cwd=tmp_path, **environment(tmp_path, absent))
    assert done.returncode == 4
    assert f"quantbench: {needed} is not installed here, and this command needs it; install quantbench" in done.stderr
    assert "Traceback" not in done.stderr
