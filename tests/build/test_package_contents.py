"""The store's keys know what is in an installed package: a patched or rebuilt one of the same version is another."""

import base64
import hashlib
import json
import os
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT
from quantbench.build import artifact, package_contents
from quantbench.build.store import digest
from quantbench.measure import accuracy, memory
from quantbench.reference.model import load_models
from quantbench.variants import VARIANTS

NAME = "made-up"


def _row(path: str, content: bytes) -> str:
    sha256 = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"{path},sha256={sha256},{len(content)}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def installed(site: Path, content: bytes = b"one = 1\n", notes: str = "", more: str = "") -> None:
    package, info = site / "made_up", site / "made_up-1.0.dist-info"
    package.mkdir(exist_ok=True)
    info.mkdir(exist_ok=True)
    (package / "code.py").write_bytes(content)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
    if notes:
        (info / "direct_url.json").write_text(notes)
    (info / "RECORD").write_text(f"{_row('made_up/code.py', content)}\nmade_up-1.0.dist-info/RECORD,,\n{more}")


def contents() -> str:
    package_contents.package_contents.cache_clear()
    return package_contents.package_contents(NAME)


def test_a_package_is_known_by_version_and_contents(site: Path) -> None:
    installed(site)
    before = contents()
    assert before.startswith("1.0 ")
    installed(site)
    assert contents() == before
    installed(site, b"one = 2\n")  # rebuilt: another RECORD
    assert contents() != before
    assert package_contents.package_contents("nothing-of-this-name") == "absent"


def test_who_installed_it_is_no_content(site: Path) -> None:
    installed(site)
    before = contents()
    installed(site, more=f"{_row('made_up-1.0.dist-info/INSTALLER', b'uv')}\n{_row('../../bin/x', b'#!')}\nx.pyc,,\n")
    assert contents() == before


@pytest.mark.parametrize("patch", [b"one = 2\n", b"one = 1 + 1\n"])
def test_a_file_that_is_edited_where_it_is_installed_is_another_content(site: Path, patch: bytes) -> None:
    installed(site)
    before, file = contents(), site / "made_up" / "code.py"
    file.write_bytes(patch)
    later = (site / "made_up-1.0.dist-info" / "RECORD").stat().st_mtime + 60
    os.utime(file, (later, later))
    assert contents() != before
    file.write_bytes(b"one = 1\n")  # put back, although later than RECORD
    os.utime(file, (later, later))
    assert contents() == before
    file.unlink()
    assert contents() != before


def test_the_sources_of_an_editable_package_are_its_content(site: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / ".git").mkdir(parents=True)
    (source / "made_up.py").write_text("one = 1\n")
    installed(site, notes=json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}))
    before = contents()
    (source / ".git" / "config.py").write_text("ignored")
    (source / "README.md").write_text("ignored")
    assert contents() == before
    (source / "made_up.py").write_text("one = 2\n")
    assert contents() != before


def test_a_package_without_a_record_is_known_by_its_version(site: Path) -> None:
    installed(site)
    (site / "made_up-1.0.dist-info" / "RECORD").unlink()
    assert contents() == "1.0"


def test_a_patched_runtime_or_converter_has_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_models(ROOT / "models")["seed_cnn"]

    def keys() -> list[str]:
        package_contents.package_contents.cache_clear()
        made = artifact.ingredients(model, VARIANTS["ptq_float16"], 0, None)
        recipes = [made, accuracy.recipe("a", model), memory.recipe("a", model), accuracy.float_recipe(model)]
        return [digest(recipe) for recipe in recipes]

    before, read = keys(), metadata.PathDistribution.read_text

    def rebuilt(found: metadata.PathDistribution, name: str) -> str | None:
        text = read(found, name)
        return f"{text}patched.so,sha256=abc,0\n" if name == "RECORD" and text else text

    monkeypatch.setattr(metadata.PathDistribution, "read_text", rebuilt)
    assert [old == new for old, new in zip(before, keys(), strict=True)] == [False] * 4
    package_contents.package_contents.cache_clear()
