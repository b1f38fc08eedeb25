"""Render the latency table: single calls, several threads, a larger batch, and the comparison with Keras."""

import re

from quantbench.gate import lacking_words
from quantbench.records import DISTURBED, SEVERAL_AT_WORK, Cell, Measurement
from quantbench.records.measurements import RATIO, STALLS, TO_YARDSTICK, name_at, shown, threads_in
from quantbench.report import formatting

_TYPICAL = (RATIO, TO_YARDSTICK)
SHORT_MICROSECONDS = 50  # below this, the cost of reading the clock is stated
_THREADS = re.compile(r"latency_(\d+)_threads")
_NUMBER = re.compile(r"\d[\d.]*(e[-+]\d+)?")
_BATCH = re.compile(r"batch_(\d+)_latency")
_KERAS = {"keras_latency": "the model in Keras", "keras_gpu_latency": "the model in Keras on a GPU"}
_PERCENTILES = {"latency_p50": "median, µs", "latency_p90": "p90, µs", "latency_p99": "p99, µs"}


def section(cells: list[Cell]) -> str:
    """Render the heading, the table and its remarks; empty where no single calls were timed."""
    timed = [cell for cell in cells if "latency_p50" in cell.measurements or cell.untimed]
    if not any("latency_p50" in cell.measurements for cell in timed):
        return ""
    threads, batches = _numbers(timed, _THREADS), _numbers(timed, _BATCH)
    headers = ["variant", *_PERCENTILES.values(), "examples/s", "ratio to float32"]
    headers += [text for count in threads for text in (f"{count} threads, µs", f"ratio, {count} threads")]
    headers += [f"batch {size}, µs/example (examples/s)" for size in batches]
    rows = [_row(cell, threads, batches) for cell in timed if "latency_p50" in cell.measurements]
    if any(row[-1] for row in rows):
        headers.append("note")
    else:
        rows = [row[:-1] for row in rows]
    table = formatting.table(rows, headers)
    told = [*_how(timed, threads), *in_turns(cells), *_keras(cells), *_untimed(cells)]
    remarks = "\n".join(f"- {line}" for line in told)
    return f"\n\n### Latency\n\n{table}\n\n{remarks}"


def _numbers(cells: list[Cell], pattern: re.Pattern[str]) -> list[int]:
    """List the numbers of threads, or of examples in a batch, that something was timed or refused with."""
    names = {name for cell in cells for name in [*cell.measurements, *cell.untimed]}
    return sorted({int(match[1]) for name in names if (match := pattern.fullmatch(name))})


def _row(cell: Cell, threads: list[int], batches: list[int]) -> list[str]:
    measured = cell.measurements
    row: list[str] = [formatting.code(cell.variant), *(_interval(measured.get(name)) for name in _PERCENTILES)]
    row += [_number(measured.get("throughput"), "{:,.0f}"), formatting.ratio(cell)]
    for count in threads:
        row += [_number(measured.get(f"latency_{count}_threads"), "{:,.1f}")]
        row += [formatting.ratio(cell, name_at(RATIO, count))]
    for size in batches:
        micro, rate = measured.get(f"batch_{size}_latency"), measured.get(f"batch_{size}_throughput")
        row.append(f"{micro.value:,.2f} ({rate.value:,.0f})" if micro and rate else "see below")
    return [*row, _disturbed(measured)]


def _number(measurement: Measurement | None, style: str) -> str:
    return "" if measurement is None else style.format(measurement.value)


def _interval(measurement: Measurement | None) -> str:
    """Format a percentile with its interval; ``∞`` where there were too few calls for an upper end."""
    if measurement is None:
        return ""
    low = "0" if measurement.low is None else f"{measurement.low:,.1f}"
    high = "∞" if measurement.high is None else f"{measurement.high:,.1f}"
    return f"{measurement.value:,.1f} ({low} to {high})"


def _disturbed(measurements: dict[str, Measurement]) -> str:
    """Name the measurements that other processes interrupted for most of the time, on both tries."""
    marked = [
        f"{100 * measurement.value:.0f} %{_at(name)}"
        for name, measurement in measurements.items()
        if name.startswith("disturbed") and measurement.value > DISTURBED
    ]
    return f"other processes disturbed {', '.join(marked)} of it: unreliable" if marked else ""


def _at(name: str) -> str:
    threads = threads_in(name)
    return f" (with {threads} threads)" if threads > 1 else ""


def _how(cells: list[Cell], threads: list[int]) -> list[str]:
    medians = [cell.measurements["latency_p50"].value for cell in cells if "latency_p50" in cell.measurements]
    costs = [cell.measurements["timing_cost"].value for cell in cells if "timing_cost" in cell.measurements]
    clock = ""
    if costs and min(medians) < SHORT_MICROSECONDS:
        clock = f" Reading the clock takes {max(costs):.2f} µs per call."
    lines = [
        "Median, p90, p99 and examples/s: single calls (batch 1, 1 thread) of all processes, with interference from "
        "other processes; in brackets 95 % intervals that treat calls as independent (order statistics). The spread "
        f"between processes is in `report.json`.{clock}",
        "Ratios: undisturbed blocks (with several threads: all blocks), timed in turns with float32; ± standard error "
        "over fresh processes. Only ratios are gated.",
    ]
    alone = [
        f"`{cell.variant}` ({count} threads)"
        for cell in cells
        for count in threads
        if (at_work := cell.measurements.get(f"threads_at_work_{count}_threads")) and at_work.value < SEVERAL_AT_WORK
    ]
    if alone:
        lines.append(f"float32 beside {', '.join(alone)} used one thread only: nothing in it can be split.")
    return lines


def in_turns(cells: list[Cell]) -> list[str]:
    """Tell how cells compare with their accepted artifacts in turns: what was timed, and what was not and why."""
    timed: list[str] = []
    alike: dict[str, list[str]] = {}
    for cell in cells:
        for judgement in cell.judgements:
            turns, name = judgement.turns, formatting.code(cell.variant)
            if turns is None:
                continue
            if turns.change is not None:
                what = f" ({shown(judgement.measurement)})" if not judgement.measurement.startswith(_TYPICAL) else ""
                ends = ""
                if turns.low is not None and turns.high is not None:
                    ends = f", 95 %: {100 * turns.low:+.1f} to {100 * turns.high:+.1f} %"
                timed.append(f"{name}{what} {100 * turns.change:+.1f} %{ends}")
            elif judgement.against in ("accepted artifact", "nothing"):
                why = "artifact and runtime are the accepted ones" if turns.same else lacking_words(turns)
                alike.setdefault(why, []).append(name)
    lines = [f"In turns with the accepted artifact: {'; '.join(timed)}."] if timed else []
    return lines + [
        f"Not timed in turns, as {formatting.escape(why)}: {', '.join(dict.fromkeys(names))}."
        for why, names in alike.items()
    ]


def _keras(cells: list[Cell]) -> list[str]:
    """Compare with Keras, where models were timed in it before conversion."""
    return [_in_keras(cell) for cell in cells if "keras_latency" in cell.measurements]


def _in_keras(cell: Cell) -> str:
    measured = cell.measurements
    what = "Float model" if cell.variant == "float32" else f"Fake-quantized model of `{cell.variant}`"
    text = f"{what} in Keras (`tf.function`, batch 1, one thread): {_with_error(measured['keras_latency'])} µs a call"
    if "keras_gpu_latency" in measured:
        text += f", on a GPU with read-back {_with_error(measured['keras_gpu_latency'])} µs"
    if "latency" not in measured:
        return f"{text}."
    times = measured["keras_latency"].value / measured["latency"].value
    return f"{text}; as {cell.variant} on LiteRT: {measured['latency'].value:,.1f} µs, {times:.1f} times as fast."


def _with_error(measurement: Measurement) -> str:
    return f"{measurement.value:,.1f} ± {(measurement.spread or 0.0) / measurement.n**0.5:,.1f}"


def _vary(found: list[tuple[str, str]]) -> bool:
    """Whether the reasons of several variants differ in their numbers."""
    return len({reason for _, reason in found}) > 1


def _untimed(cells: list[Cell]) -> list[str]:
    """List what could not be timed and why, with variants of the same reason together."""
    by_reason: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for cell in cells:
        for name, reason in cell.untimed.items():
            match = _BATCH.fullmatch(name)
            what = f"a batch of {match[1]}" if match else _KERAS.get(name, name)
            # Node numbers and sizes of a difference vary from variant to variant; the first one's stand for all.
            by_reason.setdefault((what, _NUMBER.sub("", reason)), []).append((cell.variant, reason))
    return [
        f"Not {'counted' if what == STALLS else 'timed'}: {formatting.escape(what)} "
        f"({', '.join(formatting.code(variant) for variant, _ in found)}): "
        f"{formatting.escape(found[0][1].rstrip('. '))}{' (numbers of the first)' * _vary(found)}."
        for (what, _), found in by_reason.items()
    ]
