"""Measure whether instruction counts repeat, here and on the host of the baselines, and simulated cache misses too.

    python -m studies.instruction_counts --run reports/latest --report-dir reports/reference

Artifacts of the gate are called under valgrind as a run does it, in fresh processes that differ in what should not
matter: nothing, random addresses (ASLR) off, a longer environment, another heap. Compared are the instructions of a
call, and the misses of the caches that callgrind simulates (``--cache-sim=yes``; their sizes are fixed, as valgrind
takes those of the host otherwise). With ``--run``, the counts of a finished run are compared with the accepted ones.
"""

import argparse
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from quantbench import gate
from quantbench.baselines.files import load
from quantbench.build.store import Store, default_root
from quantbench.core import arrays, child_process, environment
from quantbench.core.options import RunOptions
from quantbench.engine import measurements
from quantbench.errors import BadInput
from quantbench.measure import instructions, memory
from quantbench.measure.instructions import Wanted
from quantbench.records import Report
from quantbench.records.measurements import INSTRUCTIONS
from quantbench.records.run_folder import read
from quantbench.reference.model import load_models
from quantbench.selftest.flatbuffer import layers
from quantbench.tflite.litert import LiteRT

from studies import _common

CHOSEN = (
    "seed_cnn/float32,seed_cnn/ptq_static_wi8_ai8,seed_cnn/aeq_dynamic_wi4_afp32,ds_cnn/ptq_static_wi8_ai8,"
    "ds_cnn/aeq_dynamic_wi4_afp32,resnet8/ptq_static_wi8_ai8,resnet8/aeq_dynamic_wi4_afp32,"
    "vit_tiny/aeq_dynamic_wi4_afp32"
)
CACHES = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=8388608,16,64"]
PLANTED, PLACE, EXAMPLES = ("resnet8", "ptq_static_wi8_ai8"), 5, 100  # the shortcut of its second block
WORKER = "quantbench.measure.instructions_worker"
LIMIT_SECONDS = 1200.0
MISSES = {
    "Ir": "instructions",
    "I1mr": "first level, instructions",
    "D1mr": "first level, reads",
    "D1mw": "first level, writes",
    "DLmr": "last level, reads",
    "DLmw": "last level, writes",
}
_TOTALS = re.compile(r"^(?:totals|summary): ([\d ]+)$", re.MULTILINE)
_EVENTS = re.compile(r"^events: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Way:
    """Say how a process differs from those of a run: the command around it, and variables of its environment."""

    name: str
    around: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


WAYS = (
    Way("as a run"),
    Way("again"),
    Way("addresses not random", ("setarch", "-R")),
    Way("a longer environment", variables=(("QUANTBENCH_STUDY", "x" * 5000),)),
    Way("another heap", variables=(("MALLOC_TOP_PAD_", "1000000"), ("MALLOC_ARENA_TEST", "1"))),
)


# A processor that this machine lacks, as the kernel would tell of it: a run asks valgrind's cpuid, and the kernel too.
_PROCESSOR = """processor\t: {number}
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
cache size\t: 107520 KB
physical id\t: 0
siblings\t: {processors}
core id\t\t: {number}
cpu cores\t: {processors}
apicid\t\t: {number}
flags\t\t: fpu sse sse2 avx avx2 avx512f avx512_vnni amx_int8

"""
PROCESSORS = 64
_TOLD = (
    "mount --bind $0/cpuinfo /proc/cpuinfo && mount --bind $0/list /sys/devices/system/cpu/possible && "
    'mount --bind $0/list /sys/devices/system/cpu/present && exec "$@"'
)


def elsewhere(folder: Path) -> Way | None:
    """Return the way of a process to which the kernel tells of another machine's processors; None without the right."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return None
    told = [_PROCESSOR.format(number=number, processors=PROCESSORS) for number in range(PROCESSORS)]
    (folder / "cpuinfo").write_text("".join(told), encoding="utf-8")
    (folder / "list").write_text(f"0-{PROCESSORS - 1}\n", encoding="utf-8")
    return Way(f"{PROCESSORS} processors of Intel in /proc and /sys", ("unshare", "-m", "sh", "-c", _TOLD, str(folder)))


def events(dumps: Iterable[str]) -> dict[str, int]:
    """Add up the events of an artifact's dumps.

    Raises:
        ValueError: a dump does not say which events it counts.
    """
    found: dict[str, int] = {}
    for text in dumps:
        names, totals = _EVENTS.search(text), _TOTALS.search(text)
        if names is None or totals is None:
            raise ValueError("a dump without events or totals")
        for name, count in zip(names[1].split(), totals[1].split(), strict=False):  # events of no cost are left out
            found[name] = found.get(name, 0) + int(count)
    return found


def measure(chosen: Sequence[tuple[str, Path]], way: Way) -> dict[str, dict[str, int]]:
    """Call each artifact in one process; return the totals of each event by artifact."""
    models = load_models(RunOptions().model_dir)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quantbench-")))
        jobs = [stack.enter_context(memory.prepared_job(path, models[cell.split("/")[0]])) for cell, path in chosen]
        job = {"artifacts": jobs, "threads": 1, "folder": str(folder)}
        under = [*way.around, *instructions.command(folder), *CACHES]
        variables = {**child_process.ONE_THREAD, "PYTHONHASHSEED": "0", **dict(way.variables)}
        child_process.result(child_process.start(WORKER, job, LIMIT_SECONDS, variables, under=under))
        found = {}
        for number, (cell, _) in enumerate(chosen):
            paths = sorted(folder.glob(f"{number}-dump.*"), key=lambda path: int(path.suffix[1:]))
            found[cell] = events(path.read_text(encoding="utf-8") for path in paths)
    return found


def repeats(cells: Sequence[str], ways: Sequence[Way]) -> list[list[str]]:
    """Measure the rows: an artifact, an event, its count in the first process, and how far each other is from it."""
    models, store = load_models(RunOptions().model_dir), Store(default_root())
    chosen = []
    for cell in cells:
        model, variant = cell.split("/")
        chosen.append((cell, _common.artifact(models[model], variant, store)))
    first, *others = (measure(chosen, way) for way in ways)
    return [
        [cell, MISSES[event], f"{count:,}", *(told(one[cell][event] - count, count) for one in others)]
        for cell in cells
        for event, count in first[cell].items()
        if event in MISSES
    ]


def told(difference: int, of: int) -> str:
    """Say how far a count is from another."""
    return f"{difference:+,} ({100 * difference / of:+.3f} %)" if difference else "the same"


# ---------------------------------------------------------------- a plant


def wider(content: bytes, place: int) -> bytes:
    """Give the kernel of a convolution a column of zeros on its right: the same answers with more multiplications.

    Args:
        place: of the convolution among the compute operators; one whose padding this leaves as it is.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    layer = layers(model)[place]
    kernel = np.pad(layer.read(1, "int8"), ((0, 0), (0, 0), (0, 1), (0, 0)))
    layer.tensor(1).shape = list(kernel.shape)
    layer.write(1, kernel)
    builder = flatbuffers.Builder(len(content) + kernel.nbytes)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def planted() -> list[str]:
    """Plant a slowdown in one operator of an accepted artifact, count, and judge it; return a paragraph."""
    model = load_models(RunOptions().model_dir)[PLANTED[0]]
    healthy = _common.artifact(model, PLANTED[1], Store(default_root()))
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        slower = Path(folder) / "slower.tflite"
        slower.write_bytes(wider(healthy.read_bytes(), PLACE))
        examples = model.prepare(arrays.rows(model.pack().test.x, slice(0, EXAMPLES)))
        answers = [LiteRT(path.read_bytes()).run(examples) for path in (healthy, slower)]
        alike = np.asarray(answers[0]).tobytes() == np.asarray(answers[1]).tobytes()
        before, after = instructions.measure([Wanted(path, path.name, model) for path in (healthy, slower)])
    if before.failure or after.failure:
        raise BadInput(f"nothing was counted: {before.failure or after.failure}")
    entry = load(RunOptions().baseline_dir, model).cell(PLANTED[1])
    subject = gate.Subject(*PLANTED, "reports/latest")
    told = []
    for name, count in (("as accepted", before), ("with the plant", after)):
        measured = measurements.instructions(count)[INSTRUCTIONS]
        judged = gate.instructions(subject, measured, count.counted(), "", entry)
        told += [f"- {name}: {one.verdict.shown}: {one.message}" for one in judged]
    said = (
        f"A convolution of {'/'.join(PLANTED)} was given a column of zeros: its answers to {EXAMPLES} examples are "
        f"{'the same bit by bit' if alike else 'NOT the same'}, and it multiplies more."
    )
    return ["## A slowdown in one operator", said, "\n".join(told)]


# ---------------------------------------------------------------- hosts


@dataclass(frozen=True)
class Compared:
    """Hold an artifact's count here and the accepted one."""

    cell: str
    there: str
    same_artifact: bool
    accepted: list[tuple[str, int]]
    counted: list[tuple[str, int]]

    def difference(self) -> int:
        """Return how many instructions more were counted here."""
        return sum(count for _, count in self.counted) - sum(count for _, count in self.accepted)

    def differing(self) -> list[str]:
        """Name the operators that differ, each kernel once."""
        if len(self.accepted) != len(self.counted):
            return ["other operators"]
        pairs = zip(self.accepted, self.counted, strict=True)
        return sorted({new[0] for old, new in pairs if tuple(old) != tuple(new)})


def compared(report: Report, baseline_dir: Path) -> list[Compared]:
    """Pair the counts of a run with the accepted ones of the same profile."""
    models, found = load_models(RunOptions().model_dir), []
    accepted = {name: load(baseline_dir, models[name]) for name in sorted({cell.model for cell in report.cells})}
    for cell in report.cells:
        entry = accepted[cell.model].cell(cell.variant)
        if cell.counted is None or entry is None or cell.counted.profile not in entry.counted:
            continue
        profile = cell.counted.profile
        there = environment.class_accepted(entry.by_machine[INSTRUCTIONS][profile].accepted)
        same = cell.artifact_sha256 == entry.artifact_sha256
        found.append(Compared(cell.id, there, same, list(entry.counted[profile]), list(cell.counted.operators)))
    return found


def hosts(found: Sequence[Compared]) -> list[str]:
    """Write a paragraph and a table: artifacts counted alike to the last instruction, and the others."""
    here = environment.results_class()
    rows = []
    for one in found:
        if one.differing():
            accepted = sum(count for _, count in one.accepted)
            rows.append([one.cell, f"{accepted:,}", told(one.difference(), accepted), ", ".join(one.differing())])
    there = ", ".join(sorted({one.there for one in found}))
    other = sum(not one.same_artifact for one in found)
    alike = len(found) - len(rows)
    said = (
        f"Accepted on {there}, counted on {here}: {alike} of {len(found)} artifacts have the same number, in each "
        f"operator, to the last instruction. {other} of the artifacts are other files than accepted."
    )
    parts = ["## The accepted counts and those of this host", said]
    return [*parts, _common.table(["artifact", "accepted", "here", "kernels that differ"], rows)] if rows else parts


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write ``instruction_counts.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default=CHOSEN, help="comma-separated (default: %(default)s)")
    parser.add_argument("--run", type=Path, help="a finished run whose counts are compared with the accepted ones")
    parser.add_argument("--report-dir", type=Path, default=Path("reports/instruction_counts"))
    given = parser.parse_args(arguments)
    machine = _common.machine()
    parts = ["# Whether instruction counts repeat", machine]
    if given.run is not None:
        parts += hosts(compared(read(given.run)[0], RunOptions().baseline_dir))
    parts += planted()
    with tempfile.TemporaryDirectory(prefix="quantbench-") as name:
        other = elsewhere(Path(name))
        ways = [*WAYS, other] if other is not None else list(WAYS)
        rows = repeats(given.cells.split(","), ways)
    parts += [
        "## Between processes",
        "One call of each artifact in a process of its own kind; how far its counts are from those of the first "
        f"process. Caches are simulated ({' '.join(CACHES[1:])}) and empty when the call starts.",
        _common.table(["artifact", "what", *(way.name for way in ways)], rows),
    ]
    _common.write(given.report_dir, "instruction_counts.md", parts)


if __name__ == "__main__":
    _common.quietly(main)
