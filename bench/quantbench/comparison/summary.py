"""Read and write ``summary.json`` of a run folder: the few numbers of ``report.json`` that a history needs.

It is derived from the report alone, so it may be deleted at any time; it is made again where it is missing, older than
its report, or made from a report of a different size.
"""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from quantbench import files
from quantbench.core.stats import half_width
from quantbench.errors import BadInput
from quantbench.records import (
    EXPLAINS,
    ONE_MODEL,
    Cell,
    Environment,
    Kind,
    Located,
    ModelHashes,
    Record,
    Report,
    Verdict,
    parts,
    read_record,
    worst,
    write_json,
)
from quantbench.records.measurements import INSTRUCTIONS, MICRO_ARENA, RATIO, TO_YARDSTICK, output_in, without_output
from quantbench.records.measurements import of_output as in_output

SUMMARY = "summary.json"
LARGEST = 4 * 2**20  # bytes: 20,000 cells; a larger summary is made again, which only costs time
# Measurements that are judged in every run on any machine: exact ones and noisy ones.
EXACT = ("score", "size", "gzip_size", "arena", INSTRUCTIONS, MICRO_ARENA)
NOISY = ("memory_ratio", RATIO, TO_YARDSTICK)
MEASUREMENTS = (*EXACT, *NOISY)
VALUES = (*MEASUREMENTS, "floor_drop", "floor_limit", "examples")
VERSION = "1.5"
# A summary of another version is made again. Those of 1.1 and 1.2 only lack what has a default, or what no report of
# their time holds, and a thousand reports take minutes to read. In those of 1.3 what only TFLite-Micro or an
# accelerator does not run decided a cell; those of 1.4 lack the answers of targets.
READ = ("1.1", "1.2", VERSION)


ON_TARGET = "target:"  # begins what stands in place of a further output in the series of a target


class Scoring(Record):
    """Describe how a model is scored: metric, unit of a drop, factor from a score to it, and direction."""

    metric: str
    unit: str
    scale: float
    higher_is_better: bool


class Summary(Record):
    """Summarize one run.

    Attributes:
        report_bytes: size of the report that this was made from.
        shard: which part of a run, such as ``2/6``; empty for a whole run.
        cells: their ids, those of further outputs as ``MODEL/VARIANT@OUTPUT``, and of answers on a target as
            ``MODEL/VARIANT@target:NAME``; ``verdicts`` and each list of ``values`` have one entry per cell.
        values: by name, those of ``VALUES`` that any cell has.
        trained: cells whose score comes from training.
        seeds: trained cell -> number of trainings that its score is the mean of.
        spread: trained cell -> sd over its seeds, where there are two at least.
        errors: measurement -> half the width of its 95 % interval over processes or seeds, where it was repeated.
        accepted: measurement -> the baseline's value that it was judged by; since 1.2, as ``errors``.
        kinds: kind of check -> its verdict on each cell; None where it was not checked. Since 1.3, as the following.
        artifacts: first digits of each ``.tflite`` file's hash; None where there is none.
        models: model -> hashes.
        causes: cell -> the operator that the error of its red score comes from, where one was found.
    """

    schema_version: str = VERSION
    kind: Literal["quantbench.summary"] = "quantbench.summary"
    report_bytes: int
    run: str
    shard: str = ""
    started: str
    state: str
    trained_from_scratch: bool
    environment: Environment
    data_sha256: dict[str, str]
    scoring: dict[str, Scoring]
    trained: list[str]
    seeds: dict[str, int] = Field(default_factory=dict)
    spread: dict[str, float] = Field(default_factory=dict)
    cells: list[str]
    verdicts: list[Verdict]
    values: dict[str, list[float | None]]
    errors: dict[str, list[float | None]] = Field(default_factory=dict)
    accepted: dict[str, list[float | None]] = Field(default_factory=dict)
    kinds: dict[Kind, list[Verdict | None]] = Field(default_factory=dict)
    artifacts: list[str | None] = Field(default_factory=list)
    models: dict[str, ModelHashes] = Field(default_factory=dict)
    causes: dict[str, Located] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _an_entry_a_cell(self) -> Self:
        tables = (self.values, self.errors, self.accepted)
        lengths = [len(self.verdicts), *(len(column) for table in tables for column in table.values())]
        lengths += [len(column) for column in self.kinds.values()]
        lengths += [len(self.artifacts)] if self.artifacts else []
        if any(length != len(self.cells) for length in lengths):
            raise ValueError("expected one entry a cell in every list")
        return self


def summarize(report: Report, report_bytes: int) -> Summary:
    """Extract the numbers of a report that a history needs."""
    rows = [
        row
        for cell in report.cells
        for row in (cell, *map(partial(of_output, cell), cell.outputs), *map(partial(on_target, cell), cell.targets))
    ]
    return Summary(
        report_bytes=report_bytes,
        run=report.run,
        shard=f"{report.shard.index}/{report.shard.of}" if report.shard else "",
        started=report.started,
        state=report.state,
        trained_from_scratch=report.trained_from_scratch,
        environment=report.environment,
        data_sha256=report.data_sha256,
        scoring={scored_as(row.id): _scoring(row) for row in rows},
        trained=[row.id for row in rows if row.seeds],
        seeds={row.id: len(row.seeds) for row in rows if row.seeds},
        spread={row.id: spread for row in rows if row.seeds and (spread := _spread(row)) is not None},
        cells=[row.id for row in rows],
        verdicts=[row.verdict for row in rows],
        values=_columns([_values(row) for row in rows]),
        errors=_columns([_errors(row) for row in rows]),
        accepted=_columns([_accepted(row) for row in rows]),
        kinds={
            kind: [row.verdicts.get(kind) for row in rows] for kind in Kind if any(kind in row.verdicts for row in rows)
        },
        artifacts=[short_hash(row.artifact_sha256) for row in rows],
        models=report.models,
        causes={cell.id: place for cell in report.cells if (place := located(cell)) is not None},
    )


def scored_as(cell: str) -> str:
    """Return what a cell is scored as: its model, and its further output where the series is of one."""
    model, variant = parts(cell)
    return in_output(model, output_in(variant))


def of_output(cell: Cell, output: str) -> Cell:
    """Return a cell as the history of a further output sees it: ``MODEL/VARIANT@OUTPUT``, with its scores alone."""
    how, name = cell.outputs[output], in_output("score", output)
    judged = [one for one in cell.judgements if output_in(one.measurement) == output]
    judged = [one.model_copy(update={"measurement": without_output(one.measurement)}) for one in judged]
    verdict = worst([one.verdict for one in judged]) if judged else cell.verdict
    return cell.model_copy(
        update={
            "id": in_output(cell.id, output),
            "metric": how.metric,
            "metric_unit": how.unit,
            "metric_scale": how.scale,
            "higher_is_better": how.higher_is_better,
            "measurements": {"score": cell.measurements[name]} if name in cell.measurements else {},
            "judgements": judged,
            "verdict": verdict,
            "verdicts": {Kind.ACCURACY: verdict} if Kind.ACCURACY in cell.verdicts else {},
            "attribution": None,
        }
    )


def on_target(cell: Cell, target: str) -> Cell:
    """Return a cell as the history of a target sees it: ``MODEL/VARIANT@target:NAME``, with its score there alone."""
    there, measured = cell.targets[target], in_output("target_score", target)
    judged = [one.model_copy(update={"measurement": "score"}) for one in cell.judgements if one.measurement == measured]
    return cell.model_copy(
        update={
            "id": in_output(cell.id, f"{ON_TARGET}{target}"),
            "measurements": {name: one for name, one in there.measurements.items() if name == "score"},
            "judgements": judged,
            "verdict": there.verdict,
            "verdicts": {Kind.TARGET: there.verdict},
            "attribution": None,
        }
    )


_DIGITS = 12  # of a hash; two files share them in one of 10^14 comparisons


def short_hash(sha256: str | None) -> str | None:
    """Return the digits of a hash that a summary holds."""
    return sha256[:_DIGITS] if sha256 else None


def located(cell: Cell) -> Located | None:
    """Return the operator that the error of a cell's red score comes from; None where none was found."""
    found = cell.attribution
    best = found.suspects[0] if found is not None and found.suspects else None
    if found is None or best is None or best.recovered < EXPLAINS or found.matched < ONE_MODEL:
        return None
    if found.output_error is None or not all(one.finite for one in found.operators):
        return None
    lost, back = None, None
    if found.float_score is not None and found.score is not None and best.score is not None:
        worse = found.scale if found.higher_is_better else -found.scale
        lost, back = worse * (found.float_score - found.score), worse * (best.score - found.score)
    return Located(
        operator=best.operator,
        tensor=best.tensor,
        position=best.position,
        repaired_by=best.repaired_by,
        recovered=best.recovered,
        lost=lost,
        back=back,
        unit=found.unit,
        cells=[cell.id],
    )


def _scoring(cell: Cell) -> Scoring:
    return Scoring(
        metric=cell.metric,
        unit=cell.metric_unit,
        scale=cell.metric_scale,
        higher_is_better=cell.higher_is_better,
    )


def _spread(cell: Cell) -> float | None:
    score = cell.measurements.get("score")
    return None if score is None or len(score.values or []) < 2 else score.spread


def _values(cell: Cell) -> dict[str, float]:
    values = {name: measured.value for name, measured in cell.measurements.items()}
    if "score" in cell.measurements:
        values["examples"] = cell.measurements["score"].n
    floors = (judged for judged in cell.judgements if judged.against == "floor" and judged.measurement == "score")
    floor = next(floors, None)
    if floor is not None and floor.change is not None and floor.tolerance is not None:
        values |= {"floor_drop": floor.change, "floor_limit": floor.tolerance}
    return values


def _errors(cell: Cell) -> dict[str, float]:
    found = {}
    for name, measured in cell.measurements.items():
        repeats = len(measured.values or []) if name == "score" else measured.n
        if measured.spread and repeats > 1:
            found[name] = half_width(measured.spread, repeats)
    return found


def _accepted(cell: Cell) -> dict[str, float]:
    judged = (judgement for judgement in cell.judgements if judgement.against == "baseline")
    return {one.measurement: one.reference for one in judged if one.reference is not None}


def _columns(rows: list[dict[str, float]]) -> dict[str, list[float | None]]:
    return {name: [row.get(name) for row in rows] for name in VALUES if any(name in row for row in rows)}


def write_summary(path: Path, report: Report) -> Summary:
    """Summarize the report at ``path``, and store the summary beside it where the folder is writable.

    A read-only archive works too, only slower.
    """
    summary = summarize(report, path.lstat().st_size)
    with suppress(OSError):
        write_json(path.with_name(SUMMARY), summary)
    return summary


def read_summary(report: Path) -> Summary:
    """Read the summary of a ``report.json``, and make it first where it is missing or outdated.

    Raises:
        BadInput: the report is damaged, or newer than this version can read.
    """
    path = report.with_name(SUMMARY)
    try:
        whole, own = report.lstat(), path.lstat()
        if own.st_mtime_ns >= whole.st_mtime_ns:
            summary = parsed(files.read_bytes(path, "summary", LARGEST))
            if summary is not None and summary.report_bytes == whole.st_size:
                return summary
    except (OSError, BadInput):
        pass  # not there, or not readable
    return write_summary(report, read_record(report, Report, "report"))


def parsed(content: bytes) -> Summary | None:
    """Return the summary in a file's content; None where it is damaged or of a version that is made again."""
    try:
        summary = Summary.model_validate_json(content)
    except ValidationError:
        return None
    return summary if summary.schema_version in READ else None
