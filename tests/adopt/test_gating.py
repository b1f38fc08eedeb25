"""A model that is adopted with a gate, and one that takes its place: green at once, red where it got worse."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Done, Quantbench, accepted, made_once, run_quantbench, run_script, update_of
from quantbench.adopt import before_and_now, declaration, gating, updating
from quantbench.adopt.before_and_now import compared, of_compiled
from quantbench.adopt.gating import Folders
from quantbench.adopt.understand import Given
from quantbench.adopt.updating import Asked, update_for_good
from quantbench.baselines import files as baseline_files
from quantbench.baselines import retrained
from quantbench.baselines.update import Proposal
from quantbench.core.arrays import Array
from quantbench.errors import BadInput
from quantbench.records import BaselineCell, BaselineFile, Cell, Failure, First, Measurement, Xfail
from quantbench.reference.datasets import file_sha256
from quantbench.reference.metrics import ACCURACY
from quantbench.reference.model import load_models
from quantbench.variants import of_every_model

GATE = ("float32", "ptq_float16", "ptq_static_wi8_ai8")
UNTIMED = ["--latency-budget", "0"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        done = run_script(ROOT / "tests" / "adopt" / "make_tiny_models.py", str(folder))
        assert done.returncode == 0, done.stderr[-2000:]

    return made_once(tmp_path_factory, "tiny", make)


@pytest.fixture(scope="session")
def adopted(tiny: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``models`` and ``baselines``, and what the command said."""

    def make(folder: Path) -> None:
        data = ["--data", str(tiny / "eval.npz"), "--calibration", str(tiny / "calibration.npz"), "--max-drop", "3"]
        given = ["adopt", str(tiny / "first.keras"), "--name", "mine", "--gate", ",".join(GATE[1:]), *data, *UNTIMED]
        done = run_quantbench(*given, *_folders(folder), "--report-dir", str(folder / "reports"), store=store)
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "said.txt").write_text(done.stdout)

    return made_once(tmp_path_factory, "adopted", make)


def _folders(folder: Path) -> list[str]:
    return ["--model-dir", str(folder / "models"), "--baseline-dir", str(folder / "baselines")]


@pytest.fixture
def mine(adopted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adopted, tmp_path / "mine", ignore=shutil.ignore_patterns("reports")))


def gated(quantbench: Quantbench, mine: Path) -> Done:
    done = quantbench("run", *_folders(mine), "--no-latency", "--no-gpu")
    assert done.status in (0, 1), done.output
    assert {cell["variant"] for cell in done.report()["cells"]} == set(GATE)
    return done


def updated(quantbench: Quantbench, mine: Path, model: Path, *more: str) -> Done:
    reports = ["--report-dir", str(mine / "reports")]
    return quantbench("adopt", str(model), "--update", "mine", *_folders(mine), *UNTIMED, *reports, *more)


def content(folder: Path) -> dict[Path, bytes]:
    files = [path for part in ("models", "baselines") for path in (folder / part).rglob("*") if path.is_file()]
    return {path.relative_to(folder): path.read_bytes() for path in files if "__pycache__" not in path.parts}


@pytest.mark.slow
def test_only_what_is_gated_runs_and_is_green_at_once_and_red_once_it_gets_worse(
    quantbench: Quantbench, tiny: Path, adopted: Path, mine: Path
) -> None:
    said = (adopted / "said.txt").read_text()
    others = len(of_every_model()) - len(GATE)
    assert f"gated: {', '.join(GATE)}. Not gated: {others} other variants, which were not measured." in said
    assert load_models(mine / "models")["mine"].gate_variants == GATE
    assert gated(quantbench, mine).status == 0
    weights, file = mine / "models" / "weights" / "mine.keras", mine / "models" / "mine.py"
    before = file_sha256(weights)
    shutil.copy(tiny / "spoiled.keras", weights)
    file.write_text(file.read_text().replace(before, file_sha256(weights)))
    done = gated(quantbench, mine)
    assert done.status == 1
    assert {cell["verdict"] for cell in done.report()["cells"]} == {"regressed"}


@pytest.mark.slow
def test_a_retrained_model_takes_the_place_of_the_adopted_one_and_keeps_its_history(
    quantbench: Quantbench, tiny: Path, mine: Path
) -> None:
    file, baseline = mine / "models" / "mine.py", mine / "baselines" / "mine.json"
    edited = file.read_text().replace('Floor(3.0, "the limit', 'Floor(2.5, "our own limit')
    file.write_text(f"{edited}# ours\n")
    scores = {name: cell["measurements"]["score"] for name, cell in json.loads(baseline.read_text())["cells"].items()}
    done = updated(quantbench, mine, tiny / "retrained.keras")
    assert done.status == 0, done.output
    assert "# mine: the model is retrained or changed" in done.output
    assert "compared on 1,500 examples, the same examples" in done.output
    assert re.search(r"\| ptq_static_wi8_ai8 +\| +\d\d\.\d\d +\| +\d\d\.\d\d +\| [+-]", done.output)
    data = json.loads(baseline.read_text())
    for name, cell in data["cells"].items():
        score = cell["measurements"]["score"]
        assert score["first"]["value"] == scores[name]["value"]
        assert score["value"] > scores[name]["value"]
        assert update_of(data, score)["reason"] == "updated from retrained.keras"
    assert "Floor(2.5, " in file.read_text()
    assert file.read_text().endswith("# ours\n")
    assert gated(quantbench, mine).status == 0


@pytest.mark.slow
def test_what_got_worse_is_red_and_is_written_only_where_it_is_accepted(
    quantbench: Quantbench, tiny: Path, mine: Path
) -> None:
    before = content(mine)
    done = updated(quantbench, mine, tiny / "spoiled.keras")
    assert done.status == 1, done.output
    assert re.search(r"RED ptq_static_wi8_ai8: [0-9.]+ pp worse than before", done.output)
    assert "Nothing was written: mine stays as it was. Accept this with --accept 'why'." in done.output
    assert content(mine) == before
    done = updated(quantbench, mine, tiny / "spoiled.keras", "--accept", "it has to be smaller")
    assert done.status == 0, done.output
    data = json.loads((mine / "baselines" / "mine.json").read_text())
    assert update_of(data, data["cells"]["float32"]["measurements"]["score"])["reason"] == "it has to be smaller"
    assert content(mine).keys() == before.keys()


@pytest.mark.nightly
@pytest.mark.slow
def test_on_other_examples_the_previous_model_is_measured_too_where_it_is_said(
    quantbench: Quantbench, tiny: Path, mine: Path
) -> None:
    other = ["--data", str(tiny / "other_eval.npz"), "--gate", "ptq_float16"]
    refused = updated(quantbench, mine, tiny / "retrained.keras", *other)
    assert refused.status == 4
    assert "so old and new scores cannot be paired; leave --data out, or use --new-data" in refused.output
    done = updated(quantbench, mine, tiny / "retrained.keras", *other, "--new-data")
    assert done.status == 0, done.output
    assert "1,500 examples, the new examples, also used for the previous model" in done.output
    assert "gate: added none; removed ptq_static_wi8_ai8" in done.output
    assert set(json.loads((mine / "baselines" / "mine.json").read_text())["cells"]) == {"float32", "ptq_float16"}
    assert load_models(mine / "models")["mine"].gate_variants == ("float32", "ptq_float16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "policy"),
    [("half3.keras", "mixed_float16"), pytest.param("half2.h5", "mixed_bfloat16", marks=pytest.mark.nightly)],
)
def test_a_model_of_half_precision_is_named_and_quantized_as_its_float32_clone(
    quantbench: Quantbench, tiny: Path, tmp_path: Path, file: str, policy: str
) -> None:
    data = ["--data", str(tiny / "eval.npz"), "--calibration", str(tiny / "calibration.npz")]
    few = ["--variants", "ptq_static_wi8_ai8", *UNTIMED, "--report-dir", str(tmp_path / "reports")]
    done = quantbench("try", str(tiny / file), *data, *few)
    assert done.status == 0, done.output
    assert f"{file} computes in half precision (dtype policy {policy})" in done.output
    agreeing = re.search(r"which answers as the saved model on (\d+) of 500 examples", done.output)
    assert agreeing is not None
    assert int(agreeing[1]) >= 495
    cell = done.cell("model/float32")
    assert cell["measurements"]["float_agreement"]["value"] == 1.0  # of the conversion, on all examples


# ---------------------------------------------------------------- bad input


def test_what_cannot_be_updated_is_told(mine: Path, tiny: Path, tmp_path: Path) -> None:
    folders = Folders(mine / "models", mine / "baselines", tmp_path / "reports")

    def refuse(words: str, asked: Asked, model: Path, into: Folders = folders, **given: Any) -> None:
        before = content(mine)
        with pytest.raises(BadInput, match=re.escape(words)):
            update_for_good(Given(str(model), None, **given), asked, into, lambda _: None)
        assert content(mine) == before

    new, other = tiny / "retrained.keras", tiny / "other_shape.keras"
    refuse("has no model 'mime'; did you mean mine?", Asked("mime"), new)
    refuse("has no model 'x'; it has mine", Asked("x"), new)
    refuse("--gate: unknown name 'ptq_float17'; did you mean ptq_float16?", Asked("mine", gate="ptq_float17"), new)
    refuse("--metric: mine is scored by accuracy", Asked("mine"), new, metric="top5")
    refuse("is not a saved model; change", Asked("mine"), tmp_path / "model.py")
    refuse("--accept: 2001 characters, expected at most 2000", Asked("mine", accept="x" * 2001), new)
    refuse("expected seconds, or 0", Asked("mine", latency_budget=-1), new)
    nowhere = Folders(mine / "models", tmp_path / "none", tmp_path / "reports")
    refuse("--update: mine has no baseline in", Asked("mine"), new, nowhere)
    refuse(
        "the evaluation data of mine: array x has examples of shape (8,), the model takes (5,); give --data that fits, "
        "or adopt it under another name",
        Asked("mine", latency_budget=0),
        other,
    )
    shipped = Folders(ROOT / "models", ROOT / "baselines", tmp_path / "reports")
    refuse("--update: seed_cnn is a model of code", Asked("seed_cnn"), new, shipped)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "give --name for a new model, or --update with the name of an adopted one, and not both"),
        (["--name", "a", "--update", "b"], "and not both"),
        (["--name", "a", "--new-data"], "--new-data: goes with --update NAME"),
        (["--name", "a", "--accept", "why"], "--accept: goes with --update NAME, or with --spec"),
        (
            ["--name", "a", "--spec", "NAME=int8", "--artifact", "NAME=a.tflite", "--accept", "x" * 1978],
            "--accept: 1978 characters, expected at most 1977; give a shorter one",
        ),
        (["--name", "a", "--gate", "nothing"], "--gate: unknown name 'nothing'"),
        (["--name", "a", "--latency-budget", "nan"], "--latency-budget: expected seconds"),
    ],
)
def test_options_that_do_not_go_together(
    quantbench: Quantbench, tmp_path: Path, options: list[str], words: str
) -> None:
    done = quantbench("adopt", "my.keras", *_folders(tmp_path), *options)
    assert done.status == 4
    assert words in done.output


def test_a_gate_of_unknown_variants_is_told_with_the_models_file(mine: Path, quantbench: Quantbench) -> None:
    file = mine / "models" / "mine.py"
    file.write_text(file.read_text().replace("'ptq_float16'", "'ptq_float17'"))
    done = quantbench("run", *_folders(mine))
    assert done.status == 4
    assert "mine.py: gate_variants: unknown name 'ptq_float17'; did you mean ptq_float16?" in done.output


# ---------------------------------------------------------------- parts


FILE = """MODEL = ReferenceModel(
    name='mine',
    weights_sha256='old',
    floors={"default": Floor(0.5, "ours")},
)
"""


def test_derived_lines_are_replaced_and_others_stay() -> None:
    new = (
        FILE.replace("old", "new")
        .replace("ours", "theirs")
        .replace("    floors", "    gate_variants=('a',),\n    floors")
    )
    text = declaration.updated(FILE, new, Path("mine.py"))
    assert "weights_sha256='new'" in text
    assert "gate_variants=('a',),\n    floors" in text
    assert '"ours"' in text


def test_a_line_that_cannot_be_found_is_never_guessed() -> None:
    new = FILE.replace("old", "new")
    odd = FILE.replace("    weights_sha256='old',", "    weights_sha256=(\n        'old'\n    ),")
    with pytest.raises(BadInput, match=r"mine.py: field weights_sha256: expected one line"):
        declaration.updated(odd, new, Path("mine.py"))


def test_logits_are_imported_where_the_new_model_needs_them() -> None:
    old = f"from quantbench import Floor\n{FILE.replace('    floors', '    loss=1,@    floors').replace('@', chr(10))}"
    new = old.replace("loss=1", "loss=logits_loss")
    assert declaration.updated(old, new, Path("m.py")).startswith("from quantbench import Floor, logits_loss\n")


def _like(model: Any, labels: Array) -> Any:
    """A model of this metric, with made-up labels."""
    pack = SimpleNamespace(test=SimpleNamespace(y=labels))
    return SimpleNamespace(metric=model.metric, heads=(), smallest_drop=model.smallest_drop, pack=lambda: pack)


def _cell(variant: str, size: float) -> Cell:
    measured = {"size": Measurement(value=size, unit="bytes", n=1)}
    return Cell.model_construct(id=f"mine/{variant}", variant=variant, measurements=measured, failure=None)


def test_rows_are_paired_where_both_have_answers(mine: Path) -> None:
    model = load_models(mine / "models")["mine"]
    labels = np.arange(1000) % 4
    wrong = np.where(np.arange(1000) < 100, (labels + 1) % 4, labels)
    report: Any = type("R", (), {"cells": [_cell(name, 10.0) for name in ("float32", "a", "b", "c")]})()
    before = {"float32": labels, "a": labels, "c": labels}
    after = {"float32": labels, "a": wrong, "b": labels}
    rows = {row.variant: row for row in compared(report, _like(model, labels), before, after, {"float32": 20.0})}
    assert not rows["float32"].worse
    assert rows["float32"].drop == 0
    assert (rows["float32"].size_old, rows["float32"].size_new) == (20.0, 10.0)
    assert rows["a"].worse
    assert rows["a"].drop == pytest.approx(10)
    assert rows["b"].why == "not gated before"
    assert not rows["b"].worse
    assert rows["c"].worse  # it worked before


def test_an_update_judges_what_is_known_of_a_compiled_file() -> None:
    def of(**figures: float) -> Any:
        values = {name: Measurement(value=value, unit="1", n=1) for name, value in figures.items()}
        cell = Cell.model_construct(
            id="mine/built_npu", model="mine", variant="built_npu", measurements=values, failure=None
        )
        return SimpleNamespace(cells=[cell], run="r")

    known = {"size": accepted(10), "left_operators": accepted(0), "npu_cycles": accepted(100)}
    cells = {"built_npu": BaselineCell(measurements=known)}
    baseline: Any = SimpleNamespace(file=SimpleNamespace(cells=cells))

    def verdicts(**figures: float) -> list[str]:
        return [one.verdict for one in of_compiled(of(size=10, **figures), baseline)["built_npu"]]

    assert verdicts(left_operators=0, npu_cycles=100) == ["pass", "pass"]
    assert verdicts(left_operators=20, npu_cycles=200) == ["regressed", "regressed"]
    assert verdicts(left_operators=0) == ["pass", "error"]  # without its report
    assert verdicts(left_operators=0, npu_cycles=90, left_macs=3) == ["pass", "improved"]
    labels = np.arange(10) % 4
    model = _like(SimpleNamespace(metric=ACCURACY, smallest_drop=None), labels)
    for sizes, why in (({"built_npu": 10.0}, "it is compiled, so it has no score"), ({}, "not gated before")):
        [row] = compared(of(size=10, left_operators=0), model, {}, {}, sizes)
        assert (row.why, row.worse) == (why, False)


def test_a_drop_within_chance_is_not_worse(mine: Path) -> None:
    model = load_models(mine / "models")["mine"]
    labels = np.arange(1000) % 4
    one = np.where(np.arange(1000) < 2, (labels + 1) % 4, labels)
    report: Any = type("R", (), {"cells": [_cell("float32", 1.0)]})()
    (row,) = compared(report, _like(model, labels), {"float32": labels}, {"float32": one}, {})
    assert row.drop == pytest.approx(0.2)
    assert not row.worse


def test_history_of_a_baseline_goes_over_to_the_new_model(adopted: Path) -> None:
    model = load_models(adopted / "models")["mine"]
    old = baseline_files.load(adopted / "baselines", model)
    assert old.file is not None
    score = old.file.cells["float32"].measurements["score"]
    first = First(value=0.1, date="2026-01-01", run="r")
    xfail = {"score": Xfail.model_construct(reason="known")}
    cells: dict[str, Any] = dict(old.file.cells)
    cells["float32"] = cells["float32"].model_copy(
        update={"measurements": {"score": score.model_copy(update={"first": first})}, "xfail": xfail}
    )
    held = baseline_files.Baseline(old.file.model_copy(update={"cells": cells}), old.predictions)
    fresh: BaselineFile = old.file.model_copy(update={"cells": {"float32": old.file.cells["float32"]}})
    made = retrained.with_history(Proposal(fresh, {}, [], {}), held)
    assert made.file.cells["float32"].measurements["score"].first == first
    assert made.file.cells["float32"].xfail == xfail
    assert made.dropped == ["ptq_float16", "ptq_static_wi8_ai8"]


def test_where_writing_fails_everything_is_as_it_was(mine: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_models(mine / "models")["mine"]
    baseline = baseline_files.load(mine / "baselines", model)
    folder = mine / "new"
    shutil.copytree(mine / "models", folder)
    (folder / "mine.py").write_text("something else")
    shutil.copy(tiny / "spoiled.keras", folder / "weights" / "mine.keras")
    before = content(mine)

    def fail(*_: object) -> None:
        raise BadInput("--baseline-dir: cannot write")

    session: Any = type("S", (), {"report": None, "folder": type("F", (), {"path": mine})()})()
    proposal = Proposal(baseline.file, {}, [], {})  # type: ignore[arg-type]
    monkeypatch.setattr(updating.update, "propose", lambda *_, **__: proposal)
    monkeypatch.setattr(updating.baseline_files, "save", fail)
    folders = gating.Folders(mine / "models", mine / "baselines", mine)
    with pytest.raises(BadInput, match="cannot write"):
        updating._write(model, model, baseline, session, folder, folders, "why")
    assert content(mine) == before


def test_a_gate_with_nothing_in_it_is_refused_with_the_reason() -> None:
    report: Any = type("R", (), {"cells": [_cell("ptq_float16", 1.0)]})()
    with pytest.raises(BadInput, match=r"m.keras: float32 cannot be made or scored, so nothing can be gated$"):
        gating.check_control(report, "m.keras")
    failed = _cell("float32", 1.0).model_copy(update={"failure": Failure(what="unsupported", reason="no MaxPool3D")})
    report.cells.append(failed)
    with pytest.raises(BadInput, match=r"nothing can be gated \(no MaxPool3D\)"):
        gating.check_control(report, "m.keras")
    scored = {"score": Measurement(value=0.9, unit="fraction", n=10)}
    report.cells[1] = failed.model_copy(update={"failure": None, "measurements": scored})
    gating.check_control(report, "m.keras")


def test_the_gate_always_has_float32() -> None:
    assert gating.named_gate("ptq_float16") == ("float32", "ptq_float16")
    assert gating.named_gate("") == ()


def test_the_command_that_gates_says_what_the_config_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = gating.Folders(Path("models"), Path("baselines"), Path("reports"))
    assert gating.gate_command(own, False) == (
        "quantbench run --model-dir models --baseline-dir baselines --no-latency"
    )
    (tmp_path / "quantbench.toml").write_text("no_latency = true\n")
    assert gating.gate_command(own, False) == "quantbench run"
    assert gating.gate_command(own, True, "kws") == "quantbench run --models kws --latency"


def test_a_drop_that_is_sure_but_perhaps_small_is_told_as_worse() -> None:
    row = before_and_now.Row("v", ACCURACY, 0.949, 0.943, drop=0.6, low=0.05, high=1.4, matters=0.1)
    assert before_and_now._verdict(row) == "worse, but not surely by 0.1 pp or more"
    assert before_and_now._verdict(replace(row, low=-0.1)) == "no worse, as far as the examples show"
