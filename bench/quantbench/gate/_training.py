"""Judge how a cell was trained: the facts of its trainings against those of the accepted one."""

from collections.abc import Mapping, Sequence

from quantbench.gate._common import Subject
from quantbench.records import Judgement, Kind, Verdict

Facts = Sequence[Mapping[str, str]]


def training(subject: Subject, facts: Facts, accepted: Facts) -> list[Judgement]:
    """Judge whether a cell was trained as the accepted one was; nothing where one of the two is not known.

    More steps, another rate or fewer examples change every later comparison, however little the score moved.
    """
    if not facts or not accepted:
        return []
    changes = _changes(facts, accepted)
    verdict = Verdict.REGRESSED if changes else Verdict.PASS
    return [
        Judgement(
            kind=Kind.ACCURACY,
            measurement="training",
            against="baseline",
            verdict=verdict,
            message=f"trained {'in another way: ' + '; '.join(changes) if changes else 'as the accepted cell was'}",
            detail="; ".join(changes),
            actions=subject.choices() if changes else [],
        )
    ]


def _changes(facts: Facts, accepted: Facts) -> list[str]:
    if len(facts) != len(accepted):
        return [f"{len(facts)} trainings, not {len(accepted)}"]
    return [
        f"{f'{place}. training: ' if len(facts) > 1 else ''}{name} {mine[name]}, not {his[name]}"
        for place, (mine, his) in enumerate(zip(facts, accepted, strict=True), 1)
        for name in sorted({*mine} & {*his})
        if mine[name] != his[name]
    ]
