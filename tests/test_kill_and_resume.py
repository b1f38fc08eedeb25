"""Running again is resuming: real runs killed at random moments end as the unbroken one. The study kills thirty."""

from pathlib import Path

import pytest

from bench.studies import kill_and_resume


@pytest.mark.slow
def test_killed_runs_end_as_the_unbroken_one(tmp_path: Path) -> None:
    killed, wrong, seconds = kill_and_resume.study(3, 1, tmp_path)
    assert wrong == []
    assert len(killed) == 3
    text = kill_and_resume.render(killed, wrong, seconds)
    assert text.startswith("# Killed and resumed\n\n3 kills of real runs of 5 cells of seed_cnn")
    assert "Nothing was wrong." in text
