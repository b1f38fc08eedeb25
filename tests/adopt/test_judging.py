"""What ``judge`` and ``adopt --artifact`` are given: one sentence each for what is wrong, before anything is run."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import accepted
from made_up_graphs import joined
from made_up_runs import cell, measured, report
from quantbench import gate
from quantbench.adopt import artifacts, held, judging, limits, ranking, verdicts
from quantbench.adopt.inspecting import inspect
from quantbench.adopt.understand import Given
from quantbench.build.fingerprint import source_fingerprint
from quantbench.errors import BadInput
from quantbench.records import BaselineCell, BuiltArtifact, FileVerdicts, Machine, read_artifacts
from quantbench.reference.metrics import ACCURACY
from quantbench.report import built as words
from quantbench.variants import VARIANTS, built, offered, variant_of

from .make_built import KERNEL, X, Y, custom, dense, written


def test_each_file_gets_a_name_that_a_cell_can_have() -> None:
    paths = [Path("a/v-1.int8.tflite"), Path("b/v-1.int8.tflite"), Path("c/1.tflite")]
    names = judging.named(paths)
    assert list(names) == ["v_1_int8", "v_1_int8_2", "file_1"]
    assert list(names.values()) == paths
    assert all(built.is_built(f"built_{name}") for name in names)
    with pytest.raises(BadInput, match="is given twice"):
        judging.named([Path("v.tflite"), Path("./v.tflite")])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sized=3", "unknown figure 'sized'; did you mean size"),
        ("size", "expected NAME=VALUE such as size=300KiB"),
        ("size=3GB", "size=3GB: expected a number"),
        ("latency=2KiB", "latency=2KiB: expected a number"),
        ("size=1e999", "expected a number"),
    ],
)
def test_what_is_no_limit(text: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        held.parse([text])
    assert words in str(caught.value)


def test_a_limit_is_kept_where_the_whole_interval_is_below_it() -> None:
    found = held.parse(["size=2KiB", "latency=1.1", "left=0"])
    size, unknown = found.held("size", 2048), found.held("left", None)
    times = [found.held("latency", value, value - 0.1, value + 0.1) for value in (0.9, 1.05, 1.3)]
    assert [one.verdict for one in [size, *times, unknown] if one] == [
        "within",
        "within",
        "undecided",
        "beyond",
        "undecided",
    ]
    assert found.held("arena", 1.0) is None
    with pytest.raises(BadInput, match="latency: is measured by running a file"):
        found.check_apply([True])
    with pytest.raises(BadInput, match="left: is a figure of compiled files"):
        found.check_apply([False])


def test_a_compiled_file_that_nothing_was_asked_of_is_not_green(tmp_path: Path) -> None:
    (tmp_path / "v.tflite").write_bytes(custom(b"ethos-u"))
    one = inspect(tmp_path / "v.tflite")
    assert verdicts.of_compiled(one, held.parse([])).verdict == "undecided"
    assert verdicts.of_compiled(one, held.parse(["left=1"])).verdict == "within"
    work = verdicts.of_compiled(one, held.parse(["left_macs=0", "left_share=0.1"]))
    assert [(each.name, each.value, each.verdict) for each in work.held] == [
        ("left_macs", 0, "within"),
        ("left_share", None, "undecided"),
    ]
    told = [verdicts.of_compiled(one, held.parse(["sram=1MiB"])), verdicts.of_compiled(one, held.parse(["left=0"]))]
    assert [one.verdict for one in told] == ["undecided", "beyond"]
    found = FileVerdicts(files=[*told] * 6, machine=Machine(cpu="c"))
    assert found.verdict == "beyond"
    assert len(words.screen(found).splitlines()) <= words.MOST_LINES
    assert "sram is not known; at most 1,024.0 KiB allowed" in words.markdown(found)


CANNOT = [
    ("good.tflite", {}, "--float: .*already quantized although its inputs and outputs are float32"),
    ("model.py:M", {}, "--float: model.py:M is code"),
    ("float.tflite", {"spec": "int9"}, "unknown quantization spec 'int9'; did you mean int8"),
    ("float.tflite", {"vela": Path("s.csv")}, "goes with one compiled file, and 0 of"),
    ("small.tflite", {}, "its output has shape 16, and that of small.tflite 8"),
    ("", {"against": ""}, "--max-drop: there is nothing to drop from"),
    ("float.tflite", {"quantized": ["npu.tflite"]}, "--max-drop: a compiled file has no score; leave it out"),
]


@pytest.mark.parametrize(("model", "asked", "words"), CANNOT)
def test_what_cannot_be_judged(tmp_path: Path, model: str, asked: dict[str, Any], words: str) -> None:
    folder = written(tmp_path)
    (folder / "small.tflite").write_bytes(dense(KERNEL[:8]))
    (folder / "npu.tflite").write_bytes(custom(b"ethos-u"))
    np.savez(folder / "eval.npz", x=X, y=Y % 8)
    (tmp_path / "aside").mkdir()
    named = str(folder / model) if model.endswith(".tflite") else model
    given = Given(named, folder / "eval.npz", max_drop=limits.parse("1"))
    with pytest.raises(BadInput, match=words) as caught:
        judging.judge(
            given,
            judging.Asked(**{**asked, "quantized": [folder / one for one in asked.get("quantized", ["good.tflite"])]}),
            tmp_path / "aside",
            tmp_path / "reports",
            lambda _: None,
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("own", "specs", "words"),
    [
        (["vendor"], [], "--artifact: expected NAME=FILE such as"),
        (["a-b=v.tflite"], [], "--artifact: expected a name of letters, digits and '_'"),
        (["a=v.tflite", "a=w.tflite"], [], "--artifact: a is given twice"),
        (["a=v.tflite"], ["b=int8"], "--spec: b is no artifact of this command"),
        (["a=v.tflite"], ["a=int88"], "--spec: unknown quantization spec 'int88'"),
    ],
)
def test_what_is_no_artifact_to_adopt(own: list[str], specs: list[str], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        artifacts.parse(own, specs)
    assert words in str(caught.value)


def test_a_file_is_read_anew_and_a_missing_one_is_the_error_of_its_cell(tmp_path: Path) -> None:
    model: Any = SimpleNamespace(file=tmp_path / "m.py", name="m", form="tflite")
    listed = built.list_of(model.file, "m")
    artifacts.bring(artifacts.parse([f"v={tmp_path / 'v.tflite'}"], ["v=int8"]), model)
    artifacts.settle(tmp_path, "m")
    assert read_artifacts(listed)[0].file == "v.tflite"
    keys = []
    with pytest.raises(BadInput, match="the artifact is not there; build it before the run"):
        variant_of(model, "built_v").make(None)  # type: ignore[arg-type]
    for content in (b"one", b"other"):
        (tmp_path / "v.tflite").write_bytes(content)
        variant = variant_of(model, "built_v")
        assert variant.make(None) == content  # type: ignore[arg-type]
        keys.append(source_fingerprint(variant.make))
    assert keys[0] != keys[1]
    (tmp_path / "v.tflite").write_bytes(b"half of it")
    with pytest.raises(BadInput, match="changed while it was measured"):
        variant.make(None)  # type: ignore[arg-type]
    assert variant.promise is VARIANTS["ptq_static_wi8_ai8"].promise
    assert offered(model)[-1] == "built_v"
    for text, said in (
        ("{", "is not JSON"),
        (listed.read_text().replace('"1.1"', '"2.0"'), "expected '1.1', found '2.0'"),
        (listed.read_text().replace('"int8"', '"int7"'), "v: --spec: unknown quantization spec 'int7'"),
        (listed.read_text().replace('"name"', '"nam"'), "field 'artifacts.0"),
    ):
        listed.write_text(text)
        with pytest.raises(BadInput) as caught:
            offered(model)
        assert said in str(caught.value)
        artifacts.bring(artifacts.parse(["v=v.tflite"], ["v=int8"]), model)
    model.form = "code"
    with pytest.raises(BadInput, match="is a model of code, beside which files of others are not run"):
        offered(model)


def test_a_summary_that_is_gone_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "npu.tflite").write_bytes(b"one")
    model: Any = SimpleNamespace(file=tmp_path / "m.py", name="m", form="keras3")
    one = BuiltArtifact(name="npu", file=str(tmp_path / "npu.tflite"), compiled="Ethos-U", report=str(tmp_path / "s"))
    built.declare(model.file, model.name, {"built_npu": one})
    with pytest.raises(BadInput, match="s: the Vela summary is not there; build it before the run"):
        variant_of(model, "built_npu").make(None)  # type: ignore[arg-type]


def test_every_artifact_has_a_variant_and_none_is_one_of_every_model() -> None:
    assert "built_vendor" in VARIANTS
    assert VARIANTS["built_vendor"].control == "float32"
    assert not VARIANTS["built_vendor"].trained
    assert "built_vendor" not in list(VARIANTS)
    for name in ("built_", "built_a@head", "built_1", "vendor"):
        assert name not in VARIANTS


def test_a_report_belongs_to_a_compiled_artifact(tmp_path: Path) -> None:
    (tmp_path / "npu.tflite").write_bytes(custom(b"ethos-u"))
    (tmp_path / "plain.tflite").write_bytes(dense())
    understood: Any = SimpleNamespace(inputs={"x": ((1, 4), np.dtype("float32"))}, outputs={"": (4,)})

    def checked(file: str, spec: str = "", report: str = "") -> Any:
        own = artifacts.parse([f"v={tmp_path / file}"], [f"v={spec}"] * bool(spec), [f"v={report}"] * bool(report))
        return artifacts.checked(own, understood, "m.keras", "")["built_v"]

    assert checked("npu.tflite").compiled == "Ethos-U"
    for wrong, said in (
        (("npu.tflite", "int8"), "which hides how it is quantized; leave the spec out"),
        (("npu.tflite", "", "gone.csv"), "gone.csv: Vela summary not found"),
        (("plain.tflite", "", "s.csv"), "plain.tflite: is not compiled; leave its report out"),
    ):
        with pytest.raises(BadInput, match=said):
            checked(*wrong)
    with pytest.raises(BadInput, match="--vela-report: w is no artifact of this command"):
        artifacts.parse(["v=v.tflite"], [], ["w=s.csv"])


def test_a_file_that_breaks_its_spec_is_adopted_with_a_reason_alone(tmp_path: Path) -> None:
    (tmp_path / "plain.tflite").write_bytes(dense())
    file = inspect(tmp_path / "plain.tflite")
    understood: Any = SimpleNamespace(inputs=file.inputs, outputs=file.outputs)
    own = artifacts.parse([f"v={tmp_path / 'plain.tflite'}"], ["v=int8"])
    with pytest.raises(BadInput) as caught:
        artifacts.checked(own, understood, "m.keras", " ")
    assert str(caught.value).startswith(f"--spec: {tmp_path / 'plain.tflite'}: is not int8: 1 of 1 layers")
    assert str(caught.value).endswith(
        "build it as declared, declare what it keeps (float32), or take it as a known limitation with --accept 'why'"
    )
    assert artifacts.checked(own, understood, "m.keras", "the vendor's tool leaves it")["built_v"].spec == "int8"
    kept = artifacts.parse([f"v={tmp_path / 'plain.tflite'}"], ["v=float32"])
    assert artifacts.checked(kept, understood, "m.keras", "")


def test_a_figure_of_an_accelerator_is_judged_exactly_and_may_not_get_lost() -> None:
    subject = gate.Subject("m", "built_v", "reports/r")
    known = BaselineCell(
        measurements={
            "npu_cycles": accepted(1000, unit="cycles"),
            "left_macs": accepted(0, unit="multiplications"),
        }
    )
    found = {"npu_cycles": measured(1001, "cycles"), "left_macs": measured(0, "multiplications")}
    work, cycles = gate.sizes(subject, found, known)
    assert [one.verdict for one in (work, cycles)] == ["pass", "regressed"]
    assert cycles.message.endswith(": 1,001, accepted 1,000 (+1; none allowed)")
    better = gate.sizes(subject, found | {"npu_cycles": measured(900, "cycles")}, known)
    assert [one.verdict for one in better] == ["pass", "improved"]
    [lost] = [one for one in gate.sizes(subject, {"left_macs": found["left_macs"]}, known) if one.verdict != "pass"]
    assert (lost.verdict, lost.measurement) == ("error", "npu_cycles")
    assert lost.actions[1].command[2:6] == ["MODEL", "--update", "m", "--artifact"]  # an update refuses an error


def of_reference(reference: Path, run: Any = None, outputs: Any = ()) -> verdicts.Judging:
    promise = VARIANTS["float32"].promise
    return verdicts.Judging(run, list(outputs), {}, limits.parse([]), promise, "", held.Limits(), reference)


def test_a_file_that_joins_its_parts_in_another_order_is_told_so(tmp_path: Path) -> None:
    reference, swapped = tmp_path / "float.tflite", tmp_path / "qat.tflite"
    reference.write_bytes(joined("boxes scores"))
    swapped.write_bytes(joined("scores boxes"))
    given: Any = SimpleNamespace(path=swapped)
    judge = of_reference(reference)
    (why,) = judge._reordered(given)
    assert why.startswith(
        "its operator 2 (CONCATENATION) joins 1×3, 1×4 where the reference joins 1×4, 1×3: what tfmot"
    )
    given.path = reference
    assert judge._reordered(given) == []


def test_a_file_that_cannot_be_compared_with_the_reference_is_told_so(tmp_path: Path) -> None:
    reference, damaged = tmp_path / "float.tflite", tmp_path / "qat.tflite"
    reference.write_bytes(joined("boxes scores"))
    damaged.write_bytes(b"nothing")
    judge = of_reference(reference)
    given: Any = SimpleNamespace(path=damaged)
    start = "its operators could not be compared with the reference's: "
    assert judge._reordered(given) == [f"{start}not a .tflite file"]
    given.path = tmp_path / "gone.tflite"
    assert judge._reordered(given)[0].startswith(start)


@pytest.mark.parametrize(("wrong", "against", "told"), [(900, "float", True), (0, "float", False), (900, "", False)])
def test_the_order_is_told_only_where_a_compared_file_drops_too_far(
    tmp_path: Path, wrong: int, against: Any, told: bool
) -> None:
    reference, swapped = tmp_path / "float.tflite", tmp_path / "qat.tflite"
    reference.write_bytes(joined("boxes scores"))
    swapped.write_bytes(joined("scores boxes"))
    labels = np.zeros(1000, np.int64)
    answered = (np.arange(1000) < wrong).astype(np.int64)
    measurements = {"score": measured(0.9, "fraction"), "size": measured(1000.0)}
    cells = [cell(name, measurements=measurements) for name in ("float32", "built_qat")]
    judge = of_reference(reference, report(cells), [ranking.Judging("", ACCURACY, labels)])
    judge = replace(judge, predictions={"float32": labels, "built_qat": answered})
    (tmp_path / "dense.tflite").write_bytes(dense())
    one = replace(inspect(tmp_path / "dense.tflite"), path=swapped)
    (found,) = judge.record({"built_qat": one}, "float.tflite" if against else "", against).files
    assert any("issue 1179" in why for why in found.why) == told


def test_the_reference_file_is_that_of_the_models_float_cell(tmp_path: Path) -> None:
    made = {"m/float32": tmp_path / "a", "m/built_v": tmp_path / "b", "n/float32": tmp_path / "c"}
    session: Any = SimpleNamespace(artifacts=lambda: made)
    assert judging.reference_file(session, "m") == tmp_path / "a"
    assert judging.reference_file(session, "other") is None
