"""What lies in a store, and why a cell does not: which ingredient is another than in the nearest entry of the cell."""

import ast
import inspect
import json
import re
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from quantbench.build import artifact
from quantbench.build.eviction import Lying, entries, environments, show_size
from quantbench.build.fingerprint import source_fingerprint
from quantbench.build.store import INDEX, Store, digest, read_index
from quantbench.core.environment import package_version
from quantbench.measure import accuracy, census, gpu, gpu_devices, memory
from quantbench.records import parts
from quantbench.reference.model import ReferenceModel
from quantbench.variants import FLOAT_CONTROL, VARIANTS, Variant

DAMAGED = "damaged"
_NONE = object()
_HASH = re.compile(r"[0-9a-f]{64}")
_LONGEST = 100


@dataclass(frozen=True)
class Stored:
    """An entry as it lies in the store; its content is not checked.

    Attributes:
        what: kind of entry: ``artifact``, ``evaluation``, ...
        made: when, in nanoseconds.
    """

    lying: Lying
    what: str
    made: int
    files: dict[str, str]
    ingredients: dict[str, Any]


def stored(store: Store) -> list[Stored]:
    """Every entry; one that cannot be read is of the kind ``damaged``."""
    found = []
    for lying in entries(store):
        try:
            index = read_index(lying.path)
            made = (lying.path / INDEX).stat().st_mtime_ns
        except (OSError, ValueError):
            found.append(Stored(lying, DAMAGED, lying.used, {}, {}))
            continue
        found.append(Stored(lying, str(index["ingredients"].get("what")), made, index["files"], index["ingredients"]))
    return found


# ---------------------------------------------------------------- ls


def listing(store: Store, cell: str = "") -> str:
    """A row an entry, and what they take together.

    Args:
        cell: part of a cell's id; all entries where empty.
    """
    found = stored(store)
    names = _cells_of_artifacts(found)
    labelled = sorted(((_label(entry, names), entry) for entry in found), key=lambda pair: (pair[0], pair[1].what))
    shown = [(label, entry) for label, entry in labelled if cell in label]
    rows = [
        [entry.what, label, show_size(entry.lying.size), _ago(entry.made), _ago(entry.lying.used)]
        for label, entry in shown
    ]
    kinds: dict[str, list[int]] = {}
    for _, entry in shown:
        kinds.setdefault(entry.what, []).append(entry.lying.size)
    parts = [f"{len(sizes)} {kind} {show_size(sum(sizes))}" for kind, sizes in sorted(kinds.items())]
    total = show_size(sum(entry.lying.size for _, entry in shown))
    table = tabulate(rows, headers=["kind", "cell", "size", "made", "last used"], tablefmt="simple") + "\n\n"
    summary = f"{len(shown)} entries, {total} in {store.root}"
    installed = [] if cell else [one.size for one in environments(store)]
    more = f"\n{len(installed)} environments of quantbench ab, {show_size(sum(installed))}" if installed else ""
    return (table if rows else "") + summary + (f": {', '.join(parts)}" if parts else "") + more


def _cells_of_artifacts(found: list[Stored]) -> dict[str, list[str]]:
    """sha256 of an artifact -> the cells that have it: several variants may well be the same bytes."""
    names: dict[str, list[str]] = {}
    for entry in found:
        if artifact.ARTIFACT in entry.files:
            names.setdefault(entry.files[artifact.ARTIFACT], []).append(_cell(entry.ingredients))
    return names


def _cell(ingredients: Mapping[str, Any]) -> str:
    made_from = ingredients.get("float model", ingredients)
    model = made_from.get("model", "?") if isinstance(made_from, dict) else "?"
    seed = ingredients.get("seed")
    return f"{model}/{ingredients.get('variant', '?')}" + ("" if seed is None else f" seed {seed}")


def _label(entry: Stored, names: dict[str, list[str]]) -> str:
    told = entry.ingredients
    if entry.what == DAMAGED:
        return entry.lying.path.name[:12]
    if "variant" in told:
        return _cell(told)
    if "artifact" in told:
        cells = sorted(names.get(str(told["artifact"]), []))
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        return cells[0] + more if cells else f"{told.get('model', '?')}/(an artifact that is gone)"
    return _cell({**told, "variant": f"({told.get('stage', entry.what)})"})


def _ago(then: int) -> str:
    seconds = max(0.0, time.time() - then / 1e9)
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name} ago"
    return f"{seconds:.0f} s ago"


# ---------------------------------------------------------------- why


def why(model: ReferenceModel, variant: Variant, seed: int, train_seed: int | None, store: Store) -> list[str]:
    """A line for each part of a cell that a run takes from the store, and under it what is another than it was."""
    found = stored(store)
    made_of = artifact.ingredients(model, variant, seed, train_seed)
    lines = _told("artifact", made_of, store, _of_cell(found, made_of))
    for what, one in trainings(variant, made_of, seed).items():
        lines += _told(what, one, store, _of_training(found, one))
    if not store.has(digest(made_of)):
        return [*lines, "what is measured of it: known once the artifact is there"]
    if variant.name == FLOAT_CONTROL and accuracy.has_own(model, train_seed):
        own = accuracy.float_recipe(model)
        lines += _told("float predictions", own, store, _of(found, own, "model"))
    sha256 = read_index(store.path(digest(made_of)))["files"].get(artifact.ARTIFACT)
    if sha256 is None:
        return [*lines, "the tools refuse it, so nothing is measured of it"]
    parts = {"evaluation": accuracy.recipe(sha256, model), "contents": census.recipe(sha256)}
    parts |= {"memory": memory.recipe(sha256, model)} if seed == 0 else {}
    for what, one in parts.items():
        lines += _told(what, one, store, _of(found, one, "artifact"))
    return lines + _on_gpu(model, train_seed, sha256, store, found)


def trainings(variant: Variant, made_of: Mapping[str, Any], seed: int) -> dict[str, dict[str, Any]]:
    """What a variant's artifact starts from and is kept by itself: its name -> its ingredients.

    Args:
        made_of: ingredients of the artifact.
    """
    start = made_of["float model"]
    found = {"float weights": {"what": "float weights", **start}} if "trained with seed" in start else {}
    common = {name: value for name, value in made_of.items() if not name.startswith("variant")}
    for make in stages(variant.make):
        found[f"stage {make.__qualname__.partition('.')[0]}"] = common | {
            "what": "stage",
            "stage": make.__name__,
            "stage code": source_fingerprint(make),
            "packages": {name: package_version(name) for name in artifact.STAGE_PACKAGES},
            "seed": seed,
        }
    return found


def stages(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """What a function hands to ``stage`` of its workbench, as its source says, and what that hands on; the first first.

    So nothing has to be trained, nor TensorFlow imported, to know it.
    """
    try:
        source = ast.parse(textwrap.dedent(inspect.getsource(function)))
        known = inspect.getclosurevars(function)
    except (OSError, SyntaxError, TypeError):  # of a kind that somebody else has declared
        return
    for node in ast.walk(source):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "stage":
            with suppress(NameError):  # a local name
                make = _value(node.args[0], {**known.globals, **known.nonlocals})
                yield from stages(make)
                yield make


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """What an expression of names, attributes, constants and calls stands for; NameError for any other."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.Attribute):
        return getattr(_value(node.value, names), node.attr)
    if isinstance(node, ast.Call) and not node.keywords:
        return _value(node.func, names)(*(_value(argument, names) for argument in node.args))
    raise NameError(ast.unparse(node))


def _on_gpu(model: ReferenceModel, train_seed: int | None, sha256: str, store: Store, found: list[Stored]) -> list[str]:
    """The same of what the artifact answers on the GPU, where the store has anything of a GPU."""
    measured = [one for one in found if one.what == "gpu"]
    if not measured:
        return []
    here = gpu_devices.find()
    if here.first is None:
        return [f"gpu: not measured here: {here.reason}"]
    control = store.path(digest(artifact.ingredients(model, VARIANTS[FLOAT_CONTROL], 0, train_seed)))
    try:
        of_control = read_index(control)["files"][artifact.ARTIFACT]
    except (OSError, ValueError, KeyError):
        return ["gpu: known once the artifact of the float control is there"]
    both = gpu.Artifact(control, sha256), gpu.Artifact(control, of_control)
    made_of = gpu.recipe(*both, model, here.first)
    return _told("gpu", made_of, store, _of(measured, made_of, "artifact"))


def _of(found: list[Stored], recipe: Mapping[str, Any], same: str) -> list[Stored]:
    return [one for one in found if one.what == recipe["what"] and one.ingredients.get(same) == recipe[same]]


def _of_cell(found: list[Stored], recipe: Mapping[str, Any]) -> list[Stored]:
    same = _of(found, recipe, "variant")
    return [one for one in same if parts(_cell(one.ingredients))[0] == recipe["float model"]["model"]]


def _of_training(found: list[Stored], recipe: Mapping[str, Any]) -> list[Stored]:
    return [one for one in found if _training(one.ingredients) == _training(recipe)]


def _training(told: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes a training another one: such as a number of centroids, which its function has captured."""
    captured = {name: value for name, value in told.get("stage code", {}).items() if ": " in name}
    return told.get("what"), parts(_cell(told))[0], told.get("stage"), captured


def _told(what: str, recipe: Mapping[str, Any], store: Store, others: list[Stored]) -> list[str]:
    key = digest(recipe)
    own = next((one for one in others if one.lying.path.name == key), None)
    if store.has(key) and own is not None:
        size = show_size(own.lying.size)
        return [f"{what}: in the store, {size}, made {_ago(own.made)}, last used {_ago(own.lying.used)}"]
    if own is not None:
        return [f"{what}: in the store, but damaged; the next run makes it again"]
    if not others:
        return [f"{what}: not in the store, and never was, or was cleared away"]
    told = {one.lying.path: list(differences(one.ingredients, recipe)) for one in others}
    nearest = min(others, key=lambda one: (len(told[one.lying.path]), -one.made))
    lines = [f"{what}: not in the store; what is another than in the nearest entry of {len(others)}:"]
    return [*lines, *(f"  {line}" for line in told[nearest.lying.path])]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two sets of ingredients, one sentence each: ``tensorflow 2.20.0 before, 2.21.0 now``."""
    before, now = (dict(_leaves(json.loads(json.dumps(each)))) for each in (old, new))  # as an entry keeps them
    for path in sorted({*before, *now}):
        one, other = before.get(path, _NONE), now.get(path, _NONE)
        if one != other:
            yield _difference(path, one, other)


def _leaves(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _leaves(inner, (*path, str(name)))
        else:
            yield (*path, str(name)), inner


def _difference(path: tuple[str, ...], old: object, new: object) -> str:
    name, where = path[-1], path[:-1]
    subject = ", ".join(path)
    if "packages" in where:
        subject = name
    elif "code" in where:
        subject = f"the source of {name}"
    elif where and where[-1].endswith(" code"):
        subject = f"source of {name}"
    elif "source" in where[:-1]:
        subject = f"source of {name} (the model's {where[-1]})"
    if old is _NONE or new is _NONE:
        return f"{subject} is new" if old is _NONE else f"{subject} is gone"
    if _HASH.fullmatch(str(old)) or _HASH.fullmatch(str(new)):
        return f"{subject} changed"
    if "packages" in where:
        return f"{subject} {old} before, {new} now"
    return f"{subject}: {str(old)[:_LONGEST]} before, {str(new)[:_LONGEST]} now"
