"""List all measurements: name, kind of check, and how a change is interpreted.

Names of measurements on several threads end in ``_2_threads`` and the like, see :func:`name_at`; those of a further
output, or on a further GPU, end in ``@NAME``, see :func:`of_output`.
"""

import re
from dataclasses import dataclass
from typing import Literal

from quantbench.records._common import FLOAT_CONTROL, Kind

Direction = Literal["lower is better", "higher is better", "as the metric says", "neither"]


@dataclass(frozen=True)
class Entry:
    """Describe one measurement.

    Attributes:
        name: as in reports and baselines; a final ``*`` stands for any ending.
        kind: of the check it belongs to.
        label: as shown to people.
        direction: which way is better.
        accepted: whether a baseline holds a value of it.
        noisy: whether it differs between runs where nothing changed; everything else repeats exactly.
        by_threads: whether it is measured for each number of threads.
    """

    name: str
    kind: Kind
    label: str
    direction: Direction = "neither"
    accepted: bool = False
    noisy: bool = False
    by_threads: bool = False


_LOWER: Direction = "lower is better"
_HIGHER: Direction = "higher is better"
RATIO, TO_YARDSTICK = "latency_ratio", "control_to_yardstick"
OUTPUT_DISTANCE = "output_distance"
INSTRUCTIONS = "instructions"
MICRO_ARENA = "micro_arena"  # planned and used by TFLite-Micro's own allocator
# Beside the typical call, as ratios to float32, or for float32 to the yardstick.
MEAN, CPU, P90, FIRST_CALL = "latency_mean_ratio", "latency_cpu_ratio", "latency_p90_ratio", "first_call_ratio"
OFF_CORE, OF_YARDSTICK = "off_core_excess", "latency_to_yardstick"
STALLS = "stalls"
SLOW_PROCESSES = "slow_processes"  # a judgement of the typical call's processes, no measurement of its own

CATALOGUE = (
    Entry("score", Kind.ACCURACY, "score", "as the metric says", accepted=True),
    Entry("nonfinite", Kind.ACCURACY, "NaN or infinite outputs", _LOWER, accepted=True),
    Entry("float_agreement", Kind.ACCURACY, "agreement of the float .tflite with the float model", _HIGHER),
    Entry("conversion_agreement", Kind.ACCURACY, "agreement with the fake-quantized model", _HIGHER),
    Entry(OUTPUT_DISTANCE, Kind.ACCURACY, "distance of the outputs", _LOWER, accepted=True),
    Entry("training_steps", Kind.ACCURACY, "steps of fine-tuning"),
    Entry("size", Kind.SIZE, "size", _LOWER, accepted=True),
    Entry("gzip_size", Kind.SIZE, "gzip size", _LOWER, accepted=True),
    Entry("left_operators", Kind.SIZE, "operators left to the CPU", _LOWER, accepted=True),
    Entry("left_macs", Kind.SIZE, "multiplications left to the CPU", _LOWER, accepted=True),
    Entry("npu_sram", Kind.SIZE, "SRAM by the compiler's report", _LOWER, accepted=True),
    Entry("npu_cycles", Kind.SIZE, "cycles by the compiler's report", _LOWER, accepted=True),
    Entry("arena", Kind.MEMORY, "tensor arena", _LOWER, accepted=True),
    Entry("memory_ratio", Kind.MEMORY, "memory ratio", _LOWER, accepted=True, noisy=True),
    Entry("peak_memory", Kind.MEMORY, "peak memory", _LOWER, accepted=True, noisy=True),
    Entry("peak_resident", Kind.MEMORY, "peak resident memory", _LOWER, noisy=True),
    Entry("model_memory", Kind.MEMORY, "memory of the model", _LOWER, accepted=True, noisy=True),
    Entry("leak", Kind.MEMORY, "memory kept per call", _LOWER, noisy=True),
    Entry("wrong_answers", Kind.MEMORY, "answers that did not repeat", _LOWER),
    Entry("permuted_batch", Kind.MEMORY, "batch in another order", _LOWER),
    Entry(INSTRUCTIONS, Kind.INSTRUCTIONS, "instructions a call", _LOWER, accepted=True),
    Entry(MICRO_ARENA, Kind.MICRO, "arena on TFLite-Micro", _LOWER, accepted=True),
    Entry("micro_agreement", Kind.MICRO, "agreement of TFLite-Micro with the reference kernels", _HIGHER),
    Entry("gpu_agreement", Kind.GPU, "agreement of the GPU with the CPU", _HIGHER),
    Entry("gpu_score", Kind.GPU, "score on the GPU", "as the metric says"),
    Entry("gpu_score_change", Kind.GPU, "score on the GPU minus that on the CPU", "as the metric says"),
    Entry("gpu_left", Kind.GPU, "operators left to the CPU by the GPU", _LOWER),
    Entry("gpu_left_macs", Kind.GPU, "multiplications left to the CPU by the GPU", _LOWER),
    Entry("gpu_examples", Kind.GPU, "examples that a slow GPU answered", noisy=True),
    Entry("gpu_compared", Kind.GPU, "values or detections that agreement is a share of"),
    Entry("gpu_*", Kind.GPU, "on the GPU", noisy=True),
    Entry(RATIO, Kind.LATENCY, "latency ratio to float32", _LOWER, accepted=True, noisy=True, by_threads=True),
    Entry(
        TO_YARDSTICK, Kind.LATENCY, "float32 to reference workload", _LOWER, accepted=True, noisy=True, by_threads=True
    ),
    Entry(MEAN, Kind.LATENCY, "mean latency ratio", _LOWER, accepted=True, noisy=True),
    Entry(CPU, Kind.LATENCY, "CPU time ratio", _LOWER, accepted=True, noisy=True),
    Entry(P90, Kind.LATENCY, "latency p90 ratio", _LOWER, accepted=True, noisy=True),
    Entry(FIRST_CALL, Kind.LATENCY, "first call ratio", _LOWER, accepted=True, noisy=True),
    Entry(OFF_CORE, Kind.LATENCY, "share of waiting", _LOWER, noisy=True),
    Entry(STALLS, Kind.LATENCY, "time lost in stalls", _LOWER, accepted=True, noisy=True),
    Entry(OF_YARDSTICK, Kind.LATENCY, "latency to reference workload", _LOWER, accepted=True, noisy=True),
    Entry(SLOW_PROCESSES, Kind.LATENCY, "slow processes", _LOWER, noisy=True),
    Entry("latency", Kind.LATENCY, "latency", _LOWER, noisy=True, by_threads=True),
    Entry("threads_at_work", Kind.LATENCY, "threads at work", noisy=True, by_threads=True),
    Entry("disturbed", Kind.LATENCY, "disturbed blocks", _LOWER, noisy=True, by_threads=True),
    Entry("latency_p*", Kind.LATENCY, "percentile of single calls", _LOWER, noisy=True),
    Entry("throughput", Kind.LATENCY, "throughput", _HIGHER, noisy=True),
    Entry("timing_cost", Kind.LATENCY, "cost of timing", _LOWER, noisy=True),
    Entry("start_up_*", Kind.LATENCY, "start-up", _LOWER, noisy=True),
    Entry("batch_*", Kind.LATENCY, "in a batch", noisy=True),
    Entry("target_score", Kind.TARGET, "score on a target", "as the metric says"),
    Entry("keras_*", Kind.LATENCY, "in Keras", _LOWER, noisy=True),
)
_BY_NAME = {entry.name: entry for entry in CATALOGUE if not entry.name.endswith("*")}
_BY_BEGINNING = {entry.name[:-1]: entry for entry in CATALOGUE if entry.name.endswith("*")}
BY_THREADS = tuple(entry.name for entry in CATALOGUE if entry.by_threads)
_THREADS = re.compile(r"_(\d+)_threads$")
# Names of measurements and judgements that say nothing to who does not know the code.
_SHOWN = {
    "census": "structure snapshot",
    "promise": "quantization spec",
    TO_YARDSTICK: "float32 to reference workload",
    OF_YARDSTICK: "latency to reference workload",
    OFF_CORE: "time off the CPU",
    STALLS: "time lost in stalls",
    "left_operators": "operators left to the CPU",
    "left_macs": "multiplications on the CPU",
    "npu_sram": "SRAM by the compiler's report",
    "npu_cycles": "cycles by the compiler's report",
    "gpu_score": "GPU score",
    "gpu_score_change": "GPU score minus CPU score",
    "gpu_examples": "examples that a slow GPU answered",
    "gpu_compared": "compared with the CPU's",
    "gpu_left": "operators left to the CPU by the GPU",
    "gpu_left_macs": "multiplications left to the CPU by the GPU",
}
_OTHER = Entry("", Kind.ACCURACY, "")  # whatever is not in the catalogue describes predictions


def entry(name: str) -> Entry:
    """Return the catalogue's entry of a measurement, for any number of threads."""
    bare = _THREADS.sub("", without_output(name))
    if bare in _BY_NAME:
        return _BY_NAME[bare]
    return next((catalogued for start, catalogued in _BY_BEGINNING.items() if bare.startswith(start)), _OTHER)


def kind_of(name: str) -> Kind:
    """Return the kind of check that a measurement belongs to."""
    return entry(name).kind


def shown(name: str) -> str:
    """Return a measurement's name as people read it: with spaces, and in the field's words."""
    output = output_in(name)
    if output:
        return f"{shown(without_output(name))} {'on' if kind_of(name) in (Kind.GPU, Kind.TARGET) else 'of'} {output}"
    bare, threads = _THREADS.sub("", name), threads_in(name)
    words = _SHOWN.get(bare, bare.replace("_", " "))
    return words if threads == 1 else f"{words} {threads} threads"


def of_output(name: str, output: str) -> str:
    """Return the name of a measurement of a further output or GPU; its bare name where that is empty: the main one."""
    return f"{name}@{output}" if output else name


def output_in(name: str) -> str:
    """Return the further output in a measurement's name; empty where it is of the main one, or of the artifact."""
    return name.partition("@")[2]


def without_output(name: str) -> str:
    """Return a measurement's name without that of a further output."""
    return name.partition("@")[0]


def judged_latency(variant: str) -> str:
    """Return the latency that is judged: float32 against the yardstick, every other variant against float32."""
    return TO_YARDSTICK if variant == FLOAT_CONTROL else RATIO


def name_at(name: str, threads: int) -> str:
    """Return the name of a latency measurement with this number of threads; its bare name with one."""
    return name if threads == 1 else f"{name}_{threads}_threads"


def threads_in(name: str) -> int:
    """Return the number of threads in a measurement's name."""
    match = _THREADS.search(without_output(name))
    return int(match[1]) if match else 1
