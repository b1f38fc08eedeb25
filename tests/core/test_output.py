"""What native code prints is kept apart from what Python prints."""

import subprocess
import sys
from pathlib import Path

from conftest import ROOT

CODE = """
import os, sys
from pathlib import Path
from quantbench.core.output import native_output_to
with native_output_to(Path(sys.argv[1])):
    os.write(2, b"native noise\\n")
    os.write(1, b"more of it\\n")
    print("our own words")
    print("and an error", file=sys.stderr)
os.write(2, b"native again\\n")
print("after")
"""


def test_native_code_goes_to_the_log_and_python_stays_where_it_was(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "native.log"
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(log)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["our own words", "after"]
    assert done.stderr.splitlines() == ["and an error", "native again"]
    assert log.read_text().splitlines() == ["native noise", "more of it"]
