"""Decide on files that another tool has built: from a run's record and its predictions to one verdict a file.

A file is within what is allowed where its drop surely is, its structure is as declared, and every figure keeps its
limit. Whatever is beyond is red; what cannot be told with these examples, or was not measured, is undecided.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from quantbench import files
from quantbench.adopt import inspecting, ranking
from quantbench.adopt.held import Limits
from quantbench.adopt.inspecting import Inspected
from quantbench.adopt.limits import Limit
from quantbench.core.arrays import Array
from quantbench.core.drops import bootstrap_drop
from quantbench.core.stats import pair
from quantbench.errors import BadInput
from quantbench.gate import violations
from quantbench.records import (
    AdvisedVariant,
    Cell,
    Decision,
    FileVerdicts,
    Held,
    JudgedFile,
    JudgedOutput,
    Machine,
    Report,
)
from quantbench.records.measurements import RATIO
from quantbench.report.intervals import interval
from quantbench.tflite import changes
from quantbench.variants import FLOAT_CONTROL
from quantbench.variants.declare import QuantizationSpec

_ALPHA = ranking.ALPHA / 2  # of a score by itself, each side


@dataclass(frozen=True)
class Judging:
    """Hold what files are judged by.

    Attributes:
        report: of the run that measured them, with the reference as float32.
        outputs: what is scored.
        predictions: of each variant, see :func:`quantbench.adopt.ranking.advise`.
        spec: declared name of ``promise``; empty where nothing is declared.
        reference: the file that they are compared with; None where there is none to read.
    """

    report: Report
    outputs: Sequence[ranking.Scored]
    predictions: Mapping[str, Array]
    limit: Limit
    promise: QuantizationSpec
    spec: str
    limits: Limits
    reference: Path | None = None

    def record(
        self, found: Mapping[str, Inspected], reference: str, against: Literal["", "float", "shipped"] | str
    ) -> FileVerdicts:
        """Judge every file.

        Args:
            found: variant -> file, in the order given.
            reference: the file that they are compared with; empty where there is none.
        """
        cells = {cell.variant: cell for cell in self.report.cells}
        control = cells[FLOAT_CONTROL]
        scored = [cells[name] for name in found if name in cells and self._is_scored(cells[name])]
        machine = Machine(cpu=self.report.environment.cpu)
        if not self._is_scored(control):
            why = control.failure.reason if control.failure else "it gave no score"
            files = [_unscored(found[name], f"the reference could not be run: {why}") for name in found]
            return FileVerdicts(files=files, machine=machine)
        compared, judged, _ = ranking.judged_each(control, scored, self.outputs, self.predictions, self.limit)
        advised = {one.variant: one for one in compared}
        files = []
        for name, one in found.items():
            if one.compiled is not None:
                files.append(of_compiled(one, self.limits))
            elif name in advised:
                files.append(self._of_file(one, cells[name], advised[name], judged, bool(reference)))
            elif (lost := cells[name].measurements.get("nonfinite")) is not None and lost.value:
                files.append(_bare(one, "beyond", [f"{lost.value:,.0f} of its answers are NaN or infinite"]))
            else:
                failed = cells[name].failure
                files.append(_unscored(one, f"it could not be run: {failed.reason if failed else 'it gave no score'}"))
        return FileVerdicts(
            reference=self._of_reference(control, advised[FLOAT_CONTROL], reference) if reference else None,
            against=against,  # type: ignore[arg-type]
            judged=judged,
            files=files,
            machine=machine,
        )

    def _is_scored(self, cell: Cell) -> bool:
        return "score" in cell.measurements and cell.variant in self.predictions

    def _of_reference(self, cell: Cell, advised: AdvisedVariant, reference: str) -> JudgedFile:
        path = Path(reference)
        return JudgedFile(
            name=path.name,
            file=reference,
            sha256=cell.artifact_sha256 or "",
            bytes=advised.bytes,
            verdict="within",
            outputs=advised.outputs,
        ).model_copy(update=self._interval(cell.variant) | _memory(cell))

    def _of_file(
        self, one: Inspected, cell: Cell, advised: AdvisedVariant, judged: Sequence[JudgedOutput], compared: bool
    ) -> JudgedFile:
        broken = [each.words for each in violations(self.promise, one.census)] if self.spec else []
        drops: list[Decision] = [output.verdict for output in advised.outputs] if compared else []
        held = self._held(one, cell, compared)
        why = [*_of_drops(advised, judged)] if compared else []
        if advised.dead:
            why.append(
                f"{len(advised.dead)} output values are dead: they take a few values where the reference's do not"
            )
            found = [ranking.crowded([advised], output, self.outputs, self.predictions) for output in self.outputs]
            why += [each.words for each in found if each is not None]
        if compared and "beyond" in drops:
            why += self._reordered(one)
        why += [f"not {self.spec}: {words}" for words in broken]
        beyond: list[Decision] = ["beyond"]
        verdicts = [*drops, *(each.verdict for each in held), *(beyond if broken or advised.dead else [])]
        if not (compared or self.spec or held):
            why.append("nothing of it was gated: give --float or --against, --spec or --limit")
            verdicts.append("undecided")
        ratio = cell.measurements.get(RATIO) if compared else None
        low, high = (interval(cell, RATIO, ratio) if ratio else None) or (None, None)
        facts = self._interval(cell.variant) | _memory(cell) | (self._flips(cell.variant) if compared else {})
        return JudgedFile(
            name=one.path.name,
            file=str(one.path),
            sha256=one.sha256,
            bytes=one.bytes,
            verdict=ranking.together(verdicts),
            why=why,
            spec=self.spec,
            broken=broken,
            structure=one.structure,
            outputs=advised.outputs,
            size=advised.size if compared else None,
            latency=ratio.value if ratio else None,
            latency_low=low,
            latency_high=high,
            held=held,
        ).model_copy(update=facts)

    def _reordered(self, one: Inspected) -> list[str]:
        """Say which concatenations have the reference's parts in another order, a cause of what drops too far."""
        if self.reference is None or not self.reference.is_file():
            return []
        try:
            both = [files.read_bytes(path, "artifact", files.LARGEST_MODEL) for path in (self.reference, one.path)]
            found = changes.reordered(*both)
        except (BadInput, ValueError) as error:
            return [f"its operators could not be compared with the reference's: {error}"]
        return [
            f"its operator {each.position} ({each.operator}) joins {each.new} where the reference joins {each.old}: "
            "what tfmot's quantization-aware training does to a Concatenate layer (its issue 1179)"
            for each in found
        ]

    def _held(self, one: Inspected, cell: Cell, compared: bool) -> list[Held]:
        ratio, arena = cell.measurements.get(RATIO) if compared else None, cell.measurements.get("arena")
        low, high = (interval(cell, RATIO, ratio) if ratio else None) or (None, None)
        held = [
            self.limits.held("size", one.bytes),
            self.limits.held("latency", ratio.value if ratio else None, low, high),
            self.limits.held("arena", arena.value if arena else None),
        ]
        return [each for each in held if each is not None]

    def _flips(self, variant: str) -> dict[str, float | None]:
        """Count the examples that went either way, and those with another prediction."""
        main, new, old = self.outputs[0], self.predictions[variant], self.predictions[FLOAT_CONTROL]
        if main.metric.correct is None:
            return {}
        pairs = pair(main.metric.correct(new, main.labels), main.metric.correct(old, main.labels))
        agrees = main.metric.agreement(new, old)
        return {"lost": pairs.lost, "gained": pairs.gained, "changed": round((1 - agrees) * len(main.labels))}

    def _interval(self, variant: str) -> dict[str, float | None]:
        """Compute the 95 % interval of the main score: Wilson's of a fraction, by the bootstrap of all others."""
        main, values = self.outputs[0], self.predictions[variant]
        if main.metric.correct is not None:
            from scipy.stats import binomtest

            right = np.asarray(main.metric.correct(values, main.labels))
            found = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
            return {"score_low": float(found.low), "score_high": float(found.high)}
        drop = bootstrap_drop(main.metric.of_chosen(values, main.labels), len(main.labels))
        ends = drop.lower(_ALPHA), drop.upper(_ALPHA)
        low, high = (float(end) if math.isfinite(end) else None for end in ends)
        return {"score_low": low, "score_high": high}


def _memory(cell: Cell) -> dict[str, float | None]:
    found = {name: cell.measurements.get(name) for name in ("arena", "peak_memory")}
    arena, peak = (None if one is None else one.value for one in found.values())
    return {"arena": arena, "peak": peak}


def _of_drops(advised: AdvisedVariant, judged: Sequence[JudgedOutput]) -> list[str]:
    """Say which outputs lose more than they may, or may do so."""
    found = []
    for one, of in zip(advised.outputs, judged, strict=True):
        if one.verdict != "within":
            what = "drops by more than" if one.verdict == "beyond" else "may drop by more than"
            more = f" (about {one.needed:,} examples would tell)" if one.needed else ""
            output = f" of {of.output}" if len(judged) > 1 else ""
            found.append(f"{of.metric}{output} {what} {of.limit:.3g} {of.unit}{more}")
    return found


def of_compiled(one: Inspected, limits: Limits) -> JudgedFile:
    """Judge a compiled file by what can be known of it: its size, what it leaves to the CPU, its compiler's figures."""
    assert one.compiled is not None
    known = {"size": float(one.bytes), "left": float(inspecting.operators_left(one) or 0), **one.compiled.figures}
    figures = [name for name in limits.largest if name not in ("latency", "arena")]
    held = [each for name in figures if (each := limits.held(name, known.get(name))) is not None]
    verdict: Decision = ranking.together(each.verdict for each in held) if held else "undecided"
    why = (
        [] if held else ["nothing of it was gated: give a --limit of its size, of what is left to the CPU, or of SRAM"]
    )
    return _bare(one, verdict, why).model_copy(update={"compiled": one.compiled, "held": held})


def _unscored(one: Inspected, why: str) -> JudgedFile:
    return _bare(one, "undecided", [why])


def _bare(one: Inspected, verdict: Decision, why: list[str]) -> JudgedFile:
    return JudgedFile(
        name=one.path.name,
        file=str(one.path),
        sha256=one.sha256,
        bytes=one.bytes,
        verdict=verdict,
        why=why,
        structure=one.structure,
    )
