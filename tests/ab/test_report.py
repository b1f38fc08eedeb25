"""What the preview of an upgrade says of files, of overridden requirements, and of packages that a side lacks."""

from dataclasses import replace
from pathlib import Path

from made_up_runs import LABELS, answers, cell, report
from quantbench.ab.environments import Resolved, side
from quantbench.ab.report import page, render
from quantbench.ab.result import Asked, Files, Found, Unmet
from quantbench.comparison import Outcome, Side, Truth, compare
from quantbench.records import Failure
from quantbench.reference.metrics import ACCURACY

LEFT_OUT = {"m/qat_wi8_ai8": "the new side was made without tf-keras, which it needs"}


def _found(files: Files) -> Found:
    old, new = side("--old", ["tensorflow==2.21.*"]), side("--new", ["tensorflow==2.22.0rc0"])
    trained = cell("qat_wi8_ai8", answers(100))
    refused = cell("qat_wi8_ai8", failure=Failure(what="unsupported", reason="r"))
    runs = [Side(report([cell("ptq_float16", answers(100)), one]), {}) for one in (trained, refused)]
    compared = compare(*runs, lambda _: Truth(ACCURACY, LABELS), left_out=LEFT_OUT)
    pins = Resolved(old, ("tensorflow==2.21.0",)), Resolved(new, ("tensorflow==2.22.0rc0",), ("tf-keras", "tfmot"))
    asked = Asked(old, new, (), Path(), Path(), 0.0)
    return Found(asked, Path(), *pins, compared, compared=files, left_out=LEFT_OUT)


def test_identical_files_are_said_to_be_so_and_others_are_named() -> None:
    assert "Identical files: all 2 artifacts, byte for byte." in render(_found(Files(("m/a", "m/b"))))
    text = render(_found(Files(("m/a",), ("m/b",), ("m/c",))))
    assert "Identical files: 1 of 3 artifacts." in text
    assert "m/c" in text
    assert "the same but for the converter's stamp" in text
    assert "No cell has an artifact on both sides." in render(_found(Files()))


def test_a_side_without_tf_keras_says_so_and_what_it_cannot_train_is_not_worse() -> None:
    found = _found(Files(("m/ptq_float16",)))
    assert found.comparison.cells["m/qat_wi8_ai8"] is Outcome.NOT_COMPARABLE
    assert found.comparison.exit_status() == 0
    text = render(found)
    assert "The new side was made without tf-keras and tfmot, of which no version suits tensorflow==2.22.0rc0." in text
    assert "Not compared: 1 cell that trains" in text
    assert LEFT_OUT["m/qat_wi8_ai8"] in text


def test_overridden_requirements_are_listed() -> None:
    unmet = {"old": [Unmet("litert-quantizer 0.11.0", "ai-edge-litert==2.3.0", "2.2.0")]}
    found = replace(_found(Files()), unmet=unmet)
    for text in (render(found), page(found)):
        assert "Overridden requirements" in text
        assert "ai-edge-litert==2.3.0" in text
