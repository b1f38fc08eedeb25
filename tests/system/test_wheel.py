"""An installed wheel works outside the checkout: models and baselines travel inside it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content in a folder of its own, as pip would lay it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("quantbench-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_runs_and_gates_outside_the_checkout(installed: Path, store: Path, tmp_path: Path) -> None:
    arguments = ["run", "-v", "--models=seed_cnn", "--variants=float32", "--no-latency"]
    environment = {"PYTHONPATH": str(installed), "QUANTBENCH_CACHE": str(store), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-m", "quantbench", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"rootdir: {installed}" in done.stdout
    assert (tmp_path / "reports" / "latest" / "report.md").is_file()
    assert (tmp_path / "reports" / "latest" / "report.html").is_file()  # its style and script are in the wheel
    assert (installed / "quantbench" / "py.typed").is_file()
    # The packages' own baselines are not written to.
    update = [sys.executable, "-m", "quantbench", "baseline", "update", "--reason", "a test", "--allow-dirty"]
    done = subprocess.run(update, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 4
    assert "belongs to the installed package; give a folder of your own" in done.stderr


def test_pages_and_pictures_are_drawn_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    script = (
        "import quantbench; from quantbench.report.html.templating import environment, picture\n"
        "from quantbench.report.plots import sheet, trend\n"
        "print(quantbench.__file__)\n"
        "print(*environment().list_templates())\n"
        "print(picture(sheet('size', [trend('size', [1, 2], [1.0, 2.0], '.0f', [])]))[:4])\n"
    )
    call = [sys.executable, "-c", script]
    done = subprocess.run(call, cwd=tmp_path, env={"PYTHONPATH": str(installed)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where, templates, drawn = done.stdout.splitlines()
    assert where.startswith(str(installed))
    here = ROOT / "bench" / "quantbench" / "report" / "html" / "templates"
    assert sorted(templates.split()) == sorted(path.name for path in here.iterdir())
    assert drawn == "<svg"


def test_the_wheel_has_what_init_writes(installed: Path, tmp_path: Path) -> None:
    for ci in ("github", "gitlab", "jenkins"):
        call = [sys.executable, "-m", "quantbench", "init", "--ci", ci]
        environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert there >= {".github/workflows/quantbench.yml", ".gitlab-ci.yml", "Jenkinsfile", "quantbench.toml"}


def test_nothing_of_the_tests_is_in_the_wheel(installed: Path) -> None:
    assert sorted(path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")) == ["quantbench"]
