"""Make reports without measuring, and parse their pages, for the tests of ``report.html``."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantbench.records import (
    Action,
    Cell,
    Environment,
    Evidence,
    Failure,
    FalseAlarms,
    Judgement,
    Kind,
    Measurement,
    Report,
    Verdict,
)
from quantbench.reference.datasets import Pack, Split
from quantbench.reference.model import ReferenceModel
from quantbench.report.html import deferred
from quantbench.report.html import page as html

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;' </style>"


def judgement(cell_id: str, verdict: Verdict, change: float = 0.0, **more: Any) -> Judgement:
    fields: dict[str, Any] = {"kind": Kind.ACCURACY, "measurement": "score", "against": "baseline", "unit": "pp"} | more
    message = f"{cell_id}: accuracy moved by {change:+.2f} pp"
    return Judgement(verdict=verdict, change=change, tolerance=0.5, message=message, **fields)


def cell(model: str, variant: str, score: float, size: float, verdict: Verdict = Verdict.PASS, **more: Any) -> Cell:
    name = f"{model}/{variant}"
    measured = {
        "score": Measurement(value=score, unit="fraction", n=1000),
        "size": Measurement(value=size, unit="bytes", n=1),
        "gzip_size": Measurement(value=size / 2, unit="bytes", n=1),
        "latency": Measurement(value=size / 1000, unit="µs", n=5, spread=0.5, spread_of="fresh processes"),
        "latency_ratio": Measurement(value=0.8, unit="ratio to float32", n=4, spread=0.02, spread_of="fresh processes"),
    }
    control = None if variant == "float32" else "float32"
    judgements = [judgement(name, verdict, 0.4 if verdict is not Verdict.PASS else 0.0)]
    if control:
        judgements.append(judgement(name, Verdict.PASS, 100 * (0.9 - score), against="floor"))
    fields: dict[str, Any] = {
        "family": "ptq" if control else "control",
        "verdict": verdict,
        "judgements": judgements,
    } | more
    made = Cell(
        id="m/v", model="m", variant="v", control=control, metric="accuracy", metric_unit="pp",
        verdicts={Kind.ACCURACY: verdict}, measurements=measured, **fields,
    )  # fmt: skip
    # A reader refuses hostile names, but a page escapes them nevertheless.
    return made.model_copy(update={"id": name, "model": model, "variant": variant})


def report(cells: list[Cell], status: int = 0, **more: Any) -> Report:
    environment = Environment(
        python="3.11",
        os="Linux",
        cpu="CPU",
        isa="abc",
        cores=2,
        memory_gib=8,
        packages={"numpy": "2"},
        machine_class="m",
    )
    return Report(
        run="2026-01-01", started="2026-01-01", seconds=1, state="complete", exit_status=status, selection="",
        environment=environment, false_alarms=FalseAlarms(budget=0.01, judgements=3, share=0.003), cells=cells, **more,
    )  # fmt: skip


def timed(name: str = "m1/a") -> Cell:
    """Make a cell with percentiles of its calls and a value per process; p99 had too few calls for an upper bound."""
    model, _, variant = name.partition("/")
    made = cell(model, variant, 0.9, 1000)
    percentile = {"unit": "µs", "n": 600, "spread": 0.1, "spread_of": "fresh processes"}
    made.measurements |= {
        "latency": Measurement(value=12.0, unit="µs", n=3, spread=0.4, values=[11.8, 12.0, 12.6]),
        "latency_p50": Measurement(value=12.1, low=12.0, high=12.2, **percentile),
        "latency_p90": Measurement(value=13.5, low=13.1, high=14.0, **percentile),
        "latency_p99": Measurement(value=20.0, low=16.0, **percentile),
    }
    return made


def nine_cells() -> Report:
    """Make nine cells: one red with an action, one that failed, one with hostile names."""
    closer = Action(what="inspect", command=["quantbench", "inspect", "m1/b"])
    actions = [closer, Action(what="the shipped model differs from the trained one")]
    red = cell("m1", "b", 0.87, 90_000, Verdict.REGRESSED)
    red.judgements[0].actions = actions
    failed = Cell(
        id="m2/failed", model="m2", variant="failed", family="qat", control="float32", metric="accuracy",
        metric_unit="pp", verdict=Verdict.ERROR, failure=Failure(what="crash", reason="no <b>memory</b>", log=HOSTILE),
        judgements=[judgement("m2/failed", Verdict.ERROR, change=0.0)],
    )  # fmt: skip
    cells = [cell("m1", "float32", 0.9, 400_000), cell("m1", "a", 0.901, 100_000), red]
    cells += [cell("m2", "float32", 0.8, 300_000), cell("m2", "a", 0.795, 80_000, Verdict.WARN), failed]
    cells += [cell(HOSTILE, HOSTILE, 0.7, 10_000, Verdict.WARN, exceptions=[HOSTILE], overlay=HOSTILE, family=HOSTILE)]
    cells += [cell(HOSTILE, "float32", 0.9, 20_000), cell("m3", "1 %2F#?é", 0.9, 20_000)]
    return report(cells, status=1, notes=[HOSTILE])


def lay_run_folder(
    tmp_path: Path, made_up: Report, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, ReferenceModel]]:
    """Write a run whose cell m1/b flipped examples 3 and 5; return it, and the model with its images."""
    for name in ("evidence", "predictions"):
        (tmp_path / name).mkdir()
    evidence = Evidence(flipped=[3, 5, 10**6], range_method="min-max").model_dump_json()
    (tmp_path / "evidence" / "m1.json").write_text(f'{{"b": {evidence}}}')
    (tmp_path / "evidence" / "m2.json").write_text("{")  # damaged, and the page is made nevertheless
    labels = np.arange(10) % 3
    new = labels.copy()
    new[[3, 5]] += 1
    np.savez(tmp_path / "predictions" / "m1.npz", float32=labels, b=new)
    made_up.data_sha256 = {"m1": "d"}
    model = ReferenceModel(
        name="m1", description="", weights="", weights_sha256="", data="", data_sha256="d", floors={}
    )
    pack = Pack(None, None, Split(np.zeros((10, 8, 8), np.uint8), labels), "d")
    monkeypatch.setattr(ReferenceModel, "pack", lambda self: pack)
    return tmp_path, {"m1": model}


def as_large(made_up: Report, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Make the page of the nine cells show only four of them, and two models, at once."""
    monkeypatch.setattr(deferred, "WHOLE_PAGE", 4)
    monkeypatch.setattr(deferred, "FIRST_ROWS", 4)
    monkeypatch.setattr(html, "FIRST_ROWS", 4)
    monkeypatch.setattr(html, "MODELS_AT_ONCE", 2)
    monkeypatch.setattr(html, "MOST_LISTED", 2)
    return made_up


class Page(HTMLParser):
    """Parse a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def said(self) -> str:
        return " ".join(self.text)
