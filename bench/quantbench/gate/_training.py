"""Judge how a cell was trained: the facts of its trainings against those of the accepted one."""

from collections.abc import Mapping, Sequence

from quantbench.gate._common import Subject
from quantbench.gate._differences import Difference
from quantbench.records import Judgement, Kind, Verdict

Facts = Sequence[Mapping[str, str]]


def training(subject: Subject, facts: Facts, accepted: Facts) -> list[Judgement]:
    """Judge whether a cell was trained as the accepted one was; nothing where one of the two is not known.

    More steps, another rate or fewer examples change every later comparison, however little the score moved.
    """
    if not facts or not accepted:
        return []
    changes = _changes(facts, accepted)
    words = "; ".join(one.words for one in changes)
    verdict = Verdict.REGRESSED if changes else Verdict.PASS
    return [
        Judgement(
            kind=Kind.ACCURACY,
            measurement="training",
            against="baseline",
            verdict=verdict,
            message=f"trained {'differently: ' + words if changes else 'like the accepted cell'}",
            detail="; ".join(one.key for one in changes),
            actions=subject.choices() if changes else [],
        )
    ]


def _changes(facts: Facts, accepted: Facts) -> list[Difference]:
    if len(facts) != len(accepted):
        return [Difference("trainings", str(len(facts)), str(len(accepted)), number=True)]
    return [
        Difference(name, mine[name], his[name], place=f"{place}. training" if len(facts) > 1 else "")
        for place, (mine, his) in enumerate(zip(facts, accepted, strict=True), 1)
        for name in sorted({*mine} & {*his})
        if mine[name] != his[name]
    ]
