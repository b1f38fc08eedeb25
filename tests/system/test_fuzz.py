"""Files of others are damaged in more than a thousand ways: each gives one sentence, or is read; nothing else.

The damage is the same in every run (hypothesis is derandomized), so that a failure here is a change of the code.
"""

import datetime
import hashlib
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import damage
import numpy as np
import pytest
from conftest import ROOT, THREE_VARIANTS, ThreeCells, resealed
from damage import examples
from hypothesis import given
from hypothesis import strategies as st
from quantbench.adopt import formats
from quantbench.adopt.data import read_split
from quantbench.baselines import check as checkup
from quantbench.baselines import files as baseline_files
from quantbench.baselines import update
from quantbench.baselines.files import packed
from quantbench.build.store import Store
from quantbench.comparison import Comparison, compare
from quantbench.comparison.history import read_history
from quantbench.comparison.load import baseline_sides, read_sides, truths
from quantbench.comparison.summary import read_summary
from quantbench.core.options import RunOptions
from quantbench.engine.session import Session
from quantbench.errors import BadInput
from quantbench.measure.census import of_file
from quantbench.records import Kind, Report
from quantbench.records.run_folder import read
from quantbench.reference.datasets import file_sha256, read_predictions
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.report import baseline_review, comparison, inspect, markdown, terminal
from quantbench.report import history as told_history
from quantbench.report.html import page

pytestmark = pytest.mark.slow
MODEL = load_models(ROOT / "models")["seed_cnn"]
NAMES = THREE_VARIANTS.split(",")
TODAY = datetime.date(2026, 1, 1)
FITTING = damage.fitting_npz(NAMES, 10_000)
KINDS = {Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE, Kind.MEMORY}


def one_sentence(use: Callable[[], object], *names: str) -> None:
    """Whatever is made of a file, it is either used or refused in a sentence that names it."""
    try:
        use()
    except BadInput as error:
        words = str(error)
        assert "\n" not in words
        assert len(words) < 1500
        assert any(name in words for name in names), words


@pytest.fixture
def whole(three_cells: ThreeCells) -> Path:
    """A real run of three cells."""
    return three_cells.run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


# ---------------------------------------------------------------- reports


def everything_of_a_report(run: Path, unharmed: Path) -> None:
    """All that is ever done with somebody's run folder."""
    report, folder = read(run)
    markdown.render(report)
    terminal.summary(report, folder)
    page.write(run / "page.html", report, folder, {MODEL.name: MODEL})
    for cell in report.cells:
        one_sentence(lambda cell=cell: inspect.of_cell(run, cell.id), run.name)  # type: ignore[misc]
    for sides in ((run, unharmed), (unharmed, run)):
        both = read_sides(*sides)
        found = compare(*both, truths(ROOT / "models", both[1].report))
        comparison.render(found)
        comparison.page(found)
    (run / "summary.json").unlink(missing_ok=True)
    read_summary(run / "report.json")
    history = read_history(run.parent)
    told_history.overview(history)
    for cell in report.cells:
        told_history.of_cell(history, cell.id)
    update.check_report(report, folder)
    update.check_data(report, folder, MODEL)
    baseline = shipped()
    proposal = update.propose(report, folder, MODEL.name, baseline, "why")
    baseline_review.render(against(report, folder, baseline), [proposal], written=False)


@cache
def shipped() -> baseline_files.Baseline:
    """The baselines of this repository, which nothing here damages."""
    return baseline_files.load(ROOT / "baselines", MODEL)


def against(report: Report, folder: Path, baseline: baseline_files.Baseline) -> Comparison:
    """A run against a baseline, as ``baseline diff`` compares them."""
    ids = {cell.id for cell in report.cells}
    return compare(*baseline_sides(report, folder, {MODEL.name: baseline}, ids), truths(ROOT / "models", report))


def copy_of(whole: Path, place: Path) -> Path:
    run = place / "runs" / "2026-01-01T00-00-00Z"
    shutil.rmtree(place / "runs", ignore_errors=True)
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns("logs", "report.html"))
    return run


def test_damaged_reports(whole: Path, place: Path) -> None:
    whole_content = damage.Content((whole / "report.json").read_bytes())

    @examples(300)
    @given(damage.damaged_json(whole_content))
    def check(content: bytes) -> None:
        run = copy_of(whole, place)
        (run / "report.json").write_bytes(content)
        one_sentence(lambda: everything_of_a_report(run, whole), run.name)

    check()


@pytest.mark.parametrize("what", ["evidence", "summary"])
def test_damage_beside_a_report(whole: Path, place: Path, what: str) -> None:
    name = {"evidence": "evidence/seed_cnn.json", "summary": "summary.json"}[what]
    whole_content = damage.Content((whole / name).read_bytes())

    @examples(60)
    @given(damage.damaged_json(whole_content))
    def check(content: bytes) -> None:
        run = copy_of(whole, place)
        (run / name).write_bytes(content)
        report, folder = read(run)
        page.write(run / "page.html", report, folder, {MODEL.name: MODEL})
        one_sentence(lambda: inspect.of_cell(run, "seed_cnn/ptq_float16"), "seed_cnn.json")
        read_summary(run / "report.json")

    check()


def test_damaged_predictions_of_a_run(whole: Path, place: Path) -> None:
    content = damage.Content((whole / "predictions" / "seed_cnn.npz").read_bytes())

    @examples(150)
    @given(st.one_of(damage.damaged_bytes(content), damage.lying_npz(), FITTING, FITTING))
    def check(damaged: bytes) -> None:
        run = copy_of(whole, place)
        (run / "predictions" / "seed_cnn.npz").write_bytes(damaged)
        data = json.loads((run / "report.json").read_text())
        _claim(data, run / "predictions" / "seed_cnn.npz")
        (run / "report.json").write_text(json.dumps(data))
        one_sentence(lambda: everything_of_a_report(run, whole), run.name)

    check()


def _claim(data: dict[str, Any], path: Path) -> None:
    """Let a report say that these are its predictions, whatever they are."""
    try:
        arrays = read_predictions(path, "predictions")
    except BadInput:
        return
    for cell in data["cells"]:
        if cell["variant"] in arrays:
            content = np.ascontiguousarray(arrays[cell["variant"]]).tobytes()
            cell["predictions_sha256"] = hashlib.sha256(content).hexdigest()


# ---------------------------------------------------------------- baselines


def everything_of_baselines(folder: Path, whole: Path, reports: Path) -> None:
    """A check, an update, and a whole run that is judged by them."""
    for finding in checkup.check({MODEL.name: MODEL}, folder, TODAY):
        str(finding)
    baseline = baseline_files.load(folder, MODEL)
    report, run = read(whole)
    for overlay in (False, True):
        one_sentence(
            lambda overlay=overlay: baseline_review.render(  # type: ignore[misc]
                against(report, run, baseline),
                [update.propose(report, run, MODEL.name, baseline, "why", None, overlay, True)],
                written=False,
            ),
            "--per-machine",
            run.name,
        )
    options = RunOptions(models="seed_cnn", baseline_dir=folder, report_dir=reports, variants=THREE_VARIANTS)
    session = Session(options, lambda _: None)
    session.plan({cell: set(KINDS) for cell in session.cell_ids()})
    for cell in session.cell_ids():
        for kind in sorted(KINDS):
            session.judge(cell, kind)
    session.finish()
    shutil.rmtree(session.folder.path)


@pytest.fixture
def own_baselines(place: Path) -> Path:
    folder = place / "baselines"
    folder.mkdir(exist_ok=True)
    data = json.loads((ROOT / "baselines" / "seed_cnn.json").read_text())
    kept = [*NAMES, "qat_wi8_ai8", "float32_finetuned"]
    data["cells"] = {name: cell for name, cell in data["cells"].items() if name in kept}
    stored = read_predictions(ROOT / "baselines" / "seed_cnn.npz", "predictions")
    content = packed({name: array for name, array in stored.items() if name in kept})
    data["predictions_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "whole.npz").write_bytes(content)
    (folder / "whole.json").write_text(json.dumps(data))
    return folder


def test_damaged_baselines(
    whole: Path, place: Path, own_baselines: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTBENCH_CACHE", str(store))
    whole_content = damage.Content((own_baselines / "whole.json").read_bytes())
    folder = place / "damaged_baselines"
    folder.mkdir()

    @examples(250)
    @given(damage.damaged_json(whole_content))
    def check(content: bytes) -> None:
        (folder / "seed_cnn.json").write_bytes(content)
        shutil.copyfile(own_baselines / "whole.npz", folder / "seed_cnn.npz")
        one_sentence(lambda: everything_of_baselines(folder, whole, place / "reports"), "seed_cnn.json")

    check()


def test_damaged_predictions_of_a_baseline(
    whole: Path, place: Path, own_baselines: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTBENCH_CACHE", str(store))
    content = damage.Content((own_baselines / "whole.npz").read_bytes())
    data = json.loads((own_baselines / "whole.json").read_text())
    folder = place / "damaged_predictions"
    folder.mkdir()

    @examples(150)
    @given(st.one_of(damage.damaged_bytes(content), damage.lying_npz(), FITTING, FITTING))
    def check(damaged: bytes) -> None:
        (folder / "seed_cnn.npz").write_bytes(damaged)
        told = data | {"predictions_sha256": hashlib.sha256(damaged).hexdigest()}
        (folder / "seed_cnn.json").write_text(json.dumps(told))
        resealed(folder / "seed_cnn.json")
        one_sentence(lambda: everything_of_baselines(folder, whole, place / "reports"), "seed_cnn.npz")

    check()


# ---------------------------------------------------------------- weights and data


def test_damaged_weights_and_data(place: Path) -> None:
    content = damage.Content((MODEL.file.parent / MODEL.weights).read_bytes())
    specs = {"x": ((1, 28, 28, 1), np.float32)}
    pack = damage.fitting_npz(["x_test", "y_test", "x_train", "y_train", "x", "y"], 784)

    @examples(200)
    @given(st.one_of(damage.damaged_bytes(content), damage.lying_npz(), pack))
    def check(damaged: bytes) -> None:
        path = place / "weights.npz"
        path.write_bytes(damaged)
        model = ReferenceModel("m", "", "weights.npz", file_sha256(path), "weights.npz", file_sha256(path), {})
        object.__setattr__(model, "file", place / "m.py")
        one_sentence(model.weight_arrays, "weights.npz")
        one_sentence(model.pack, "weights.npz")
        one_sentence(lambda: read_split(path, specs), "weights.npz")

    check()


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_damaged_keras_files(place: Path, name: str) -> None:
    import io
    import zipfile

    import h5py

    config = '{"class_name": "Sequential", "config": {"layers": []}}'
    weights, buffer = io.BytesIO(), io.BytesIO()
    with h5py.File(weights, "w") as file:
        file.attrs.update({"keras_version": "3.0.0", "model_config": config})
        file.create_dataset("model_weights/a", data=np.zeros((9, 9)), compression="gzip", shuffle=True)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights.getvalue(), zipfile.ZIP_STORED)
    whole = buffer if name == "m.keras" else weights

    @examples(50)  # each that gets as far as HDF5 takes a process
    @given(damage.damaged_bytes(damage.Content(whole.getvalue())))
    def check(damaged: bytes) -> None:
        path = place / name
        path.write_bytes(damaged)
        one_sentence(lambda: formats.check_safe(path, formats.detect(path)), name)

    check()


# ---------------------------------------------------------------- artifacts and entries of the store


def artifacts(whole: Path, store: Path) -> list[damage.Content]:
    """The artifacts of the run, converted just now."""
    wanted = {cell.artifact_sha256 for cell in read(whole)[0].cells}
    found = {file_sha256(path): damage.Content(path.read_bytes()) for path in store.glob("*/*/artifact.tflite")}
    return [found[sha256] for sha256 in sorted(wanted) if sha256]


def test_damaged_artifacts(whole: Path, place: Path, store: Path) -> None:
    path = place / "m.tflite"

    @examples(300)
    @given(st.one_of([damage.damaged_bytes(content) for content in artifacts(whole, store)]))
    def check(damaged: bytes) -> None:
        path.write_bytes(damaged)
        one_sentence(lambda: of_file(path), "m.tflite")

    check()


def test_damaged_artifacts_in_the_runtime(whole: Path, place: Path, store: Path) -> None:
    """LiteRT itself gets them here, and may crash."""
    path = place / "float.tflite"
    content = max(artifacts(whole, store), key=len)

    @examples(20)
    @given(damage.damaged_bytes(content))
    def check(damaged: bytes) -> None:
        path.write_bytes(damaged)
        one_sentence(lambda: formats.check_safe(path, formats.detect(path)), "float.tflite")

    check()


def test_damaged_entries_of_the_store(place: Path) -> None:
    store = Store(place / "store")
    folder = store.put("ab" * 32, {"x": b"content"}, {"what": "test"})
    whole_content = damage.Content((folder / "entry.json").read_bytes())

    @examples(100)
    @given(damage.damaged_json(whole_content))
    def check(content: bytes) -> None:
        folder = store.put("ab" * 32, {"x": b"content"}, {"what": "test"})
        (folder / "entry.json").write_bytes(content)
        from quantbench.engine.cache_explain import listing

        listing(store)
        found = store.get("ab" * 32)
        assert found is None or (found / "x").read_bytes() == b"content"

    check()


def test_what_is_not_damaged_is_used(whole: Path, place: Path) -> None:
    """The harness itself: without damage, nothing is refused."""
    everything_of_a_report(copy_of(whole, place), whole)
    assert isinstance(read(whole)[0], Report)
