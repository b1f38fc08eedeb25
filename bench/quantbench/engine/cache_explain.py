"""Explain what the cache holds, and which ingredients of a missing entry differ from the closest one that exists."""

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

from quantbench.build import arm_root, artifact
from quantbench.build.eviction import Lying, entries, environments, show_size
from quantbench.build.fingerprint import source_fingerprint
from quantbench.build.package_contents import package_contents
from quantbench.build.store import INDEX, Store, digest, read_index
from quantbench.measure import accuracy, census, gpu, gpu_devices, memory, size
from quantbench.records import parts
from quantbench.reference.model import ReferenceModel
from quantbench.variants import FLOAT_CONTROL, VARIANTS, Variant

DAMAGED = "damaged"
_NONE = object()
_HASH = re.compile(r"[0-9a-f]{64}")
_LONGEST = 100


@dataclass(frozen=True)
class Stored:
    """Describe an entry of the store, without checking its content.

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
    """Return every entry; one that cannot be read has the kind ``damaged``."""
    listed = []
    for lying in entries(store):
        try:
            index = read_index(lying.path)
            made = (lying.path / INDEX).stat().st_mtime_ns
        except (OSError, ValueError):
            listed.append(Stored(lying, DAMAGED, lying.used, {}, {}))
            continue
        listed.append(Stored(lying, str(index["ingredients"].get("what")), made, index["files"], index["ingredients"]))
    return listed


# ---------------------------------------------------------------- ls


def listing(store: Store, cell: str = "") -> str:
    """Return a table with one row per entry, and the total sizes.

    Args:
        cell: part of a cell's id; all entries where empty.
    """
    all_entries = stored(store)
    names = _cells_of_artifacts(all_entries)
    labelled = sorted(
        ((_label(entry, names), entry) for entry in all_entries), key=lambda pair: (pair[0], pair[1].what)
    )
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
    installed = [] if cell else list(environments(store))
    of_arm = [one.size for one in installed if arm_root.is_root(one.path)]
    of_ab = [one.size for one in installed if not arm_root.is_root(one.path)]
    told = ((of_ab, "quantbench ab"), (of_arm, "ARM answers"))
    more = "".join(f"\ninstalled for {what}: {len(sizes)}, {show_size(sum(sizes))}" for sizes, what in told if sizes)
    return (table if rows else "") + summary + (f": {', '.join(parts)}" if parts else "") + more


def _cells_of_artifacts(all_entries: list[Stored]) -> dict[str, list[str]]:
    """Map the sha256 of each artifact to its cells; several variants may produce the same bytes."""
    names: dict[str, list[str]] = {}
    for entry in all_entries:
        if artifact.ARTIFACT in entry.files:
            names.setdefault(entry.files[artifact.ARTIFACT], []).append(_cell(entry.ingredients))
    return names


def _cell(ingredients: Mapping[str, Any]) -> str:
    made_from = ingredients.get("float model", ingredients)
    model = made_from.get("model", "?") if isinstance(made_from, dict) else "?"
    seed = ingredients.get("seed")
    return f"{model}/{ingredients.get('variant', '?')}" + ("" if seed is None else f" seed {seed}")


def _label(entry: Stored, names: dict[str, list[str]]) -> str:
    ingredients = entry.ingredients
    if entry.what == DAMAGED:
        return entry.lying.path.name[:12]
    if "variant" in ingredients:
        return _cell(ingredients)
    if "artifact" in ingredients:
        cells = sorted(names.get(str(ingredients["artifact"]), []))
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        return cells[0] + more if cells else f"{ingredients.get('model', '?')}/(artifact no longer cached)"
    return _cell({**ingredients, "variant": f"({ingredients.get('stage', entry.what)})"})


def _ago(then: int) -> str:
    seconds = max(0.0, time.time() - then / 1e9)
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name} ago"
    return f"{seconds:.0f} s ago"


# ---------------------------------------------------------------- why


def why(model: ReferenceModel, variant: Variant, seed: int, train_seed: int | None, store: Store) -> list[str]:
    """Return a line for each part of a cell, and under it the ingredients that differ from the closest entry."""
    all_entries = stored(store)
    made_of = artifact.ingredients(model, variant, seed, train_seed)
    lines = _explained("artifact", made_of, store, _of_cell(all_entries, made_of))
    for what, recipe in trainings(variant, made_of, seed).items():
        lines += _explained(what, recipe, store, _of_training(all_entries, recipe))
    if not store.has(digest(made_of)):
        return [*lines, "measurements: known once the artifact is cached"]
    if variant.name == FLOAT_CONTROL and accuracy.has_own(model, train_seed):
        own = accuracy.float_recipe(model)
        lines += _explained("float predictions", own, store, _of(all_entries, own, "model"))
    sha256 = read_index(store.path(digest(made_of)))["files"].get(artifact.ARTIFACT)
    if sha256 is None:
        return [*lines, "measurements: none, as the tools cannot make this artifact"]
    parts = {
        "evaluation": accuracy.recipe(sha256, model),
        "contents": census.recipe(sha256),
        "gzip size": size.recipe(sha256),
    }
    parts |= {"memory": memory.recipe(sha256, model)} if seed == 0 else {}
    for what, recipe in parts.items():
        lines += _explained(what, recipe, store, _of(all_entries, recipe, "artifact"))
    return lines + _on_gpu(model, train_seed, sha256, store, all_entries)


def trainings(variant: Variant, made_of: Mapping[str, Any], seed: int) -> dict[str, dict[str, Any]]:
    """Return what a variant's artifact starts from and is stored separately: name -> ingredients.

    Args:
        made_of: ingredients of the artifact.
    """
    start = made_of["float model"]
    recipes = {"float weights": {"what": "float weights", **start}} if "trained with seed" in start else {}
    common = {name: value for name, value in made_of.items() if not name.startswith("variant")}
    for make in stages(variant.make):
        recipes[f"stage {make.__qualname__.partition('.')[0]}"] = common | {
            "what": "stage",
            "stage": make.__name__,
            "stage code": source_fingerprint(make),
            "packages": {name: package_contents(name) for name in artifact.STAGE_PACKAGES},
            "seed": seed,
        }
    return recipes


def stages(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield the functions passed to ``stage`` of a function's workbench, earliest first, found by parsing its source.

    Nothing is trained and TensorFlow is not imported for it.
    """
    try:
        source = ast.parse(textwrap.dedent(inspect.getsource(function)))
        closure = inspect.getclosurevars(function)
    except (OSError, SyntaxError, TypeError):  # of a kind that somebody else has declared
        return
    for node in ast.walk(source):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "stage":
            with suppress(NameError):  # a local name
                make = _value(node.args[0], {**closure.globals, **closure.nonlocals})
                yield from stages(make)
                yield make


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Return the value of an expression of names, attributes, constants and calls; NameError for any other."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.Attribute):
        return getattr(_value(node.value, names), node.attr)
    if isinstance(node, ast.Call) and not node.keywords:
        return _value(node.func, names)(*(_value(argument, names) for argument in node.args))
    raise NameError(ast.unparse(node))


def _on_gpu(
    model: ReferenceModel, train_seed: int | None, sha256: str, store: Store, all_entries: list[Stored]
) -> list[str]:
    """Explain the measurement of the artifact on each GPU, where the store has any of a GPU."""
    measured = [entry for entry in all_entries if entry.what == "gpu"]
    if not measured:
        return []
    here = gpu_devices.find()
    if here.first is None:
        return [f"gpu: not measured here: {here.reason}"]
    control = store.path(digest(artifact.ingredients(model, VARIANTS[FLOAT_CONTROL], 0, train_seed)))
    try:
        of_control = read_index(control)["files"][artifact.ARTIFACT]
    except (OSError, ValueError, KeyError):
        return ["gpu: known once the float32 artifact is cached"]
    both = gpu.Artifact(control, sha256), gpu.Artifact(control, of_control)
    lines = []
    for device in here.devices:
        made_of = gpu.recipe(*both, model, device)
        what = "gpu" if device == here.first else f"gpu, {device.name}"
        lines += _explained(what, made_of, store, _of(measured, made_of, "artifact"))
    return lines


def _of(all_entries: list[Stored], recipe: Mapping[str, Any], same: str) -> list[Stored]:
    return [
        entry for entry in all_entries if entry.what == recipe["what"] and entry.ingredients.get(same) == recipe[same]
    ]


def _of_cell(all_entries: list[Stored], recipe: Mapping[str, Any]) -> list[Stored]:
    same = _of(all_entries, recipe, "variant")
    return [entry for entry in same if parts(_cell(entry.ingredients))[0] == recipe["float model"]["model"]]


def _of_training(all_entries: list[Stored], recipe: Mapping[str, Any]) -> list[Stored]:
    return [entry for entry in all_entries if _training(entry.ingredients) == _training(recipe)]


def _training(ingredients: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what identifies a training, including values that its function has captured (a number of centroids)."""
    captured = {name: value for name, value in ingredients.get("stage code", {}).items() if ": " in name}
    return ingredients.get("what"), parts(_cell(ingredients))[0], ingredients.get("stage"), captured


def _explained(what: str, recipe: Mapping[str, Any], store: Store, others: list[Stored]) -> list[str]:
    key = digest(recipe)
    own = next((entry for entry in others if entry.lying.path.name == key), None)
    if store.has(key) and own is not None:
        size = show_size(own.lying.size)
        return [f"{what}: cached, {size}, made {_ago(own.made)}, last used {_ago(own.lying.used)}"]
    if own is not None:
        return [f"{what}: cached, but damaged; the next run makes it again"]
    if not others:
        return [f"{what}: not cached: never made, or removed since"]
    changes = {entry.lying.path: list(differences(entry.ingredients, recipe)) for entry in others}
    nearest = min(others, key=lambda entry: (len(changes[entry.lying.path]), -entry.made))
    noun = "entry" if len(others) == 1 else "entries"
    lines = [f"{what}: not cached. Changed since the closest of {len(others)} {noun}:"]
    return [*lines, *(f"  {line}" for line in changes[nearest.lying.path])]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield one sentence for each ingredient that differs: ``tensorflow 2.20.0 before, 2.21.0 now``."""
    before, now = (dict(_leaves(json.loads(json.dumps(each)))) for each in (old, new))  # as an entry keeps them
    for path in sorted({*before, *now}):
        old_value, new_value = before.get(path, _NONE), now.get(path, _NONE)
        if old_value != new_value:
            yield _difference(path, old_value, new_value)


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
