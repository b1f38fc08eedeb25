"""Programs that read workflows, shell lines and Dockerfiles; they lie beside the interpreter."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def linted(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a linter says; the test is skipped where it is not installed, but not in CI."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    program = shutil.which(name, path=beside)
    if program is None and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed here: pip install '.[tests]'")
    assert program is not None, f"CI cannot do without {name}"
    return subprocess.run(
        [program, *arguments], env=os.environ | {"PATH": beside}, capture_output=True, text=True, check=False
    )


def actionlint(*paths: Path) -> subprocess.CompletedProcess[str]:
    """What actionlint says, with shellcheck for the shell lines."""
    return linted("actionlint", "-no-color", *map(str, paths))
