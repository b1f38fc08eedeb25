"""What ``tune`` found, in words: the answer first, on one screen."""

from typing import Any

import pytest
from quantbench.records import JudgedOutput, MixedGroup, MixedRecipe, OutputVerdict, TriedArtifact, Tuning
from quantbench.report import tuning

SHA = "ab" * 32
ACCURACY = JudgedOutput(
    metric="accuracy", unit="pp", scale=100, higher_is_better=True, examples=6000, limit=0.5, limit_given="0.5"
)


def artifact(size: int, verdict: Any = "within", name: str = "", **more: Any) -> TriedArtifact:
    seen = OutputVerdict(drop=0.1, low=-0.1, high=0.3, verdict=verdict, **more)
    settings = {} if name else {"dynamic_wi4": 3, "dynamic_wi8": 9}
    return TriedArtifact(name=name, settings=settings, bytes=size, searched=0.2, outputs=[seen], verdict=verdict)


def found(**more: Any) -> Tuning:
    given = {
        "model": "my.keras",
        "judged": [ACCURACY],
        "searched": 3000,
        "float_bytes": 102_400,
        "fixed": 9,
        "mixed": 40,
    }
    return Tuning(**{**given, **more})


_ADOPT = (
    "quantbench adopt my.keras --name my --data 'a b.npz' --recipe r/tuned.recipe.json"
    " --model-dir quantized/models --baseline-dir quantized/baselines"
)


def test_the_answer_comes_first_with_sizes_drop_and_operators() -> None:
    groups = [MixedGroup(setting="dynamic_wi4", words="int4 weights", operators=[f"CONV_2D {n} a" for n in range(90)])]
    steps = [
        artifact(70_000, name="aeq_float16"),
        artifact(51_200),
        artifact(20_000, "beyond", "aeq_dynamic_wi4_afp32"),
    ]
    where = {"file": "r/tuned.tflite", "recipe": "r/tuned.recipe.json", "arguments": ["--data", "a b.npz"]}
    text = tuning.screen(
        found(choice=steps[1], best_fixed=steps[0], judgements=steps, groups=groups, **where, timed_out=True)
    )
    lines = text.splitlines()
    assert lines[0] == (
        "a mixed artifact: 50.0 KiB, 0.50× float32 (100.0 KiB), 0.73× the smallest fixed variant within (aeq_float16, "
        "68.4 KiB)"
    )
    assert lines[1] == (
        "a drop of 0.10 pp (95 %: -0.10 to 0.30) where 0.50 is allowed, on 6,000 examples that the search never saw"
    )
    assert lines[2].startswith("90 × int4 weights: CONV_2D 0 a, CONV_2D 1 a")
    assert max(map(len, lines[:3])) <= 160
    assert "9 dynamic_wi8, 3 dynamic_wi4" in text
    assert _ADOPT in text
    assert lines[-1].endswith("judged on 6,000 others; stopped by --seconds, and more time may find a smaller one")


def test_many_groups_and_many_judgements_stay_on_one_screen() -> None:
    groups = [MixedGroup(setting=str(n), words="w", operators=["o"] * 50) for n in range(12)]
    steps = [artifact(90_000 - n) for n in range(12)]
    text = tuning.screen(
        found(choice=steps[-1], best_fixed=None, judgements=steps, groups=groups, file="f", recipe="r")
    )
    assert len(text.splitlines()) <= 30
    assert "and 7 other groups: see the recipe" in text
    assert "no fixed variant could be shown to keep the limit" in text


def test_a_fixed_variant_that_is_smallest_is_said_to_be_one() -> None:
    one = artifact(51_200, name="aeq_dynamic_wi8_afp32")
    text = tuning.screen(found(choice=one, best_fixed=one, judgements=[one]))
    assert text.startswith("aeq_dynamic_wi8_afp32, a fixed variant: 50.0 KiB, 0.50× float32")
    assert "none of 40 mixed artifacts that were tried is smaller and can be shown to keep the limit" in text


@pytest.mark.parametrize(
    ("verdict", "words"),
    [("beyond", "never saw: beyond"), ("undecided", "undecided, which about 12,000 examples to judge on would tell")],
)
def test_where_nothing_meets_the_limit_that_is_said_with_what_came_nearest(verdict: str, words: str) -> None:
    one = artifact(51_200, verdict, needed=12_000 if verdict == "undecided" else None)
    text = tuning.screen(found(nearest=one, judgements=[one]))
    assert text.startswith(
        "Nothing meets the limit of 0.50 pp (--max-drop 0.5), of 9 fixed variants and 40 mixed artifacts."
    )
    assert "nearest: mixed (9 dynamic_wi8, 3 dynamic_wi4), 50.0 KiB: a drop of 0.10 pp" in text
    assert words in text
    assert "recipe:" not in text


def test_an_interruption_says_what_is_kept() -> None:
    text = tuning.screen(found(interrupted=True, file="r/tuned.tflite", recipe="r/tuned.recipe.json"))
    assert text.startswith("interrupted after 40 mixed artifacts: the best so far is kept, not judged")
    assert "nothing was found so far" in tuning.screen(found(interrupted=True))


def recipe(**more: Any) -> MixedRecipe:
    given = {"made_with": {"ai-edge-quantizer": "1"}, "model_sha256": SHA, "float_sha256": SHA, "artifact_sha256": SHA}
    return MixedRecipe(**{**given, "artifact_bytes": 9, "operators": [], **more})


@pytest.mark.parametrize(
    ("fresh", "words"),
    [
        ({}, "the same artifact, byte for byte: 9.8 KiB"),
        ({"model_sha256": "cd" * 32, "float_sha256": "cd" * 32}, "as the model has other weights: "),
        ({"float_sha256": "cd" * 32}, "as its float .tflite is another one: "),
        ({"calibration_sha256": "cd" * 32}, "as the calibration examples are others: "),
        ({"made_with": {"ai-edge-quantizer": "2"}}, "by the same recipe (ai-edge-quantizer 1 → 2): "),
    ],
)
def test_an_artifact_made_again_says_why_it_is_another_one(fresh: dict[str, Any], words: str) -> None:
    other = {"artifact_sha256": "ef" * 32} if fresh else {}
    text = tuning.rebuilt(recipe(), recipe(**fresh, **other), artifact(10_000), ACCURACY, "r/tuned.tflite")
    assert words in text
    assert "a drop of 0.10 (-0.10 to 0.30) pp where 0.50 is allowed, on 6,000 examples: within the limit" in text
