"""The versions of what results may depend on are recorded: what the tools require, and what model files import."""

from importlib import metadata
from pathlib import Path

from made_up_runs import environment
from quantbench.core.dependencies import imported, required
from quantbench.core.environment import changed_between, of_models
from quantbench.core.renamed import installed_name


def test_what_a_package_requires_is_followed_to_the_end() -> None:
    found = required(("litert-quantizer", "ai-edge-quantizer"))
    name = installed_name("litert-quantizer")
    assert found[name] == metadata.version(name)
    assert found["numpy"] == metadata.version("numpy")
    assert required(("no-such-distribution",)) == {}


def test_what_model_files_import_is_recorded_with_its_helpers_and_without_running_them(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("import os, numpy\nimport quantbench\nfrom _help import x\nraise SystemExit\n")
    assert imported(tmp_path) == {}
    (tmp_path / "_help.py").write_text("from . import y\ndef x():\n    import psutil._common\n")
    (tmp_path / "broken.py").write_text("import (")
    assert imported(tmp_path) == {"psutil": metadata.version("psutil")}
    told = of_models(environment(dependencies={"h5py": "3"}), tmp_path)
    assert told.dependencies == {"h5py": "3", "psutil": metadata.version("psutil")}


def test_what_one_of_two_runs_does_not_record_is_no_change() -> None:
    old = environment(dependencies={"h5py": "3.10", "six": "1"})
    new = environment(dependencies={"h5py": "3.11", "wrapt": "2"})
    assert changed_between(old, new) == ["h5py 3.10 → 3.11"]
    assert changed_between(environment(), new) == []
