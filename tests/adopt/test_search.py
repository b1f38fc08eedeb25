"""What is tried, and what of it is timed: what cannot work or win costs nothing."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_cells import Model, model, outcome
from made_up_runs import LABELS, answers
from measure.test_side import dense
from quantbench.adopt import search
from quantbench.adopt.search import SHORTLIST, Scored
from quantbench.build import preflight
from quantbench.build.store import Store
from quantbench.core.options import RunOptions
from quantbench.engine import scheduler
from quantbench.engine.progress import Lines
from quantbench.engine.workers import task
from quantbench.measure import accuracy
from quantbench.records import Kind
from quantbench.reference.datasets import Pack, Split
from quantbench.variants import FLOAT_CONTROL, VARIANTS

X = np.eye(10, dtype=np.float32)[LABELS]
TEST = Split(X, LABELS)


class WithoutData(Model):
    def pack(self) -> Pack:
        return Pack(None, None, TEST, "d")


class Calibrated(Model):
    def pack(self) -> Pack:
        return Pack(None, Split(X[:50], LABELS[:50]), TEST, "d")


class Trainable(Model):
    def pack(self) -> Pack:
        return Pack(Split(X[:50], LABELS[:50]), Split(X[:50], LABELS[:50]), TEST, "d")


def made(kind: type[Model], **more: Any) -> Any:
    return kind(**(vars(model()) | more))


def test_what_needs_data_that_is_not_there_is_refused_before_anything_starts() -> None:
    trained = {name for name, variant in VARIANTS.items() if variant.trained}
    static = {
        "ptq_static_wi8_ai8",
        "aeq_static_wi8_ai8",
        "aeq_dynamic_wi4_gptq_afp32",
        "mixed_static_wi8_ai8_ends_float",
    }
    bare = search.refusals(made(WithoutData, form="keras2"), VARIANTS.values())
    assert trained | static <= set(bare)
    assert bare["qat_wi8_ai8"] == "it needs training data with labels, and there is none (--train-data)"
    assert bare["ptq_static_wi8_ai8"] == "it needs calibration data, and there is none (--calibration)"
    for name in ("qat_wi8_ai8", "ptq_static_wi8_ai8"):  # as `run` says it, which has none of these options
        assert "--" not in preflight.refusal(made(WithoutData, form="keras2"), VARIANTS[name])
    assert not {"ptq_float16", "aeq_weight_only_wi4_afp32", FLOAT_CONTROL} & set(bare)
    assert set(search.refusals(made(Calibrated, form="keras2"), VARIANTS.values())) == trained
    assert not search.refusals(made(Trainable, form="keras2"), VARIANTS.values())


def test_of_many_reasons_the_commonest_are_printed_and_the_others_counted() -> None:
    reasons = {f"v{place}": f"reason {min(place, 5)}" for place in range(9)}
    lines = search.told(reasons)
    assert lines[0] == "4 variants skipped: reason 5"
    assert len(lines) == 6
    assert search.few_reasons(lines) == [*lines[:2], "… and 4 more reasons in report.md"]
    assert search.few_reasons(lines[:3]) == lines[:3]


@pytest.mark.parametrize(
    ("form", "words"), [("keras3", "saved by Keras 3"), ("saved_model", "SavedModel"), ("tflite", "")]
)
def test_a_form_that_cannot_be_trained_is_refused_once_with_its_reason(form: str, words: str) -> None:
    refused = search.refusals(made(Trainable, form=form), VARIANTS.values())
    trained = {name for name, variant in VARIANTS.items() if variant.trained}
    assert trained <= set(refused)
    assert all(words in refused[name] for name in trained)
    [line] = [line for line in search.told(refused) if f"{len(trained)} variants" in line]
    assert line.startswith(f"{len(trained)} variants skipped: ")
    assert ("ptq_float16" in refused) == (form == "tflite")
    assert "aeq_float16" not in refused
    assert FLOAT_CONTROL not in refused


def test_the_shortlist_is_short_and_each_of_it_has_its_reason() -> None:
    assert 8 <= len(SHORTLIST) <= 10
    assert all(len(reason) > 20 for reason in SHORTLIST.values())
    assert "qat_wi8_ai8" in search.shortlist({})
    without = search.shortlist(search.refusals(made(WithoutData, form="keras2"), VARIANTS.values()))
    assert without == [
        FLOAT_CONTROL,
        "ptq_float16",
        "ptq_dynamic_wi8_afp32",
        "aeq_dynamic_wi8_afp32",
        "aeq_dynamic_wi4_octav_afp32",
    ]


def test_no_executor_is_made_for_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nineteen variants once started nineteen times to be refused in the same words."""
    one = made(WithoutData, form="keras3", file=tmp_path / "m.py")
    monkeypatch.setattr(task, "model_of", lambda _: one)
    cells = [
        SimpleNamespace(id=f"m/{name}", model=one, variant=variant, seeds=(0,), kinds=frozenset({Kind.ACCURACY}))
        for name, variant in VARIANTS.items()
        if variant.trained
    ]

    def start() -> Any:
        raise AssertionError("a worker was started")

    computing = scheduler.Computing(RunOptions(), cells, Store(tmp_path), tmp_path, Lines(print), start)  # type: ignore[arg-type]
    computing.submit()
    found = [computing.so_far(cell.id)[0] for cell in cells]
    assert {each.failure.what for each in found if each and each.failure} == {"unsupported"}
    assert len({each.failure.reason for each in found if each and each.failure}) == 1
    assert len(found) == len(cells) == sum(variant.trained for variant in VARIANTS.values())


# ---------------------------------------------------------------- what is timed

FLOAT = Scored(FLOAT_CONTROL, "f", 4000, ("float32", "float32"), True, False, 0.0)
INT8 = ("int8", "int8 per-tensor asymmetric uniform")
HALF = Scored("ptq_float16", "h", 2000, ("float16", "float32"), True, False, 0.0)
STATIC = Scored("ptq_static_wi8_ai8", "s", 1000, INT8, False, False, 0.3)


def test_what_is_beyond_the_limit_or_equal_to_another_is_not_timed() -> None:
    again = replace(STATIC, variant="aeq_static_wi8_ai8")
    lost = replace(STATIC, variant="ptq_static_wi8_ai8_per_tensor", sha256="l", kernels=("int8", "x"), beyond=True)
    assert search.worth_timing([FLOAT, HALF, STATIC, again, lost]) == [
        FLOAT_CONTROL,
        "ptq_float16",
        "ptq_static_wi8_ai8",
    ]


def test_of_equal_kernels_the_one_that_is_beaten_in_size_and_drop_is_not_timed() -> None:
    worse = replace(STATIC, variant="worse", sha256="w", bytes=1005, drop=0.4)
    smaller = replace(STATIC, variant="smaller", sha256="m", bytes=900, drop=0.4)
    other_kernels = replace(STATIC, variant="other", sha256="o", kernels=("int4", "float32"), drop=0.4)
    found = search.worth_timing([FLOAT, STATIC, worse, smaller, other_kernels])
    assert found == [FLOAT_CONTROL, STATIC.variant, "smaller", "other"]
    sure = replace(STATIC, variant="sure", sha256="u", within=True, drop=0.4)  # more than estimated, but surely within
    assert search.worth_timing([FLOAT, STATIC, sure]) == [FLOAT_CONTROL, STATIC.variant, "sure"]
    twin = replace(STATIC, variant="twin", sha256="t")  # another file of the same size and drop
    assert search.worth_timing([FLOAT, STATIC, twin]) == [FLOAT_CONTROL, STATIC.variant]


@st.composite
def some(draw: st.DrawFn) -> list[Scored]:
    kernels = st.sampled_from([("int8", "a"), ("int8", "b"), ("float16", "b")])
    decisions = st.sampled_from([(True, False), (False, False), (False, True)])
    sizes, drops = st.integers(1, 5), st.integers(0, 3)
    found = [
        Scored(f"v{i}", f"sha{i}", draw(sizes) * 100, draw(kernels), *draw(decisions), draw(drops) / 10)
        for i in range(draw(st.integers(0, 10)))
    ]
    equal = draw(st.lists(st.sampled_from(found), max_size=3)) if found else []
    return [FLOAT, *found, *(replace(one, variant=f"equal{i}") for i, one in enumerate(equal))]


@given(some())
def test_whoever_could_be_chosen_is_timed(found: list[Scored]) -> None:
    timed = search.worth_timing(found)
    assert FLOAT_CONTROL in timed
    assert len(timed) == len(set(timed))
    by_name = {one.variant: one for one in found}
    assert not any(by_name[name].beyond for name in timed)
    hashes = [by_name[name].sha256 for name in timed]
    assert len(hashes) == len(set(hashes))
    if choice := [one for one in found[1:] if one.within and not one.beyond]:  # the smallest that is surely within
        least = min(one.bytes for one in choice)
        assert any(by_name[name].bytes == least and by_name[name].within for name in timed[1:])
    for one in found[1:]:  # nobody is left out who is smallest and nearest of its kernels
        rivals = [each for each in found[1:] if each.kernels == one.kernels and not each.beyond and each is not one]
        best = all(each.bytes > one.bytes and each.drop > one.drop for each in rivals)
        if best and not one.beyond and all(one.sha256 != each.sha256 for each in found if each is not one):
            assert one.variant in timed


def test_outcomes_are_held_against_the_limit_of_the_model() -> None:
    one = made(WithoutData)
    sizes = {"size": 10, "gzip_size": 5}
    outcomes = {
        f"m/{name}": replace(outcome(wrong), sizes=sizes, artifact_sha256=name, artifact=Path("a"))
        for name, wrong in ((FLOAT_CONTROL, 100), ("ptq_float16", 100), ("ptq_static_wi8_ai8", 600))
    }
    found = {each.variant: each for each in search.scored(one, outcomes)}
    assert (found["ptq_float16"].within, found["ptq_float16"].beyond) == (True, False)
    assert found["ptq_static_wi8_ai8"].beyond
    assert answers(600).shape == LABELS.shape
    assert not search.scored(one, {})


def test_equal_artifacts_are_evaluated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, store, ran = tmp_path / "a.tflite", Store(tmp_path / "store"), []
    path.write_bytes(dense())
    one = made(WithoutData, prepare=_as_it_is)
    real = accuracy.in_threads
    monkeypatch.setattr(accuracy, "in_threads", lambda runners, x: (ran.append(len(x)), real(runners, x))[1])
    first = accuracy.evaluate(path, "same", one, store)
    number = len(ran)
    second = accuracy.evaluate(path, "same", one, store)
    assert number == len(ran)
    assert (first.cached, second.cached) == (False, True)
    assert first.score == second.score == 1.0


def _as_it_is(x: Any) -> Any:
    return x
