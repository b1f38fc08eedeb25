"""Find the name that somebody may have meant."""

import difflib
from collections.abc import Iterable

# A name is suggested from this similarity on: `--variant` for `--variants` has .95, `garment` for `resnet8` .57.
NEAR = 0.7
_LEAST_LETTERS = 3  # of a beginning that is taken for a longer name


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to another, or begins with it; None where none is near."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=NEAR)
    longer = [one for one in names if len(name.strip("-")) >= _LEAST_LETTERS and one.startswith(name)]
    return next(iter([*close, *longer]), None)
