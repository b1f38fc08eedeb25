"""The command line: quick, helpful, and one sentence for bad input."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Quantbench, run_quantbench
from made_up_runs import answers, cell, measured, report, write

HEAVY = ("tensorflow", "scipy", "numpy", "pytest", "quantbench.records")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["baseline", "update", "-h"], ["history", "-h"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        f"import sys; sys.argv = ['quantbench', *{arguments!r}]\n"
        "from quantbench.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    assert "Example:" in done.stdout


# What these commands took longest to import, and need only for a page, for labels, or for artifacts that differ.
NIGHTS = ("2026-01-01T00-00-00Z", "2026-01-02T00-00-00Z")
UNREAD = ("tensorflow", "scipy", "jinja2", "pytest", "quantbench.build.artifact", "quantbench.reference.model")


@pytest.mark.parametrize(
    "arguments",
    [["report", NIGHTS[1]], ["compare", *NIGHTS], ["history", "--report-dir", "."]],
)
def test_what_shows_finished_runs_imports_only_what_it_shows(arguments: list[str], tmp_path: Path) -> None:
    for night, size in zip(NIGHTS, (1000.0, 2000.0), strict=True):
        cells = [cell(predictions=answers(100), artifact_sha256="a" * 64, measurements={"size": measured(size)})]
        write(tmp_path, report(cells, night))
    script = (
        f"import sys; sys.argv = ['quantbench', *{arguments!r}]\n"
        "from quantbench.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end: assert end.code in (None, 0, 1)\n"
        f"print([name for name in {UNREAD!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    assert "m/v" in done.stdout or "## m\n" in done.stdout


def test_models_and_variants_are_listed_one_a_line(quantbench: Quantbench) -> None:
    models, variants = quantbench("models"), quantbench("variants")
    assert any(line.startswith("seed_cnn ") for line in models.output.splitlines())
    names = [line.split()[0] for line in variants.output.splitlines()]
    assert {"float32", "ptq_float16", "qat_wi8_ai8", "float32_finetuned"} <= set(names)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["run", "--models", "seed_cn"], 4, "--models: unknown name 'seed_cn'; did you mean seed_cnn?"),
        (["run", "--variants", "ptq_flot16"], 4, "--variants: unknown name 'ptq_flot16'; did you mean ptq_float16?"),
        (["run", "--seeds", "0"], 4, "--seeds: expected a whole number of at least 1, found 0"),
        (["run", "--seeds", "many"], 4, "quantbench: invalid value for '--seeds'"),
        (["run", "--models", "garment"], 4, "unknown name 'garment'; models of your own need --model-dir; in "),
        (["run", "--latency-budget", "0"], 4, "--latency-budget: expected a number above 0, found 0.0"),
        (["run", "--latency-budget", "nan"], 4, "--latency-budget: expected a number above 0, found nan"),
        (["run", "--latency-budget", "inf"], 4, "--latency-budget: expected a number above 0 that is finite"),
        (["run", "--threads", "0"], 4, "--threads: expected whole numbers of at least 1, or 'all', found '0'"),
        (["run", "--threads", "-2"], 4, "--threads: expected whole numbers of at least 1, or 'all', found '-2'"),
        (["run", "--false-alarms", "2"], 4, "--false-alarms: expected a probability below 1"),
        (["run", "--model-dir", "nowhere"], 4, "--model-dir: no such folder: nowhere"),
        (["run", "-k", "nothing_like_this"], 5, "quantbench: nothing selected: no cell is left by"),
        (["run", "--shard", "7/6"], 4, "--shard: expected which shard of how many, such as 2/6"),
        (["run", "--shard-durations", "nowhere"], 4, "--shard-durations: nowhere: no run there"),
        (["run", "--no-such-option"], 4, "quantbench: no such option: --no-such-option (quantbench run -h lists all)"),
        (["run", "--variant", "x"], 4, "quantbench: no such option: --variant; did you mean --variants?"),
        (["run", "-m", "no such ("], 4, "quantbench: Wrong expression passed to '-m'"),
        (["models", "--model-dr", "x"], 4, "quantbench: no such option: --model-dr; did you mean --model-dir?"),
        (["ab"], 4, "quantbench: missing option '--old' (quantbench ab -h shows how)"),
        (["cache", "lss"], 4, "quantbench: no such command: lss; did you mean ls? (quantbench cache -h lists all)"),
        (["report", "nowhere"], 4, "nowhere: no run there"),
        (["baseline", "update", "nowhere"], 4, "--reason: say why"),
        (["baseline", "diff", "nowhere"], 4, "nowhere: no run there"),
        (["schema", "nothing"], 4, "expected one of report, baseline, advice, verdicts, comparison, history"),
        (["nothing"], 4, "quantbench: no such command: nothing (quantbench -h lists all)"),
    ],
)
def test_bad_input_gets_its_sentence_and_status(
    quantbench: Quantbench, arguments: list[str], status: int, words: str
) -> None:
    done = quantbench(*arguments)
    assert words in done.output
    assert sum(line.startswith("quantbench: ") for line in done.output.splitlines()) == 1
    assert "Traceback" not in done.output
    assert "ERROR" not in done.output  # pytest's own prefix
    assert done.status == status


def test_an_unwritable_report_folder(tmp_path: Path) -> None:
    words = ["bench", "--variants=float32", "--report-dir=/proc/no"]
    done = run_quantbench(store=tmp_path, first=f"import pytest; raise SystemExit(pytest.main({words}))")
    assert done.returncode == 4
    assert "--report-dir: cannot write to /proc/no" in done.stdout + done.stderr
