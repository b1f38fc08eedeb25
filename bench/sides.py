"""What a comparison of two runs is made from: their reports, the predictions that differ, and what scores them."""

from collections.abc import Callable
from pathlib import Path

from bench.compare import Side, Truth
from bench.datasets import read_predictions
from bench.errors import BadInput
from bench.records import Report
from bench.reference import load_models
from bench.report.folder import read


def read_sides(old: Path, new: Path) -> tuple[Side, Side]:
    """Two runs, each a folder or its ``report.json``; predictions are read only where they differ.

    Raises:
        BadInput: no such run, a damaged or newer report, or damaged predictions.
    """
    reports = [read(path) for path in (old, new)]
    models = _differing(reports[0][0], reports[1][0])
    return _side(*reports[0], models), _side(*reports[1], models)


def _differing(old: Report, new: Report) -> list[str]:
    before = {cell.id: cell.predictions_sha256 for cell in old.cells}
    return sorted({c.model for c in new.cells if c.id in before and c.predictions_sha256 != before[c.id]})


def _side(report: Report, folder: Path, models: list[str]) -> Side:
    """A file that is not there leaves its cells not comparable; one that is damaged is bad input."""
    paths = {model: folder / "predictions" / f"{model}.npz" for model in models}
    found = {model: read_predictions(path, "predictions of the run") for model, path in paths.items() if path.exists()}
    return Side(report, found)


def truths(model_dir: Path, new: Report) -> Callable[[str], Truth | str]:
    """Labels and metric of a model as it is defined now, or why they are not those of the run."""

    def truth_of(name: str) -> Truth | str:
        try:
            model = load_models(model_dir).get(name)
        except BadInput as error:
            return f"its labels are not known: {error}"
        if model is None:
            return f"its labels are not known: {model_dir} does not define {name}; give its --model-dir"
        if model.data_sha256 != new.data_sha256.get(name):
            return f"its labels are not known: {name} uses another data pack by now; give the --model-dir of the runs"
        if any(cell.metric != model.metric.name for cell in new.cells if cell.model == name):
            return f"{name} is scored by {model.metric.name} by now; give the --model-dir of the runs"
        return Truth(model.metric, model.pack().test.y)

    return truth_of
