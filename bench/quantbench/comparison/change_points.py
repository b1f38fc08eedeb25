"""Where the level of a noisy series changes, by ruptures.

It finds the segmentation into means with the least squares under a penalty. Sources: Truong, Oudre & Vayatis 2020,
"Selective review of offline change point detection methods"; PELT: Killick, Fearnhead & Eckley 2012.

ruptures takes longer to load than a thousand runs take to read, so a command may load it ahead, in a process of its
own: ``python -m quantbench.comparison.change_points`` answers a line of JSON with a line of JSON.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from quantbench.core.arrays import Array

_helpers: list["subprocess.Popen[str]"] = []


@contextmanager
def ahead() -> Iterator[None]:
    """Load ruptures beside what is done in the meantime."""
    helper = subprocess.Popen(
        [sys.executable, "-m", "quantbench.comparison.change_points"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what it cannot do is done here, and says so
        text=True,
        start_new_session=True,  # the Ctrl-C that ends us is no matter of its
    )
    _helpers.append(helper)
    try:
        yield
    finally:
        _helpers.remove(helper)
        helper.kill()  # it may not even have loaded yet; nothing waits for it
        helper.communicate()


def starts(x: Array, penalty: float) -> list[int]:
    """Where in ``x`` of shape (n,) a new level starts, oldest first.

    Args:
        penalty: of one more level, in squares.
    """
    told = _asked(_helpers[-1], x, penalty) if _helpers else None
    return _search(x, penalty) if told is None else told


def _asked(helper: "subprocess.Popen[str]", x: Array, penalty: float) -> list[int] | None:
    """The helper's answer; None where it does not live any more."""
    assert helper.stdin is not None
    assert helper.stdout is not None
    try:
        helper.stdin.write(json.dumps([penalty, x.tolist()]) + "\n")
        helper.stdin.flush()
        told = helper.stdout.readline()
    except OSError:
        return None
    return [int(start) for start in json.loads(told)] if told else None


def _search(x: Array, penalty: float) -> list[int]:
    import ruptures

    found = ruptures.KernelCPD(kernel="linear", min_size=2)  # one run that stands out is no new level
    return [int(end) for end in found.fit_predict(x, pen=penalty)[:-1]]


def main() -> None:
    """Answer until nobody asks any more."""
    import ruptures  # noqa: F401 - it loads before the first question comes

    for line in sys.stdin:
        penalty, values = json.loads(line)
        print(json.dumps(_search(np.array(values), penalty)), flush=True)


if __name__ == "__main__":
    main()
