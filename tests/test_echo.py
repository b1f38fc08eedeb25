"""What others wrote is shown and never obeyed: by a terminal, a Markdown viewer, a spreadsheet or an XML reader."""

import csv
import io
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import made_up_runs
import numpy as np
import pytest
from conftest import ROOT, Done, Quantbench, run_quantbench
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pydantic import ValidationError

from bench.datasets import load_pack
from bench.echo import Guarded, guarded, line, plain
from bench.records import Cell, Evidence, Failure, GpuDevice, Judgement, Kind, Range, Report, Verdict
from bench.reference import load_models
from bench.report import html, html_later, junit, rows
from bench.report.behind import Behind
from bench.report.words import code, escape, table

ESCAPES = "\x1b]0;pwned\x07\x1b[2J\x9b31m\x7f\x00\x08\r\u202e\u2066\u200b\u2028\x85\ufeff"
MARKUP = "\n# heading\n| a | `b` ``c`` ![x](http://evil.org/x.png) [l](//evil.org) <img src=x> <!-- \n```\n@org/team "
HOSTILE = f"=cmd|'/c calc'!A1{ESCAPES}{MARKUP}http://evil.org www.evil.org &lt; </script>\\"
ORDERS = ("Cc", "Cf", "Cs", "Zl", "Zp")


def orders(text: str) -> set[str]:
    """Characters that are none to read, by Unicode's own word."""
    return {one for one in text if unicodedata.category(one) in ORDERS and one not in "\n\t"}


# ---------------------------------------------------------------- the text itself


def test_every_character_that_is_an_order_is_shown() -> None:
    for number in range(0x110000):
        one = chr(number)
        if unicodedata.category(one) in ORDERS and one not in "\n\t":
            assert plain(one).isascii() and plain(one).isprintable(), hex(number)


@given(st.text())
@example(HOSTILE + "\ud800")
def test_what_is_shown_is_no_order_and_stays_as_it_is(text: str) -> None:
    shown = plain(text)
    assert not orders(shown)
    assert plain(shown) == shown
    assert not orders(line(text)) and not set(line(text)) & set("\n\t")


@given(st.text(st.characters(exclude_categories=[*ORDERS, "Cn", "Co"])))
def test_text_to_read_is_left_alone(text: str) -> None:
    assert plain(text) == text


def test_the_escape_says_which_character_it_was() -> None:
    assert plain("a\x1b[2J\u202e\U000e0001") == r"a\x1b[2J\u202e\U000e0001"


@pytest.mark.parametrize("text", [HOSTILE, "# a", "- a", "1. a", "> a", "~~~", "***", "a](b)", "![a][b]", "[a]: b"])
def test_markdown_shows_text_as_text(text: str) -> None:
    shown = escape(text)
    assert escape(shown) == shown
    told = list(tokens(f"- {shown}\n- {code(text)}\n\n" + table([[text, code(text), 5]], ["a", text, "c"])))
    assert not [one for one in told if one in ACTIVE]
    assert told.count("tr_open") == 2 and told.count("td_open") == 3 and told.count("code_inline") >= 2


ACTIVE = ("html_inline", "html_block", "image", "link_open", "heading_open", "blockquote_open", "fence", "hr", "em_open")


def tokens(markdown: str) -> Iterator[str]:
    """Kinds of what a Markdown reader finds."""
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        yield token.type
        yield from (child.type for child in token.children or [])


# ---------------------------------------------------------------- streams


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_a_guarded_stream_shows_orders(kind: type[io.StringIO]) -> None:
    below = kind()
    stream = guarded(below)
    assert guarded(stream) is stream and isinstance(stream, Guarded)
    print(HOSTILE, file=stream)
    stream.writelines([HOSTILE, HOSTILE])
    assert not orders(below.getvalue())


def test_colours_reach_a_terminal_and_nothing_else() -> None:
    painted = "\x1b[1m\rcollecting\x1b[0m\x1b[31mred\x1b[0m"
    screen, file = Terminal(), io.StringIO()
    guarded(screen).write(painted + "\x1b[2J\r")
    guarded(file).write(painted)
    assert screen.getvalue() == painted + r"\x1b[2J\x0d"
    assert not orders(file.getvalue())


def test_nobody_goes_around_a_guarded_stream() -> None:
    stream = guarded(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert not hasattr(stream, "buffer")
    print("µ\ud800", file=stream)  # what it cannot hold is no error


# ---------------------------------------------------------------- a run whose every word is hostile


def with_hostile_words(found: Report) -> Report:
    """The report with each text that its reader does not hold to a form replaced."""
    data = found.model_dump(mode="json", exclude_none=True)
    for holder, key in list(_texts(data)):
        before = holder[key]
        holder[key] = HOSTILE
        try:
            Report.model_validate_json(json.dumps(data), strict=True)
        except ValidationError:
            holder[key] = before
    return Report.model_validate_json(json.dumps(data), strict=True)


KEPT = ("data_sha256", "metric", "predictions_sha256")  # without which no command would go on


def _texts(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in pairs:
        if isinstance(one, str) and key not in KEPT:
            yield value, key
        elif key not in KEPT:
            yield from _texts(one)


def judged(verdict: Verdict, kind: Kind = Kind.ACCURACY, **more: Any) -> Judgement:
    return Judgement(kind=kind, measurement="score", against="baseline", verdict=verdict, message="m", action="a", **more)


@pytest.fixture(scope="module")
def hostile_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of the model seed_cnn, with its labels for predictions; the second answers some otherwise."""
    folder = tmp_path_factory.mktemp("runs")
    model = load_models(ROOT / "models")["seed_cnn"]
    labels = load_pack(model.file.parent / model.data, model.data_sha256).test.y
    paths = []
    for number, wrong in enumerate((0, 50)):
        answers = labels.astype(np.uint8)
        answers[:wrong] = (answers[:wrong] + 1) % 10
        found = with_hostile_words(_run(f"2026-01-0{number + 1}T00-00-00Z", labels, answers))
        path = made_up_runs.write(folder, found.model_copy(update={"run": f"2026-01-0{number + 1}T00-00-00Z"}))
        (path / "predictions" / "seed_cnn.npz").write_bytes(made_up_runs.packed({"float32": labels, "v": answers}))
        found.model_copy(update={"run": HOSTILE})
        (path / "evidence").mkdir()
        ranges = [Range(tensor=HOSTILE, dtype=HOSTILE, granularity=HOSTILE, constant=False, low=0.0, high=1.0)]
        evidence = Evidence(flipped=[1], ranges=ranges, range_method=HOSTILE).model_dump(mode="json")
        (path / "evidence" / "seed_cnn.json").write_text(json.dumps({"v": evidence}))
        paths.append(path)
    return paths


def _run(name: str, labels: Any, answers: Any) -> Report:
    census = made_up_runs.clustered()
    measurements = {
        "size": made_up_runs.measured(40_000.0 + answers[0], n=1),
        "latency": made_up_runs.measured(5.0, "µs", [5.0, 5.1]),
        "latency_p50": made_up_runs.measured(5.0, "µs", [5.0, 5.1]),
        "latency_ratio": made_up_runs.measured(0.5, "ratio", [0.5, 0.51]).model_copy(update={"spread": 0.01}),
        "arena": made_up_runs.measured(5000.0, n=1),
        "gpu_agreement": made_up_runs.measured(0.5, "fraction"),
        "agreement": made_up_runs.measured(0.5, "fraction"),
    }
    score = made_up_runs.measured(float(np.mean(answers == labels)), "fraction", n=len(labels))
    verdicts = dict.fromkeys(Kind, Verdict.PASS)
    common: dict[str, Any] = {"metric": "accuracy", "metric_unit": "pp", "family": "ptq"}
    good = Cell(
        id="seed_cnn/v", model="seed_cnn", variant="v", control="float32", census=census, verdicts=verdicts,
        measurements={"score": score, **measurements}, predictions_sha256=made_up_runs.sha256_of(answers),
        judgements=[judged(Verdict.WARN), judged(Verdict.UNJUDGED, Kind.LATENCY), *made_up_runs.floor(0.1)],
        exceptions=["e"], overlay="o", retried=["r"], gpu_left=["CONV_2D: why"], verdict=Verdict.WARN,
        untimed={"keras_latency": "why"}, **common,
    )  # fmt: skip
    control = good.model_copy(
        update={
            "id": "seed_cnn/float32",
            "variant": "float32",
            "control": None,
            "measurements": good.measurements | {"score": score.model_copy(update={"value": 1.0})},
            "predictions_sha256": made_up_runs.sha256_of(labels.astype(np.uint8)),
        }
    )
    failed = Cell(
        id="seed_cnn/w", model="seed_cnn", variant="w", failure=Failure(what="error", reason="r", log="l"),
        verdict=Verdict.ERROR, verdicts=dict.fromkeys(Kind, Verdict.ERROR), judgements=[judged(Verdict.ERROR)],
        **common,
    )  # fmt: skip
    gpu = GpuDevice(name="g", driver="d", software=True, label="l") if False else None
    model = load_models(ROOT / "models")["seed_cnn"]
    return made_up_runs.report(
        [control, good, failed], run=name, notes=["n"], data_sha256={"seed_cnn": model.data_sha256}, selection="s",
        environment=made_up_runs.environment(results_class="r", no_gpu="g", gpu=gpu),
    )  # fmt: skip
