"""Tell a file that a vendor's compiler made for an accelerator, and what can be known of it: nothing here runs it."""

from collections import Counter
from pathlib import Path

from quantbench.errors import BadInput
from quantbench.records import Compiled
from quantbench.tflite import graph as graphs
from quantbench.tflite import vela
from quantbench.tflite.graph import Graph
from quantbench.tflite.work import macs

# Custom operator that a compiler puts in the place of what the accelerator takes -> what it is for. Sources: Arm's Vela
# (tflite_mapping.py) and Google's Edge TPU compiler.
COMPILERS = {"ethos-u": "Ethos-U", "edgetpu-custom-op": "Edge TPU", "edgetpu-custom-op-2": "Edge TPU"}
LEFT_MACS = "left_macs"


def compiled_of(graph: Graph) -> Compiled | None:
    """Return what a vendor's compiler made of a file; None where it holds none of their operators."""
    taken = [one.name for one in graph.operators if one.name in COMPILERS]
    if not taken:
        return None
    rest = [one for one in graph.operators if one.name not in COMPILERS]
    left = dict(sorted(Counter(one.name for one in rest).items()))
    figures = {LEFT_MACS: float(sum(macs(graph, one) for one in rest))}
    return Compiled(compiler=COMPILERS[taken[0]], operators=len(taken), left=left, figures=figures)


def measured(artifact: bytes, compiler: str, report: Path | None, network: str) -> dict[str, int]:
    """Return the figures of a compiled file that a run judges: what is left to the CPU, and SRAM and cycles by report.

    Args:
        compiler: that it was compiled by when it was adopted.
        report: summary that Vela wrote of it; None where none is declared.
        network: name of the file without its ending.

    Raises:
        BadInput: it is damaged, compiled for something else, or the report is not there or of another file.
    """
    try:
        found = compiled_of(graphs.read(artifact))
    except ValueError as error:
        raise BadInput(f"it cannot be read: {' '.join(str(error).split())[:300]}; build or copy it again") from None
    if found is None or found.compiler != compiler:
        now = f"compiled for {found.compiler}" if found else "not compiled"
        raise BadInput(
            f"it was adopted as compiled for {compiler}, and is {now}; compile it, or take it over with adopt --update"
        )
    figures = {"left_operators": sum(found.left.values()), LEFT_MACS: int(found.figures[LEFT_MACS])}
    if report is None:
        return figures
    said, _ = vela.read(report, network)
    return {**figures, "npu_sram": round(said["sram"]), "npu_cycles": round(said["cycles"])}
