"""Arguments of the Python API: what is taken, and the sentence of what is not."""

from pathlib import Path
from typing import Any

import pytest
import quantbench
from quantbench.core import arguments
from quantbench.errors import BadInput


@pytest.mark.parametrize(
    ("given", "taken"),
    [(None, None), ("", ""), ("a,b", "a,b"), (["a", "b"], "a,b"), (("a",), "a"), ([1, "all"], "1,all"), (2, "2")],
)
def test_names_are_text_or_a_list(given: Any, taken: str | None) -> None:
    assert arguments.names(given, "threads", numbers=True) == taken


def test_what_is_none_is_told() -> None:
    for wrong in ([], [1], [True], 3, {"a"}, b"a"):
        with pytest.raises(BadInput, match=r"^models: expected text, or a list of texts, found "):
            arguments.names(wrong, "models")
    assert arguments.optional_path(None, "report_dir") is None
    assert arguments.path(Path("a"), "report_dir") == Path("a")
    arguments.check(float, a=1, b=0.5, c=None)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"variants": 3}, "variants: expected text, or a list of texts, found 3"),
        ({"models": ["kws", 3]}, "models: expected text, or a list of texts, found ['kws', 3]"),
        ({"workers": "x"}, "workers: expected a whole number, found 'x'"),
        ({"seeds": True}, "seeds: expected a whole number, found True"),
        ({"cell_timeout": "1"}, "cell_timeout: expected a number, found '1'"),
        ({"latency": 1}, "latency: expected True or False, found 1"),
        ({"model_dir": 3}, "model_dir: expected the path of a file or folder, found 3"),
        ({"report_dir": b"x"}, "report_dir: expected the path of a file or folder, found b'x'"),
        ({"config": "/nosuch"}, "config: no such folder or file: /nosuch"),
    ],
)
def test_a_run_refuses_what_it_cannot_take_in_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as refused:
        quantbench.run(**given)
    assert str(refused.value).startswith(sentence)


def test_the_other_functions_do_too() -> None:
    with pytest.raises(BadInput, match=r"^run: expected the path of a run folder or of its report.json, found 3$"):
        quantbench.load_report(3)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"^old: expected the path"):
        quantbench.compare(3, "new")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"^config: no such folder or file: /nosuch"):
        quantbench.compare("old", "new", config="/nosuch")
    with pytest.raises(BadInput, match=r"^config: no such folder or file: /nosuch"):
        quantbench.settings("/nosuch")
    with pytest.raises(BadInput, match=r"^config: no such folder or file: /nosuch"):
        quantbench.try_model("m.keras", config="/nosuch")
    with pytest.raises(BadInput, match=r"^variants: expected text, or a list of texts, found 3$"):
        quantbench.try_model("m.keras", variants=3)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"^max_drop: expected a number"):
        quantbench.try_model("m.keras", max_drop=object())  # type: ignore[arg-type]
