"""What others wrote is shown and never obeyed: by a terminal, a Markdown viewer, a spreadsheet or an XML reader."""

import csv
import hashlib
import io
import json
import re
import shutil
import socket
import threading
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import made_up_runs
import numpy as np
import pytest
from conftest import ROOT, Quantbench, run_quantbench
from hypothesis import example, given
from hypothesis import strategies as st
from made_up_pages import as_large
from markdown_it import MarkdownIt
from pydantic import ValidationError
from quantbench.baselines.files import packed
from quantbench.core.echo import Guarded, guarded, line, plain
from quantbench.core.options import RunOptions, check
from quantbench.core.threads import thread_counts
from quantbench.engine.workers.cluster import connect
from quantbench.errors import BadInput
from quantbench.records import (
    Action,
    Cell,
    Device,
    Evidence,
    Failure,
    Judgement,
    Kind,
    LeftToCpu,
    Range,
    Report,
    Verdict,
    read_record,
    write_json,
)
from quantbench.reference.model import load_models
from quantbench.report import cells_csv, junit, markdown, terminal
from quantbench.report.evidence import Behind
from quantbench.report.formatting import code, escape, table
from quantbench.report.html import page

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
            shown = plain(one)
            assert shown.isascii(), hex(number)
            assert shown.isprintable(), hex(number)


@given(st.text())
@example(HOSTILE + "\ud800")
def test_what_is_shown_is_no_order_and_stays_as_it_is(text: str) -> None:
    shown = plain(text)
    assert not orders(shown)
    assert plain(shown) == shown
    assert not orders(line(text))
    assert not set(line(text)) & set("\n\t")


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
    assert told.count("tr_open") == 2
    assert told.count("td_open") == 3
    assert told.count("code_inline") >= 2


ACTIVE = (
    "html_inline",
    "html_block",
    "image",
    "link_open",
    "heading_open",
    "blockquote_open",
    "fence",
    "hr",
    "em_open",
)


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
    assert guarded(stream) is stream
    assert isinstance(stream, Guarded)
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

KEPT = (
    "schema_version",
    "data_sha256",
    "metric",
    "metric_unit",
    "predictions_sha256",
    "started",
)  # without which no command would go on


def with_hostile_words(found: Report) -> Report:
    """The report with each text replaced that its reader does not hold to a form."""
    data = found.model_dump(mode="json", exclude_none=True)
    for holder, key in list(_texts(data)):
        before = holder[key]
        holder[key] = HOSTILE
        try:
            Report.model_validate_json(json.dumps(data), strict=True)
        except ValidationError:
            holder[key] = before
    return Report.model_validate_json(json.dumps(data), strict=True)


def _texts(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in pairs:
        if isinstance(one, str) and key not in KEPT:
            yield value, key
        elif key not in KEPT:
            yield from _texts(one)


ACTION = Action(what="a", command=["quantbench", "b"])


def judged(verdict: Verdict, kind: Kind = Kind.ACCURACY) -> Judgement:
    return Judgement(
        kind=kind, measurement="score", against="baseline", verdict=verdict, message="m", detail="d", actions=[ACTION]
    )


def a_run(number: int, labels: Any, answers: Any, data_sha256: str) -> Report:
    """Three cells of seed_cnn, one of which failed."""
    measurements = {
        "size": made_up_runs.measured(40_000.0 + number, n=1),
        "latency": made_up_runs.measured(5.0, "µs", [5.0, 5.1]),
        "latency_p50": made_up_runs.measured(5.0, "µs", [5.0, 5.1]),
        "latency_ratio": made_up_runs.measured(0.5, "ratio", [0.5, 0.51]).model_copy(update={"spread": 0.01}),
        "gpu_agreement": made_up_runs.measured(0.5, "fraction"),
        "agreement": made_up_runs.measured(0.5, "fraction"),
    }
    common: dict[str, Any] = {"metric": "accuracy", "metric_unit": "pp", "family": "ptq", "model": "seed_cnn"}
    cells = []
    for variant, control, found in (("float32", None, labels), ("v", "float32", answers)):
        score = made_up_runs.measured(float(np.mean(found == labels)), "fraction", n=len(labels))
        cells.append(
            Cell(
                id=f"seed_cnn/{variant}",
                variant=variant,
                control=control,
                census=made_up_runs.clustered(),
                verdict=Verdict.WARN,
                verdicts=dict.fromkeys(Kind, Verdict.PASS),
                measurements={"score": score, **measurements},
                predictions_sha256=hashlib.sha256(found.tobytes()).hexdigest(),
                judgements=[judged(Verdict.WARN), judged(Verdict.UNJUDGED, Kind.LATENCY), *made_up_runs.floor(0.1)],
                exceptions=["e"],
                overlay="o",
                retried=["r"],
                gpu_left=[LeftToCpu(operator="CONV_2D", reason="why")],
                untimed={"keras_latency": "why"},
                **common,
            )
        )
    failure = Failure(what="error", reason="r", log="l")
    verdicts = dict.fromkeys(Kind, Verdict.ERROR)
    found = [judged(Verdict.ERROR)]
    cells.append(
        Cell(
            id="seed_cnn/w", variant="w", failure=failure, verdict=Verdict.ERROR, verdicts=verdicts, judgements=found,
            **common,
        )
    )  # fmt: skip
    gpu = Device(name="g", kind="software", driver="d")
    surroundings = made_up_runs.environment(results_class="r", gpu=gpu)
    name = f"2026-01-0{number}T00-00-00Z"
    known = {"notes": ["n"], "data_sha256": {"seed_cnn": data_sha256}, "selection": "s"}
    return made_up_runs.report(cells, run=name, environment=surroundings, **known)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs in which every word is hostile; the second answers some examples otherwise."""
    folder = tmp_path_factory.mktemp("runs")
    model = load_models(ROOT / "models")["seed_cnn"]
    labels = model.pack().test.y.astype(np.uint8)
    paths = []
    for number in (1, 2):
        answers = labels.copy()
        answers[: 50 * number] = (answers[: 50 * number] + 1) % 10
        plainly = a_run(number, labels, answers, model.data_sha256)
        made = with_hostile_words(plainly).model_copy(update={"run": f"{HOSTILE}{number}"})
        path = folder / plainly.run
        (path / "predictions").mkdir(parents=True)
        (path / "evidence").mkdir()
        write_json(path / "report.json", made)
        (path / "predictions" / "seed_cnn.npz").write_bytes(packed({"float32": labels, "v": answers}))
        ranges = [Range(tensor=HOSTILE, dtype=HOSTILE, granularity=HOSTILE, constant=False, low=0.0, high=1.0)]
        evidence = Evidence(flipped=[1], ranges=ranges, range_method=HOSTILE)
        (path / "evidence" / "seed_cnn.json").write_text(json.dumps({"v": evidence.model_dump(mode="json")}))
        paths.append(path)
    return paths


def check_markdown(text: str) -> None:
    """No order, and nothing that acts but headings and emphasis of our own."""
    assert not orders(text)
    found = list(tokens(text))
    assert not [one for one in found if one in ("html_inline", "html_block", "image", "link_open", "fence", "hr")]
    assert "\n# heading" not in text
    assert all(len(row) == 1 for row in _widths(text)), "a cell that ends early"


def _widths(text: str) -> Iterator[set[int]]:
    """How many cells the rows of each table have."""
    widths: list[int] = []
    for one in text.splitlines():
        if one.startswith("|"):
            widths.append(len(re.findall(r"(?<!\\)\|", one)))
        elif widths:
            yield set(widths)
            widths = []


@pytest.mark.parametrize("test", ["report", "summary", "compare", "history", "trend", "inspect", "diff"])
def test_no_command_obeys_a_report(quantbench: Quantbench, two_runs: list[Path], test: str) -> None:
    old, new = map(str, two_runs)
    arguments = {
        "report": ["report", new],
        "summary": ["report", new, "--summary", "--at-most", "8000"],
        "compare": ["compare", old, new],
        "history": ["history", "--report-dir", str(two_runs[0].parent)],
        "trend": ["history", "seed_cnn/v", "--report-dir", str(two_runs[0].parent)],
        "inspect": ["inspect", "seed_cnn/v", "--run", new],
        "diff": ["baseline", "diff", new, "--only", "seed_cnn/float32,seed_cnn/v"],
    }[test]
    done = quantbench(*arguments)
    assert done.status in (0, 1), done.output
    assert "pwned" in done.output or test in ("trend", "diff"), "nothing hostile was shown at all"
    check_markdown(done.output)


def test_no_command_obeys_what_it_fails_of(quantbench: Quantbench, two_runs: list[Path]) -> None:
    failed = quantbench("inspect", "seed_cnn/w", "--run", str(two_runs[0]))
    assert failed.status == 4
    assert "has no artifact: =cmd" in failed.output
    check_line(failed.output)


def check_line(text: str) -> None:
    assert not orders(text)
    assert len(text.splitlines()) == 1, text


def test_no_file_of_a_report_obeys_it(two_runs: list[Path]) -> None:
    made = read_record(two_runs[0] / "report.json", Report, "report")
    check_markdown(markdown.render(made))
    shown = page.render(made, Behind())
    assert not orders(shown)
    assert "<img" not in shown
    assert 'href="http' not in shown
    assert shown.count("</script>") == shown.count("<script")
    ElementTree.fromstring(junit.render(made))
    assert not orders(junit.render(made).decode())
    known = list(csv.reader(io.StringIO(cells_csv.render(made))))
    assert not orders(cells_csv.render(made))
    for cell in (cell for row in known[1:] for cell in row):
        assert not re.match(r"\s*[=+@\t\r]", cell), cell
        if cell.startswith("-"):
            float(cell)
    assert terminal.summary(made, two_runs[0])


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", " =1", "\uff1d1", "a;=1", "a; @b", "a|=1"])
def test_no_text_begins_a_formula_whatever_separates_cells(text: str) -> None:
    [shown] = {cells_csv._field(text)}
    for cell in re.split(r"[;|]", shown):
        assert not re.match(r"\s*[=+@\uff1d-]", cell), shown


def test_a_page_of_many_cells_ends_no_script(made_up: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up.notes.append(HOSTILE)
    for cell in made_up.cells:
        cell.failure = Failure(what="error", reason=HOSTILE + HOSTILE, log=HOSTILE)
    shown = page.render(as_large(made_up, monkeypatch), Behind())
    assert shown.count("</script>") == 2
    assert not orders(shown)


# ---------------------------------------------------------------- names of files, models and tensors


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", HOSTILE],
        ["compare", HOSTILE, HOSTILE],
        ["inspect", f"{HOSTILE}.tflite"],
        ["inspect", HOSTILE, "--run", HOSTILE],
        ["try", HOSTILE],
        ["try", f"{HOSTILE}.keras", "--data", HOSTILE],
        ["baseline", "check", "--baseline-dir", HOSTILE],
        ["baseline", "xfail", HOSTILE, HOSTILE],
        ["models", "--model-dir", HOSTILE],
        ["cache", "why", f"{HOSTILE}/v"],
        ["schema", HOSTILE],
        ["run", "--models", HOSTILE],
        ["run", "--model-dir", HOSTILE],
        ["run", "--shard", HOSTILE],
        ["run", "--no-such-option", HOSTILE],
        ["run", "--cluster", HOSTILE],
        [HOSTILE],
        ["report", "--at-most", HOSTILE],
    ],
)
def test_no_argument_is_obeyed(quantbench: Quantbench, arguments: list[str]) -> None:
    done = quantbench(*(one.replace("\x00", "") for one in arguments))
    assert done.status == 4, done.output
    assert not orders(done.output)
    assert "Traceback" not in done.output


def test_a_model_file_is_not_obeyed(quantbench: Quantbench, tmp_path: Path) -> None:
    (tmp_path / "\x1b[2Jm.py").write_text("raise ValueError('\\x1b]0;pwned\\x07\\nsecond line')")
    done = quantbench("models", "--model-dir", str(tmp_path))
    assert done.status == 4
    assert "pwned" in done.output
    check_line(done.output)


def test_names_of_tensors_are_not_obeyed(quantbench: Quantbench, tmp_path: Path) -> None:
    path = tmp_path / "\x1b[2Jm.tflite"
    path.write_bytes(made_up_artifact(HOSTILE))
    done = quantbench("inspect", str(path))
    assert done.status == 0, done.output
    check_markdown(done.output)
    assert "pwned" in done.output


def made_up_artifact(name: str) -> bytes:
    """A float .tflite of one addition, whose tensors are called so."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description, model.buffers = 3, name, [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 0], [1]
    graph.name, graph.inputs, graph.outputs, graph.operators, graph.tensors = name, [0], [1], [operator], []
    for _ in range(2):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, [1, 2], schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.1], [0]
        graph.tensors.append(tensor)
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


# ---------------------------------------------------------------- what is given


@pytest.mark.parametrize("option", ["--cache-size", "--latency-budget", "--cell-timeout", "--false-alarms"])
@pytest.mark.parametrize("value", ["-5", "nan", "inf", "1e400"])
def test_a_number_that_makes_no_sense_gets_one_sentence(option: str, value: str) -> None:
    options = RunOptions(**{option.strip("-").replace("-", "_"): float(value)})
    with pytest.raises(BadInput, match=rf"^{option}: expected [^\n]+, found {float(value)}"):
        check(options)


@pytest.mark.parametrize("value", ["-1", str(10**30)])
@pytest.mark.parametrize("option", ["seeds", "workers"])
def test_a_count_that_makes_no_sense_gets_one_sentence(option: str, value: str) -> None:
    with pytest.raises(BadInput, match=rf"^--{option}: expected a whole number of at (least|most)"):
        check(RunOptions(**{option: int(value)}))


@pytest.mark.parametrize("text", ["0", "-1", "1e3", "99999999999", "\u00b2", ""])
def test_threads_that_make_no_sense_get_one_sentence(text: str) -> None:
    with pytest.raises(BadInput, match=r"^--threads: expected whole numbers of at least 1"):
        thread_counts(text)


@pytest.mark.parametrize("address", ["foo://x:1", "tcp://localhost", "tcp://", "tcp://x:", "tcp://x:99999999", "x"])
def test_what_is_no_address_of_a_cluster_gets_one_sentence(address: str) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(BadInput, match=r"^--cluster: expected an address such as tcp://scheduler:8786"):
        connect(address)


def test_a_closed_port_and_one_that_is_no_dask_get_one_sentence() -> None:
    pytest.importorskip("distributed")
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            for _ in range(2):  # whoever looks whether somebody is there, and who then greets
                with server.accept()[0] as client:
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9)

        answering = threading.Thread(target=answer, daemon=True)
        answering.start()
        since = time.monotonic()
        with pytest.raises(BadInput, match=r"^--cluster: no scheduler answers at tcp://127.0.0.1:\d+ within 2 s"):
            connect(f"tcp://127.0.0.1:{port}", 2)
        assert time.monotonic() - since < 15
        answering.join(10)
    with pytest.raises(BadInput, match="Connection refused"):
        connect(f"tcp://127.0.0.1:{port}", 2)
    assert threading.active_count() <= before + 1  # asyncio keeps one to look up names


def test_a_report_folder_may_be_anywhere(tmp_path: Path) -> None:
    here = tmp_path / "with space" / "sub"
    here.mkdir(parents=True)
    for given_ in ("../x", "../../y/z", "x", str(here / ".." / "w")):
        done = run_quantbench("run", "--collect-only", "-q", "--models", "seed_cnn", "--variants", "float32",
                              "--report-dir", given_, store=tmp_path / "store", cwd=here)  # fmt: skip
        assert done.returncode in (0, 5), done.stdout + done.stderr
        assert "INTERNALERROR" not in done.stdout + done.stderr


def test_a_score_that_is_not_that_of_its_predictions_is_refused(
    quantbench: Quantbench, two_runs: list[Path], tmp_path: Path
) -> None:
    forged = Path(shutil.copytree(two_runs[1], tmp_path / "forged"))
    made = read_record(forged / "report.json", Report, "report")
    [cell] = [one for one in made.cells if one.variant == "v"]
    cell.measurements["score"].value = 0.999
    write_json(forged / "report.json", made)
    for command in (["diff"], ["update", "--reason", "r", "--baseline-dir", str(tmp_path / "baselines")]):
        done = quantbench("baseline", command[0], str(forged), "--only", "seed_cnn/v", *command[1:])
        assert done.status == 4, done.output
        assert (
            "cell seed_cnn/v: the score 0.999 is not that of its stored predictions, 0.99; run it again" in done.output
        )
    assert not list((tmp_path / "baselines").glob("*"))


def test_a_cell_that_failed_is_told_with_its_own_words(quantbench: Quantbench, two_runs: list[Path]) -> None:
    done = quantbench("baseline", "diff", str(two_runs[0]), "--only", "seed_cnn/w")
    assert done.status == 4
    assert "cell seed_cnn/w could not be measured (error: =cmd" in done.output
