"""Share a few whole numbers with another process through a small file, such as how far a cell is.

The other process may be hostile: a link, a pipe or nonsense in place of the file counts as no numbers.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

_LONGEST = 100  # bytes
_PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def write(path: Path, *numbers: int) -> None:
    """Replace the numbers of a file, made where it does not exist; nothing is written where that cannot be done."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | _PLAIN, 0o600)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                text = " ".join(str(number) for number in numbers).ljust(_LONGEST)
                os.pwrite(descriptor, text.encode(), 0)  # as one piece and of one length: a reader sees old or new
        finally:
            os.close(descriptor)


def read(path: Path) -> list[int]:
    """Return the numbers of a file; none where there is no such file, or it is no such one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _PLAIN)
    except OSError:
        return []
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return []
        return [int(number) for number in os.pread(descriptor, _LONGEST, 0).split()]
    except (OSError, ValueError):
        return []
    finally:
        os.close(descriptor)
