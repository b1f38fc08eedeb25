"""Write what the user's own Python code yields into ``.npy`` files: ``file.py:NAME``, code that the user trusts.

NAME is an iterable (a ``tf.data.Dataset``, a ``keras.utils.Sequence``, a data loader, a list) or a function that
returns one. It yields ``(x, y)``, ``x`` alone, or a dict with ``x`` and ``y``; ``x`` is a dict or a tuple where the
model has several inputs, ``y`` a dict by output where several have labels. An item is an example or a batch of them; a
tuple of two arrays is one batch. The code runs in a process of its own, as the user, so that TensorFlow is not loaded
here and memory that it keeps is free afterwards.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from quantbench.adopt import formats
from quantbench.adopt.npy_files import KEEP_FREE, check_room
from quantbench.core import child_process
from quantbench.core.arrays import Array
from quantbench.errors import BadInput
from quantbench.reference.npy_folder import Stored

_LIMIT_SECONDS = 24 * 3600.0


def is_one(source: str) -> bool:
    """Check whether the user named Python code."""
    return ".py:" in source or source.endswith(".py")


def written(source: str, specs: formats.Specs, scratch: Path) -> dict[str, Array | Stored]:
    """Write everything that the code yields into ``scratch``, some at a time.

    Returns:
        Array, ``x`` or ``x_INPUT`` or ``y`` or ``y_OUTPUT``, -> its file.

    Raises:
        BadInput: the code cannot be run, raises, yields nothing, or something that does not fit; one sentence.
        DiskFull: there is no room.
    """
    file, _, name = source.rpartition(":")
    if not source.partition(".py:")[2]:
        raise BadInput(f"{source}: name what to read in the file, as {Path(source.rstrip(':')).name}:NAME")
    if not Path(file).is_file():
        raise BadInput(f"{file}: no such file; expected file.py:NAME, a Python iterable of (x, y)")
    check_room(scratch, 0, Path(file))
    job: dict[str, Any] = {
        "file": str(Path(file).absolute()),
        "name": name,
        "shown": source,
        "inputs": {input_name: list(shape[1:]) for input_name, (shape, _) in specs.items()},
        "folder": str(scratch.absolute()),
        "cwd": os.getcwd(),
        "most bytes": shutil.disk_usage(scratch).free - KEEP_FREE,
    }
    try:
        done = child_process.start("quantbench.adopt.python_source_worker", job, _LIMIT_SECONDS, {})
        answer = child_process.result(done)
    except child_process.ChildFailed as error:
        raise BadInput(f"{source}: the process that ran it {error}") from None
    if refused := answer.get("refused"):
        raise BadInput(str(refused))
    return {key: Stored((Path(path),), None, scratch, f"{source}: {key}") for key, path in answer["arrays"].items()}
