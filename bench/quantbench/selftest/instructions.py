"""Inject operators that a call does not need, and count its instructions again.

Each answer stays as it was, so that the counts alone can be red. Counted under valgrind, and judged by the real judge.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from quantbench import gate
from quantbench.baselines import update_cell
from quantbench.core.threads import cores
from quantbench.engine import measurements
from quantbench.measure import instructions
from quantbench.measure.instructions import Count, Wanted
from quantbench.records import Accepted, BaselineCell, InjectedFault, Judgement, Kind, Verdict, worst
from quantbench.records.measurements import INSTRUCTIONS
from quantbench.reference.model import ReferenceModel
from quantbench.selftest.flatbuffer import insert_behind
from quantbench.tflite.edit import edited, repacked

HARM = 0.01  # more instructions of a call, fixed beforehand
HOST = "instructions"
MAXIMUM = "an operator that changes nothing"
_SUBJECT = gate.Subject("m", "v", "reports/selftest")


@dataclass(frozen=True)
class InstructionTrial:
    """Hold a healthy int8 artifact and its float control, both counted.

    Attributes:
        artifacts: "variant" and "control" -> the artifact, packed as a broken one is.
    """

    model: ReferenceModel
    artifacts: dict[str, bytes]
    healthy: dict[str, Count]

    @classmethod
    def of(cls, model: ReferenceModel, variant: Path, control: Path) -> "InstructionTrial":
        """Count the two artifacts.

        Raises:
            RuntimeError: they cannot be counted.
        """
        artifacts = {"variant": repacked(variant.read_bytes()), "control": repacked(control.read_bytes())}
        counts = dict(zip(artifacts, counted(model, list(artifacts.values())), strict=True))
        for name, count in counts.items():
            if count.failure:
                raise RuntimeError(f"the instructions of the healthy {name} could not be counted: {count.failure}")
        return cls(model, artifacts, counts)

    def judge(self, name: str, count: Count) -> list[Judgement]:
        """Judge a count against a baseline made of the healthy artifact's."""
        if count.failure:
            return gate.instructions(_SUBJECT, None, None, count.failure, None)
        [measured] = measurements.instructions(count).values()
        return gate.instructions(_SUBJECT, measured, count.counted(), "", _accepted(self.healthy[name]))


def counted(model: ReferenceModel, artifacts: list[bytes]) -> list[Count]:
    """Count one call of each artifact, in as many processes as there are cores."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        wanted = []
        for number, artifact in enumerate(artifacts):
            path = Path(folder) / f"{number}.tflite"
            path.write_bytes(artifact)
            wanted.append(Wanted(path, sha256(artifact).hexdigest(), model))
        return instructions.measure(wanted, cores())


def _accepted(count: Count) -> BaselineCell:
    """Return the baseline that an update would write for an artifact."""
    stamp = Accepted(date="", reason="healthy", run="selftest", environment="")
    [measured] = measurements.instructions(count).values()
    value = update_cell.instructions_value(measured, stamp)
    return BaselineCell(
        by_machine={INSTRUCTIONS: {count.profile: value}}, counted={count.profile: count.counted().operators}
    )


def with_maximum(artifact: bytes, index: int) -> bytes:
    """Take the greater of an operator's output and itself before anything reads it: work that changes no answer."""
    from ai_edge_litert import schema_py_generated as schema

    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        source = int(graph.operators[index].outputs[0])
        readers = [reader for reader in graph.operators if source in reader.inputs]
        _, operator = insert_behind(model, source, "MAXIMUM", version=2)
        for reader in readers:
            reader.inputs = [operator.outputs[0] if one == source else int(one) for one in reader.inputs]
        operator.inputs = [source, source]
        operator.builtinOptionsType = schema.BuiltinOptions.MaximumMinimumOptions
        operator.builtinOptions = schema.MaximumMinimumOptionsT()

    return edited(artifact, change)


def _operators(artifact: bytes) -> list[str]:
    from ai_edge_litert.tools.flatbuffer_utils import convert_bytearray_to_object, opcode_to_name

    model = convert_bytearray_to_object(artifact)
    return [str(opcode_to_name(model, one.opcodeIndex)) for one in model.subgraphs[0].operators]


def injected_faults(trial: InstructionTrial, say: Callable[[str], None]) -> Iterator[InjectedFault]:
    """Put an operator that changes nothing behind each of both artifacts but the last, one at a time.

    Raises:
        RuntimeError: one cannot be counted.
    """
    places = [
        (name, index, operator)
        for name, artifact in trial.artifacts.items()
        for index, operator in enumerate(_operators(artifact)[:-1])
    ]
    counts = counted(trial.model, [with_maximum(trial.artifacts[name], index) for name, index, _ in places])
    for (name, index, operator), count in zip(places, counts, strict=True):
        if count.failure:
            raise RuntimeError(f"{MAXIMUM} behind {operator} of the {name} could not be counted: {count.failure}")
        growth = count.total() / trial.healthy[name].total() - 1
        judged = trial.judge(name, count)
        red = [one.measurement for one in judged if one.verdict in (Verdict.REGRESSED, Verdict.ERROR)]
        injected = InjectedFault(
            plant=MAXIMUM,
            where=f"the {name}'s graph",
            strength=f"behind {index} {operator}",
            seed=0,
            host=HOST,
            seen_by=Kind.INSTRUCTIONS,
            growth=growth,
            harmful=growth >= HARM,
            caught=bool(red),
            caught_by=[Kind.INSTRUCTIONS] if red else [],
            checks=red,
            verdict=worst([one.verdict for one in judged]),
        )
        say(f"{MAXIMUM}: {name}, {injected.strength}: {'red' if red else 'green'}, {100 * growth:+.2f} % instructions")
        yield injected


def null_runs(trial: InstructionTrial, count: int) -> list[bool]:
    """Count the healthy artifacts again in other processes; return whether each was red or not exactly as before."""
    names = [name for _ in range(count) for name in trial.artifacts]
    # A process of its own each: what it counted before must not matter.
    again = [counted(trial.model, [trial.artifacts[name]])[0] for name in names]
    return [
        any(one.verdict is not Verdict.PASS for one in trial.judge(name, found))
        or found.total() != trial.healthy[name].total()
        for name, found in zip(names, again, strict=True)
    ]
