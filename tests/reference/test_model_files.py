"""How model files are read."""

import os
import shutil
from pathlib import Path

from conftest import ROOT
from quantbench.reference.model import load_file


def test_a_file_that_is_edited_within_the_same_second_is_read_anew(tmp_path: Path) -> None:
    """Python would take its kept bytecode, for time and size of the file are the same."""
    file = tmp_path / "seed_cnn.py"
    shutil.copy(ROOT / "models" / "seed_cnn.py", file)
    seen = []
    for name in ("seed_cnn", "other_cn"):
        file.write_text(file.read_text().replace('name="seed_cnn"', f'name="{name}"'))
        os.utime(file, (1_000_000_000, 1_000_000_000))
        seen += [model.name for model in load_file(file)]
    assert seen == ["seed_cnn", "other_cn"]
    assert not (tmp_path / "__pycache__").exists()
