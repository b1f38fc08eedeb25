"""The judge of instructions on made-up counts: what is red, what warns, what is not compared, and what it names."""

from conftest import accepted, steps
from quantbench import gate
from quantbench.records import BETWEEN, BaselineCell, Counted, Judgement, Kind, Measurement, OperatorCount, Verdict

SUBJECT = gate.Subject("m", "v", "reports/r")
PROFILE, OTHER = "GenuineIntel-306c3-aa_glibc-2.36", "GenuineIntel-306c3-bb_glibc-2.36"
# A call of 1,000,000 instructions, 50,000 of them in the second operator.
CALL: list[OperatorCount] = [("igemm", 600_000), ("dwconv", 50_000), ("gemm", 300_000), (BETWEEN, 50_000)]


def judged(
    operators: list[OperatorCount], profile: str = PROFILE, failure: str = "", baseline: BaselineCell | None = None
) -> list[Judgement]:
    total = sum(count for _, count in operators)
    measured = None if failure else Measurement(value=total, unit="instructions", n=1)
    counted = None if failure else Counted(profile=profile, operators=operators)
    return gate.instructions(SUBJECT, measured, counted, failure, baseline or of(CALL))


def of(operators: list[OperatorCount], **profiles: float) -> BaselineCell:
    value = accepted(sum(count for _, count in operators), gate.INSTRUCTIONS_TOLERANCE, "instructions")
    return BaselineCell(by_machine={"instructions": {PROFILE: value}}, counted={PROFILE: operators})


def changed(position: int, growth: int, kernel: str = "") -> list[OperatorCount]:
    name, count = CALL[position]
    return [*CALL[:position], (kernel or name, count + growth), *CALL[position + 1 :]]


def test_the_same_count_passes_and_asks_for_nothing() -> None:
    (one,) = judged(CALL)
    assert (one.kind, one.verdict, one.change, one.actions) == (Kind.INSTRUCTIONS, Verdict.PASS, 0, [])
    assert one.message == "instructions 1,000,000 a call, baseline 1,000,000 (+0.00 %; tolerance 0.5 %)"


def test_one_per_cent_of_a_model_is_red_and_named_as_a_fifth_of_its_operator() -> None:
    (one,) = judged(changed(1, 10_000))
    assert one.verdict is Verdict.REGRESSED
    assert one.message == (
        "instructions 1,010,000 a call, baseline 1,000,000 (+1.00 %; tolerance 0.5 %): "
        "operator 2 (dwconv) +20.0 %: 50,000 → 60,000 (+1.00 % of the call)"
    )
    assert "baseline update" in steps(one)


def test_growth_within_the_tolerance_passes_where_it_is_spread() -> None:
    (one,) = judged([(name, round(1.004 * count)) for name, count in CALL])
    assert one.verdict is Verdict.PASS


def test_growth_of_one_operator_within_the_tolerance_of_the_call_warns() -> None:
    whole, operator = judged(changed(1, 4_000))
    assert (whole.verdict, operator.verdict) == (Verdict.PASS, Verdict.WARN)
    assert operator.message == (
        "operator 2 (dwconv) +8.0 %: 50,000 → 54,000 (+0.40 % of the call), within the tolerance of the whole call"
    )


def test_growth_that_another_operator_hides_warns() -> None:
    operators = [("igemm", 580_000), ("dwconv", 70_000), *CALL[2:]]
    whole, operator = judged(operators)
    assert (whole.verdict, operator.verdict, operator.measurement) == (Verdict.PASS, Verdict.WARN, gate.BY_OPERATOR)


def test_fewer_instructions_are_an_improvement() -> None:
    (one,) = judged(changed(2, -30_000))
    assert one.verdict is Verdict.IMPROVED
    assert "operator 3 (gemm) -10.0 %" in one.message


def test_another_kernel_of_an_operator_is_matched_with_the_one_before() -> None:
    (one,) = judged(changed(0, 60_000, "slow_igemm"))
    assert "operator 1 (slow_igemm) +10.0 %: 600,000 → 660,000" in one.message


def test_a_new_operator_and_one_that_is_gone_are_named() -> None:
    (new,) = judged([*CALL[:1], ("convert", 20_000), *CALL[1:]])
    assert (new.verdict, new.detail) == (Verdict.REGRESSED, "operator 2 (convert) is new: 20,000 (+2.00 % of the call)")
    (gone,) = judged([CALL[0], *CALL[2:]])
    assert (gone.verdict, gone.detail) == (
        Verdict.IMPROVED,
        "an operator (dwconv) is gone: 50,000 (-5.00 % of the call)",
    )


def test_growth_of_the_runtime_between_operators_is_told_as_such() -> None:
    (one,) = judged(changed(3, 20_000))
    assert one.detail == f"the runtime {BETWEEN} 50,000 → 70,000 (+2.00 % of the call)"


def test_a_count_of_another_processor_is_never_red() -> None:
    (one,) = judged(changed(0, 600_000), profile=OTHER)
    assert (one.verdict, one.against) == (Verdict.UNJUDGED, "nothing")
    assert OTHER in one.message


def test_a_cell_without_baseline_is_missing_and_one_of_before_counts_is_not_gated() -> None:
    measured, counted = Measurement(value=5, unit="instructions", n=1), Counted(profile=PROFILE)
    (missing,) = gate.instructions(SUBJECT, measured, counted, "", None)
    assert missing.verdict is Verdict.MISSING
    (older,) = judged(CALL, baseline=BaselineCell())
    assert older.verdict is Verdict.UNJUDGED


def test_what_could_not_be_counted_is_an_error() -> None:
    (one,) = judged(CALL, failure="the process under valgrind died of SIGSEGV: no output")
    assert one.verdict is Verdict.ERROR
    assert "died of SIGSEGV" in one.message


def test_a_wider_tolerance_of_the_baseline_holds() -> None:
    baseline = of(CALL)
    value = baseline.by_machine["instructions"][PROFILE].model_copy(update={"tolerance": 0.02})
    loosened = baseline.model_copy(update={"by_machine": {"instructions": {PROFILE: value}}})
    assert judged(changed(1, 10_000), baseline=loosened)[0].verdict is Verdict.PASS
    assert judged(changed(1, 25_000), baseline=loosened)[0].verdict is Verdict.REGRESSED
