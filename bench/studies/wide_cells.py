"""Find what the cells of this project that lose most turn out to be: which operators, and where their time goes.

    python -m studies.wide_cells --report-dir reports/reference

Each cell is explained as ``quantbench explain`` does it, and timed as with ``--time``. Then the operators that explain
most are left in float, one more each time, and the artifact is scored on all test examples.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from quantbench import files
from quantbench.engine import explain, explain_time
from quantbench.errors import BadInput
from quantbench.measure.attribution import paired
from quantbench.records import FLOAT_CONTROL, Attribution, parts
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.report import attribution, operator_times
from quantbench.tflite import surgery
from quantbench.tflite.litert import LiteRT
from tabulate import tabulate

from studies import _common

CELLS = (
    "vit_tiny/ptq_static_wi8_ai8",
    "vit_tiny/aeq_static_wi8_ai8",
    "ds_cnn/aeq_dynamic_wi4_afp32",
    "ds_cnn/aeq_dynamic_wi4_octav_afp32",
    "ds_cnn/aeq_weight_only_wi4_afp32",
)
MOST = 6  # suspects that are left in float together


def _score(artifact: bytes, model: ReferenceModel) -> float:
    test = model.pack().test
    inputs = model.prepare(test.x)
    return float(model.metric.value(model.metric.predict(LiteRT(artifact).run(inputs), inputs), test.y))


def _more_in_float(found: Attribution, artifact: bytes, float32: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the artifact with one suspect more in float each time, and that suspect's name."""
    pairing = paired(float32, artifact)
    partner = {theirs: ours for ours, theirs in pairing.matched.pairs}
    chosen: set[int] = set()
    for suspect in found.suspects[:MOST]:
        places = {at for at in (suspect.position, *suspect.together) if at in partner}
        try:
            pairs = [(partner[at], at) for at in sorted(chosen | places)]
            made = surgery.in_float(artifact, float32, pairs)
            LiteRT(made)
        except (surgery.Uncuttable, RuntimeError, ValueError):
            continue
        chosen |= places
        more = f" and {len(suspect.together)} with it" if suspect.together else ""
        yield f"{attribution.place(suspect)} ({suspect.position}{more})", made


def _of_cell(cell: str, model_dir: Path) -> str:
    name, variant = parts(cell)
    model = load_models(model_dir)[name]
    artifact = _common.artifact(model, variant).read_bytes()
    float32 = _common.artifact(model, FLOAT_CONTROL).read_bytes()
    subject = explain.Subject(cell, artifact, float32, None)
    found = explain.attributed(subject, model)
    before, lowest = _score(float32, model), _score(artifact, model)
    unit = model.metric.unit
    rows = [["none", f"{(before - lowest) * model.metric.scale:.2f}", ""]]
    for place, made in _more_in_float(found, artifact, float32):
        score = _score(made, model)
        share = f"{100 * (score - lowest) / (before - lowest):.0f} %" if before != lowest else ""
        rows.append([f"+ {place}", f"{(before - score) * model.metric.scale:.2f}", share])
    table = tabulate(rows, ["left in float", f"drop, {unit}", "won back"], tablefmt="pipe", disable_numparse=True)
    try:
        timed = operator_times.cause(explain_time.timed(subject, model))
    except BadInput as error:
        timed = f"Time: {error}"
    return f"## {cell}\n\n{attribution.cause(found)}\n\n{timed}\n\n{table}"


def main() -> None:
    """Explain, score, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--model-dir", type=Path, default=Path("models"))
    parser.add_argument("--report-dir", type=Path, default=Path("reports"))
    given = parser.parse_args()
    machine = _common.machine()
    sections = []
    for cell in given.cells.split(","):
        sections.append(_of_cell(cell, given.model_dir))
        print(sections[-1], flush=True)
    words = __doc__.strip().split("\n\n")[-1]
    given.report_dir.mkdir(parents=True, exist_ok=True)
    files.replace(given.report_dir / "wide_cells.md", "\n\n".join(["# Wide cells", words, *sections, machine]) + "\n")


if __name__ == "__main__":
    main()
