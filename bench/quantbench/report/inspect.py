"""Show one artifact from the inside, as Markdown: ``quantbench inspect``."""

from pathlib import Path

from quantbench.errors import BadInput
from quantbench.records import Census, Evidence, Range
from quantbench.records.run_folder import evidence_of, read
from quantbench.report import formatting


def of_cell(run: Path, cell_id: str) -> str:
    """Describe the artifact of a cell. Raises BadInput where the run has no such cell, or it was not made."""
    report, folder = read(run)
    cell = next((cell for cell in report.cells if cell.id == cell_id), None)
    if cell is None:
        raise BadInput(
            f"{run}: no cell {cell_id} in this run; it has {', '.join(cell.id for cell in report.cells[:5])}, …"
        )
    if cell.census is None:
        reason = cell.failure.reason if cell.failure else "it was not finished"
        raise BadInput(f"{run}: {cell_id} has no artifact: {reason}")
    return render(cell_id, cell.census, evidence_of(folder, cell_id))


def render(name: str, census: Census, evidence: Evidence) -> str:
    """Describe an artifact's structure, and the evidence on it."""
    parts = [f"# {formatting.escape(name)}", _facts(census), _weights(census)]
    parts += [_ranges(evidence)] if evidence.ranges else []
    if evidence.flipped:
        shown = ", ".join(str(i) for i in evidence.flipped[:50])
        more = f" and {len(evidence.flipped) - 50} more" if len(evidence.flipped) > 50 else ""
        parts.append(
            f"## Changed predictions\n\nPredictions that differ from the float32 reference: examples {shown}{more}."
        )
    return formatting.document(parts)


def _facts(census: Census) -> str:
    constants = ", ".join(f"{a.count} {name} ({a.bytes:,} bytes)" for name, a in sorted(census.constants.items()))
    activations = ", ".join(f"{count} {name}" for name, count in sorted(census.activations.items()))
    operators = ", ".join(
        f"{sum(by.values())} {name} ({'/'.join(sorted(by))})" for name, by in sorted(census.operators.items())
    )
    ports = [
        f"{port.name}: {port.dtype} {port.shape}"
        + ("" if port.scale is None else f", scale {port.scale:.6g}, zero point {port.zero_point}")
        for port in (*census.inputs, *census.outputs)
    ]
    lines = [f"constants: {constants}", f"scales: {census.scales}", f"activations: {activations}"]
    lines += [f"operators: {operators}", *(f"input or output: {port}" for port in ports)]
    lines += [f"left in float: {formatting.left_in_float(census) or 'nothing'}"]
    return "\n".join(f"- {formatting.escape(line)}" for line in lines)


def _weights(census: Census) -> str:
    rows = [
        [
            operator.operator,
            operator.precision,
            operator.weights or "(activations)",
            operator.granularity or "",
            "x".join(map(str, operator.shape)),
            "" if operator.zeros is None else f"{100 * operator.zeros:.1f} %",
            operator.distinct if operator.distinct is not None else "",
            operator.distinct_in_channel if operator.distinct_in_channel is not None else "",
        ]
        for operator in census.compute
    ]
    headers = ["operator", "precision", "weights", "granularity", "shape", "zeros", "distinct", "distinct in a channel"]
    return "## Weights\n\n" + formatting.table(rows, headers)


def _ranges(evidence: Evidence) -> str:
    rows = [_range(tensor_range) for tensor_range in evidence.ranges]
    method = f" Chosen by: {formatting.escape(evidence.range_method)}." if evidence.range_method else ""
    table = formatting.table(rows, ["tensor", "kind", "dtype", "granularity", "from", "to"])
    what = "The real values that each tensor can hold; of the widest channel where it has several."
    return f"## Ranges\n\n{what}{method}\n\n{table}"


def _range(tensor_range: Range) -> list[str]:
    kind = "constant" if tensor_range.constant else "activation"
    return [
        tensor_range.tensor[-70:],
        kind,
        tensor_range.dtype,
        tensor_range.granularity,
        f"{tensor_range.low:.4g}",
        f"{tensor_range.high:.4g}",
    ]
