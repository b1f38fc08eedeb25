"""Errors of the command line: a name is suggested only where one is near."""

import pytest
from quantbench.cli._usage import EXIT_STATUSES, UsageProblem, no_such, sentence
from quantbench.cli.app import app
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


def said(*arguments: str) -> str:
    """Return the sentence on a command line that is wrong."""
    with pytest.raises(UsageProblem) as problem:
        app(arguments, prog_name="quantbench", standalone_mode=False)
    return sentence(problem.value)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["run", "--seeds", "x"], "expected a whole number, found 'x' (quantbench run -h shows how)"),
        (["run", "--cache-size", "x"], "expected a number, found 'x' (quantbench run -h shows how)"),
        (["comment", "--pull-request", "0"], "expected greater than or equal to 1, found '0' (quantbench comment"),
        (["init", "--ci", "circle"], "'--ci': 'circle' is not one of 'github', 'gitlab', 'jenkins' (quantbench init"),
    ],
)
def test_a_value_of_another_type_is_said_in_our_words(arguments: list[str], meant: str) -> None:
    assert meant in said(*arguments)


def test_letters_that_changed_places_are_recognized() -> None:
    assert said("rnu") == "no such command: rnu; did you mean run? (quantbench -h lists all)"
    assert nearest("urn", ["run", "init"]) == "run"
    assert nearest("", ["run"]) is nearest("r", ["run"]) is None


def test_less_and_more_at_once_are_refused() -> None:
    with pytest.raises(BadInput, match="-q shows less and -v shows more; give one of them"):
        app(["schema", "report", "-q", "-v"], prog_name="quantbench", standalone_mode=False)
