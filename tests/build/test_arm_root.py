"""The root of an emulated ARM core: made once, tried, evicted; and one sentence for each thing that is missing."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from quantbench.build import arm_root, debian, packages
from quantbench.build.eviction import clear_environments
from quantbench.build.store import INSTALLED, Store, default_root
from quantbench.core.targets import parsed
from quantbench.errors import BadInput
from quantbench.targets.failures import TargetFailed, start_failed, told_at_start
from quantbench.targets.link import command

HERE = {"qemu": "7.2.22", "release": "bookworm", "ai-edge-litert": "2.3.0", "numpy": "2.4.6"}
SAYS = "aarch64 3.11 2.3.0 2.4.6\n"


class Debian:
    """In place of apt."""

    made = 0

    def __init__(self, folder: Path, architecture: str) -> None:
        assert architecture == "arm64"
        Debian.made += 1

    def update(self) -> None: ...

    def dependency(self, package: str, pattern: str) -> str:
        return "python3.11-minimal"

    def download(self, names: Sequence[str]) -> list[Path]:
        assert names[:2] == ["python3.11-minimal", "libpython3.11-stdlib"]
        return [Path("libc6_2.36-9+deb12u14_arm64.deb")]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has everything, whose emulated Python says what it should."""
    monkeypatch.setenv("QUANTBENCH_CACHE", str(tmp_path / "cache"))
    program = tmp_path / "qemu-aarch64-static"
    program.write_text("an emulator")
    monkeypatch.setattr(arm_root, "emulator", lambda: program)
    monkeypatch.setattr(arm_root, "wanted", lambda: dict(HERE))
    monkeypatch.setattr(arm_root, "_ways", lambda: (("chroot", "ROOT"),))
    monkeypatch.setattr(debian, "Apt", Debian)
    monkeypatch.setattr(debian, "unpack", lambda found, root: (root / "usr/bin").mkdir(parents=True))
    monkeypatch.setattr(packages, "for_other", lambda *_: None)
    says(monkeypatch, SAYS)
    Debian.made = 0


def says(monkeypatch: pytest.MonkeyPatch, out: str, status: int = 0, errors: str = "") -> None:
    monkeypatch.setattr(subprocess, "run", lambda *a, **_: subprocess.CompletedProcess(a[0], status, out, errors))


@pytest.mark.usefixtures("machine")
def test_a_root_is_made_once_listed_and_evicted() -> None:
    assert arm_root.find() is None
    made = arm_root.root()
    assert arm_root.root() == made == arm_root.find()
    assert Debian.made == 1
    assert made.versions == {
        "python": "3.11",
        "libc6": "2.36-9+deb12u14",
        **{k: HERE[k] for k in HERE if k != "release"},
    }
    assert "asimddp" in (made.folder / "proc/cpuinfo").read_text()
    assert (made.folder / "sys/devices/system/cpu/possible").read_text() == "0\n"
    store = Store(default_root())
    store.release()
    [gone] = clear_environments(store, 0).entries
    assert gone.path == made.folder.parent
    assert arm_root.find() is None


@pytest.mark.usefixtures("machine")
def test_the_command_confines_the_program_and_hands_over_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    made = arm_root.root()
    words = made.command("-c", "code")
    assert words[:2] == ["env", "-i"]
    emulated = ["/usr/bin/emulator", "-cpu", "cortex-a76", made.python, "-c", "code"]
    assert words[words.index("chroot") :] == ["chroot", str(made.folder), *emulated]
    assert not any("SECRET" in word for word in words)
    assert command(parsed("arm", "qemu-aarch64", "x"))[: len(words) - 2] == words[:-2]


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("out", "status", "errors", "told"),
    [
        ("", 127, "chroot: no such file\n", r"ended with status 127 \(chroot: no such file\)"),
        ("", -11, "qemu: uncaught target signal 11\n", r"died of SIGSEGV \(qemu: uncaught target signal 11\)"),
        ("aarch64 3.11 2.2.0 2.4.6\n", 0, "", "it is aarch64 3.11 2.2.0 2.4.6, expected aarch64 3.11 2.3.0 2.4.6"),
        ("x86_64 3.11 2.3.0 2.4.6\n", 0, "", "it is x86_64"),
        ("", 0, "", "it is silent"),
    ],
)
def test_a_root_that_does_not_work_is_told_and_not_kept(
    monkeypatch: pytest.MonkeyPatch, out: str, status: int, errors: str, told: str
) -> None:
    says(monkeypatch, out, status, errors)
    with pytest.raises(BadInput, match=f"^qemu-aarch64: the emulated Python does not start: {told}"):
        arm_root.root()
    assert arm_root.find() is None
    says(monkeypatch, SAYS)
    assert arm_root.root().versions["qemu"] == "7.2.22"


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("damaged", [b"", b"\xff\xfe", b"qemu=7.2\n", b"python=3.11/../x\nqemu=7\n"])
def test_a_root_whose_list_was_damaged_is_made_again(damaged: bytes) -> None:
    made = arm_root.root()
    (made.folder.parent / INSTALLED).write_bytes(damaged)
    assert arm_root.find() is None
    assert "is made when it is first used" in arm_root.state(ask=False)
    assert arm_root.root() == made
    assert Debian.made == 2


def test_a_root_that_lost_files_names_the_command_that_makes_it_again() -> None:
    target = parsed("arm", "qemu-aarch64", "x")
    for status, errors in ((127, "chroot: failed to run command '/usr/bin/emulator': No such file"), (-11, "")):
        failed = start_failed(target, status, errors)
        assert failed.code == "unreachable"
        assert "run quantbench doctor, which removes a folder that does not start" in str(failed)
        assert "install Python" not in str(failed)
    told = told_at_start(target, {"code": "no-module", "text": "No module named 'numpy'", "module": "numpy"})
    assert str(told).startswith(
        "NumPy or LiteRT cannot be loaded there (No module named 'numpy'); run quantbench doctor"
    )


@pytest.mark.usefixtures("machine")
def test_a_target_tells_why_it_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise BadInput(
            "qemu-aarch64: no wheels of numpy==2.4.6 for aarch64 and Python 3.11, which is Debian's, can be had"
        )

    monkeypatch.setattr(packages, "for_other", refuse)
    with pytest.raises(TargetFailed, match=r"^no wheels of numpy==2\.4\.6 for aarch64"):
        command(parsed("arm", "qemu-aarch64", "x"))


def test_each_missing_thing_has_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm_root, "emulator", lambda: None)
    assert arm_root.unavailable() == (
        "QEMU's emulator of ARM programs is not installed; sudo apt-get install qemu-user-static"
    )
    monkeypatch.setattr(arm_root, "emulator", lambda: Path("/usr/bin/qemu-aarch64-static"))
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    assert arm_root.unavailable().startswith("apt-get, apt-cache, dpkg-deb not found")
    monkeypatch.setattr(debian, "missing_tools", lambda: "")
    monkeypatch.setattr(arm_root, "_ways", lambda: ())
    assert "neither by chroot nor by a user namespace" in arm_root.unavailable()
    monkeypatch.setattr(arm_root, "_ways", lambda: (("chroot", "ROOT"),))
    assert arm_root.unavailable() == ""
    monkeypatch.setattr(arm_root, "emulator_version", lambda program: "7.2.22")
    monkeypatch.setattr(arm_root, "package_version", lambda name: "absent")
    with pytest.raises(BadInput, match="ai-edge-litert, numpy is not installed here"):
        arm_root.wanted()


def test_ways_in_are_tried_before_they_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def run(words: list[str], **_: Any) -> Any:
        tried.append(words)
        return subprocess.CompletedProcess(words, 1 if "chroot" in words[0] else 0)

    monkeypatch.setattr(shutil, "which", lambda name, path=None: None if name == "bwrap" else f"/usr/sbin/{name}")
    monkeypatch.setattr(subprocess, "run", run)
    arm_root._ways.cache_clear()
    try:
        assert arm_root._ways() == (("/usr/sbin/unshare", "--user", "--map-root-user", "--root=ROOT"),)
    finally:
        arm_root._ways.cache_clear()
    assert [words[0] for words in tried] == ["/usr/sbin/chroot", "/usr/sbin/unshare"]


@pytest.mark.usefixtures("machine")
def test_doctor_tries_the_root_and_removes_one_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm_root, "unavailable", lambda: "")
    assert arm_root.state(ask=True) == "yes; its root of Debian's arm64 packages is made when it is first used"
    arm_root.root()
    assert (
        arm_root.state(ask=True) == "yes, as a cortex-a76 (QEMU 7.2.22, Python 3.11, ai-edge-litert 2.3.0, numpy 2.4.6)"
    )
    says(monkeypatch, "", 1, "Segmentation fault\n")
    assert arm_root.state(ask=False).startswith("yes, ")
    assert "does not start (ended with status 1 (Segmentation fault)) and was removed" in arm_root.state(ask=True)
    assert arm_root.find() is None
    monkeypatch.setattr(arm_root, "unavailable", lambda: "there is none")
    assert arm_root.state(ask=True) == "no: there is none"


@pytest.mark.nightly
@pytest.mark.slow
def test_a_real_root_answers_on_an_emulated_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if problem := arm_root.unavailable():
        pytest.skip(problem)
    monkeypatch.setenv("QUANTBENCH_CACHE", str(tmp_path))
    made = arm_root.root()
    assert arm_root.trial(made) == ""
    assert not list((made.folder.parent).glob("apt-*"))
