"""Change a baseline without a run: loosened tolerances and expected failures.

Everything is checked before anything is written, and the stored predictions are left unchanged.
"""

import datetime
import difflib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quantbench import gate
from quantbench.baselines import seals
from quantbench.baselines.files import json_path, load, save
from quantbench.baselines.outputs import outputs_in
from quantbench.baselines.update import check_length
from quantbench.core.environment import threads_of
from quantbench.errors import BadInput
from quantbench.records import (
    BaselineCell,
    BaselineFile,
    BaselineValue,
    Judgement,
    Kind,
    Loosened,
    Report,
    Verdict,
    Xfail,
    parts,
)
from quantbench.records.measurements import (
    OUTPUT_DISTANCE,
    judged_latency,
    name_at,
    of_output,
    output_in,
    without_output,
)
from quantbench.reference.heads import by_output
from quantbench.reference.model import load_models, pick
from quantbench.variants import FLOAT_CONTROL, VARIANTS


class Target:
    """Point to one cell of a baseline on disk.

    Raises:
        BadInput: the model, its baseline or the cell does not exist, or the baseline was edited by hand.
    """

    def __init__(self, cell: str, model_dir: Path, baseline_dir: Path) -> None:
        models = load_models(model_dir)
        model, variant = parts(cell)
        [self.model] = pick(_checked_name(model, "CELL", "a cell such as seed_cnn/ptq_float16", cell), models, "CELL")
        self.id, self.variant, self.folder = cell, variant, baseline_dir
        file = load(baseline_dir, models[self.model]).file
        if file is not None:
            seals.refuse_edited(file, json_path(baseline_dir, self.model))
        if file is None:
            raise BadInput(
                f"{json_path(baseline_dir, self.model)}: baseline not found; record one before its exceptions"
            )
        _check_name(variant, file.cells, "CELL", f"cells of {self.model} with a baseline")
        self.file: BaselineFile = file
        self.cell: BaselineCell = file.cells[variant]
        self.score_unit = models[self.model].metric.unit
        scored = by_output(models[self.model]) if variant in VARIANTS else {}
        limits = {output: model.floor(variant, VARIANTS[variant].family) for output, model in scored.items()}
        self.limits = {output: limit.max_drop for output, limit in limits.items() if limit is not None}

    def write(self, cell: BaselineCell) -> None:
        """Replace the cell, and write the file."""
        cells = {**self.file.cells, self.variant: cell}
        save(self.folder, self.file.model_copy(update={"cells": cells}), None)


def loosen(
    target: Target,
    measurement: str,
    tolerance: float | None,
    reason: str,
    expires: str,
    of_class: str,
    today: datetime.date,
    seen: Report | None = None,
) -> str:
    """Widen a tolerance until an expiry date; return what was done, in one sentence.

    It is bounded, as an excuse without a bound hides what nobody has seen: by what a run showed and what the judge
    itself would see beyond it, or else by a policy (:func:`_most`).

    Args:
        tolerance: None for the bound that ``seen`` gives.
        of_class: for a latency, the machine class; for other measurements, the results class of the overlay.
        seen: a run in which the measurement was beyond its tolerance.

    Raises:
        BadInput: an unknown measurement, a tolerance that is not wider or beyond its bound, an empty reason or a past
            date, or a run in which it did not fail.
    """
    where, key, value = _value(target, measurement, of_class)
    until, why = _day(expires, today), _checked_reason(reason)
    least, most = (value.tolerance, _most(target, measurement, value))
    if seen is not None:
        least, most = _seen(target, measurement, value, seen)
    wide = most if tolerance is None and seen is not None else tolerance
    if wide is None:
        raise BadInput("--run: expected a run in which it failed, e.g. --run reports/latest, or --tolerance 0.05")
    if not value.tolerance < wide < math.inf:
        raise BadInput(
            f"--tolerance: a tolerance may only be widened: expected more than the computed {value.tolerance:g} of "
            f"{target.id} {measurement}, found {wide:g}"
        )
    if wide < least:
        raise BadInput(f"--tolerance: expected at least the {least:.4g} that was seen, found {wide:g}")
    if wide > most * (1 + 1e-9):
        by = "give a run that shows more, --run RUN" if seen is None else "as that run showed no more"
        raise BadInput(f"--tolerance: expected at most {most:.4g} for {target.id} {measurement}, found {wide:g}; {by}")
    loosened = value.model_copy(update={"loosened": Loosened(tolerance=wide, reason=why, expires=until)})
    target.write(_with(target.cell, where, key, loosened))
    # Described alone, in the words of every report.
    sentences = gate.exceptions(BaselineCell(measurements={measurement: loosened}), target.score_unit, today)
    return f"{target.id}: {sentences[0]}"


def _most(target: Target, measurement: str, value: BaselineValue) -> float:
    """Bound a tolerance that no run has shown to be needed.

    A score may lose no more than a release may; what else is measured, a quarter. Twice what is derived is always
    allowed.
    """
    if without_output(measurement) == "score":
        return max(2 * value.tolerance, target.limits.get(output_in(measurement), 0.0))
    quarter = gate.FURTHER if _is_share(measurement) else gate.FURTHER * abs(value.value)
    return max(2 * value.tolerance, quarter)


def _is_share(measurement: str) -> bool:
    """Whether a tolerance is a fraction of the accepted value, instead of in its unit."""
    return without_output(measurement) not in ("score", "arena", OUTPUT_DISTANCE)


def _seen(target: Target, measurement: str, value: BaselineValue, report: Report) -> tuple[float, float]:
    """Return by how much a run was worse, and the bound that follows from it, in the unit of the tolerance."""
    failed = [judged for judged in _failures(report, target.id, measurement) if judged.change is not None]
    if not failed:
        raise BadInput(f"--run: {target.id} {measurement} did not fail in run {report.run}; give a run in which it did")
    worst = max(failed, key=lambda judged: judged.change or 0.0)
    # Judges of ratios of time give a change as a fraction already; the others in the unit of the value.
    unit = abs(value.value) if _is_share(measurement) and worst.kind is not Kind.LATENCY else 1.0
    return (worst.change or 0.0) / (unit or 1.0), (gate.bound_of(worst) or 0.0) / (unit or 1.0)


def tighten(target: Target, measurement: str, of_class: str) -> str:
    """End a loosening; return what was done, in one sentence."""
    where, key, value = _value(target, measurement, of_class)
    if value.loosened is None:
        raise BadInput(f"--remove: the tolerance of {target.id} {measurement} is not widened")
    target.write(_with(target.cell, where, key, value.model_copy(update={"loosened": None})))
    return f"{target.id}: {measurement}: the computed tolerance {value.tolerance:g} applies again"


def expect_failure(
    target: Target,
    measurement: str,
    ticket: str,
    reason: str,
    expires: str,
    today: datetime.date,
    bound: float | None = None,
    seen: Report | None = None,
) -> str:
    """Expect a measurement to fail until an expiry date; return what was done, in one sentence.

    Args:
        bound: the largest change for the worse that is excused, in the unit that the report gives it in.
        seen: a run in which it failed; the bound is derived from what was seen there, unless it is given.

    Raises:
        BadInput: an unknown measurement, an empty ticket or reason, a past date, or nothing that bounds the excuse.
    """
    _check_name(measurement, excusable(target.variant, target.cell), "MEASUREMENT", "measurements that can be red")
    if not ticket.strip():
        raise BadInput("--ticket: expected where the failure is followed, e.g. --ticket https://example.org/issues/12")
    limits = _limits(target, measurement, bound, seen)
    xfail = Xfail(ticket=ticket.strip(), reason=_checked_reason(reason), expires=_day(expires, today), **limits)
    target.write(target.cell.model_copy(update={"xfail": {**target.cell.xfail, measurement: xfail}}))
    return f"{target.id}: {gate.exceptions(BaselineCell(xfail={measurement: xfail}), '', today)[0]}"


def _limits(target: Target, measurement: str, bound: float | None, seen: Report | None) -> dict[str, Any]:
    """Bound what is excused: by a number, or by the reason of a failure that has no number."""
    failed = [] if seen is None else _failures(seen, target.id, measurement)
    if seen is not None and not failed:
        raise BadInput(f"--run: {target.id} {measurement} did not fail in run {seen.run}; give a run in which it did")
    words = next((judged for judged in failed if gate.worse_by(judged) is None), None)
    if words is not None:
        return {"seen": words.detail or words.message}
    if failed:
        worst = max(failed, key=lambda judged: gate.worse_by(judged) or 0.0)
        least, derived = gate.worse_by(worst) or 0.0, gate.bound_of(worst)
        if bound is not None and bound < least:
            raise BadInput(f"--bound: expected at least the {least:.4g} that was seen, found {bound:g}")
        return {"bound": derived if bound is None else bound}
    if measurement in gate.WITHOUT_NUMBER:
        raise BadInput(f"--run: expected a run in which {measurement} failed, as only that failure is excused")
    if bound is None or not math.isfinite(bound):
        raise BadInput(
            "--run: expected a run in which it failed, e.g. --run reports/latest, or the largest change to excuse, "
            "e.g. --bound 0.5"
        )
    return {"bound": bound}


def _failures(report: Report, cell_id: str, measurement: str) -> list[Judgement]:
    """List a run's failing judgements that an xfail of this name is about; an excused one counts."""
    failing = (Verdict.REGRESSED, Verdict.XFAIL, Verdict.ERROR)
    judgements = [judged for cell in report.cells if cell.id == cell_id for judged in cell.judgements]
    return [judged for judged in judgements if gate.excuse_name(judged) == measurement and judged.verdict in failing]


def expect_success(target: Target, measurement: str) -> str:
    """End an expected failure; return what was done, in one sentence."""
    if measurement not in target.cell.xfail:
        expected = ", ".join(target.cell.xfail) or "none"
        raise BadInput(f"--remove: {target.id} has no xfail of {measurement!r}; it has: {expected}")
    left = {name: xfail for name, xfail in target.cell.xfail.items() if name != measurement}
    target.write(target.cell.model_copy(update={"xfail": left}))
    return f"{target.id}: {measurement}: no longer expected to fail"


def excusable(variant: str, cell: BaselineCell) -> list[str]:
    """List what may be expected to fail: measurements with a baseline, and those judged without one."""
    overlaid = [name for overlay in cell.overlays.values() for name in overlay.measurements]
    peak = ["peak_memory"] if variant == FLOAT_CONTROL else []
    timed = [name_at(judged_latency(variant), threads_of(machine)) for machine in cell.latency]
    measured = [*cell.measurements, *overlaid, *cell.by_machine, judged_latency(variant), *timed, *peak]
    limits = [of_output("floor", output) for output in outputs_in(cell)]
    return list(dict.fromkeys([*measured, *gate.EXCUSABLE, *limits]))


def _value(target: Target, measurement: str, of_class: str) -> tuple[str, str, BaselineValue]:
    """Return (where the value is stored, its key, the value)."""
    cell, timed = target.cell, judged_latency(target.variant)
    by_machine = {timed: ("latency", cell.latency), "peak_memory": ("peak_memory", cell.peak_memory)}
    by_machine |= {name: (f"by_machine.{name}", values) for name, values in cell.by_machine.items()}
    if measurement in by_machine:
        where, by_class = by_machine[measurement]
        key = of_class or _only(by_class, target, measurement)
        _check_name(key, by_class, "--for", f"machine profiles with a {measurement} baseline of {target.id}")
        return where, key, by_class[key]
    if of_class:
        _check_name(of_class, cell.overlays, "--for", f"machine profiles with values of their own of {target.id}")
    held = cell.overlays[of_class].measurements if of_class else cell.measurements
    _check_name(
        measurement, {**held, **({timed: None} if cell.latency else {})}, "MEASUREMENT", "measurements with a tolerance"
    )
    return of_class, measurement, held[measurement]


def _only(values: dict[str, BaselineValue], target: Target, name: str) -> str:
    if len(values) != 1:
        classes = ", ".join(values) or "none"
        raise BadInput(f"--for: {target.id} has several {name} baselines; say of which machine profile: {classes}")
    return next(iter(values))


def _with(cell: BaselineCell, where: str, key: str, value: BaselineValue) -> BaselineCell:
    """Replace one value of the cell; ``where`` is empty, a machine's dict or an overlay's class."""
    if where in ("latency", "peak_memory"):
        return cell.model_copy(update={where: {**getattr(cell, where), key: value}})
    if where.startswith("by_machine."):
        name = where.removeprefix("by_machine.")
        values = {**cell.by_machine[name], key: value}
        return cell.model_copy(update={"by_machine": {**cell.by_machine, name: values}})
    if not where:
        return cell.model_copy(update={"measurements": {**cell.measurements, key: value}})
    overlay = cell.overlays[where]
    changed = overlay.model_copy(update={"measurements": {**overlay.measurements, key: value}})
    return cell.model_copy(update={"overlays": {**cell.overlays, where: changed}})


def _checked_name(name: str, argument: str, expected: str, text: str) -> str:
    if not name or "," in name or "/" not in text:
        raise BadInput(f"{argument}: expected {expected}, found {text!r}")
    return name


def _check_name(name: str, allowed_names: Iterable[str], argument: str, what: str) -> None:
    names = list(allowed_names)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"{what}: {', '.join(names) or 'none'}"
        raise BadInput(f"{argument}: unknown name {name!r}; {hint}")


def _checked_reason(reason: str) -> str:
    if not reason.strip():
        raise BadInput('--reason: say why, e.g. --reason "kernel of litert 2.3 is slower; fixed in 2.4"')
    check_length("--reason", reason.strip())
    return reason.strip()


def _day(expires: str, today: datetime.date) -> datetime.date:
    try:
        day = datetime.date.fromisoformat(expires)
    except ValueError:
        raise BadInput(
            f"--expires: expected a day such as {today + datetime.timedelta(days=30)}, found {expires!r}"
        ) from None
    if day < today:
        raise BadInput(f"--expires: expected today ({today}) or a later day, found {expires}")
    return day
