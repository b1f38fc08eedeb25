"""Time by operator: what LiteRT tells is put to the operator that it is of, beside the same step in a reference."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, ThreeCells
from quantbench.build.store import Store
from quantbench.core.arrays import rows
from quantbench.engine import artifacts
from quantbench.measure import latency, operator_times
from quantbench.records.run_folder import read
from quantbench.reference.model import load_models
from quantbench.tflite import graph
from quantbench.tflite.edit import edited
from quantbench.tflite.graph import Graph, Operator, Tensor


def made_up(*names: str, dtype: str = "float32") -> Graph:
    """A chain of operators."""
    tensors = [Tensor(f"t{place}", dtype, (1, 8), None) for place in range(len(names) + 1)]
    operators = [Operator(name, (tensors[at],), (tensors[at + 1],)) for at, name in enumerate(names)]
    return Graph(tensors, operators, tensors[:1], tensors[-1:])


def timed(call: float, *kernels: tuple[str, int | None, float]) -> list[dict[str, Any]]:
    """What three processes told, of which one was disturbed."""
    return [
        {"call": factor * call, "kernels": [[name, at, factor * micros] for name, at, micros in kernels]}
        for factor in (1.0, 1.0, 9.0)
    ]


def test_times_stand_beside_those_of_the_same_step() -> None:
    ours = made_up("QUANTIZE", "CONV_2D", "RSQRT", "MUL", dtype="int8"), timed(
        50e-6, ("Convert (NC)", None, 0.0), ("Convolution (NHWC, QC8) IGEMM", None, 9.0), ("RSQRT", 2, 20.0),
        ("Multiply (ND)", None, 1.0),
    )  # fmt: skip
    theirs = made_up("CONV_2D", "RSQRT", "MUL", "ABS"), timed(
        30e-6, ("Convolution (NHWC, F32) IGEMM", None, 24.0), ("Reciprocal Square Root (NC)", None, 0.0),
        ("Multiply (ND)", None, 1.0), ("ABS", 3, 4.0),
    )  # fmt: skip
    found = operator_times.joined(ours, theirs)
    told = {one.position: (one.operator, one.microseconds, one.reference, one.kernel) for one in found.operators}
    assert told == {
        0: ("QUANTIZE", 0.0, None, "Convert (NC)"),
        1: ("CONV_2D", 9.5, 24.5, "Convolution (NHWC, QC8) IGEMM"),  # half a microsecond is cut away on average
        2: ("RSQRT", 20.0, 0.0, ""),
        3: ("MUL", 1.5, 1.5, "Multiply (ND)"),
    }
    assert found.operators[2].reference_kernel == "Reciprocal Square Root (NC)"
    assert (found.kinds[0].operator, found.kinds[0].moved) == ("RSQRT", 1)
    assert (found.microseconds, found.reference_microseconds, found.gone) == (50.0, 30.0, 4.0)
    assert [one.position for one in operator_times.largest(found, 1).operators] == [2]


def test_a_process_that_ran_other_kernels_is_left_out() -> None:
    processes = timed(1e-6, ("ADD", 0, 3.0))[:2] + timed(1e-6, ("ADD", 0, 5.0), ("MUL", 1, 5.0))[:1]
    assert operator_times.of_operators(made_up("ADD", "MUL"), processes) == {0: (3.0, "")}


@pytest.fixture(scope="module")
def files(three_cells: ThreeCells, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two artifacts of a run, and an example."""
    cells = read(three_cells.run)[0].cells
    found = {cell.variant: artifacts.in_store(Store(three_cells.store), str(cell.artifact_sha256)) for cell in cells}
    model = load_models(ROOT / "models")["seed_cnn"]
    inputs = tmp_path_factory.mktemp("inputs") / "inputs.npz"
    np.savez(inputs, x=model.prepare(rows(model.pack().test.x, slice(0, 2))))
    return {name: path for name, path in found.items() if path is not None} | {"inputs": inputs}


def test_every_operator_of_a_real_artifact_is_timed(files: dict[str, Path]) -> None:
    artifact, control = files["ptq_static_wi8_ai8"], files["float32"]
    found = operator_times.measure(artifact, control, files["inputs"], None, 60)
    operators = graph.read(artifact.read_bytes()).main().operators
    compute = {place for place, one in enumerate(operators) if one.name in graph.COMPUTE}
    told = {one.position: one for one in found.operators}
    assert compute <= set(told)
    assert all(one.operator == operators[one.position].name for one in found.operators)
    # XNNPACK computes both the float and the int8 layers, each by a kernel of its type.
    assert all("QC8" in told[at].kernel or "QS8" in told[at].kernel for at in compute)
    assert all("F32" in told[at].reference_kernel for at in compute)
    assert all(told[at].reference is not None for at in compute)
    assert min(found.microseconds, found.reference_microseconds) > 0


def test_what_litert_does_not_profile_is_said(files: dict[str, Path], tmp_path: Path) -> None:
    def with_state(model: Any) -> None:
        model.subgraphs[0].tensors[int(model.subgraphs[0].operators[1].outputs[0])].isVariable = True

    artifact = tmp_path / "state.tflite"
    artifact.write_bytes(edited(files["float32"].read_bytes(), with_state))
    with pytest.raises(latency.LatencyFailed, match="does not load it; it takes none with state, such as an LSTM"):
        operator_times.measure(artifact, files["float32"], files["inputs"], None, 60)
