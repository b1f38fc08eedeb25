"""Parse the numbers of threads to time with."""

import os

from quantbench.errors import BadInput

ALL_CORES = "all"

# More than any machine has: LiteRT starts as many as requested.
MOST_THREADS = 1024


def thread_counts(text: str, all_cores: int | None = None) -> list[int]:
    """Parse ``1,all`` as [1, number of cores]; 1 is always included, because everything else is compared with it.

    Args:
        all_cores: number of cores; this machine's where None.

    Raises:
        BadInput: a part is neither a whole number of at least 1 nor ``all``.
    """
    counts = {1}
    for part in text.split(","):
        word = part.strip()
        if word != ALL_CORES and not (word.isdecimal() and 0 < int(word[:5]) <= MOST_THREADS):
            raise BadInput(f"--threads: expected whole numbers of at least 1, or {ALL_CORES!r}, found {text!r}")
        counts.add((all_cores or cores()) if word == ALL_CORES else int(word))
    return sorted(counts)


def cores() -> int:
    """Return the number of logical cores of this machine."""
    return os.cpu_count() or 1
