"""Inject memory regressions: artifacts with a larger arena, and processes that keep more memory.

Each is measured in fresh processes and judged by the real judge. Null runs draw their processes from recordings of
the healthy artifacts, so that hundreds of runs only need a few dozen processes.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from quantbench import gate
from quantbench.baselines import update_cell
from quantbench.core.threads import cores
from quantbench.engine import measurements
from quantbench.measure import memory
from quantbench.measure.memory import Memory
from quantbench.records import Accepted, BaselineCell, Cell, InjectedFault, Judgement, Kind, Verdict, worst
from quantbench.reference.model import ReferenceModel
from quantbench.selftest.flatbuffer import insert_behind
from quantbench.tflite.edit import edited

HELD = (0.005, 0.02, 0.05)  # of the process: 0.5 % is 70 kB
MUST_BE_CAUGHT = 0.02
LEAK = 4096  # bytes that each call keeps
RECORDINGS = 30
_MACHINE = "this machine"
Where = Literal["variant", "control"]


@dataclass(frozen=True)
class MemoryFault:
    """Declare an artifact that needs more memory for the same outputs.

    Attributes:
        make: the healthy artifact -> the broken one.
    """

    name: str
    make: Callable[[bytes], bytes]


# ---------------------------------------------------------------- artifacts


def _computed(model: Any) -> list[int]:
    """List the indices of the tensors that operators write, the largest first."""
    graph = model.subgraphs[0]
    indices = [int(index) for operator in graph.operators for index in operator.outputs]
    return sorted(indices, key=lambda index: -int(np.prod(graph.tensors[index].shape)))


def _with_operator(artifact: bytes, operator: str, version: int, change: Callable[[Any, Any, Any], None]) -> bytes:
    """Insert an operator after the one that writes the largest int8 activation.

    Args:
        change: changes (source tensor, new tensor, new operator, whose only input is the source) in place.
    """
    from ai_edge_litert import schema_py_generated as schema

    def apply(model: Any) -> None:
        graph = model.subgraphs[0]
        source = next(i for i in _computed(model) if graph.tensors[i].type == schema.TensorType.INT8)
        tensor, added = insert_behind(model, source, operator, version)
        change(graph.tensors[source], tensor, added)

    return edited(artifact, apply)


def _doubled(artifact: bytes) -> bytes:
    """Write the largest activation twice, into a tensor with twice its channels."""
    from ai_edge_litert import schema_py_generated as schema

    def change(source: Any, tensor: Any, operator: Any) -> None:
        shape = [int(size) for size in source.shape]
        tensor.shape = [*shape[:-1], 2 * shape[-1]]
        operator.inputs = 2 * list(operator.inputs)
        operator.builtinOptionsType = schema.BuiltinOptions.ConcatenationOptions
        operator.builtinOptions = schema.ConcatenationOptionsT()
        operator.builtinOptions.axis = len(shape) - 1

    return _with_operator(artifact, "CONCATENATION", 2, change)


def _as_float(artifact: bytes) -> bytes:
    """Also convert the largest activation to float, as a layer left in float would."""
    from ai_edge_litert import schema_py_generated as schema

    def change(_source: Any, tensor: Any, _operator: Any) -> None:
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None

    return _with_operator(artifact, "DEQUANTIZE", 2, change)


ARTIFACTS = (
    MemoryFault("an activation doubled", _doubled),
    MemoryFault("an operator more, to float", _as_float),
)


# ---------------------------------------------------------------- judging


class MemoryTrial:
    """Record a healthy int8 artifact and its float control in many fresh processes, and judge with the real judge.

    Args:
        variant, control: ``.tflite`` files.
        recordings: number of fresh processes of each, from which baselines and null runs are drawn.
    """

    def __init__(self, model: ReferenceModel, variant: Path, control: Path, recordings: int = RECORDINGS) -> None:
        if recordings < 2 * memory.PROCESSES:
            raise ValueError(f"a run and its baseline need {2 * memory.PROCESSES} recordings, not {recordings}")
        self.model = model
        self.variant, self.control = variant, control
        with ThreadPoolExecutor(cores()) as pool:
            both = pool.map(lambda artifact: memory.measure(artifact, model, recordings), (variant, control))
            self.healthy = dict(zip(("variant", "control"), both, strict=True))

    def null_run(self, seed: int) -> list[Judgement]:
        """Judge a rerun against its baseline, each from other processes of the same artifacts."""
        random = np.random.default_rng(seed)
        before, after = {}, {}
        for name, recorded in self.healthy.items():
            drawn = random.permutation(len(recorded.peaks))
            before[name] = _of(recorded, drawn[: memory.PROCESSES])
            after[name] = _of(recorded, drawn[memory.PROCESSES : 2 * memory.PROCESSES])
        return _judged(before, after)

    def judge(self, seed: int, variant: Memory | None = None, control: Memory | None = None) -> list[Judgement]:
        """Judge an injected fault; the other artifact, and the baseline of both, are drawn from healthy recordings."""
        random = np.random.default_rng(seed)
        drawn = {name: random.permutation(len(recorded.peaks)) for name, recorded in self.healthy.items()}
        n = memory.PROCESSES
        before = {name: _of(self.healthy[name], order[:n]) for name, order in drawn.items()}
        after = {name: _of(self.healthy[name], order[n : 2 * n]) for name, order in drawn.items()}
        injected_faults = {name: of for name, of in (("variant", variant), ("control", control)) if of is not None}
        return _judged(before, after | injected_faults)


def _of(recorded: Memory, which: Any) -> Memory:
    """Select a few of the recorded processes, as if a run had only started those."""
    return Memory(
        peaks=[recorded.peaks[i] for i in which],
        resident=[recorded.resident[i] for i in which],
        empty=[recorded.empty[i] for i in which],
        arena=recorded.arena,
        no_arena=recorded.no_arena,
        reset=recorded.reset,
        answers=[recorded.answers[i] for i in which],
        calls=recorded.calls,
        wrong=recorded.wrong,
        by_call=recorded.by_call,
        batch=recorded.batch,
    )


def _cells(taken: dict[str, Memory]) -> list[Cell]:
    control, variant = taken["control"], taken["variant"]
    measured = {"float32": measurements.memory(control, None), "variant": measurements.memory(variant, control)}
    common = {"model": "m", "family": "ptq", "metric": "accuracy", "metric_unit": "pp"}
    return [
        Cell.model_validate({**common, "id": f"m/{name}", "variant": name, "measurements": values})
        for name, values in measured.items()
    ]


def _accepted(cell: Cell) -> BaselineCell:
    """Return the baseline that an update would write for a cell."""
    stamp = Accepted(date="", reason="healthy", run="selftest", environment="")
    peak = update_cell.peak_memory_value(cell, stamp)
    model = update_cell.model_memory_value(cell, stamp)
    return BaselineCell(
        measurements=update_cell.memory_values(cell, stamp),
        peak_memory={_MACHINE: peak} if peak is not None else {},
        by_machine={"model_memory": {_MACHINE: model}} if model is not None else {},
    )


def _judged(before: dict[str, Memory], after: dict[str, Memory]) -> list[Judgement]:
    """Judge the float control and the variant."""
    judgements = []
    for old, new in zip(_cells(before), _cells(after), strict=True):
        subject = gate.Subject(new.model, new.variant, "reports/selftest")
        no_arena = after["control" if new.variant == "float32" else "variant"].no_arena
        judgements += gate.memory(subject, new.measurements, "", no_arena, _accepted(old), _MACHINE)
    return judgements


def _red(judgements: list[Judgement]) -> list[str]:
    return [j.measurement for j in judgements if j.verdict in (Verdict.REGRESSED, Verdict.ERROR)]


# ---------------------------------------------------------------- results


def injected_faults(
    trial: MemoryTrial, seeds: int, say: Callable[[str], None], strengths: Sequence[float] = HELD
) -> Iterator[InjectedFault]:
    """Inject every artifact fault and every strength of kept memory, each with several seeds, so other processes.

    As many at a time as a run would measure: what a process holds does not depend on others.
    """
    sides: tuple[Where, ...] = ("variant", "control")
    plants: list[Callable[[], InjectedFault]] = []
    for seed in range(seeds):
        plants += [partial(grown, trial, fault, seed) for fault in ARTIFACTS]
        plants += [partial(held, trial, strength, where, seed) for strength in strengths for where in sides]
        plants.append(partial(leaking, trial, seed))
    with ThreadPoolExecutor(cores()) as pool:
        for injected in pool.map(lambda plant: plant(), plants):
            yield _reported(injected, say)


def _reported(injected: InjectedFault, say: Callable[[str], None]) -> InjectedFault:
    verdict = f"red by {', '.join(injected.checks)}" if injected.caught else "green"
    say(f"{injected.plant} {injected.strength}: {verdict}, {100 * injected.growth:+.1f} %")
    return injected


def _injected(
    name: str, where: str, strength: str, seed: int, growth: float, harmful: bool, judged: list[Judgement]
) -> InjectedFault:
    red = _red(judged)
    return InjectedFault(
        plant=name,
        where=where,
        strength=strength,
        seed=seed,
        host="memory",
        seen_by=Kind.MEMORY,
        growth=growth,
        harmful=harmful,
        caught=bool(red),
        caught_by=[Kind.MEMORY] if red else [],
        checks=red,
        verdict=worst([judgement.verdict for judgement in judged]),
    )


def grown(trial: MemoryTrial, fault: MemoryFault, seed: int) -> InjectedFault:
    """Measure and judge an artifact that needs more memory."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        path = Path(folder) / "artifact.tflite"
        path.write_bytes(fault.make(trial.variant.read_bytes()))
        taken = memory.measure(path, trial.model)
    judged = trial.judge(seed, variant=taken)
    healthy = trial.healthy["variant"].arena
    if not healthy or taken.arena is None:
        raise ValueError(f"{trial.variant}: the builtin kernels plan no arena for it: {taken.no_arena}")
    return _injected(fault.name, "arena", "", seed, taken.arena / healthy - 1, True, judged)


def held(trial: MemoryTrial, strength: float, where: Where, seed: int) -> InjectedFault:
    """Measure and judge a process that keeps more memory."""
    artifact = trial.variant if where == "variant" else trial.control
    taken = memory.measure(artifact, trial.model, held=int(strength * trial.healthy[where].peak()))
    judged = trial.judge(seed, **{where: taken})
    growth = taken.peak() / trial.healthy[where].peak() - 1
    name = f"held by the {where}'s process"
    return _injected(name, "process", f"{100 * strength:g} %", seed, growth, strength >= MUST_BE_CAUGHT, judged)


def leaking(trial: MemoryTrial, seed: int) -> InjectedFault:
    """Measure and judge a process that keeps memory at each call."""
    taken = memory.measure(trial.variant, trial.model, leak=LEAK)
    judged = trial.judge(seed, variant=taken)
    return _injected("kept by each call", "process", f"{LEAK} bytes", seed, 0.0, True, judged)


def null_runs(trial: MemoryTrial, count: int) -> list[bool]:
    """Return whether each rerun of the healthy artifacts failed."""
    return [bool(_red(trial.null_run(seed))) for seed in range(count)]
