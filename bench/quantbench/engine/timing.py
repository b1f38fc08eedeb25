"""Time cells one after another, while none of our other processes run. Nothing here judges.

One thread and a batch of one are always timed; more threads on request, and with ``--more-latency`` a larger batch and
the float model in Keras, which are shown only: for what could not be timed, the reason is shown.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil

from quantbench.core.options import RunOptions
from quantbench.core.threads import cores, thread_counts
from quantbench.engine import measurements as measured
from quantbench.measure import batch, keras, latency, memory, turns
from quantbench.records import DISTURBED, SEVERAL_AT_WORK, Load, Measurement, parts
from quantbench.records.measurements import STALLS
from quantbench.reference.model import ReferenceModel
from quantbench.variants import FLOAT_CONTROL, VARIANTS


class Others:
    """Measure the load by other processes, as a fraction of all cores, since creation; this run's do not count."""

    def __init__(self) -> None:
        self._start = self._now()

    def load(self) -> Load | None:
        """Return the load so far; None where the system does not report it."""
        everything, busy, own = (now - then for now, then in zip(self._now(), self._start, strict=True))
        if everything <= 0:
            return None
        others = min(1.0, max(0.0, (busy - own) / everything))
        return Load(others=others, average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Return seconds of all cores: total, busy, and busy for this process and its finished children."""
        times, own = psutil.cpu_times(), os.times()
        fields = times._asdict()
        # A guest's time is already included in ``user``.
        total = sum(seconds for name, seconds in fields.items() if not name.startswith("guest"))
        idle = fields["idle"] + fields.get("iowait", 0.0)
        return total, total - idle, own.user + own.system + own.children_user + own.children_system


class Timing:
    """Hold everything that one run has timed.

    Attributes:
        threads: numbers of threads of the kernels.
        untimed: cell -> measurement -> why it could not be taken.
        keras_gpu: the GPU on which the model in Keras was timed, empty where on none.
        recording: whether this run's times become baselines: the error of a baseline is in every later judgement, so
            that each cell is timed with the processes of all stages.

    Args:
        say: prints one line of progress.
        elsewhere: runs a function with its arguments on another machine; without it, everything runs here.
        start_up: whether the start-up is timed too, which is only shown.

    Raises:
        BadInput: the number of threads is invalid.
    """

    def __init__(
        self,
        options: RunOptions,
        say: Callable[[str], None],
        elsewhere: Callable[..., Any] | None = None,
        start_up: bool = True,
    ) -> None:
        self.threads = thread_counts(options.threads)
        self.untimed: dict[str, dict[str, str]] = {}
        self.keras_gpu = ""
        self._seconds = options.latency_budget
        self._more = options.more_latency
        self.recording = bool(options.update_baselines)
        self._start_up = start_up
        self._say = say
        self._timed: dict[tuple[str, int], latency.Latency] = {}
        self._besides: dict[str, dict[str, Measurement]] = {}
        self._split: dict[int, str] = {}
        self._others: Others | None = None
        self._elsewhere = elsewhere

    def _at(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return a measuring function's result, from the machine that is timed."""
        if self._elsewhere is not None:
            return self._elsewhere(function, *arguments)
        self._others = self._others or Others()
        return function(*arguments)

    def once(
        self,
        cell_id: str,
        model: ReferenceModel,
        artifact: Path,
        control: Path,
        threads: int = 1,
        times: int = 1,
        longer: int = 1,
    ) -> dict[str, Measurement]:
        """Time an artifact against its control once, repeating where other processes interrupted most of it.

        Earlier timings of the cell stay in its report, together with this one.

        Args:
            times, longer: processes of a later stage, and how long they time, see :func:`latency.measure`.

        Raises:
            LatencyFailed: a timing process failed.
        """
        given = artifact, control, model, self._seconds, threads, times, longer
        timed: latency.Latency = self._at(latency.measure, *given)
        if timed.disturbed() > DISTURBED:
            self._say(f"{cell_id}: other processes disturbed {100 * timed.disturbed():.0f} % of it; measuring again")
            again = self._at(latency.measure, *given)
            timed = min(timed, again, key=latency.Latency.disturbed)
        before = self._timed.get((cell_id, threads))
        both = latency.Latency([*before.processes, *timed.processes]) if before else timed
        self._timed[cell_id, threads] = both
        untimed = self.untimed.setdefault(cell_id, {})
        untimed.pop(STALLS, None)  # a later stage may be counted
        uncounted = measured.uncounted_stalls(both, parts(cell_id)[1])
        if uncounted:
            untimed[STALLS] = uncounted
        return measured.latency(timed) | measured.beside(timed, parts(cell_id)[1])

    def in_turns(
        self,
        model: ReferenceModel,
        artifact: Path,
        accepted: Path,
        packages: Path | None = None,
        threads: int = 1,
        times: int = 1,
        longer: int = 1,
    ) -> dict[str, Measurement]:
        """Time an artifact in turns with the accepted one; the result is no part of what the cell takes.

        Args:
            packages: folder of the accepted runtime; None where it is the installed one.
            times, longer: processes of a later stage, and how long they time, see :func:`turns.measure`.

        Raises:
            LatencyFailed: a timing process failed.
        """
        given = artifact, accepted, model, self._seconds, threads, packages, times, longer
        return measured.in_turns(self._at(turns.measure, *given))

    def besides(self, cell_id: str, model: ReferenceModel, artifact: Path) -> None:
        """Measure what is timed once per cell and only shown: start-up, and with ``--more-latency`` the rest."""
        if self._start_up:
            self._shown(cell_id, "start_up_cold", lambda: measured.start_up(self._at(memory.start_up, artifact, model)))
        if not self._more:
            return
        self._shown(
            cell_id,
            f"batch_{batch.BATCH}_latency",
            lambda: measured.batch(self._at(batch.measure, artifact, model), batch.BATCH),
        )
        self._in_keras(f"{model.name}/{FLOAT_CONTROL}", model, "")
        if VARIANTS[parts(cell_id)[1]].family == "qat":
            self._in_keras(cell_id, model, parts(cell_id)[1])

    def _in_keras(self, cell_id: str, model: ReferenceModel, variant: str) -> None:
        """Time the float model, or a variant's fake-quantized one, before conversion."""

        def measure() -> dict[str, Measurement]:
            timed = self._at(keras.measure, model, min(self._seconds, 3.0), variant)
            self.keras_gpu = timed.device
            if timed.no_gpu:
                self.untimed.setdefault(cell_id, {})["keras_gpu_latency"] = timed.no_gpu
            return measured.keras(timed)

        self._shown(cell_id, "keras_latency", measure)

    def _shown(self, cell_id: str, name: str, measure: Callable[[], dict[str, Measurement]]) -> None:
        """Make a measurement once, or record why it failed."""
        untimed = self.untimed.setdefault(cell_id, {})
        taken = self._besides.setdefault(cell_id, {})
        if name in taken or name in untimed:
            return
        try:
            taken |= measure()
        except (latency.LatencyFailed, memory.MemoryFailed) as error:
            untimed[name] = str(error)

    def splits(self, threads: int, controls: Iterable[tuple[ReferenceModel, Path]]) -> str:
        """Return the name of a model whose float control uses this many threads; empty where there is none.

        Args:
            controls: (model, its float control), each timed briefly until one does; once per run.
        """
        if threads not in self._split:
            self._split[threads] = next(
                (model.name for model, control in controls if self._is_split(model, control, threads)), ""
            )
        return self._split[threads]

    def _is_split(self, model: ReferenceModel, control: Path, threads: int) -> bool:
        few = self._at(latency.measure, control, control, model, latency.PROCESS_SECONDS, threads)
        return measured.latency(few)["threads_at_work"].value >= SEVERAL_AT_WORK

    def measurements(self, cell_id: str) -> dict[str, Measurement]:
        """Return everything timed of a cell so far, by its names in a report."""
        measurements: dict[str, Measurement] = {}
        for threads in self.threads:
            timed = self._timed.get((cell_id, threads))
            if timed is not None:
                measurements |= measured.at_threads(measured.latency(timed), threads)
                measurements |= measured.calls(timed) | measured.beside(timed, parts(cell_id)[1])
        return measurements | self._besides.get(cell_id, {})

    def blocks(self, cell_id: str) -> list[float]:
        """Return the timed blocks of a cell on one thread, seconds per call; empty where it was not timed."""
        timed = self._timed.get((cell_id, 1))
        return timed.blocks() if timed else []

    def load(self) -> Load | None:
        """Return the load by other processes during timing; None where nothing was timed."""
        return self._others.load() if self._others else None

    def notes(self) -> list[str]:
        """Return notes for the reader of the report on how the run was timed."""
        notes = [f"Keras on a GPU ran on {self.keras_gpu}"] if self.keras_gpu else []
        if self.threads[-1] > cores():
            notes.append(
                f"--threads {self.threads[-1]} exceeds this machine's {cores()} cores, so threads wait for each other"
            )
        return notes
