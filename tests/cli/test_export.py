"""The command ``export`` on made-up runs."""

from pathlib import Path

import pytest
from made_up_runs import cell, report, write
from quantbench.cli.export import export
from quantbench.records import Verdict


def test_of_a_green_run_nothing_red_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path, report([cell("v", verdict=Verdict.PASS)]))
    export(run=run, output=tmp_path / "red", red=True)
    assert capsys.readouterr().out == "no cell is red: nothing to write\n"
    assert not (tmp_path / "red").exists()
