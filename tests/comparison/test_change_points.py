"""The search for levels, against what ruptures documents."""

from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from quantbench.comparison import change_points


def _series() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    lengths = (6, 20, 100, 500)
    return [np.concatenate([random.normal(level, 1, n) for level in (0, random.integers(0, 4))]) for n in lengths]


@pytest.mark.parametrize("x", _series(), ids=len)
def test_the_compiled_search_alone_finds_what_the_package_finds(x: np.ndarray) -> None:
    assert change_points._search() is not None
    for penalty in (0.5, 4 * np.log(len(x))):
        assert change_points.starts(x, penalty) == change_points.searched_by_package(x, penalty)


def _installed(monkeypatch: pytest.MonkeyPatch, package: Path, *suffixes: str) -> None:
    """Make it look as if ruptures were installed there, with compiled parts of these suffixes that do not load."""
    folder = package / "detection" / "_detection"
    folder.mkdir(parents=True)
    for suffix in suffixes:
        (folder / f"ekcpd{suffix}").write_bytes(b"of another machine")
    spec = ModuleSpec("ruptures", None, is_package=True)
    spec.submodule_search_locations = [str(package)]
    monkeypatch.setattr(change_points, "find_spec", lambda _name: spec)


def test_only_files_of_this_python_are_compiled_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _installed(monkeypatch, tmp_path, ".cpython-20-other.so", ".cp20-other.pyd", *EXTENSION_SUFFIXES)
    assert [file.name for file in change_points._compiled()] == [f"ekcpd{suffix}" for suffix in EXTENSION_SUFFIXES]


def test_a_compiled_part_that_does_not_load_is_left_to_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _installed(monkeypatch, tmp_path, *EXTENSION_SUFFIXES)
    assert change_points._search.__wrapped__() is None


def test_the_package_searches_where_its_compiled_part_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_points, "_search", lambda: None)
    assert change_points.starts(np.repeat([0.0, 9.0], 20), 5.0) == [20]
