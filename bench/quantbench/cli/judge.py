"""Define the command ``judge``: may these files, which another tool has built, be shipped."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench.cli import _screen
from quantbench.cli._common import RunEnded
from quantbench.cli.adopt import AllowCode, Data, LabelForm, MaxDrop, MetricName, OutputName


def judge(
    quantized: Annotated[
        list[Path], typer.Option(help="a .tflite that another tool has built; again for each further one")
    ],
    float_model: Annotated[
        str, typer.Option("--float", help="the float model they were made from: .keras, .h5, SavedModel or .tflite")
    ] = "",
    against: Annotated[
        str, typer.Option(help="where there is no float model: the quantized .tflite that was shipped so far")
    ] = "",
    data: Data = None,
    metric: MetricName = "",
    output: OutputName = "",
    labels: LabelForm = "",
    max_drop: MaxDrop = None,
    spec: Annotated[
        str,
        typer.Option(
            help="how the files have to be quantized: float16, dynamic, int8, int8-io, uint8-io, per-tensor, "
            "int16x8, int16x8-io, or a variant's name (default: shown, not gated)"
        ),
    ] = "",
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="largest figure of a file, such as size=300KiB, latency=1.1 (times the reference's), arena=64KiB; of "
            "a compiled one left=0 (operators left to the CPU), sram=256KiB, cycles=1M"
        ),
    ] = None,
    vela_report: Annotated[
        Path | None, typer.Option(help="summary that Arm's Vela wrote of the compiled file, NAME_summary_*.csv")
    ] = None,
    report_dir: Annotated[
        Path, typer.Option(help="output folder; each run gets a subfolder, `latest` links to the newest")
    ] = Path("reports"),
    latency_budget: Annotated[float, typer.Option(help="seconds of timing per file; 0 = no timing")] = 1.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="print the verdicts alone, as JSON; everything else goes to stderr")
    ] = False,
    allow_code: AllowCode = False,
) -> None:
    """Judge .tflite files that another tool has built, against their float model or the file shipped so far.

    Nothing is built: each file is scored on the same examples as what it is compared with, in pairs, and timed in turns
    with it. A file that is compiled for an accelerator is gated by its size, by what it leaves to the CPU, and by its
    compiler's report.

    Exit status: 0 every file is within what is allowed; 1 one is beyond; 3 one is undecided or could not be run; 2
    interrupted, 4 bad input, 6 disk full.

    Example: quantbench judge --float my.keras --quantized vendor.tflite --data eval.npz --max-drop 0.5 --spec int8
    """
    import tempfile

    from quantbench.adopt import held, judging, limits
    from quantbench.adopt.understand import Given
    from quantbench.errors import BadInput
    from quantbench.report.built import screen

    if float_model and against:
        raise BadInput("--against: goes without --float; give what the files are compared with once")
    given = Given(
        float_model or against, data, None, None, metric, limits.parse(max_drop or []), allow_code, output, labels
    )
    kind = "float" if float_model else "shipped" if against else ""
    asked = judging.Asked(quantized, kind, spec, held.parse(limit or []), vela_report, latency_budget)
    with (
        _screen.answer_alone(as_json) as answer,
        tempfile.TemporaryDirectory(prefix="quantbench-judge-") as folder,
    ):
        status, found = judging.judge(given, asked, Path(folder), report_dir, _screen.progress)
        if found is not None:
            text = screen(found)
            answer(_screen.json_of(found) if as_json else text.partition("\n")[0] if _screen.quiet() else text)
    raise RunEnded(int(status))
