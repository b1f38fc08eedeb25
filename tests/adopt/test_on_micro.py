"""Advice for TFLite-Micro: what does not run there is never recommended, and the rest is ranked by arena and size."""

import pytest
from made_up_runs import cell, measured, report
from quantbench.adopt import on_micro
from quantbench.errors import BadInput
from quantbench.measure import micro
from quantbench.records import (
    Advice,
    AdvisedVariant,
    Cell,
    JudgedOutput,
    Machine,
    Micro,
    MicroAnswers,
    MicroRefusal,
    OutputVerdict,
)
from quantbench.report import advice as words

WITHIN = OutputVerdict(drop=0.1, low=0.0, high=0.2, verdict="within")
NO_GELU = MicroRefusal(reason="Didn't find op", operator="GELU", missing=True)


def variant(name: str, size: float, latency: float | None = None) -> AdvisedVariant:
    kib = int(4000 * size)
    return AdvisedVariant(variant=name, verdict="within", outputs=[WITHIN], bytes=kib, size=size, latency=latency)


def seen(name: str, arena: float | None, differing: int = 0) -> Cell:
    if arena is None:
        return cell(name, micro=Micro(version="1", refusal=NO_GELU))
    found = Micro(version="1", answers=MicroAnswers(examples=300, differing=list(range(differing))))
    return cell(name, micro=found, measurements={"micro_arena": measured(arena)})


def advised(*variants: AdvisedVariant, cells: list[Cell]) -> Advice:
    output = JudgedOutput(
        metric="accuracy", unit="pp", scale=100, higher_is_better=True, examples=2000, float_score=0.8, limit=0.5
    )
    given = Advice(
        judged=[output], variants=[variant("float32", 1.0), *variants], machine=Machine(cpu="x"), folder="reports/r"
    )
    return on_micro.advised(given, report(cells))


def test_what_does_not_run_is_left_out_however_small_and_fast_it_is() -> None:
    cells = [seen("float32", 1000), seen("tiny", None), seen("int8", 300), seen("wrong", 100, differing=60)]
    found = advised(variant("tiny", 0.1, 0.1), variant("int8", 0.25), variant("wrong", 0.1), cells=cells)
    assert found.choice == "int8"
    assert [one.variant for one in found.variants] == ["int8", "float32"]
    assert {one.variants[0]: one.reason for one in found.refused} == {
        "tiny": "does not run on TFLite-Micro: it has no operator GELU",
        "wrong": "TFLite-Micro answers 60 of 300 examples otherwise than LiteRT's reference kernels",
    }
    text = words.screen(found)
    assert "Ship int8 to TFLite-Micro: 4.0 times smaller than float32, arena 300 bytes (0.30×)" in text
    assert "left out: tiny: does not run on TFLite-Micro: it has no operator GELU" in text
    assert "arena / float32" in text


def test_the_product_of_arena_and_size_decides_and_time_does_not() -> None:
    cells = [seen("float32", 1000), seen("wide", 900), seen("narrow", 300)]
    found = advised(variant("wide", 0.2, 0.1), variant("narrow", 0.25, 5.0), cells=cells)
    assert (found.choice, found.next_best) == ("narrow", "wide")
    assert found.of("narrow").arena_bytes == 300  # type: ignore[union-attr]


def test_float32_that_does_not_run_is_no_fallback() -> None:
    found = advised(variant("int8", 0.25), cells=[seen("float32", None), seen("int8", 300)])
    assert (found.choice, found.next_best) == ("int8", None)
    nothing = advised(variant("int8", 0.25), cells=[seen("float32", None), seen("int8", None)])
    assert nothing.choice is None
    assert "float32 does not run there" in words.recommendation(nothing)


def test_the_target_is_checked_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not on_micro.check("", "latency")
    with pytest.raises(BadInput, match=r"--target: expected tflm \(TFLite-Micro\).* found 'esp32'"):
        on_micro.check("esp32", "size")
    monkeypatch.setattr(micro, "unavailable", lambda: micro.NOT_INSTALLED)
    with pytest.raises(BadInput, match=r"--target tflm: the package tflite-micro is not installed: pip install"):
        on_micro.check("tflm", "size")
    monkeypatch.setattr(micro, "unavailable", lambda: "")
    with pytest.raises(BadInput, match="nothing is timed on tflm"):
        on_micro.check("tflm", "latency")
    assert on_micro.check("tflm", "balanced")
