"""The judge of accelerators: what was accepted on the device decides, and a known fault is tried until it is mended."""

from pathlib import Path

import pytest
from conftest import ROOT
from made_up_runs import clustered
from quantbench import gate
from quantbench.gate import _gpu_null, _gpu_null_measured
from quantbench.gate._gpu_faults import known_fault
from quantbench.records import AcceptedGpu, BaselineCell, Census, Compute, Device, Judgement, Measurement, Verdict
from studies import gpu_null
from studies._common import table
from studies.gpu_null import Seen

SUBJECT = gate.Subject("m", "v", "reports/r")
SEEN = Device(name="SwiftShader Device (Subzero)", kind="software", driver="SwiftShader driver")
OTHER = Device(name="A real one", kind="discrete", driver="d")

# Of 200 examples, no healthy float artifact differed on any, a hybrid one on 4, and an integer one on 7.
LOWEST = {
    ("software", "examples", "float"): (1.0, 200, 50, 8),
    ("software", "examples", "hybrid"): (0.98, 200, 60, 8),
    ("software", "examples", "integer"): (0.965, 200, 70, 8),
    ("software", "examples", "int16"): (1.0, 200, 4, 4),
    ("software", "values", "integer"): (0.999, 200, 20, 1),
    ("software", "detections", "integer"): (0.99, 200, 20, 1),
}


@pytest.fixture(autouse=True)
def made_up_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gpu_null, "LOWEST", LOWEST)


def held(agreement: float = 1.0, left: int = 3, operators: int = 182, macs: int | None = None) -> BaselineCell:
    accepted = AcceptedGpu(agreement=agreement, examples=200, left=left, operators=operators, left_macs=macs)
    return BaselineCell(gpu={SEEN.name: accepted})


def census(stride: int = 2, side: int = 1, precision: str = "integer") -> Census:
    layer = Compute(operator="CONV_2D", index=1, precision=precision, weights="int8", shape=[8, side, side, 4])
    options = ["QUANTIZE", f"CONV_2D dilationHFactor=1 dilationWFactor=1 strideH={stride} strideW={stride}"]
    return clustered().model_copy(update={"compute": [layer], "options": options, "order": [0, 1]})


def judged(
    agreement: float,
    device: Device = SEEN,
    baseline: BaselineCell | None = None,
    of: Census | None = None,
    left: int | None = None,
    macs: int | None = None,
    least: int | None = None,
) -> list[Judgement]:
    measured = {"gpu_agreement": Measurement(value=agreement, unit="fraction", n=200)}
    if left is not None:
        measured["gpu_left"] = Measurement(value=left, unit="operators", n=182)
    if macs is not None:
        measured["gpu_left_macs"] = Measurement(value=macs, unit="multiplications", n=1000, low=least)
    one = gate.gpu(SUBJECT, measured, device, "", baseline, False, of)
    return [one, *gate.gpu_left(SUBJECT, measured, device, baseline)]


def test_the_fault_is_of_pointwise_convolutions_with_a_stride_that_are_not_float() -> None:
    for of in (census(), census(precision="hybrid")):
        assert str(known_fault(of)) == (
            "it computes pointwise convolutions with a stride as if that were one (operator 1)"
        )
    for without in (census(stride=1), census(side=3), census(precision="float"), clustered(), None):
        assert known_fault(without) is None


def of_int16(*operators: str) -> Census:
    return census(1).model_copy(
        update={"activations": {"int16": 9}, "options": list(operators), "order": [*range(len(operators))]}
    )


def test_sums_and_products_of_int16_values_are_a_known_fault() -> None:
    """As keyword's, of which an accelerator takes three operators, and 77 of 200 answers differ."""
    faulty, other = of_int16("QUANTIZE", "ADD", "MUL", "SUB", "ADD"), of_int16("QUANTIZE", "SOFTMAX")
    assert known_fault(other) is None
    assert known_fault(faulty.model_copy(update={"activations": {"int8": 9}})) is None
    here, elsewhere, healthy, of_another = (
        judged(*of)[0]
        for of in (
            (0.615, SEEN, None, faulty),
            (0.615, OTHER, None, faulty),
            (1.0, SEEN, None, faulty),
            (0.9, SEEN, None, other),
        )
    )
    assert [one.verdict for one in (here, elsewhere, healthy, of_another)] == [
        "unsupported",
        "regressed",
        "pass",
        "regressed",
    ]
    assert here.message.endswith("without their scales (operators 1, 2, 3 and 1 more): a known limitation")
    without_work = judged(0.615, of=faulty, left=179, macs=1000)[0]
    assert without_work.verdict is Verdict.UNSUPPORTED
    assert without_work.message == f"{here.message}; the CPU computed all of its multiplications"


def test_a_known_fault_is_a_known_limitation_on_the_device_that_it_was_seen_on_alone() -> None:
    known, elsewhere, other = judged(0.7, of=census()), judged(0.7, OTHER, of=census()), judged(0.7, of=census(1))
    assert [one.verdict for one in (*known, *elsewhere, *other)] == ["unsupported", "regressed", "regressed"]
    assert known[0].message.endswith("with a stride as if that were one (operator 1): a known limitation")
    assert elsewhere[0].message.endswith("with a stride as if that were one (operator 1)")
    assert "stride" not in other[0].message


def test_a_known_fault_does_not_hide_another_one_and_its_end_is_told() -> None:
    (still, _), (worse, _) = (judged(one, baseline=held(0.745), of=census()) for one in (0.745, 0.5))
    mended = judged(1.0, baseline=held(0.745), of=census())[0]
    assert [one.verdict for one in (still, worse, mended)] == ["unsupported", "regressed", "improved"]
    assert "is mended" in mended.message
    older = BaselineCell(gpu_agreement={SEEN.name: 0.745})
    assert [judged(one, baseline=older, of=census())[0].verdict for one in (0.745, 0.5)] == ["unsupported", "regressed"]


@pytest.mark.parametrize(
    ("agreement", "accepted", "verdict"), [(0.96, 1.0, "pass"), (0.94, 1.0, "regressed"), (0.91, 0.94, "pass")]
)
def test_what_was_accepted_on_the_device_decides_and_no_fixed_share(
    agreement: float, accepted: float, verdict: str
) -> None:
    assert judged(agreement, baseline=held(accepted))[0].verdict == verdict


@pytest.mark.parametrize(("precision", "passes", "fails"), [("float", 0.97, 0.965), ("integer", 0.905, 0.9)])
def test_where_nothing_was_accepted_healthy_artifacts_of_such_arithmetic_decide(
    precision: str, passes: float, fails: float
) -> None:
    of = census(1, precision=precision)
    for device in (SEEN, OTHER):
        assert [judged(share, device, of=of)[0].verdict for share in (passes, fails)] == ["pass", "regressed"]


def test_a_device_of_a_kind_that_nobody_measured_says_so() -> None:
    seen, other = (judged(0.96, device, of=census(1))[0].message for device in (SEEN, OTHER))
    assert seen.endswith(
        "96.00 % of 200 examples; healthy artifacts of 8 models were never below 96.5 % on software devices"
    )
    assert other.endswith("on software devices; on devices of the kind discrete none were measured")


def test_artifacts_without_a_null_are_not_gated_until_they_are_accepted() -> None:
    """Values of a hybrid artifact, of which none was measured."""
    first, later = (parts(0.6, "values", baseline, census(1, precision="hybrid")) for baseline in (None, held(0.9)))
    assert (first.verdict, later.verdict) == (Verdict.UNJUDGED, Verdict.REGRESSED)
    assert first.actions


def parts(agreement: float, unit: str, baseline: BaselineCell | None = None, of: Census | None = None) -> Judgement:
    """Judge an agreement that is a share of values or of detections."""
    measured = {
        "gpu_agreement": Measurement(value=agreement, unit="fraction", n=200),
        "gpu_compared": Measurement(value=1234, unit=unit, n=200),
    }
    return gate.gpu(SUBJECT, measured, SEEN, "", baseline, False, of or census(1))


@pytest.mark.parametrize(
    ("unit", "passes", "fails"), [("examples", 0.905, 0.9), ("values", 0.968, 0.967), ("detections", 0.943, 0.942)]
)
def test_examples_values_and_detections_have_a_null_each(unit: str, passes: float, fails: float) -> None:
    of = [judged(one, of=census(1))[0] if unit == "examples" else parts(one, unit) for one in (passes, fails)]
    assert [one.verdict for one in of] == ["pass", "regressed"], [one.message for one in of]
    told = "of 200 examples" if unit == "examples" else f"of 1,234 {unit} in 200 examples"
    assert told in of[0].message


def test_int16_activations_have_a_null_of_their_own() -> None:
    of = of_int16("QUANTIZE", "SOFTMAX")
    assert [judged(one, of=of)[0].verdict for one in (0.97, 0.96)] == ["pass", "regressed"]


def test_what_was_accepted_of_whole_pictures_says_nothing_of_detections() -> None:
    """Nine of ten scenes without a change are many, and nine of ten detections few."""
    of_detections = AcceptedGpu(agreement=0.92, examples=200, compared="detections")
    newer = BaselineCell(gpu={SEEN.name: of_detections})
    assert [parts(0.9, "detections", one).verdict for one in (held(0.92), newer)] == ["regressed", "pass"]
    assert parts(0.9, "values", held(0.92)).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("examples", "differing", "accepted", "verdict", "told"),
    [
        (37, 0, True, "pass", "too slow for 200 examples: red below 90.54 % of 37"),
        (37, 4, True, "regressed", "fails below 0.001"),
        (37, 0, False, "pass", "healthy artifacts of 8 models were never below 100 % on software devices"),
        (1, 0, True, "unjudged", "too slow for 200 examples: 1 example is too few to tell, not gated"),
    ],
)
def test_a_slow_device_is_judged_by_fewer_examples_and_says_what_they_can_show(
    examples: int, differing: int, accepted: bool, verdict: str, told: str
) -> None:
    measured = {
        "gpu_agreement": Measurement(value=1 - differing / examples, unit="fraction", n=examples),
        "gpu_examples": Measurement(value=examples, unit="examples", n=200),
    }
    of = census(1, precision="float")
    one = gate.gpu(SUBJECT, measured, SEEN, "", held() if accepted else None, False, of)
    assert (one.verdict, told in one.message) == (verdict, True), one.message


def test_several_examples_that_are_too_few_are_told_as_several() -> None:
    measured = {
        "gpu_agreement": Measurement(value=1.0, unit="fraction", n=2),
        "gpu_examples": Measurement(value=2, unit="examples", n=200),
    }
    one = gate.gpu(SUBJECT, measured, SEEN, "", held(0.5), False, census(1, precision="float"))
    assert one.message.endswith("too slow for 200 examples: 2 examples are too few to tell, not gated")


@pytest.mark.parametrize(("share", "red"), [(0.9053, True), (0.9055, False)])
def test_the_share_that_is_red_is_told_so_that_it_holds_of_pixels_and_tokens_too(share: float, red: bool) -> None:
    measured = {
        "gpu_agreement": Measurement(value=share, unit="fraction", n=37),
        "gpu_examples": Measurement(value=37, unit="examples", n=200),
    }
    one = gate.gpu(SUBJECT, measured, SEEN, "", held(), False, census(1, precision="float"))
    assert (one.verdict is Verdict.REGRESSED, "red below 90.54 % of 37" in one.message) == (red, not red), one.message


def test_what_a_slow_device_had_accepted_of_few_examples_gates_no_less_than_healthy_artifacts_do() -> None:
    """Four of 40 are what chance may show beside 40 accepted ones, and not beside 200 healthy ones."""
    few = BaselineCell(gpu={SEEN.name: AcceptedGpu(agreement=1.0, examples=40)})
    low = BaselineCell(gpu={SEEN.name: AcceptedGpu(agreement=0.5, examples=40)})
    measured = {"gpu_agreement": Measurement(value=0.9, unit="fraction", n=40)}
    judged_by = [gate.gpu(SUBJECT, measured, SEEN, "", one, False, census(1, precision="float")) for one in (few, low)]
    assert [one.verdict for one in judged_by] == ["regressed", "pass"]
    assert "healthy artifacts of 8 models were never below" in judged_by[0].message


def test_what_a_small_test_set_had_accepted_gates_though_healthy_artifacts_may_be_worse() -> None:
    """Eleven of 100 are beyond chance beside 100 accepted ones, and not beside the worst healthy artifact's 200."""
    all_of_100 = BaselineCell(gpu={SEEN.name: AcceptedGpu(agreement=1.0, examples=100)})
    measured = {"gpu_agreement": Measurement(value=0.89, unit="fraction", n=100)}
    first, later = (gate.gpu(SUBJECT, measured, SEEN, "", one, False, census(1)) for one in (None, all_of_100))
    assert (first.verdict, later.verdict) == (Verdict.PASS, Verdict.REGRESSED)
    assert "100.00 % accepted (p = 0.00037, fails below 0.001)" in later.message


def test_the_null_and_its_report_are_what_the_baselines_accepted() -> None:
    """Otherwise: python -m studies.gpu_null --report-dir reports/reference --write."""
    found = gpu_null.healthy()
    assert gpu_null.module(found) == Path(_gpu_null_measured.__file__).read_text(encoding="utf-8")
    assert table(gpu_null.HEADERS, gpu_null.rows(found)) in (ROOT / "reports/reference/gpu_null.md").read_text()


def test_an_artifact_that_nobody_explained_does_not_widen_the_null() -> None:
    shares = {"a/v": 1.0, "a/w": 0.98, "b/v": 0.985, "c/v": 0.6}
    seen = [Seen(cell, AcceptedGpu(agreement=share, examples=200)) for cell, share in shares.items()]
    kept, red = gpu_null.told_apart(seen)
    assert [one.cell for one in red] == ["c/v"]
    assert gpu_null.null_by(kept).agreement == 0.98
    group = ("software", "examples", "integer")
    assert gpu_null.rows({group: seen})[0][-1] == "1 of 4: c/v"
    assert f"{group}: (0.98, 200, 3, 2)," in gpu_null.module({group: seen}).replace('"', "'")


def test_of_a_single_model_each_artifact_is_tried_by_the_others() -> None:
    seen = [Seen(f"a/{i}", AcceptedGpu(agreement=share, examples=200)) for i, share in enumerate((1.0, 0.99, 0.7))]
    assert [one.cell for one in gpu_null.told_apart(seen)[1]] == ["a/2"]


def test_more_examples_than_were_accepted_are_compared_too() -> None:
    """An older share, or a device that is no longer a software one."""
    measured = {"gpu_agreement": Measurement(value=0.96, unit="fraction", n=1000)}
    assert gate.gpu(SUBJECT, measured, SEEN, "", held(1.0)).verdict is Verdict.REGRESSED
    assert gate.gpu(SUBJECT, measured, SEEN, "", held(0.97)).verdict is Verdict.PASS


def test_more_operators_left_to_the_cpu_are_red_however_right_the_answers_are() -> None:
    right, left = judged(1.0, baseline=held(), left=172)
    assert (right.verdict, left.verdict) == (Verdict.PASS, Verdict.REGRESSED)
    assert left.message == (
        "10 of 182 operators ran on SwiftShader Device (Subzero), 172 were left to the CPU; 3 left to the CPU were "
        "accepted"
    )
    assert [judged(1.0, baseline=held(), left=count)[1].verdict for count in (3, 2)] == ["pass", "improved"]
    assert judged(1.0, baseline=held())[1].verdict is Verdict.IMPROVED  # it left none, and named no number
    assert judged(1.0, OTHER, held(), left=172)[1:] == []


def test_what_the_accelerator_refuses_is_not_gated_and_red_where_it_ran_before() -> None:
    never = gate.gpu_refused(SUBJECT, "INVALID_ARGUMENT: Shape mismatch", SEEN, None)
    no_longer = gate.gpu_refused(SUBJECT, "INVALID_ARGUMENT: Shape mismatch", SEEN, held())
    assert (never.verdict, no_longer.verdict) == (Verdict.UNJUDGED, Verdict.REGRESSED)
    assert no_longer.message.endswith(
        "no longer runs it on SwiftShader Device (Subzero): INVALID_ARGUMENT: Shape mismatch"
    )


def test_an_accepted_refusal_is_a_known_limitation_until_it_is_another_or_none() -> None:
    known = BaselineCell(gpu_refusal={SEEN.name: "it crashes while it loads the file: died of SIGABRT: at 0x12"})
    again = gate.gpu_refused(SUBJECT, "it crashes while it loads the file: died of SIGABRT: at 0x34", SEEN, known)
    for end in ("SIGABRT: free(): invalid size", "SIGSEGV"):
        same = gate.gpu_refused(SUBJECT, f"it crashes while it loads the file: died of {end}", SEEN, known)
        assert same.verdict == "unsupported"
    later = gate.gpu_refused(SUBJECT, "it crashes while it computes: died of SIGSEGV", SEEN, known)
    assert later.verdict == "warn"
    other = gate.gpu_refused(SUBJECT, "INVALID_ARGUMENT: Shape mismatch", SEEN, known)
    elsewhere = gate.gpu_refused(SUBJECT, "INVALID_ARGUMENT: Shape mismatch", OTHER, known)
    assert [one.verdict for one in (again, other, elsewhere)] == ["unsupported", "warn", "unjudged"]
    assert "known limitation" in again.message
    runs, wrong = judged(1.0, baseline=known)[0], judged(0.5, baseline=known)[0]
    assert (runs.verdict, wrong.verdict) == (Verdict.IMPROVED, Verdict.REGRESSED)
    assert "it was known not to run there" in runs.message


def test_a_crash_that_nobody_accepted_is_missing_and_red_where_it_ran_before() -> None:
    for baseline, verdict in ((None, Verdict.MISSING), (BaselineCell(), Verdict.MISSING), (held(), Verdict.REGRESSED)):
        crash = gate.gpu_refused(SUBJECT, "it crashes while it loads the file", SEEN, baseline, crashed=True)
        assert crash.verdict is verdict
        assert crash.actions


def test_what_runs_with_wrong_answers_again_is_no_improvement() -> None:
    """The known fault with strides, on a device that was known not to run the file at all."""
    known = BaselineCell(gpu_refusal={SEEN.name: "INVALID_ARGUMENT: Shape mismatch"})
    runs = judged(0.75, baseline=known, of=census())[0]
    assert runs.verdict is Verdict.UNSUPPORTED
    assert "it was known not to run there" in runs.message


def test_bit_identical_answers_of_the_cpu_are_none_of_the_accelerator() -> None:
    nothing, left = judged(1.0, baseline=held(), left=182)
    assert nothing.verdict is Verdict.UNJUDGED
    assert "did not run on SwiftShader" in nothing.message
    assert left.verdict is Verdict.REGRESSED


def test_more_work_left_to_the_cpu_is_red_though_operators_are_fewer() -> None:
    """One convolution instead of three reshapes."""
    _, operators, work = judged(1.0, baseline=held(macs=20), left=1, macs=500)
    assert (operators.verdict, work.verdict) == (Verdict.IMPROVED, Verdict.REGRESSED)
    assert work.message == (
        "500 multiplications (50.00 % of them) were left to the CPU on SwiftShader Device (Subzero); 20 were accepted"
    )
    assert work.actions
    same, less = (judged(1.0, baseline=held(macs=20), left=3, macs=macs)[2] for macs in (20, 0))
    assert (same.verdict, less.verdict) == (Verdict.PASS, Verdict.IMPROVED)
    assert judged(1.0, baseline=held(0.98, 0, 0), left=3, macs=1)[2].verdict is Verdict.REGRESSED  # none was accepted
    assert judged(1.0, baseline=held(macs=20))[2].verdict is Verdict.IMPROVED  # nothing is left any more
    assert len(judged(1.0, baseline=held(), left=3, macs=20)) == 2  # nobody had counted it
    assert len(judged(1.0, baseline=held(1.0, 0, 0))) == 2


def test_work_of_which_only_bounds_are_known_is_red_where_the_least_is_more_than_accepted() -> None:
    of = [judged(1.0, baseline=held(macs=20), left=3, macs=500, least=least)[2] for least in (21, 20, 0)]
    assert [one.verdict for one in of] == ["regressed", "unjudged", "unjudged"]
    assert of[0].message.startswith("500 multiplications (at most 50.00 % of them) were left")
    assert of[1].message.endswith("at least 20; not gated: 20 were accepted, so it may be more or not")
    same, less = (judged(1.0, baseline=held(macs=20), left=3, macs=macs, least=0)[2] for macs in (20, 19))
    assert (same.verdict, less.verdict) == (Verdict.PASS, Verdict.IMPROVED)


def test_work_that_was_accepted_and_cannot_be_counted_is_not_gated() -> None:
    unknown = judged(1.0, baseline=held(macs=20), left=3)[2]
    assert (unknown.verdict, unknown.value, unknown.reference) == (Verdict.UNJUDGED, None, 20)
    assert unknown.message == (
        "the multiplications left to the CPU on SwiftShader Device (Subzero) could not be counted; not gated: 20 were "
        "accepted"
    )


def test_what_was_accepted_without_its_work_is_written_as_before() -> None:
    assert "left_macs" not in held().model_dump()["gpu"][SEEN.name]
    assert held(macs=0).model_dump()["gpu"][SEEN.name]["left_macs"] == 0


def test_operators_without_work_are_no_run_on_the_accelerator_but_wrong_answers_stay_red() -> None:
    """An int16 model had one of 68 operators taken and no multiplication, and 5.5 % of its answers differed."""
    right, wrong = (judged(share, left=181, macs=1000)[0] for share in (1.0, 0.9))
    assert (right.verdict, wrong.verdict) == (Verdict.UNJUDGED, Verdict.REGRESSED)
    assert right.message == (
        "did not run on SwiftShader Device (Subzero), which takes none of its work: "
        "the CPU computed all of its multiplications"
    )
    assert wrong.message.endswith("fails below 0.01); the CPU computed all of its multiplications")
    assert judged(1.0, left=181, macs=999)[0].verdict is Verdict.PASS
