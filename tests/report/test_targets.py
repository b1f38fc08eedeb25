"""The table of targets: one for all, targets across and cells down; what could not run says why."""

from pathlib import Path

from made_up_runs import answers, cell, environment, measured, report
from quantbench.records import (
    Device,
    Judgement,
    Kind,
    Measurement,
    Micro,
    MicroAnswers,
    MicroRefusal,
    OnTarget,
    Report,
    Target,
    TargetMachine,
    Verdict,
)
from quantbench.report import formatting, targets
from quantbench.report.evidence import Behind
from quantbench.report.html.page import render
from quantbench.report.markdown import render as markdown

PI = TargetMachine(
    python="3.11.2", machine="aarch64", os="Linux 6.1", cpu="Raspberry Pi 4", isa="0123abcd", cores=4, memory=4 * 2**30,
    free=2**30, runtime="ai-edge-litert", litert="2.3.0", numpy="2.1.0", folder="/f", clock=0.0,
)  # fmt: skip


def of_two() -> Report:
    there = OnTarget(
        measurements={
            "score": measured(0.897, "fraction"),
            "latency": measured(1234.5, "µs"),
            "latency_ratio": measured(0.5, "ratio"),
            "memory": measured(512 * 1024),
        },
        local=0.9,
        lost=5,
        gained=2,
        differing=9,
        verdict=Verdict.WARN,
        retried=["answers: the connection was lost; tried again"],
    )
    same = there.model_copy(update={"local": 0.897, "differing": 0, "lost": 0, "gained": 0, "retried": []})
    gone = OnTarget(failure="the connection was lost: <b>", code="lost", verdict=Verdict.ERROR)
    cells = [
        cell("float32", answers(100), targets={"pi": same, "phone": gone}),
        cell("v", answers(100), targets={"pi": there, "phone": gone}),
        cell("w", answers(100)),
    ]
    pi = Target(address="ssh://pi", machine=PI, results_class=PI.results_class, notes=["its clock is off"], sent=1)
    return report(cells, targets={"pi": pi, "phone": Target(address="ssh://phone", failure="no route")})


def test_one_table_has_targets_across_and_cells_down() -> None:
    rows = targets.rows(of_two())
    assert targets.headers(of_two())[:3] == ["cell", "pi: score", "pi: change against here"]
    assert [row[0] for row in rows] == ["m/float32", "m/v"]
    assert rows[0][1:6] == ["89.70 %", "none (1,000 examples)", "0.50× (1,234 µs)", "512.0", ""]
    assert rows[1][2] == "-0.30 pp (9 of 1,000 differ: 5 newly wrong, 2 newly right)"
    assert rows[1][5] == "answers: the connection was lost; tried again"
    assert rows[1][6:] == ["", "", "", "", "not run: the connection was lost: <b>"]


def test_machines_are_described_with_what_is_wrong_there() -> None:
    pi, phone = targets.machines(of_two())
    assert pi.startswith("pi: ssh://pi, Raspberry Pi 4 (aarch64), 4 cores, 4.0 GiB, Linux 6.1, Python 3.11.2")
    assert pi.endswith("machine profile aarch64-0123abcd_ai-edge-litert-2.3.0; its clock is off")
    assert phone == "phone (ssh://phone): no route"


def test_the_table_is_in_the_report_and_on_the_page_escaped(tmp_path: Path) -> None:
    text, page = markdown(of_two()), render(of_two(), Behind.of(tmp_path, of_two(), {}))
    for each in (text, page):
        assert targets.TITLE in each
        assert "512.0" in each
        assert "lost: <b>" not in each
    assert targets.TITLE not in markdown(report([cell("v", answers(100))]))


def test_times_of_an_emulator_are_labelled() -> None:
    made = of_two()
    emulated = made.targets["pi"].model_copy(update={"emulated": True})
    made = made.model_copy(update={"targets": {**made.targets, "pi": emulated}})
    assert targets.rows(made)[0][3] == "0.50× (1,234 µs), emulated"
    assert "pi: emulated, so its times say nothing of a machine" in targets.words(made)


def test_tflite_micro_stands_beside_the_targets_and_alone(tmp_path: Path) -> None:
    alone = report(
        [
            cell("runs", micro=Micro(version="1", answers=MicroAnswers(examples=300, differing=[3])),
                 measurements={"micro_arena": measured(1100)}),
            cell("not", micro=Micro(version="1", refusal=MicroRefusal(reason="<b>", operator="CONV_2D"))),
            cell("never"),
        ]
    )  # fmt: skip
    assert targets.rows(alone) == [
        ["m/runs", "", "1 of 300 differ", "1,100", ""],
        ["m/not", "", "", "", "not run: CONV_2D: <b>"],
    ]
    scores = {"score": 0.89, "reference_score": 0.9, "lost": 1, "gained": 0}
    scored = alone.cells[0].model_copy(
        update={"micro": Micro(version="1", answers=MicroAnswers(examples=100, differing=[3], **scores))}
    )
    assert targets.rows(report([scored]))[0][1:3] == [
        "89.00 %",
        "-1.00 pp (1 of 100 differ: 1 newly wrong, 0 newly right)",
    ]
    page = render(alone, Behind.of(tmp_path, alone, {}))
    for text in (markdown(alone), page):
        assert "TFLite-Micro: arena, bytes" in text
        assert "1 of 300" in text
        assert "CONV_2D: <b>" not in text
    both = of_two()
    beside = both.model_copy(update={"cells": [*both.cells[:1], *alone.cells]})
    assert targets.headers(beside)[1:6] == [*(f"TFLite-Micro: {what}" for what in targets.OF_MICRO), "pi: score"]
    assert [len(row) for row in targets.rows(beside)] == [15, 15, 15]


def test_gpus_stand_beside_each_other_with_what_they_left_to_the_cpu(tmp_path: Path) -> None:
    one, two = Device(name="Card", kind="discrete", driver="d"), Device(name="<b>", kind="software")
    left = {
        "gpu_agreement@<b>": measured(0.99, "fraction", n=200),
        "gpu_score@<b>": measured(0.88, "fraction", n=200),
        "gpu_score_change@<b>": measured(-0.01, "fraction", n=200),
        "gpu_time@<b>": measured(2.0, "ms"),
        "gpu_ratio@<b>": measured(1.5, "ratio"),
        "gpu_left@<b>": measured(3, "operators", n=182),
        "gpu_left_macs@<b>": Measurement(value=25, unit="multiplications", n=1000, low=5, high=25),
    }
    words = "could not be measured on Card: the device was lost"
    lost = Judgement(
        kind=Kind.GPU, measurement="gpu_agreement", against="nothing", verdict=Verdict.ERROR, message=words
    )
    tried = cell("v", answers(100), measurements=left, verdicts={Kind.GPU: Verdict.ERROR}, judgements=[lost])
    made = report([tried, cell("w")], environment=environment(gpu=one, further_gpus=[two]))
    assert targets.headers(made)[1] == "Card: score"
    [row] = targets.rows(made)
    assert row[1:6] == ["", "", "", "", words]
    assert row[6:] == [
        "88.00 %",
        "-1.00 pp (2 of 200 differ)",
        "1.50× (2.00 ms)",
        "3 of 182, at most 2.5 % of the multiplications",
        "",
    ]
    assert targets.machines(made) == ["Accelerator: Card (discrete, d)", "Accelerator: <b> (software)"]
    assert "<b>: computed on the CPU" in targets.words(made)
    page = render(made, Behind.of(tmp_path, made, {}))
    assert "at most 2.5 %" in page
    assert "<b>: score" not in page
    assert markdown(made).count("### Accelerator: ") == 2


def test_work_on_a_gpu_that_cannot_be_judged_is_no_reason_why_it_did_not_run() -> None:
    words = "the multiplications left to the CPU on Card could not be counted; not gated: 20 were accepted"
    unknown = Judgement(
        kind=Kind.GPU, measurement="gpu_left_macs", against="nothing", verdict=Verdict.UNJUDGED, message=words
    )
    assert formatting.not_on_gpu(cell("v", judgements=[unknown])) == ""
    refused = unknown.model_copy(update={"measurement": "gpu_agreement", "message": "refused"})
    assert formatting.not_on_gpu(cell("v", judgements=[unknown, refused])) == "refused"
