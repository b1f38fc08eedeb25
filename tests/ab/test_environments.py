"""What a side is made of where names, versions or requirements do not fit: a rename, a runtime, a new TensorFlow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import cell, report
from quantbench.ab import environments, missing
from quantbench.ab.environments import Resolved, requirements, resolve, side
from quantbench.ab.result import Unmet
from quantbench.build import preflight
from quantbench.errors import BadInput
from quantbench.records import Failure
from quantbench.reference import training
from quantbench.variants import VARIANTS


def test_the_quantizer_by_its_former_name_replaces_it_by_the_one_of_today() -> None:
    wanted, overrides = requirements(side("--old", ["ai-edge-quantizer==0.10.0"]))
    assert not any(line.startswith("litert-quantizer") for line in wanted)
    assert overrides == ["litert-quantizer ; python_version < '3'"]
    wanted, overrides = requirements(side("--new", ["litert-quantizer==0.11.*"]))
    assert [line for line in wanted if "quantizer" in line] == ["litert-quantizer==0.11.*"]
    assert overrides == []


def test_a_runtime_that_is_asked_for_replaces_the_version_that_the_quantizer_requires() -> None:
    wanted, overrides = requirements(side("--old", ["ai-edge-litert==2.2.*"]))
    assert "ai-edge-litert==2.2.*" in wanted
    assert overrides == ["ai-edge-litert==2.2.*"]


class _Uv:
    """Resolve as told: (text that the requirements hold, what it answers), the first that fits."""

    def __init__(self, *answers: tuple[str, str | None]) -> None:
        self.answers = answers
        self.preferred: list[str] = []

    def __call__(self, command: Sequence[str], folder: Path, what: str) -> str:
        wanted = (folder / "wanted.txt").read_text()
        self.preferred = (folder / "pins.txt").read_text().split()
        answer = next(answer for text, answer in self.answers if text in wanted)
        if answer is None:
            raise BadInput(f"{what}; uv says: no solution")
        return answer


@pytest.mark.parametrize("with_keras_2", [None, "tensorflow==2.22.0rc0\ntf-keras==2.15.0\n"])
def test_a_tensorflow_that_tf_keras_does_not_follow_yet_is_resolved_without_it(
    monkeypatch: pytest.MonkeyPatch, with_keras_2: str | None
) -> None:
    """The resolver finds nothing, or an old tf-keras that names no newest TensorFlow and breaks on it."""
    monkeypatch.setattr(environments.packages, "uv", _Uv(("tf-keras", with_keras_2), ("", "tensorflow==2.22.0rc0\n")))
    found = resolve(side("--new", ["tensorflow==2.22.0rc0"]))
    assert found.without == ("tf-keras", "tensorflow-model-optimization")
    assert found.versions() == {"tensorflow": "2.22.0rc0"}


def test_tf_keras_is_kept_where_it_follows_and_where_the_user_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        environments.packages, "uv", _Uv(("", "tf-nightly==2.23.0.dev1\ntf-keras-nightly==2.23.0.dev2"))
    )
    assert resolve(side("--new", ["tf-nightly"])).without == ()
    monkeypatch.setattr(environments.packages, "uv", _Uv(("", "tensorflow==2.22.0rc0\ntf-keras==2.21.0")))
    assert resolve(side("--new", ["tensorflow==2.22.0rc0", "tf-keras==2.21.0"])).without == ()


def test_what_cannot_be_resolved_in_either_way_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments.packages, "uv", _Uv(("", None)))
    with pytest.raises(BadInput) as caught:
        resolve(side("--new", ["tf-nightly==2.23.0.dev20200101"]))
    said = str(caught.value)
    assert (
        said == "--new tf-nightly==2.23.0.dev20200101: no such set of packages can be installed; uv says: no solution"
    )


def test_what_a_side_does_not_name_is_preferred_as_it_is_installed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    uv = _Uv(("", "numpy==2.4.0\n"))
    monkeypatch.setattr(environments.packages, "uv", uv)
    resolve(side("--new", ["numpy"]))
    names = {pin.partition("==")[0] for pin in uv.preferred}
    assert "pydantic" in names
    assert "numpy" not in names
    resolve(side("--new", ["tf-nightly"]))
    assert not {"tensorflow", "tf-keras"} & {pin.partition("==")[0] for pin in uv.preferred}


def test_an_installers_message_is_one_line_and_ends_in_what_it_concludes() -> None:
    told = environments.packages._in_one_line
    assert told("  × No solution found:\n  ╰─▶ Because there is no b,\n      it fails.\n\n      hint: use a\n") == (
        " No solution found: Because there is no b, it fails. hint: use a"
    )
    long = told("because " * 500 + "we can conclude that it fails.")
    assert len(long) < 700
    assert long.endswith("we can conclude that it fails")


def test_a_requirement_that_a_side_does_not_meet_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, version, requires in (
        (
            "litert-quantizer",
            "0.11.0",
            ["ai-edge-litert==2.3.0", "numpy", 'absent>1 ; extra == "more"', "not installed"],
        ),
        ("ai_edge_litert", "2.2.0", ["numpy>=1"]),
        ("numpy", "2.4.0", []),
    ):
        information = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        information.mkdir(parents=True)
        lines = [f"Requires-Dist: {one}" for one in requires]
        text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""])
        (information / "METADATA").write_text(text)
    assert missing.unmet(tmp_path / "bin" / "python") == [
        Unmet("litert-quantizer 0.11.0", "ai-edge-litert==2.3.0", "2.2.0")
    ]


def test_what_trains_keras_2_is_left_out_of_a_side_without_it_and_nothing_else_is() -> None:
    refused = Failure(what="unsupported", reason="r")
    names = ("qat_wi8_ai8", "float32_finetuned", "ptq_float16")
    run = report([cell(variant=name, failure=refused) for name in names])
    found = missing.left_out(run, "new", ("tf-keras", "tensorflow-model-optimization"))
    assert sorted(found) == ["m/float32_finetuned", "m/qat_wi8_ai8"]
    assert set(found.values()) == {"the new side was made without tf-keras, which it needs"}
    assert missing.left_out(run, "new", ()) == {}


def test_without_tf_keras_what_trains_is_refused_in_words_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class _Model:
        form = "code"

        @staticmethod
        def pack() -> Any:
            raise AssertionError("the data decide nothing here")

    monkeypatch.setattr(preflight, "has_keras2", lambda: False)
    assert preflight.refusal(_Model(), VARIANTS["qat_wi8_ai8"]) == training.NO_KERAS_2  # type: ignore[arg-type]
    with pytest.raises(AssertionError):  # not refused: it is asked what data there are
        preflight.refusal(_Model(), VARIANTS["ptq_static_wi8_ai8"])  # type: ignore[arg-type]


def test_the_name_of_an_environment_does_not_depend_on_what_it_goes_without() -> None:
    one = side("--new", ["tensorflow"])
    assert Resolved(one, ("a==1",)).key == Resolved(one, ("a==1",), ("tf-keras",)).key
