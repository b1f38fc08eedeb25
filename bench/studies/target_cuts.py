"""Cut the connection to a target thirty times, and compare what scores over ssh cost with scores on this machine.

A real sshd runs on the loopback address. The artifacts are those of ``seed_cnn`` that the cache holds. Each is run on
the target while the connection is cut at a random moment: while files are sent, between rows, while memory is measured.
After each cell, every cell that was finished before is looked up in the store without a connection. Prints Markdown:

    python -m studies.target_cuts > reports/reference/target_cuts.md
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from quantbench.build import artifact as build
from quantbench.build.store import Store, default_root
from quantbench.core.arrays import Array
from quantbench.core.arrays import rows as first_rows
from quantbench.core.options import CHECKOUT
from quantbench.core.targets import Target, parsed
from quantbench.measure import chunks
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.report.formatting import table
from quantbench.targets.link import SSH, Link
from quantbench.targets.runner import Artifact, Runner, Told
from quantbench.tflite.litert import LiteRT
from quantbench.variants import VARIANTS

from studies import _sshd

CUTS = 30
TURNS = 7
EXAMPLES = 3000  # of the cells whose connection is cut
MODEL = "seed_cnn"
COSTS = {"seed_cnn": 10_000, "resnet8": 500}  # model -> examples


@dataclass
class Cutter:
    """Cut the connection when so many more frames have come or gone, once; in the middle of whatever is under way."""

    server: _sshd.Server
    random: random.Random
    left: int = -1
    moments: list[str] = field(default_factory=list)

    def arm(self, most: int) -> None:
        """Choose the moment of the next cut."""
        self.left = self.random.randrange(most)

    def passed(self, what: str) -> None:
        """Count a frame, and cut where it is the chosen one."""
        if self.left == 0 and self.server.cut():
            self.moments.append(what)
        self.left = max(-1, self.left - 1)


@contextmanager
def cutting(cutter: Cutter) -> Iterator[None]:
    """Let each frame of this process's links pass the cutter."""
    send, receive = Link.send, Link.receive

    def sent(link: Link, head: dict[str, Any], body: bytes = b"") -> None:
        send(link, head, body)
        cutter.passed(f"after {head['kind']} was sent")

    def received(link: Link, *limit: float) -> tuple[dict[str, Any], bytes]:
        head, body = receive(link, *limit)
        cutter.passed(f"after {head['kind']} came")
        return head, body

    Link.send, Link.receive = sent, received  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Link.send, Link.receive = send, receive  # type: ignore[method-assign]


def artifacts(model: ReferenceModel) -> dict[str, Artifact]:
    """Find the artifacts of a model in the cache: variant -> file."""
    found = {}
    for name, variant in VARIANTS.items():
        built = build.find(model, variant, 0, None, Store(default_root()))
        if built is not None and built.path is not None and built.sha256 is not None:
            found[name] = Artifact(built.path, built.sha256)
    return found


def local(model: ReferenceModel, artifact: Artifact, count: int) -> Array:
    """Return the predictions of the first examples on this machine, as a run computes them."""

    def predicted(outputs: Any, inputs: Any) -> dict[str, Array]:
        return {"": model.metric.predict(outputs, inputs)}

    runner = LiteRT(artifact.path, stateful=model.stateful)
    return chunks.answer(
        first_rows(model.pack().test.x, slice(0, count)), model.prepare, runner.run, predicted
    ).predictions[""]


def cut_often(
    server: _sshd.Server, target: Target, model: ReferenceModel, folder: Path, seed: int, most: int
) -> list[list[str]]:
    """Run artifacts with one cut each, again and again, until there were enough; return one row per cut."""
    known, cutter, rows = list(artifacts(model).values()), Cutter(server, random.Random(seed)), []
    if not known:
        raise SystemExit(f"the cache holds no artifact of {model.name}: run quantbench run --models {model.name} first")
    expected = {one.sha256: local(model, one, EXAMPLES) for one in known}
    number = 0
    while len(cutter.moments) < most:
        one, finished = known[number % len(known)], known[: number % len(known)]
        round_folder = folder / str(number // len(known))  # a new store and a new target's folder each round
        there = replace(target, folder=str(round_folder / "there"), examples=EXAMPLES)
        runner, told, before = Runner(there, Store(round_folder / "store")), Told(), len(cutter.moments)
        with cutting(cutter):
            cutter.arm(16)
            taken = runner.answers(model, one, told)
        runner.close()
        cutter.left = -1
        same = np.array_equal(taken.predictions, expected[one.sha256])
        offline = Runner(there, Store(round_folder / "store"), _unreachable)
        offline.machine = runner.machine
        kept = sum(
            np.array_equal(offline.answers(model, each, Told()).predictions, expected[each.sha256])
            for each in [*finished, one]
        )
        for moment in cutter.moments[before:]:
            lost = len(finished) + 1 - kept
            rows.append([moment, "yes" if same else "NO", str(len(told.retried)), str(lost)])
        number += 1
    return rows


def _unreachable(_: Target) -> Link:
    raise AssertionError("what is stored needs no connection")


def cpu_seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return CPU and wall seconds of some work: of this process and whatever it has started, the server too."""

    def now() -> float:
        total, own = 0.0, psutil.Process()
        for process in (own, *own.children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
        return total

    before, since = now(), time.perf_counter()
    work()
    wall = time.perf_counter() - since
    return now() - before, wall


def costs(target: Target, model: ReferenceModel, count: int, folder: Path) -> Iterator[list[str]]:
    """Take scores on this machine and over ssh in turns, for some artifacts; yield a row of each.

    The first time over ssh connects, starts the worker and sends the data; a run does that once.
    """
    runner = Runner(replace(target, examples=count), Store(folder))
    for name, one in list(artifacts(model).items())[:2]:
        first, _ = cpu_seconds(lambda one=one: runner.scored(model, one, Told()))  # type: ignore[misc]
        here, over = [], []
        for _ in range(TURNS):
            here.append(cpu_seconds(partial(local, model, one, count)))
            over.append(cpu_seconds(partial(runner.scored, model, one, Told())))
        ratios = [[b[i] / a[i] for a, b in zip(here, over, strict=True)] for i in (0, 1)]
        spread = [f"{np.median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in ratios]
        cpu = [f"{np.median([each[0] for each in side]):.2f}" for side in (here, over)]
        yield [f"{model.name}/{name}", f"{count:,}", *cpu, *spread, f"{first:.2f}"]
    runner.close()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cuts", type=int, default=CUTS)
    given = parser.parse_args()
    seed = given.seed
    if not _sshd.sshd():
        raise SystemExit(_sshd.MISSING)
    models = load_models(CHECKOUT / "models")
    model = models[MODEL]
    with tempfile.TemporaryDirectory(prefix="quantbench-") as temporary:
        folder = Path(temporary)
        with _sshd.running(folder / "server") as server:
            os.environ[SSH] = server.command
            target = replace(
                parsed("loopback", server.address + sys.executable, "target"), folder=str(folder / "there")
            )
            rows = cut_often(server, target, model, folder / "cuts", seed, given.cuts)
            print(f"# {len(rows)} cuts of a connection\n")
            print(f"Over ssh to the loopback address, {MODEL}, {EXAMPLES:,} examples a cell, seed {seed}.\n")
            print(table(rows, ["moment", "answers as here", "tried again", "finished cells lost"]))
            wrong, lost = sum(row[1] != "yes" for row in rows), sum(row[3] != "0" for row in rows)
            print(f"\nWrong answers: {wrong}. Cuts after which a finished cell was missing: {lost}.\n", flush=True)
            print("# What scores cost over ssh\n")
            print(
                f"{TURNS} turns of a cell here and over ssh to the loopback address, with the connection and the data "
                "there already; median, least and most. First: with the connection, the worker's start and the "
                "sending of the data, which a run does once.\n"
            )
            rows = [
                row
                for name, count in COSTS.items()
                for row in costs(target, models[name], count, folder / "costs" / name)
            ]
            heads = [
                "cell",
                "examples",
                "CPU s here",
                "CPU s over ssh",
                "ratio of CPU",
                "ratio of wall",
                "first, CPU s",
            ]
            print(table(rows, heads))


if __name__ == "__main__":
    main()
