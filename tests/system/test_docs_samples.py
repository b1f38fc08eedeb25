"""The outputs in README and docs say what the commands print now; numbers and the machine may differ."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, run_quantbench
from quantbench.variants import VARIANTS
from studies import docs_samples

SHOWN = {"red": ("docs/red-night.md", docs_samples.red), "try": ("docs/own-model.md", docs_samples.tried)}
# How many values move within tolerance depends on the processor.
MACHINE = re.compile(r"\(on [^)]*\)|reports/[\w-]+|\d+ values? changed within tolerance")
HINT = "make the outputs again: python -m studies.docs_samples"


def shown(page: str, name: str) -> str:
    text = (ROOT / page).read_text().partition(f"<!-- output: {name} -->")[2].partition("<!-- end -->")[0]
    assert text.strip()
    return text


def words(text: str) -> set[str]:
    """The words of an output, without names of variants and machines; a folded line is one line again."""
    joined = MACHINE.sub("", re.sub(r"\n {8,}", " ", text))
    return {word for word in re.findall(r"[\w-]*[a-z]{3,}[\w-]*", joined) if word not in VARIANTS}


def _run(called: list[str], *, cwd: Path, env: dict[str, str] | None = None, **more: Any) -> Any:
    """A command of ours as the other tests run it; anything else as it is."""
    if called[1:3] != ["-m", "quantbench"] or env is None:
        return subprocess.run(called, cwd=cwd, env=env, **more)
    told = {name: env[name] for name in ("COLUMNS", "NO_COLOR", "CI", "QUANTBENCH_CACHE")}
    return run_quantbench(*called[3:], cwd=cwd, store=Path(told.pop("QUANTBENCH_CACHE")), **told)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["red", pytest.param("try", marks=pytest.mark.nightly)])
def test_an_output_in_the_pages_is_what_the_command_prints(
    name: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, make = SHOWN[name]
    monkeypatch.setenv("QUANTBENCH_CACHE", str(store))
    monkeypatch.setattr(docs_samples, "subprocess", SimpleNamespace(run=_run))
    printed = words(docs_samples.shortened(make(tmp_path)))
    assert sorted(words(shown(page, name)) - printed) == [], HINT


def test_another_wording_is_noticed() -> None:
    assert words("    RED: regressed\n        anew (on AMD EPYC, 1 thread), ptq_float16, 3.8 times") == {
        "regressed",
        "anew",
        "times",
    }
    assert words("accuracy worse") - words("accuracy is worse by") == set()
    assert words("examples lost") - words("newly wrong examples") == {"lost"}


def test_the_readme_shows_the_end_of_the_whole_output() -> None:
    whole = [line.strip() for line in shown("docs/own-model.md", "try").splitlines()]
    end = [line.strip() for line in shown("README.md", "end of try").splitlines() if line.strip() not in ("", "…")]
    assert [line for line in end if line not in whole] == []
    assert end[-1] == [line for line in whole if line][-1]


def test_an_output_is_pasted_between_its_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs_samples, "CHECKOUT", tmp_path)
    (tmp_path / "README.md").write_text("a\n<!-- output: try -->\nold\n<!-- end -->\nb\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text("no output\n")
    output = "$ quantbench try x\nloading x\n[1/2] m/v 3 s\n\n" + "long words " * 12 + "\n"
    assert docs_samples.paste("try", docs_samples.shortened(output)) == [tmp_path / "README.md"]
    assert (tmp_path / "README.md").read_text() == (
        "a\n<!-- output: try -->\n\n    $ quantbench try x\n\n    "
        + " ".join(["long words"] * 10)
        + " long\n        words long words\n\n<!-- end -->\nb\n"
    )


def test_a_command_that_ends_otherwise_is_no_sample(tmp_path: Path) -> None:
    run: Callable[[Path, list[str], int], str] = docs_samples._printed
    with pytest.raises(docs_samples.BadInput, match="quantbench schema ended with 4, not 0"):
        run(tmp_path, ["schema", "nothing"], 0)
