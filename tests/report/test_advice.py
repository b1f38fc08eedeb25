"""The advice in words: one screen, the page and the Markdown say the same, whatever the names and numbers are."""

import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_pages import HOSTILE
from made_up_runs import report
from quantbench.adopt import ranking
from quantbench.adopt.commands import Shown
from quantbench.errors import BadInput
from quantbench.records import (
    Advice,
    AdvisedVariant,
    DeadColumn,
    JudgedOutput,
    Machine,
    OutputVerdict,
    Refusal,
    Report,
    read_record,
    rounded,
    write_json,
)
from quantbench.records.run_folder import REPORT
from quantbench.report import advice as words
from quantbench.report import formatting
from quantbench.report.html import advice as page
from quantbench.report.html.page import HTML
from quantbench.report.junit import JUNIT
from quantbench.report.markdown import render
from quantbench.report.run_folder import RunFolder

FLOAT = AdvisedVariant(
    variant="float32", verdict="within", outputs=[OutputVerdict(drop=0, low=0, high=0, verdict="within")], bytes=4000,
    size=1.0, latency=1.0,
)  # fmt: skip


def output(name: str = "", **more: Any) -> JudgedOutput:
    fields: dict[str, Any] = {
        "metric": "accuracy", "unit": "pp", "scale": 100, "higher_is_better": True, "examples": 2000,
        "float_score": 0.8465, "limit": 0.5, "evidence": ["integer labels, 10 classes"],
    }  # fmt: skip
    return JudgedOutput(output=name, **(fields | more))


def variant(
    name: str, drop: float, half: float, size: float, latency: float | None, limit: float = 0.5, **more: Any
) -> AdvisedVariant:
    """Make a variant whose verdict follows from its interval, ``drop`` ± ``half``."""
    verdict: Any = "within" if drop + half <= limit else "beyond" if drop - half > limit else "undecided"
    needed = 12_000 if verdict == "undecided" else None
    of = OutputVerdict(drop=drop, low=drop - half, high=drop + half, verdict=verdict, needed=needed)
    fields: dict[str, Any] = {"bytes": int(4000 * size), "size": size, "latency": latency}
    return AdvisedVariant(variant=name, verdict=verdict, outputs=[of], file=f"artifacts/{name}.tflite", **fields | more)


def advice(variants: list[AdvisedVariant], judged: list[JudgedOutput] | None = None, **more: Any) -> Advice:
    """Make an advice with the choice that follows."""
    known = Advice(
        judged=judged or [output()], variants=[FLOAT, *variants], machine=Machine(cpu="Xeon"), folder="reports/r",
        model="data/my net.keras", arguments=["--data", "e v.npz", "--max-drop", "0.5pp"], **more,
    )  # fmt: skip
    chosen = ranking.choose(known)
    return ranking.with_files(chosen, {one.variant: f"artifacts/{one.variant}.tflite" for one in chosen.variants})


GOOD = variant("ptq_good", -0.05, 0.2, 0.26, 0.84)
OPEN = variant("ptq_open", 0.3, 0.4, 0.13, 0.5)
DEAD = GOOD.model_copy(update={"dead": [DeadColumn(column=4, distinct=2)]})
BAD = variant("aeq_bad", 4.0, 0.5, 0.12, 0.5)


# ------------------------------------------------------------ sentences


def test_examples_are_called_too_few_for_any_variant_only_where_that_keeps_one_from_being_within() -> None:
    small = [output(too_few=True, least_examples=2325)]
    said = "2,000 examples are too few to show that any variant stays within a drop of 0.50 pp"
    assert said in words.screen(advice([OPEN], small))
    assert said not in words.screen(advice([OPEN, variant("better", -0.9, 1.2, 1.0, 1.0)], small))
    assert said not in words.screen(advice([BAD], small))


def test_the_last_line_says_what_to_ship_why_how_sure_and_on_which_machine() -> None:
    lines = words.screen(advice([GOOD, OPEN, BAD])).splitlines()
    assert lines[-1] == (
        "Ship ptq_good: 3.8 times smaller than float32, 1.19 times as fast (on Xeon, 1 thread), a drop of -0.05 pp "
        "(95 %: -0.25 to 0.15) where 0.50 pp is allowed; the only one within."
    )
    assert lines[0] == "accuracy: float32 84.65 % on 2,000 examples; may drop by 0.50 pp (default)"
    assert "file: reports/r/artifacts/ptq_good.tflite; page: reports/r/index.html" in lines
    assert "Next best: float32 (no other variant within the limit is better than it)." in lines
    assert any(line.startswith("ptq_open would be the better choice (7.7 times smaller, 2.00 times") for line in lines)
    assert "about 12,000 examples would be needed" in "\n".join(lines)


@pytest.mark.parametrize(
    ("variants", "prefer", "why"),
    [
        ([], "balanced", "no other variant was asked for"),
        (
            [OPEN, BAD],
            "balanced",
            "none of 2 variants is shown to stay within a drop of 0.50 pp: 1 beyond it, 1 undecid",
        ),
        (
            [variant("a", 0, 0.1, 1.2, 0.99)],
            "size",
            "a is within the limit but makes the file larger: 1.20 times th",
        ),
        (
            [variant("a", 0, 0.1, 1.2, 1.1), variant("b", 0, 0.1, 1.1, 1.1)],
            "balanced",
            "of 2 variants within the limit, each makes the file larger and none is better by size × time; closest is",
        ),
        (
            [variant("a", 0, 0.1, 0.27, 43.0)],
            "balanced",
            "a is within the limit but not better by size × time: 3.7 times smaller and 43.00 times the time a call "
            "(on Xeon, 1 thread); --prefer size would take a smaller one",
        ),
        (
            [BAD, variant("a", 0, 0.1, 0.3, None)],
            "balanced",
            "what is within the limit was not timed (a); --prefer size",
        ),
        ([variant("a", 0, 0.1, 0.27, 0.99)], "latency", "a is within the limit but not faster: 3.7 times smaller and "),
        (
            [variant("a", 0, 0.1, 0.9, 2), variant("b", 0, 0.1, 0.3, None)],
            "balanced",
            "a, the only one within the limit",
        ),
        ([DEAD], "size", "ptq_good has a dead output 4 (2 distinct values)"),
        (
            [DEAD, BAD],
            "size",
            "none of 2 variants can be shipped, where a drop of 0.50 pp is allowed: 1 beyond it, 1 wi",
        ),
        ([OPEN], "size", "ptq_open is not shown to stay within a drop of 0.50 pp: it is undecided (needs about 12,"),
    ],
)
def test_float32_is_advised_for_a_reason_that_is_true_of_every_row(
    variants: list[AdvisedVariant], prefer: str, why: str
) -> None:
    said = words.recommendation(advice(variants, prefer=prefer))
    assert said.startswith("Ship float32: ")
    assert why in said


def test_where_nothing_was_made_the_reason_is_named() -> None:
    judged = [output(float_score=None)]
    nothing = Advice(judged=judged, variants=[], machine=Machine(cpu="Xeon"), nothing="no MaxPool3D")
    assert words.screen(nothing).splitlines()[-1] == "Nothing can be recommended: no MaxPool3D."
    assert words.screen(nothing).startswith("accuracy: 2,000 examples, of which float32 has no score\n")
    assert words.steps(nothing) == []
    assert "Ship" not in words.markdown(nothing)


@pytest.mark.parametrize(
    ("value", "limit", "unit", "shown"),
    [
        (0.05, 0.5, "pp", "0.05"),
        (-0.25, 0.5, "pp", "-0.25"),
        (0.0004, 0.5, "pp", "0.00040"),
        (0.00123, 0.0070, "units", "0.0012"),
        (0.00001, 0.0070, "units", "0.000010"),
        (3.2, 6.4, "units", "3.2"),
        (412.0, 640.0, "units", "412"),
        (1e-12, 0.5, "pp", "1e-12"),
        (0.0, 0.5, "pp", "0"),
    ],
)
def test_small_errors_are_shown_with_digits(value: float, limit: float, unit: str, shown: str) -> None:
    assert words.number(value, limit, unit) == shown


@given(st.floats(-1e6, 1e6).filter(lambda value: abs(value) > 1e-300), st.floats(1e-6, 1e3))
def test_no_drop_is_rounded_to_nothing(value: float, limit: float) -> None:
    shown = float(words.number(value, limit))
    assert shown != 0
    assert abs(shown - value) <= 0.51 * 10 ** (-words._decimals(limit, 2)) or shown == pytest.approx(value, rel=0.06)


@pytest.mark.parametrize(
    ("value", "scale", "shown"),
    [(0.8465, 100, "84.65 %"), (0.0, 100, "0.00 %"), (1.2e-7, 100, "1.2e-05 %"), (0.04815, 1, "0.04815")],
)
def test_a_score_is_shown_as_what_its_drop_is_measured_in(value: float, scale: float, shown: str) -> None:
    assert words.score(value, output(scale=scale, unit="% of each column's spread")) == shown


def test_several_outputs_are_each_named_with_their_own_limit() -> None:
    judged = [output("type"), output("boxes", metric="mean_absolute_error", unit="units", scale=1, limit=1.8)]
    verdicts = [
        OutputVerdict(output="type", drop=0.1, low=0, high=0.2, verdict="within"),
        OutputVerdict(output="boxes", drop=5.0, low=4, high=6, verdict="beyond"),
    ]
    bad = GOOD.model_copy(update={"verdict": "beyond", "outputs": verdicts})
    floats = FLOAT.model_copy(update={"outputs": [one.model_copy(update={"drop": 0}) for one in verdicts]})
    made = Advice(judged=judged, variants=[floats, bad], machine=Machine(cpu="Xeon"), choice="float32", folder="r")
    screen = words.screen(made)
    assert "mean_absolute_error of boxes: float32" in screen
    assert "5.0 (4.0 to 6.0) units, boxes" in screen
    assert "stay within the limits of all outputs" in screen


def test_a_column_that_nothing_fills_is_left_out() -> None:
    """``--latency-budget 0`` times nothing, not even float32."""
    made = advice([variant("a", 0, 0.1, 0.5, None)])
    assert "time / float32" in words.screen(made)
    floats = FLOAT.model_copy(update={"latency": None})
    untimed = made.model_copy(update={"variants": [floats, *made.variants[:-1]]})
    assert "time / float32" not in words.screen(untimed)
    assert all(len(row) == len(words.headers(untimed)) + len(words.EXTRA) for row in words.rows(untimed))


def test_refusals_are_one_line_for_each_reason() -> None:
    trained = [f"qat_{i}" for i in range(19)]
    refused = [
        Refusal(reason="no training data", variants=trained, trained=True),
        Refusal(reason="r", variants=["ptq_a"]),
    ]
    lines = words.screen(advice([GOOD], refused=refused)).splitlines()
    assert "left out: 19 variants that train (QAT, pruning, clustering): no training data" in lines
    assert "left out: ptq_a: r" in lines


# ------------------------------------------------------------ one screen


def crowded() -> Advice:
    """Forty variants, twelve outputs, forty reasons and everything else that takes a line."""
    judged = [output(f"output_{i}", too_few=i == 0, least_examples=9000) for i in range(12)]
    variants = []
    for i in range(40):
        verdict: Any = ["within", "undecided", "beyond"][i % 3]
        of = [OutputVerdict(output=one.output, drop=0.1, low=0, high=0.2, verdict=verdict, needed=9) for one in judged]
        made = variant(f"aeq_static_wi8_ai8_of_a_long_name_{i}", 0.1, 0.1, 0.2 + i / 100, 0.9)
        variants.append(made.model_copy(update={"verdict": verdict, "outputs": of}))
    floats = FLOAT.model_copy(update={"outputs": [OutputVerdict(drop=0, verdict="within") for _ in judged]})
    known = advice(
        [],
        refused=[Refusal(reason=f"reason {i} " + "x" * 400 + "\n\x1b[2J", variants=[f"v{i}"]) for i in range(40)],
        warnings=[f"warning {i}" for i in range(9)],
    )
    return ranking.choose(known.model_copy(update={"judged": judged, "variants": [floats, *variants]}))


def test_forty_variants_fit_on_one_screen() -> None:
    lines = words.screen(crowded()).splitlines()
    assert len(lines) <= words.MOST_LINES == 30
    assert max(map(len, lines[:-5])) <= words.LONGEST
    assert lines[-1].startswith("Ship aeq_static_wi8_ai8_of_a_long_name_0: ")
    assert "\x1b" not in "\n".join(lines)
    counted = next(line for line in lines if line.startswith("… and 33 more in report.md: "))
    assert sum(map(int, re.findall(r"(\d+) (?:within|undecided|beyond)", counted))) == 33
    assert any(line.startswith("… and 36 more variants left out, for 36 other reasons") for line in lines)
    assert any(line.startswith("… and 9 more outputs") for line in lines)


@pytest.mark.parametrize("most", [26, 22, 18, 14])
def test_what_was_printed_before_the_answer_takes_from_its_lines(most: int) -> None:
    lines = words.screen(crowded(), most).splitlines()
    assert len(lines) <= most
    assert lines[-1].startswith("Ship aeq_static_wi8_ai8_of_a_long_name_0: ")
    assert any("→ aeq_static_wi8_ai8_of_a_long_name_0" in line for line in lines)
    assert any(re.match(r"warning: .* \(and \d more warnings in report.md\)$", line) for line in lines)
    left_out = sum(
        int(found[1]) if (found := re.match(r"(?:… and )?(\d+)(?: more)? variants left out", line)) else 1
        for line in lines
        if "left out" in line
    )
    assert left_out == 40
    named = any(line.startswith("left out: ") for line in lines)
    assert named == any("more variants left out" in line for line in lines)


# ------------------------------------------------------------ the same everywhere

names = st.sampled_from(["ptq_a", "aeq_b", "ptq_c", "aeq_d", "ptq_e"])
many = st.lists(
    st.builds(
        variant,
        names,
        st.floats(-5, 5),
        st.floats(0, 3),
        st.floats(0.05, 2),
        st.one_of(st.none(), st.floats(0.05, 50)),
    ),
    unique_by=lambda one: one.variant,
    max_size=5,
)


@settings(max_examples=60)
@given(many, st.sampled_from(ranking.PREFERENCES))
def test_screen_page_markdown_and_record_agree(variants: list[AdvisedVariant], prefer: str) -> None:
    made = advice(variants, prefer=prefer)
    run = report([], advice=made)
    last = words.screen(made).splitlines()[-1]
    assert made.choice is not None
    assert last.startswith(f"Ship {made.choice}: ")
    assert formatting.headline(run) == f"ADVICE: ship {made.choice}"
    assert render(run).startswith(f"# quantbench try: Ship {formatting.escape(made.choice)}: ")
    assert f"ship {made.choice}</h1>" in page.render(run, made)
    chosen = made.of(made.choice)
    assert chosen is not None
    assert chosen.verdict == "within"
    if made.choice == "float32":  # never under a row that is within, smaller and faster
        both = [one for one in variants if one.size < 1 and one.latency is not None and one.latency < 0.98]
        assert not any(one.eligible for one in both)
        if "shown to stay within" in last:
            assert not any(one.verdict == "within" for one in variants)
        if "each makes the file larger" in last or "but makes the file larger" in last:
            assert all(one.size >= 1 for one in variants if one.verdict == "within")


def test_the_record_survives_a_file_and_json_is_the_advice_alone(tmp_path: Path) -> None:
    made = advice([GOOD, OPEN, BAD])
    write_json(tmp_path / REPORT, report([], advice=made))
    read = read_record(tmp_path / REPORT, Report, "report").advice
    assert read == Advice.model_validate(rounded(made.model_dump()))
    said: list[str] = []
    shown = Shown.on(said.append, lambda _: None, as_json=True)
    shown.say("a note")
    shown.answer(shown.render(made, []))
    parsed = json.loads(said[0])
    assert (len(said), parsed["choice"], parsed["judged"][0]["limit"]) == (1, "ptq_good", 0.5)
    assert {one["variant"]: one["verdict"] for one in parsed["variants"]} == {
        "ptq_good": "within",
        "float32": "within",
        "ptq_open": "undecided",
        "aeq_bad": "beyond",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"judged": []}, "field 'advice.judged': List should have at least 1 item"),
        ({"choice": "nobody"}, "field 'advice': expected one of its variants as choice or next, found 'nobody'"),
        ({"variants": [FLOAT.model_dump(), FLOAT.model_dump()]}, "two variants have the same name"),
        ({"variants": [FLOAT.model_dump() | {"outputs": []}], "choice": None}, "expected 1 outputs of float32"),
        ({"variants": [FLOAT.model_dump() | {"size": 0}]}, "field 'advice.variants.0.size': Input should be greater"),
    ],
)
def test_a_record_that_cannot_be_put_into_words_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    data = json.loads(report([], advice=advice([GOOD])).model_dump_json(exclude_none=True))
    data["advice"] |= {"next_best": None, "better_if_decided": None} | change
    (tmp_path / REPORT).write_text(json.dumps(data))
    with pytest.raises(BadInput, match=re.escape(words)):
        read_record(tmp_path / REPORT, Report, "report")


# ------------------------------------------------------------ the page


class Checked(HTMLParser):
    """Check that elements are closed in order, apart from those that HTML lets one leave open."""

    LEFT_OPEN = frozenset({"meta", "img", "br", "th", "td", "tr", "tbody", "thead", "path", "link", "li", "p"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.LEFT_OPEN:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.LEFT_OPEN:
            assert self.open.pop() == tag


def test_the_page_is_well_formed_and_escapes_hostile_names() -> None:
    hostile = GOOD.model_copy(update={"variant": HOSTILE, "file": HOSTILE})
    made = advice(
        [hostile, OPEN, BAD],
        [output(HOSTILE, metric=HOSTILE, unit=HOSTILE, evidence=[HOSTILE])],
        refused=[Refusal(reason=HOSTILE, variants=[HOSTILE])],
        warnings=[HOSTILE],
    ).model_copy(update={"model": HOSTILE, "arguments": ["--data", HOSTILE], "machine": Machine(cpu=HOSTILE)})
    text = page.render(report([], advice=made, notes=[HOSTILE]), made)
    parser = Checked()
    parser.feed(text)
    assert parser.open == []
    assert not parser.tags & {"script", "img"}
    assert {"svg", "table", "h1"} <= parser.tags
    assert HOSTILE not in text
    markdown = render(report([], advice=made))
    assert "<script>" not in re.sub(r"`[^`]*`", "", markdown)


def test_the_picture_shows_the_limit_intervals_and_the_choice() -> None:
    made = advice([GOOD, OPEN, BAD])
    text = page.render(report([], advice=made), made)
    assert text.count('class="limit"') == 2  # size and time
    assert text.count('class="ring"') == 2
    assert text.count('class="interval"') == 2 * 4
    assert text.count('class="decision beyond"') == 2 + 1  # and in the legend
    untimed = advice([variant("a", 0, 0.1, 0.5, None)])
    assert page.render(report([], advice=untimed), untimed).count('class="limit"') == 1


# ------------------------------------------------------------ what comes next


def test_the_next_commands_repeat_what_was_given() -> None:
    found = words.steps(advice([GOOD]))
    assert [shlex.join(step.command) for step in found] == [
        "quantbench export ptq_good --run reports/r -o ptq_good.tflite",
        "quantbench adopt 'data/my net.keras' --name my_net --data 'e v.npz' --max-drop 0.5pp --gate ptq_good "
        "--model-dir quantized/models --baseline-dir quantized/baselines",
        "quantbench run --model-dir quantized/models --baseline-dir quantized/baselines",
    ]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("a/my-net.v2.keras", "my_net"),
        ("saved/", "saved"),
        ("3d.h5", "model_3d"),
        ("class.h5", "model_class"),
        ("é.h5", "model"),
        ("m.py:NET", ""),
        ("m.py", ""),
    ],
)
def test_a_name_to_adopt_a_model_under(model: str, name: str) -> None:
    assert words.adopted_name(model) == name


def test_the_folder_of_try_has_its_own_reports_and_no_verdicts_of_a_gate(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    made = advice([GOOD])
    plain = report([])
    folder.write(plain, {})
    for name in (HTML, JUNIT):
        (tmp_path / name).write_text("RED")
    folder.write_advice(plain.model_copy(update={"advice": made, "exit_status": 0}))
    assert not (tmp_path / HTML).exists()
    assert not (tmp_path / JUNIT).exists()
    assert "ship ptq_good" in (tmp_path / "index.html").read_text()
    assert (tmp_path / "report.md").read_text().startswith("# quantbench try: Ship ptq_good: ")
    assert read_record(tmp_path / REPORT, Report, "report").exit_status == 0
