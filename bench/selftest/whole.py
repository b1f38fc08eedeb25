"""The whole selftest: what trains is planted in a process of its own, so that two cores are used."""

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench.records import Planted, Selftest
from bench.reference import ReferenceModel, load_file
from bench.selftest import artifact, pipeline, training
from bench.selftest.plants import HOST
from bench.store import Store

QUICK_SEEDS, FULL_SEEDS = 1, 3
QUICK_NULLS, FULL_NULLS = 3, 30
Say = Callable[[str], None]
Found = tuple[list[Planted], list[bool]]


def _silent(_line: str) -> None:
    pass


def planted_in_training(file: Path, name: str, baseline_dir: Path, quick: bool) -> Found:
    """(plants, whether each healthy training was called red); neither where no baseline tells how QAT scores."""
    model = next(one for one in load_file(file) if one.name == name)
    if not training.can_train(model, baseline_dir):
        return [], []
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        ground = training.prepare(model, baseline_dir, Path(folder))
        nulls = [] if quick else training.null_runs(ground, training.NULL_SEEDS)
        return list(training.planted(ground, not quick, _silent)), nulls


def planted_in_pipeline(model: ReferenceModel, quick: bool, say: Say) -> list[Planted]:
    """Data, store and baselines."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        return list(pipeline.planted(pipeline.prepare(model, Path(folder)), not quick, say))


def planted_in_artifacts(model: ReferenceModel, quick: bool, say: Say) -> Found:
    """(plants, whether each healthy artifact, converted again, was called red)."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        store = Store(Path(folder))
        found = list(artifact.planted(model, store, QUICK_SEEDS if quick else FULL_SEEDS, say, quick))
        return found, artifact.null_runs(artifact.Trial(model, store), QUICK_NULLS if quick else FULL_NULLS)


def in_a_process_of_its_own(model: ReferenceModel, quick: bool, baseline_dir: Path) -> Callable[[], Found]:
    """Start planting in what trains; the function that is returned waits for it."""
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    started = pool.submit(planted_in_training, model.file, model.name, baseline_dir, quick)

    def wait() -> Found:
        with pool:
            return started.result()

    return wait


def run(model: ReferenceModel, quick: bool, say: Say, baseline_dir: Path) -> Selftest:
    """Plant everything, and make what is healthy again and again."""
    wait_for_training = in_a_process_of_its_own(model, quick, baseline_dir)
    in_artifacts, nulls = planted_in_artifacts(model, quick, say)
    in_pipeline = planted_in_pipeline(model, quick, say)
    in_training, trained_nulls = wait_for_training()
    for one in in_training:
        say(artifact.described(one))
    return Selftest(
        model=model.name,
        variant=HOST,
        plants=[*in_artifacts, *in_training, *in_pipeline],
        null_runs=len(nulls),
        false_reds=sum(nulls),
        trained_null_runs=len(trained_nulls),
        trained_false_reds=sum(trained_nulls),
    )
