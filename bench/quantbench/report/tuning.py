"""Put into words what a search for the smallest mixed artifact found: the answer first, on one screen."""

import shlex
from collections.abc import Sequence

from tabulate import tabulate

from quantbench.core.echo import line
from quantbench.records import JudgedOutput, MixedGroup, MixedRecipe, TriedArtifact, Tuning
from quantbench.report import advice

# Together at most 30 lines: 3 of the answer, 6 of groups, 10 of the table with its heading, 4 of where it is.
MOST_GROUPS, MOST_ROWS = 6, 8
LONGEST = 160  # characters of a line of operators; the recipe has all of it


def screen(found: Tuning) -> str:
    """Return the answer as text of at most 30 lines."""
    if found.interrupted:
        return "\n".join([*_stopped(found), *_where(found)])
    parts = [*_answer(found), *_groups(found.groups), "", *_table(found), "", *_where(found), how(found)]
    return "\n".join(parts)


def _answer(found: Tuning) -> list[str]:
    if found.choice is None:
        return _nothing(found)
    one = found.choice
    size = f"{_kib(one.bytes)}, {one.bytes / found.float_bytes:.2f}× float32 ({_kib(found.float_bytes)})"
    what = f"{one.name}, a fixed variant" if one.name else "a mixed artifact"
    return [f"{what}: {size}{_beside_fixed(found)}", f"{_drops(one, found)}, {_unseen(found)}", *_fixed_words(found)]


def _beside_fixed(found: Tuning) -> str:
    best, one = found.best_fixed, found.choice
    if best is None or one is None or one.name:
        return ""
    return f", {one.bytes / best.bytes:.2f}× the smallest fixed variant within ({best.name}, {_kib(best.bytes)})"


def _fixed_words(found: Tuning) -> list[str]:
    if found.choice is not None and found.choice.name:
        return [f"none of {found.mixed} mixed artifacts that were tried is smaller and can be shown to keep the limit"]
    if found.alone:
        smaller = ", ".join(f"{one.name} ({_kib(one.bytes)})" for one in found.alone)
        return [
            f"note: smaller, and within if judged by itself alone: {smaller}; the search was less sure of it than of "
            "what failed"
        ]
    if found.best_fixed is None:
        return ["no fixed variant could be shown to keep the limit"]
    return []


def _nothing(found: Tuning) -> list[str]:
    first = found.judged[0]
    tried = f"{found.fixed} fixed variants and {found.mixed} mixed artifacts"
    words = [f"Nothing meets the limit of {advice.limit(first)}, of {tried}."]
    if found.nearest is not None:
        one = found.nearest
        name = one.name or f"mixed ({settings_words(one)})"
        words.append(f"nearest: {name}, {_kib(one.bytes)}: {_drops(one, found)}, {_unseen(found)}: {_verdict(one)}")
    return words


def _verdict(one: TriedArtifact) -> str:
    needed = [each.needed for each in one.outputs if each.verdict == "undecided" and each.needed is not None]
    if one.verdict == "undecided" and needed:
        return f"undecided, which about {max(needed):,} examples to judge on would tell"
    return str(one.verdict)


def _unseen(found: Tuning) -> str:
    return f"on {found.judged[0].examples:,} examples that the search never saw"


def _drops(one: TriedArtifact, found: Tuning) -> str:
    pairs = zip(one.outputs, found.judged, strict=True)
    each = [
        f"{advice.number(verdict.drop, of.limit, of.unit)} {of.unit}{_of_output(of, found)} "
        f"(95 %: {advice.interval(verdict, of)}) where {advice.number(of.limit, of.limit, of.unit)} is allowed"
        for verdict, of in pairs
    ]
    return f"a drop of {' and '.join(each)}"


def _of_output(of: JudgedOutput, found: Tuning) -> str:
    return f" on {line(of.output)}" if len(found.judged) > 1 else ""


def _groups(groups: Sequence[MixedGroup]) -> list[str]:
    lines = [_cut(f"{len(one.operators)} × {one.words}: {', '.join(map(line, one.operators))}") for one in groups]
    rest = len(lines) - MOST_GROUPS
    return lines if rest <= 0 else [*lines[: MOST_GROUPS - 1], f"and {rest + 1} other groups: see the recipe"]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def settings_words(one: TriedArtifact) -> str:
    """Count the operators of each setting."""
    ordered = sorted(one.settings.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{count} {name}" for name, count in ordered if name != "float") or "nothing quantized"


def _table(found: Tuning) -> list[str]:
    """Return the judgements in their order: the surest first, the first that is not within the last."""
    first = found.judged[0]
    rows = [
        [
            _cut(one.name or settings_words(one))[:90],
            _kib(one.bytes),
            advice.number(one.searched, first.limit, first.unit),
            advice.drop(one.outputs[0], first) if one.outputs else "",
            str(one.verdict or ""),
        ]
        for one in found.judgements[-MOST_ROWS:]
    ]
    headers = ["judged, the surest first", "size", f"searched, {first.unit}", f"unseen, {first.unit} (95 %)", "verdict"]
    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True).splitlines()


def how(found: Tuning) -> str:
    """Say what was tried, and on what."""
    late = "; stopped by --seconds, and more time may find a smaller one" if found.timed_out else ""
    return (
        f"{found.fixed} fixed variants and {found.mixed} mixed artifacts in {found.seconds:.0f} s, searched on "
        f"{found.searched:,} examples and judged on {found.judged[0].examples:,} others{late}"
    )


def _stopped(found: Tuning) -> list[str]:
    kept = "the best so far is kept, not judged on unseen examples" if found.file else "nothing was found so far"
    return [f"interrupted after {found.mixed} mixed artifacts: {kept}"]


def _where(found: Tuning) -> list[str]:
    if not found.file:
        return []
    name = advice.adopted_name(found.model)
    named = "--model-dir" in found.arguments
    folders = [] if named else ["--model-dir", advice.MODEL_DIR, "--baseline-dir", advice.BASELINE_DIR]
    adopt = ["quantbench", "adopt", found.model, "--name", name, *found.arguments, "--recipe", found.recipe, *folders]
    told = [f"gate it: {line(shlex.join(adopt))}"] if name else []
    return [f"file: {line(found.file)}", f"recipe: {line(found.recipe)}", *told]


def rebuilt(recipe: MixedRecipe, fresh: MixedRecipe, one: TriedArtifact, first: JudgedOutput, file: str) -> str:
    """Say whether a recipe made the same artifact again, and how it does."""
    verdict = one.outputs[0]
    allowed = advice.number(first.limit, first.limit, first.unit)
    drop = (
        f"a drop of {advice.drop(verdict, first)} {first.unit} where {allowed} is allowed, on {first.examples:,} "
        f"examples: {one.verdict} the limit"
    )
    return "\n".join([f"{_same(recipe, fresh)}: {_kib(one.bytes)}", drop, f"file: {line(file)}"])


def _same(recipe: MixedRecipe, fresh: MixedRecipe) -> str:
    if recipe.artifact_sha256 == fresh.artifact_sha256:
        return "the same artifact, byte for byte"
    if recipe.float_sha256 != fresh.float_sha256:
        trained = recipe.model_sha256 != fresh.model_sha256
        why = "the model has other weights" if trained else "its float .tflite is another one"
        return f"another artifact by the same recipe, as {why}{_packages(recipe, fresh)}"
    if recipe.calibration_sha256 != fresh.calibration_sha256:
        return "another artifact by the same recipe, as the calibration examples are others"
    return f"another artifact by the same recipe{_packages(recipe, fresh)}"


def _packages(recipe: MixedRecipe, fresh: MixedRecipe) -> str:
    moved = [
        f"{name} {recipe.made_with.get(name, 'absent')} → {version}"
        for name, version in fresh.made_with.items()
        if recipe.made_with.get(name) != version
    ]
    return f" ({line(', '.join(moved))})" if moved else ""


def _kib(size: int) -> str:
    return f"{size / 1024:.1f} KiB"
