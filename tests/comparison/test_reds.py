"""What a red run says in the morning, as facts: groups, since when, what changed, and what to do."""

from pathlib import Path
from typing import Any

import pytest
from conftest import accepted
from made_up_runs import cell, environment, report, write
from quantbench.comparison.earlier import nights_before, same_files, since_when
from quantbench.comparison.nights import LocalNights
from quantbench.comparison.reds import Around, red_groups
from quantbench.core.environment import describe
from quantbench.gate import LIMIT_IS_POLICY
from quantbench.records import (
    Accepted,
    Action,
    Attribution,
    BaselineCell,
    Cell,
    EarlierRun,
    Failure,
    Family,
    Judgement,
    Kind,
    ModelHashes,
    Pooled,
    RedGroup,
    Report,
    Suspect,
    Verdict,
)

RUN = ["reports/now", "--model-dir", "mine"]
NOW = "2026-02-09T00-00-00Z"
INT4 = ["aeq_dynamic_wi4_afp32", "aeq_dynamic_wi4_gptq_afp32"]


def day(number: int) -> str:
    return f"2026-02-{number:02d}T00-00-00Z"


def accept(variant: str, *more: str) -> Action:
    command = ["quantbench", "baseline", "update", *RUN, "--only", f"m/{variant}", *more, "--reason", "why"]
    return Action(what="accept", command=command)


def judged(variant: str, kind: Kind = Kind.ACCURACY, **more: Any) -> Judgement:
    fields: dict[str, Any] = {
        "measurement": {Kind.ACCURACY: "score", Kind.SIZE: "size"}.get(kind, "census"),
        "against": "baseline",
        "verdict": Verdict.REGRESSED,
        "change": 2.0,
        "tolerance": 0.5,
        "unit": "pp",
        "message": "said; and more",
        "actions": [accept(variant)],
    }
    return Judgement(kind=kind, **(fields | more))


def one(variant: str, *judgements: Judgement, **more: Any) -> Cell:
    made = list(judgements)
    kinds = {each.kind: each.verdict for each in made} or {Kind.ACCURACY: Verdict.PASS}
    verdict = max(kinds.values(), key=list(Verdict).index)
    return cell(variant, verdict=verdict, verdicts=kinds, judgements=made, **more)


def red(variant: str, **more: Any) -> Cell:
    return one(variant, judged(variant), **more)


def groups(cells: list[Cell], nights: Path | None = None, **more: Any) -> list[RedGroup]:
    now = report(cells, NOW, exit_status=1, **more.pop("report", {}))
    found = nights_before(LocalNights(nights), now)[0] if nights else []
    return red_groups(now, Around(RUN, found, **more))


def lay(folder: Path, number: int, cells: list[Cell], **more: Any) -> None:
    write(folder, report(cells, day(number), **more))


# ---------------------------------------------------------------- groups


def test_cells_that_are_red_alike_are_one_entry_with_what_else_is_red() -> None:
    first, second = INT4
    heavier = one(first, judged(first, change=4.9), judged(first, Kind.SIZE, unit="%"))
    [found] = groups([one("float32"), one("ptq_float16"), heavier, red(second)])
    assert found.cells == [f"m/{first}", f"m/{second}"]  # what changed most comes first
    assert (found.kind, found.family, found.of, found.whole) == (Kind.ACCURACY, Family(engine="aeq"), 2, True)
    assert (found.low, found.high, found.unit) == (2.0, 4.9, "pp")
    assert (found.also, found.against) == ({Kind.SIZE: 1}, {"baseline": 2})


def test_what_is_red_in_another_way_is_another_entry_and_the_worst_comes_first() -> None:
    error = judged("ptq_float16", Kind.SIZE, verdict=Verdict.ERROR, change=None, actions=[])
    size = judged("ptq_static_wi8_ai8", Kind.SIZE)
    cells = [one("ptq_float16", error), one("ptq_static_wi8_ai8", size), *map(red, INT4)]
    found = groups(cells)
    assert [(group.verdict, group.kind) for group in found] == [
        (Verdict.REGRESSED, Kind.ACCURACY),
        (Verdict.REGRESSED, Kind.SIZE),
        (Verdict.ERROR, Kind.SIZE),
    ]


def test_failures_for_other_reasons_are_other_entries() -> None:
    def failed(name: str, reason: str) -> Cell:
        error = judged(name, verdict=Verdict.ERROR, change=None, measurement="cell", actions=[])
        return one(name, error, failure=Failure(what="timeout", reason=reason))

    slow, other = INT4
    names = [slow, other, "ptq_float16"]
    reasons = [f"no result of {slow} within 30 s", f"no result of {other} within 31 s", "died of SIGABRT"]
    found = groups([failed(name, reason) for name, reason in zip(names, reasons, strict=True)])
    assert [len(group.cells) for group in found] == [2, 1]


def test_changes_of_other_measurements_are_no_range() -> None:
    outputs = one(INT4[0], judged(INT4[0], measurement="output_distance", unit=""))
    [found] = groups([outputs, red(INT4[1])])
    assert (found.low, found.high, found.unit) == (None, None, "")


def test_a_green_run_has_none() -> None:
    assert groups([one("float32"), one("ptq_float16")]) == []


def pooled(*cells: str) -> Pooled:
    return Pooled(id="m: all variants", model="m", cells=list(cells), judgement=judged("v"))


def test_cells_that_are_red_together_alone_are_an_entry_and_others_are_told_once() -> None:
    green = [one("ptq_float16"), one("float32")]
    [found] = groups(green, report={"pooled": [pooled("m/ptq_float16", "m/float32")]})
    assert (found.pool, found.cells, found.acceptable) == ("m: all variants", ["m/ptq_float16", "m/float32"], True)
    [told] = groups([*map(red, INT4)], report={"pooled": [pooled(*(f"m/{name}" for name in INT4))]})
    assert told.pool == ""


def attributed(*suspects: tuple[str, float]) -> Attribution:
    return Attribution(
        examples=64,
        scored=1000,
        matched=1.0,
        unit="pp",
        scale=100.0,
        operators=[],
        suspects=[
            Suspect(position=3, operator="CONV_2D", tensor=name, repaired_by="float", recovered=share, score=0.88)
            for name, share in suspects
        ],
        output_error=0.1,
        float_score=0.89,
        score=0.85,
    )


def test_the_operators_of_several_cells_are_counted() -> None:
    variants = [*INT4, "ptq_float16", "ptq_static_wi8_ai8"]
    causes = [attributed(("a", 0.9)), attributed(("a", 0.7)), attributed(("b", 0.8)), attributed(("c", 0.01))]
    cells = [red(name, attribution=cause) for name, cause in zip(variants, causes, strict=True)]
    [found] = groups(cells)
    assert found.searched == 4
    assert [(place.tensor, len(place.cells), place.recovered) for place in found.located] == [
        ("a", 2, 0.9),
        ("b", 1, 0.8),
    ]
    assert found.located[0].lost == pytest.approx(4.0)
    assert found.located[0].back == pytest.approx(3.0)


# ---------------------------------------------------------------- since when


def test_it_is_red_since_the_run_after_the_last_green_one(tmp_path: Path) -> None:
    size = one("v", judged("v", Kind.SIZE))
    verdicts = [red("v"), one("v"), red("v"), size.model_copy(update={"verdicts": {Kind.ACCURACY: Verdict.PASS}})]
    nights = [verdicts[0], verdicts[3], verdicts[1], verdicts[2], verdicts[2]]  # red, size alone, green, red, red
    for number, made in enumerate(nights, 1):
        lay(tmp_path, number, [made])
    [found] = groups([red("v")], tmp_path)
    assert found.first_red == EarlierRun(run=day(4), started="2026-02-04T00-00-00+00:00", folder=str(tmp_path / day(4)))
    assert found.last_green is not None
    assert (found.last_green.run, found.earlier) == (day(3), 3)


def test_runs_without_the_cell_or_that_ended_early_or_came_later_say_nothing(tmp_path: Path) -> None:
    lay(tmp_path, 1, [one("v")])
    lay(tmp_path, 2, [one("w")])
    lay(tmp_path, 3, [red("v")], state="interrupted")
    lay(tmp_path, 4, [cell("v", verdicts={Kind.ACCURACY: Verdict.UNJUDGED})])
    lay(tmp_path, 20, [red("v")])
    (tmp_path / day(5)).mkdir()
    (tmp_path / day(5) / "report.json").write_text("{")
    now = report([red("v")], NOW)
    nights, unreadable = nights_before(LocalNights(tmp_path), now)
    assert unreadable == 1
    assert [night.summary.run for night in nights] == [day(1), day(2), day(4)]
    when = since_when(nights, "m/v", Kind.ACCURACY)
    assert (when.runs, when.first_red) == (1, None)
    assert when.last_green is not None
    assert when.last_green.summary.run == day(1)


def test_cells_that_are_red_since_other_nights_are_told_apart(tmp_path: Path) -> None:
    first, second = INT4
    lay(tmp_path, 1, [one(first), one(second)])
    lay(tmp_path, 2, [red(first), one(second)])
    found = groups([red(first), red(second)], tmp_path)
    assert [(group.cells, group.first_red and group.first_red.run) for group in found] == [
        ([f"m/{first}"], day(2)),
        ([f"m/{second}"], None),
    ]


def test_only_the_newest_folders_are_read(tmp_path: Path) -> None:
    for number in range(1, 6):
        lay(tmp_path, number, [one("v")])
    read = [name for name, _ in LocalNights(tmp_path, newest=2).summaries()]
    assert read == [day(4), day(5)]


# ---------------------------------------------------------------- what changed


def versions(litert: str, commit: str, **more: Any) -> Any:
    packages = {"ai-edge-litert": litert, "pytest": litert}
    return environment(packages=packages, repository_commit=commit * 40, **more)


def hashes(file: str = "f", weights: str = "w") -> dict[str, ModelHashes]:
    return {"m": ModelHashes(file=file * 64, weights=weights * 64)}


def test_what_changed_when_it_turned_red_not_since(tmp_path: Path) -> None:
    lay(tmp_path, 1, [one("v", artifact_sha256="1" * 64)], environment=versions("2.3", "b"), models=hashes())
    changed = {"environment": versions("2.4", "c"), "data_sha256": {"m": "e" * 64}, "models": hashes("g")}
    lay(tmp_path, 2, [red("v", artifact_sha256="1" * 64)], **changed)
    later = {"environment": versions("2.5", "d"), "models": hashes("g", "x"), "data_sha256": {"m": "e" * 64}}
    [found] = groups([red("v", artifact_sha256="2" * 64)], tmp_path, report=later)
    assert found.since == "last green"
    assert [(fact.kind, fact.name, fact.old, fact.new, fact.used) for fact in found.changed] == [
        ("package", "ai-edge-litert", "2.3", "2.4", True),
        ("commit", "commit", "b" * 12, "c" * 12, True),
        ("model", "model file of m", "f" * 12, "g" * 12, True),
        ("data", "m", "d" * 12, "e" * 12, True),
        ("package", "pytest", "2.3", "2.4", False),
    ]
    assert found.same_file == 1


def test_a_package_that_no_cell_of_the_group_uses_is_not_suspected(tmp_path: Path) -> None:
    def with_quantizer(version: str) -> Any:
        return environment(packages={"ai-edge-quantizer": version})

    lay(tmp_path, 1, [one("aeq_float16"), one("ptq_float16")], environment=with_quantizer("0.9"))
    now = {"environment": with_quantizer("0.10")}
    [theirs] = groups([red("aeq_float16"), one("ptq_float16")], tmp_path, report=now)
    [ours] = groups([one("aeq_float16"), red("ptq_float16")], tmp_path, report=now)
    assert [fact.used for fact in theirs.changed] == [True]
    assert [fact.used for fact in ours.changed] == [False]


def test_without_earlier_runs_the_accepted_values_say_with_what_they_were_measured() -> None:
    old = environment(packages={"ai-edge-litert": "2.2", "tensorflow": "2.20.0"}, isa="1234abcd")
    update = Accepted(date="2026-01-05", reason="first", run="r", environment=describe(old), commit="b" * 40)
    value = accepted(0.9).model_copy(update={"accepted": update})
    baseline = BaselineCell(measurements={"score": value}, artifact_sha256="1" * 64)
    [found] = groups(
        [red("v", artifact_sha256="2" * 64)],
        accepted=lambda _: baseline,
        report={"environment": versions("2.3", "c", isa="1234abcd")},
    )
    assert (found.since, found.last_green, found.first_red, found.earlier) == ("accepted", None, None, 0)
    assert [(fact.name, fact.old, fact.new) for fact in found.changed] == [
        ("ai-edge-litert", "2.2", "2.3"),
        ("commit", "b" * 12, "c" * 12),
    ]
    assert [(one.date, one.run, one.reason) for one in found.accepted] == [("2026-01-05", "r", "first")]
    assert found.same_file == 0


def test_of_values_accepted_at_several_times_what_changed_for_all_is_told() -> None:
    def baseline(litert: str, tensorflow: str, date: str) -> BaselineCell:
        old = environment(packages={"ai-edge-litert": litert, "tensorflow": tensorflow}, isa="1234abcd")
        update = Accepted(date=date, reason="r", run=date, environment=describe(old))
        return BaselineCell(measurements={"score": accepted(0.9).model_copy(update={"accepted": update})})

    known = {
        f"m/{INT4[0]}": baseline("2.1", "2.20", "2026-01-01"),
        f"m/{INT4[1]}": baseline("2.2", "2.21", "2026-01-02"),
    }
    packages = {"ai-edge-litert": "2.3", "tensorflow": "2.21"}
    now = environment(packages=packages, isa="1234abcd")
    [found] = groups([*map(red, INT4)], accepted=known.get, report={"environment": now})
    assert [(fact.name, fact.old, fact.new) for fact in found.changed] == [("ai-edge-litert", "2.1 or 2.2", "2.3")]
    assert [one.date for one in found.accepted] == ["2026-01-02", "2026-01-01"]


def test_files_are_compared_where_both_are_known() -> None:
    from quantbench.comparison.earlier import Facts

    def facts(**artifacts: str | None) -> Facts:
        return Facts(environment(), {}, {}, artifacts)

    assert same_files(facts(a="1", b="2"), facts(a="1", b="3"), ["a", "b"]) == 1
    assert same_files(facts(a="1"), facts(a="1", b="3"), ["a", "b"]) is None


# ---------------------------------------------------------------- what to do next


def steps(found: RedGroup) -> list[list[str]]:
    return [action.command for action in found.actions]


def test_the_next_steps_explain_compare_with_the_last_green_run_and_accept(tmp_path: Path) -> None:
    lay(tmp_path, 1, [*map(one, INT4)])
    [found] = groups([red(name, artifact_sha256="1" * 64) for name in INT4], tmp_path)
    cells = f"m/{INT4[0]},m/{INT4[1]}"
    assert steps(found) == [
        ["quantbench", "explain", f"m/{INT4[0]}", "--run", *RUN],
        ["quantbench", "compare", str(tmp_path / day(1)), *RUN],
        ["quantbench", "baseline", "update", *RUN, "--only", cells, "--reason", "why"],
    ]
    assert found.acceptable


def test_accepting_is_offered_only_where_it_turns_all_cells_green() -> None:
    policy = Action(what="the limit is 'floors' in m.py")
    beyond = judged(INT4[0], against="floor", actions=[policy])
    [found] = groups([one(INT4[0], judged(INT4[0]), beyond), red(INT4[1])])
    assert not found.acceptable
    assert not any("update" in command for command in steps(found))
    assert policy in found.actions
    assert found.against == {"baseline": 2, "floor": 1}


def test_release_limits_of_several_models_share_a_sentence_that_names_each_file() -> None:
    def beyond(model: str) -> Cell:
        policy = Action(what=LIMIT_IS_POLICY.format(model=model))
        limit = judged("v", against="floor", actions=[policy])
        return one("v", judged("v"), limit).model_copy(update={"id": f"{model}/v", "model": model})

    [found] = groups([beyond("m"), beyond("n")])
    assert [one.what for one in found.actions if not one.command] == [LIMIT_IS_POLICY.format(model="m.py, n")]


def test_a_cell_whose_measurements_are_accepted_in_other_ways_is_accepted_by_the_widest() -> None:
    drifted = judged("v", against="first baseline", actions=[accept("v", "--restart-drift")])
    [found] = groups([one("v", judged("v"), drifted)])
    assert found.acceptable
    assert "--restart-drift" in steps(found)[-1]


def test_a_run_without_baselines_is_recorded_by_one_command_that_names_no_cell() -> None:
    def missing(name: str) -> Cell:
        return one(name, judged(name, verdict=Verdict.MISSING, change=None))

    [found] = groups([*map(missing, INT4)])
    assert (found.verdict, found.family, found.actions[-1].what) == (Verdict.MISSING, Family(), "record")
    assert steps(found) == [["quantbench", "baseline", "update", *RUN, "--reason", "why"]]
    [some] = groups([*map(missing, INT4), one("float32")])
    assert "--only" in steps(some)[-1]


def test_a_size_is_looked_into_and_not_explained() -> None:
    inspect = Action(what="inspect", command=["quantbench", "inspect", "m/v", "--run", "r"])
    size = judged("v", Kind.SIZE, actions=[inspect, accept("v")])
    [found] = groups([one("v", size, artifact_sha256="1" * 64)])
    assert [command[1] for command in steps(found)] == ["inspect", "baseline"]


def test_a_report_with_groups_is_read_back(tmp_path: Path) -> None:
    from quantbench.records.run_folder import read

    made = report([red("v")], NOW, exit_status=1)
    made = made.model_copy(update={"reds": red_groups(made, Around(RUN))})
    folder = write(tmp_path, Report.model_validate(made.model_dump()))
    assert read(folder)[0].reds == made.reds
