"""Group cells by what they have in common, so that cells that are red together are told once."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import combinations

from quantbench.records import Cell, Family

# Conditions of a family at most: "int4 cells of aeq in resnet8". Of many cells, two keep the search short.
_MOST, _MOST_OF_MANY, _MANY = 3, 2, 500
# From this share of a family on, its red cells are told as a part of it: "7 of 8 int4 cells".
_NEARLY = 0.5
# A part of a family is told in place of a whole smaller one where it covers so many times as many cells, and is so
# large a share: "7 of 8 int4 cells" rather than two entries.
_MUCH_MORE, _MOSTLY = 1.5, 0.75
_FIELDS = ("model", "engine", "weights", "ranges", "activations", "trained")
_PICKS = 200  # families that are told at most; what is left is grouped by model
_DTYPES = {"wi2": "int2", "wi4": "int4", "wi8": "int8", "float16": "float16"}
_ACTIVATIONS = {"ai8": "int8", "ai16": "int16"}  # those in float32 are no sign of anything

Conditions = tuple[tuple[str, str | bool], ...]  # sorted (field of Family, value)
Group = tuple[Conditions, list[str], int]  # what the cells have in common, the cells, and how many have it in the run


def conditions(cell: Cell) -> Conditions:
    """Return everything that a cell's name says of it."""
    return (("model", cell.model), *_of_variant(cell.variant), ("trained", bool(cell.seeds)))


@lru_cache(maxsize=4096)
def _of_variant(variant: str) -> Conditions:
    words = variant.split("_")
    found: list[tuple[str, str | bool]] = [("engine", words[0])]
    found += [("weights", _DTYPES[word]) for word in words if word in _DTYPES][:1]
    found += [("activations", _ACTIVATIONS[word]) for word in words if word in _ACTIVATIONS][:1]
    found += [("ranges", word) for word in words if word in ("static", "dynamic")][:1]
    return tuple(found)


def family_of(common: Conditions) -> Family:
    """Return conditions as a record."""
    return Family.model_validate(dict(common))


def members(common: Conditions, cells: Iterable[Cell]) -> list[str]:
    """List the cells that meet all conditions."""
    wanted = set(common)
    return [cell.id for cell in cells if wanted <= set(conditions(cell))]


def grouped(red: Collection[str], cells: Sequence[Cell]) -> list[Group]:
    """Divide red cells into as few families as possible, each cell into one, the largest family first.

    A family that is red as a whole counts before a part of one. Of equally large ones, that with fewer conditions.

    Args:
        red: ids of cells.
        cells: all cells of the run.
    """
    order = {cell.id: place for place, cell in enumerate(cells)}
    left = {cell.id: _families(cell, len(red)) for cell in cells if cell.id in red}
    count: Counter[Conditions] = Counter()
    for cell in cells:
        count.update(left.get(cell.id) or _families(cell, len(red)))
    found: list[Group] = []
    while len(left) > 1 and len(found) < _PICKS:
        chosen = _chosen(left, count)
        if chosen is None:
            break
        taken = [one for one, families in left.items() if chosen in families]
        found.append((chosen, sorted(taken, key=order.__getitem__), count[chosen]))
        for one in taken:
            del left[one]
    return found + _rest(list(left), count, {cell.id: cell for cell in cells})


def _families(cell: Cell, many: int) -> list[Conditions]:
    known = conditions(cell)
    most = _MOST if many <= _MANY else _MOST_OF_MANY
    return [some for size in range(most + 1) for some in combinations(known, size)]


def _chosen(left: dict[str, list[Conditions]], count: Counter[Conditions]) -> Conditions | None:
    """Return the largest family of which all cells are left, else the largest of which most are; None without one."""
    held: Counter[Conditions] = Counter()
    for families in left.values():
        held.update(families)
    shared = [(families, number) for families, number in held.items() if number > 1]
    whole = [pair for pair in shared if count[pair[0]] == pair[1]]
    # A part of a family is told by the narrowest one: more of its cells are red than of a wider one.
    nearly = [pair for pair in shared if pair[1] >= _NEARLY * count[pair[0]] and pair[0]]
    best = max(whole, key=lambda pair: (pair[1], *_plain(pair[0])), default=None)
    part = max(nearly, key=lambda pair: (pair[1], pair[1] / count[pair[0]], *_plain(pair[0])), default=None)
    if best is not None and part is not None:
        most, share = part[1], part[1] / count[part[0]]
        return part[0] if most > _MUCH_MORE * best[1] and share >= _MOSTLY else best[0]
    chosen = best or part
    return chosen[0] if chosen else None


def _plain(common: Conditions) -> tuple[int, tuple[int, ...]]:
    """Rank families of the same cells: fewer conditions first, then those that name the tool and the weights."""
    return -len(common), tuple(-_FIELDS.index(name) for name, _ in common)


def _rest(left: list[str], count: Counter[Conditions], by_id: dict[str, Cell]) -> list[Group]:
    """Group by model what no family tells."""
    of_model: dict[str, list[str]] = {}
    for one in left:
        of_model.setdefault(by_id[one].model, []).append(one)
    return [((("model", model),), ids, count[(("model", model),)]) for model, ids in of_model.items()]
