"""What a run refuses before it computes anything."""

import pytest
from made_up_runs import environment
from quantbench.core import environment as here
from quantbench.core.options import RunOptions
from quantbench.engine.session import Session
from quantbench.errors import BadInput

ACCEPTING = {"models": "seed_cnn", "update_baselines": "new kernels"}


@pytest.mark.parametrize(
    ("dirty", "options", "refused"),
    [
        (True, ACCEPTING, True),
        (True, ACCEPTING | {"allow_dirty": True}, False),
        (True, {"models": "seed_cnn"}, False),  # nothing is accepted
        (False, ACCEPTING, False),
        (None, ACCEPTING, False),  # there is no git
    ],
)
def test_a_run_of_code_with_local_changes_does_not_become_a_baseline_without_a_word(
    monkeypatch: pytest.MonkeyPatch, dirty: bool | None, options: dict[str, object], refused: bool
) -> None:
    monkeypatch.setattr(here, "collect", lambda: environment(git_dirty=dirty))
    asked = RunOptions(**options)  # type: ignore[arg-type]
    if not refused:
        Session(asked)
        return
    with pytest.raises(BadInput, match=r"^--update-baselines: the code of the run is commit .* or give --allow-dirty"):
        Session(asked)
