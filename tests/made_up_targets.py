"""A model of four numbers, its artifacts, and workers that do something wrong, for the tests of targets."""

import hashlib
import shlex
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from made_up_cells import Model, model
from made_up_graphs import layers
from quantbench.build.store import Store
from quantbench.core.targets import Target
from quantbench.measure import accuracy
from quantbench.reference.datasets import Pack, Split
from quantbench.targets.runner import Artifact, Runner
from quantbench.tflite.litert import LiteRT

COUNT = 3000
X = np.random.default_rng(0).normal(size=(COUNT, 4)).astype(np.float32)

# Starts the worker with one text of its source replaced by another.
PLANT = """
import sys
i = sys.stdin.buffer
source = i.read(int(i.readline())).decode()
old, new = sys.argv[1:3]
assert old in source, old
exec(source.replace(old, new))
"""


@lru_cache
def labels() -> Any:
    """Answers of the first artifact, but for every tenth."""
    found = np.argmax(LiteRT(layers()).run(X), axis=1).astype(np.int64)  # type: ignore[arg-type]
    found[::10] = (found[::10] + 1) % 4
    return found


class Four(Model):
    def pack(self) -> Pack:
        return Pack(None, None, Split(X, labels()), "d")


def _as_it_is(x: Any) -> Any:
    return x


def four(**more: Any) -> Any:
    return Four(**(vars(model()) | {"prepare": _as_it_is} | more))


def artifact(folder: Path, content: bytes | None = None) -> Artifact:
    content = content or layers()
    path = folder / f"{hashlib.sha256(content).hexdigest()[:8]}.tflite"
    path.write_bytes(content)
    return Artifact(path, hashlib.sha256(content).hexdigest())


def here(one: Artifact) -> Any:
    """Predictions of all examples on this machine."""
    return four().metric.predict(accuracy.answers(one.path, False, X, 1), X)


def planted(old: str, new: str, folder: Path, **more: Any) -> Target:
    """A target whose worker has another text in its source."""
    script = folder / "plant.py"
    script.write_text(PLANT)
    words = (sys.executable, str(script), old, new)
    return Target("t", f"command:{shlex.join(words)}", "command", words=words, folder=str(folder / "there"), **more)


def local(folder: Path, **more: Any) -> Target:
    return Target("t", "local", "local", folder=str(folder / "there"), **more)


def runner(target: Target, folder: Path) -> Runner:
    return Runner(target, Store(folder / "store"))
