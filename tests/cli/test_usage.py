"""Errors of the command line: a name is suggested only where one is near."""

import pytest
from quantbench.cli._usage import EXIT_STATUSES, no_such
from quantbench.core.nearest import nearest
from quantbench.errors import BadInput, Exit
from quantbench.reference.model import pick

OPTIONS = ["--models", "--variants", "--model-dir", "--seeds", "--no-latency", "--no-gpu"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("--variant", "--variants"),
        ("--modle", "--models"),
        ("--no-lat", "--no-latency"),
        ("--quality", None),
        ("--xyz", None),
        ("--nope", None),
        ("--", None),
    ],
)
def test_the_nearest_option(name: str, meant: str | None) -> None:
    assert nearest(name, OPTIONS) == meant


def test_the_sentence_says_where_all_are_listed() -> None:
    assert no_such("option", "--xyz", OPTIONS, "quantbench run") == (
        "no such option: --xyz (quantbench run -h lists all)"
    )


def test_a_model_that_resembles_none_is_not_taken_for_another() -> None:
    with pytest.raises(BadInput, match=r"^--models: unknown name 'garment'; in m, known: resnet8, seed_cnn$"):
        pick("garment", {"resnet8": 1, "seed_cnn": 2}, "--models", "in m, ")
    with pytest.raises(BadInput, match="did you mean ptq_dynamic_wi8"):
        pick("ptq_dynamic", {"float32": 1, "ptq_dynamic_wi8_afp32": 2}, "--variants")
    with pytest.raises(BadInput, match="did you mean resnet8"):
        pick("resnet_8", {"resnet8": 1, "seed_cnn": 2}, "--models", "in m, ")


def test_every_exit_status_is_explained() -> None:
    assert set(EXIT_STATUSES) == set(Exit)
