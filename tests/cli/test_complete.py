"""Completion by the shell: every name, and nothing heavy for it."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT
from quantbench.cli import _complete
from quantbench.variants import VARIANTS

HEAVY = ("tensorflow", "scipy", "numpy", "pytest")


def context(**params: object) -> Any:
    return SimpleNamespace(params=params)


def test_the_names_of_variants_are_those_that_exist() -> None:
    assert list(VARIANTS) == list(_complete.VARIANT_NAMES)


def test_the_last_of_several_names_is_completed(tmp_path: Path) -> None:
    for name in ("kws.py", "kws_large.py", "_helper.py", "note.md"):
        (tmp_path / name).touch()
    here = context(model_dir=str(tmp_path))
    assert _complete.models(here, "") == ["kws", "kws_large"]
    assert _complete.models(here, "kws,k") == ["kws,kws_large"]
    assert _complete.variants("float32,ptq_fl") == ["float32,ptq_float16"]
    assert _complete.cells(here, "kws/ptq_fl") == ["kws/ptq_float16"]
    assert _complete.cells(here, "kws/float32,kws_") == ["kws/float32,kws_large/"]
    assert "seed_cnn" in _complete.models(context(), "seed")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("quantbench ru", ["run"]),
        ("quantbench run --variants ptq_fl", ["ptq_float16"]),
        ("quantbench run --models seed_c", ["seed_cnn"]),
        ("quantbench run --no-g", ["--no-gpu"]),
        ("quantbench baseline upd", ["update"]),
    ],
)
def test_a_shell_gets_names_without_anything_heavy(words: str, expected: list[str]) -> None:
    script = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr))\n"
        "from quantbench.cli.app import main\n"
        "main()\n"
    )
    asked = {"_QUANTBENCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, env=os.environ | asked, check=True
    )
    assert done.stdout.split() == expected
    assert done.stderr.strip() == "[]"
