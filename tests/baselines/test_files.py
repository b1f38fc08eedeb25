"""Folders of baselines."""

from pathlib import Path

import pytest
from quantbench.baselines.files import check_folder
from quantbench.engine.finish import no_baselines_note
from quantbench.errors import BadInput


def test_a_folder_that_does_not_exist_yet_is_told_once_and_has_no_baselines(tmp_path: Path) -> None:
    check_folder(tmp_path)
    check_folder(tmp_path / "later")
    assert no_baselines_note(tmp_path) == []
    [note] = no_baselines_note(tmp_path / "later")
    assert note.startswith(f"--baseline-dir: no such folder: {tmp_path / 'later'}")


def test_what_can_be_no_folder_of_baselines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"file is not a folder; give a folder of baselines"):
        check_folder(tmp_path / "file")
    with pytest.raises(BadInput, match=r"no such folder: .*gone/baselines; make it first"):
        check_folder(tmp_path / "gone" / "baselines")
