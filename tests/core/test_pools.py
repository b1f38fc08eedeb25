"""What a confined worker is started with."""

import sys
from pathlib import Path

import pytest
from quantbench.core import pools


def test_a_confined_process_does_not_import_the_users_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may not read it, and the script may read at its start what the process may not."""
    script = tmp_path / "script.py"
    script.write_text("")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    assert pools.spawn.get_preparation_data("usual")["init_main_from_path"] == str(script)
    monkeypatch.setattr(pools._of_thread, "confined", True, raising=False)
    confined = pools.spawn.get_preparation_data("confined")
    assert not [key for key in confined if key.startswith("init_main_from")]
    assert confined["sys_path"]
