"""Which models are tested where none are named."""

from types import SimpleNamespace
from typing import Any

import pytest
from quantbench.errors import BadInput
from quantbench.selftest import default_models


def model(build: object = print, correct: object = print) -> Any:
    return SimpleNamespace(build=build, metric=SimpleNamespace(correct=correct))


def test_in_a_users_folder_it_is_the_models_given_as_code_with_one_scored_as_right_or_wrong_first() -> None:
    ours = {"seed_cnn": model(), "autoencoder": model(correct=None), "other": model()}
    assert default_models(ours, "seed_cnn,autoencoder") == "seed_cnn,autoencoder"
    theirs = {"a": model(correct=None), "kws": model(), "saved": model(build=None)}
    assert default_models(theirs, "seed_cnn,autoencoder") == "kws,a"
    with pytest.raises(BadInput, match="none of saved is given as code and scored as right or wrong"):
        default_models({"saved": model(build=None)}, "seed_cnn")
