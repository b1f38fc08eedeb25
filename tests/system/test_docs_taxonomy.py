"""The taxonomy page: what is accepted of every variant of every model, in one table."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from conftest import ROOT, accepted, baseline_cell
from quantbench.records import BaselineCell
from quantbench.reference.metrics import ACCURACY, by_name
from quantbench.reference.model import load_models
from quantbench.variants import of_every_model
from studies import docs_taxonomy as taxonomy
from studies.docs_taxonomy import Entry

MODEL: Any = SimpleNamespace(name="m", metric=ACCURACY)


def cell(score: float, size: float, **fields: Any) -> BaselineCell:
    values = baseline_cell(score=accepted(score), size=accepted(size, unit="bytes"))
    return values.model_copy(update=fields)


CELLS = {
    "float32": cell(0.9, 1000),
    "ptq_float16": cell(0.8988, 510),
    "qat_wi8_ai8": cell(0.91, 300),
    "float32_finetuned": cell(0.92, 1000),
    "aeq_float16": cell(0.9, 990, broken_promise="1 of 2 compute operators are not float16 float"),
    "ptq_static_wi8_ai16": BaselineCell(
        unsupported="tfmot quantize_apply: Layer lstm:<class 'tf_keras.src.layers.rnn.lstm.LSTM'> is not supported."
    ),
}


def test_an_entry_says_what_is_accepted() -> None:
    times = {("ptq_float16", "m"): 0.97}
    assert taxonomy.entry(MODEL, "float32", CELLS, times) == Entry("✓", size=1.0)
    works = taxonomy.entry(MODEL, "ptq_float16", CELLS, times)
    assert taxonomy.shown(works, {}) == "✓ · +0.12 · 0.51 · 0.97"
    trained = taxonomy.entry(MODEL, "qat_wi8_ai8", CELLS, times)
    assert taxonomy.shown(trained, {}) == "✓ · +1.00 · 0.30 · –", "against the reference that trained as long"
    partly = taxonomy.entry(MODEL, "aeq_float16", CELLS, times)
    assert taxonomy.shown(partly, {partly.note: 3}) == "≠ 3) · +0.00 · 0.99 · –"
    refused = taxonomy.entry(MODEL, "ptq_static_wi8_ai16", CELLS, times)
    assert refused.note.startswith("tfmot cannot quantize the layer lstm (LSTM)"), "in the words of today's reports"
    assert taxonomy.shown(refused, {refused.note: 1}) == "∅ 1)"
    assert taxonomy.shown(taxonomy.entry(MODEL, "aeq_dynamic_wi8_afp32", CELLS, times), {}) == "?"


def test_the_introduction_counts_what_a_model_was_not_tried_with() -> None:
    made, unknown = Entry("✓"), Entry("?")
    whole, part = {"a": made, "b": made, "c": made}, {"a": made, "b": unknown, "c": unknown}
    assert "tried on 2 models (2 of them not yet on `n`). Of 4 files" in next(
        taxonomy._introduction({"m": whole, "n": part})
    )
    assert "tried on 1 models. Of 3 files" in next(taxonomy._introduction({"m": whole}))


def test_a_drop_in_bits_has_its_own_unit_and_counts_as_a_share_of_the_score() -> None:
    model: Any = SimpleNamespace(name="lm", metric=by_name("bits_per_token"))
    cells = {"float32": cell(2.0, 1000), "ptq_float16": cell(2.004, 500)}
    found = taxonomy.entry(model, "ptq_float16", cells, {})
    assert (found.unit, taxonomy.shown(found, {})) == ("bits", "✓ · +0.004 · 0.50 · –")
    assert found.lost is not None
    assert abs(found.lost - 0.2) < 1e-9, "percent of the reference's bits"
    assert taxonomy._summary({"lm": {"ptq_float16": found}}, ["ptq_float16"])[3] == "–", "no pp to take the median of"


def test_refusals_that_differ_in_a_position_alone_are_one_note() -> None:
    told = "Node number {} (MUL) failed to prepare.\n"
    cells = {
        name: BaselineCell(unsupported=f"LiteRT cannot run it: type 20 of tensor 7. {told.format(place)}")
        for name, place in (("ptq_float16", 3), ("aeq_float16", 45))
    }
    notes = {taxonomy.entry(MODEL, name, CELLS | cells, {}).note for name in cells}
    assert notes == {"LiteRT cannot prepare its operator MUL (node N): type 20 of tensor N"}


def test_the_page_says_with_what_and_when_its_scores_were_measured() -> None:
    found = list(taxonomy._sources({"m": {name: cell for name, cell in CELLS.items() if cell.unsupported is None}}))
    assert "accepted from 2026-01-01 to 2026-01-01" in found[1]
    assert found[2] == "- 5 files: e"
    assert found[3].startswith("Of those that train, 2 files were trained once.")


def test_a_further_score_has_a_drop_of_its_own() -> None:
    model: Any = SimpleNamespace(name="m", heads=(SimpleNamespace(name="joined", metric=ACCURACY),))
    cells = {
        "float32": baseline_cell(**{"score@joined": accepted(0.9)}),
        "ptq_float16": baseline_cell(**{"score@joined": accepted(0.7)}),
        "aeq_float16": BaselineCell(unsupported="no"),
    }
    *_, found = taxonomy._further({"m": model}, {"m": cells}, {"": list(cells)})
    assert [row[:2] for row in rows(found)][2:] == [["`ptq_float16`", "+20.00"]]
    assert list(taxonomy._further({"m": SimpleNamespace(heads=())}, {}, {})) == []


def test_times_are_read_from_the_first_table_and_a_later_report_adds_to_them(tmp_path: Path) -> None:
    first, second, absent = tmp_path / "one.md", tmp_path / "two.md", tmp_path / "three.md"
    first.write_text(
        "# Latency\n\n| variant | a | b |\n|---|---|---|\n| `float32` | 1.5 µs | 2.5 µs |\n"
        "| `x` | 0.250 ± 0.001 | · |\n\n| variant | a |\n|---|---|\n| `x` | 7.000 |\n"
    )
    second.write_text("| variant | b |\n|---|---|\n| `x` | 65.230 ± 0.314 |\n")
    assert taxonomy.latencies([first, second, absent]) == {("x", "a"): 0.25, ("x", "b"): 65.23}


def test_every_variant_is_in_one_group() -> None:
    found = taxonomy.groups([*of_every_model(), "of_tomorrow"])
    assert sorted(name for names in found.values() for name in names) == sorted([*of_every_model(), "of_tomorrow"])
    assert found["Others"] == ["of_tomorrow"], "each of today's has a group of its own"
    assert {"pqat_wi8_ai8", "cqat_wi8_ai8", "pcqat_wi8_ai8"} == set(found["QAT that keeps pruning, clustering or both"])


def rows(text: str) -> Iterable[list[str]]:
    found = (line for line in text.splitlines() if line.startswith("|"))
    return [[word.strip() for word in line.strip("|").split("|")] for line in found]


def test_the_page_has_a_row_for_every_variant_whose_notes_are_there() -> None:
    text = (ROOT / "docs" / "taxonomy.md").read_text()
    models = load_models(ROOT / "models")
    [heading] = [row for row in rows(text) if row[0] == "variant" and len(row) == 1 + len(models)]
    large = [row for row in rows(text) if len(row) == len(heading) and row[0].startswith("`")]
    assert sorted(row[0].strip("`") for row in large) == sorted(of_every_model())
    cells = [cell for row in large for cell in row[1:]]
    unknown = {
        (name, row[0].strip("`")) for row in large for name, cell in zip(heading, row, strict=True) if cell == "?"
    }
    left_out = {
        (model.name, variant)
        for model in models.values()
        if model.gate_variants
        for variant in set(of_every_model()) - set(model.gate_variants)
    }
    assert unknown <= left_out, "every other variant of every model is accepted, or declared"
    numbers = {int(cell.split()[1].rstrip(")")) for cell in cells if cell[0] in "≠∅"}
    listed = text.partition("## Why not")[2].partition("##")[0].strip().splitlines()
    assert [line.partition(".")[0] for line in listed] == [str(number) for number in sorted(numbers)]
    summary = [row for row in rows(text) if row[1].isdigit()]
    for place, mark in enumerate("✓≠∅", start=1):
        assert sum(int(row[place]) for row in summary) == sum(cell[0] == mark for cell in cells)
