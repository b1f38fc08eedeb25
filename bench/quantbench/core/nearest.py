"""Find the name that somebody may have meant."""

import difflib
from collections.abc import Iterable

# A name is suggested from this similarity on: `variant` for `variants` has .93, `garment` for `resnet8` .57.
NEAR = 0.7
_LEAST_LETTERS = 3  # of a beginning that is taken for a longer name


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to another, or begins with it; None where none is near.

    The dashes of options do not count: they would make all options similar.
    """
    bare, wanted = {one.lstrip("-"): one for one in known}, name.lstrip("-")
    close = difflib.get_close_matches(wanted, bare, n=1, cutoff=NEAR)
    longer = [one for one in bare if len(wanted) >= _LEAST_LETTERS and one.startswith(wanted)]
    return next((bare[one] for one in [*_transposed(wanted, bare), *close, *longer]), None)


def _transposed(wanted: str, known: Iterable[str]) -> list[str]:
    """List the names of which a name has two neighbouring letters the other way round; ``rnu`` and ``run`` have .67."""
    swapped = {wanted[:at] + wanted[at + 1] + wanted[at] + wanted[at + 2 :] for at in range(len(wanted) - 1)}
    return [one for one in known if one in swapped]
