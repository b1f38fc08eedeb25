"""Packages of another architecture: which sources count, and one sentence for what cannot be had."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from quantbench.build import debian
from quantbench.errors import BadInput, DiskFull

PARAGRAPHS = """Types: deb
# a snapshot
URIs: http://mirror/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://vendor/apt
Suites: stable
Components: main
"""
LINES = """# deb http://mirror/debian bookworm main
deb [signed-by=/k.gpg] http://mirror/security bookworm-security main
deb-src http://mirror/debian bookworm main
deb https://vendor/apt tools-bookworm main
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    (tmp_path / "debian.sources").write_text(PARAGRAPHS)
    (tmp_path / "more.list").write_text(LINES)
    (tmp_path / "vendor.list").write_text("deb https://vendor/apt stable main\n")
    (tmp_path / "old.list.save").write_text(LINES)
    return tmp_path


def test_only_sources_of_the_release_are_taken(sources: Path) -> None:
    found = debian.sources("bookworm", [sources])
    assert sorted(found) == ["debian.sources", "more.list"]
    assert "vendor" not in found["debian.sources"]
    assert "Suites: bookworm bookworm-updates" in found["debian.sources"]
    assert found["more.list"].split() == [
        "deb",
        "[signed-by=/k.gpg]",
        "http://mirror/security",
        "bookworm-security",
        "main",
    ]
    assert debian.sources("trixie", [sources]) == {}


def test_a_named_file_of_sources_replaces_the_machines(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(debian.SOURCES, str(sources / "vendor.list"))
    assert debian.sources("bookworm", [sources]) == {"own.list": "deb https://vendor/apt stable main\n"}
    monkeypatch.setenv(debian.SOURCES, str(sources / "absent.list"))
    with pytest.raises(BadInput, match=r"absent\.list: QUANTBENCH_ARM_SOURCES: package sources"):
        debian.sources("bookworm", [sources])


def test_without_sources_of_a_release_the_sentence_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "missing_tools", lambda: "")
    monkeypatch.setattr(debian, "codename", lambda: "noble")
    monkeypatch.setattr(debian, "sources", lambda release: {})
    with pytest.raises(BadInput, match=r"no package sources of its release \(noble\) .* QUANTBENCH_ARM_SOURCES"):
        debian.Apt(tmp_path, "arm64")


class Says:
    """In place of apt: prints and ends as it is told."""

    def __init__(self, status: int, out: str = "", errors: str = "") -> None:
        self.done = subprocess.CompletedProcess([], status, out, errors)
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> Any:
        self.commands.append(command)
        return self.done


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> debian.Apt:
    monkeypatch.setattr(debian, "missing_tools", lambda: "")
    monkeypatch.setattr(debian, "sources", lambda release: {"debian.sources": PARAGRAPHS})
    return debian.Apt(tmp_path, "arm64")


def test_apt_gets_a_state_of_its_own(apt: debian.Apt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", says := Says(0))
    (tmp_path / "lists/mirror_dists_bookworm_main_binary-arm64_Packages").write_text("")
    apt.update()
    apt.download(["libc6"])
    for command in says.commands:
        given = {command[i + 1].partition("=")[0]: command[i + 1] for i, part in enumerate(command) if part == "-o"}
        assert given["APT::Architecture"] == "APT::Architecture=arm64"
        assert given["APT::Update::Error-Mode"] == "APT::Update::Error-Mode=any"
        folders = [name for name in given if name.startswith("Dir::") and name != "Dir::Etc::sourcelist"]
        assert all(str(tmp_path) in given[name] for name in folders)
        assert {"Dir::State", "Dir::Cache", "Dir::State::status"} <= set(folders)


def test_each_thing_that_cannot_be_had_is_one_sentence(apt: debian.Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", Says(0))
    with pytest.raises(BadInput, match="have no packages for arm64; name a file of Debian's sources in QUANTBENCH_ARM"):
        apt.update()
    monkeypatch.setattr(subprocess, "run", Says(100, errors="W: a warning\nE: Could not resolve 'mirror'\nE: more\n"))
    with pytest.raises(
        BadInput, match=r"^no list of packages for arm64 can be fetched: apt-get says: E: Could not resolve 'mirror'$"
    ):
        apt.update()
    monkeypatch.setattr(subprocess, "run", Says(100, errors="E: Write error - write (28: No space left on device)\n"))
    with pytest.raises(DiskFull, match="no space is left for Debian's packages"):
        apt.download(["libc6"])

    def hang(command: list[str], timeout: float, **_: Any) -> Any:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(BadInput, match="apt-get was not done after 180 s; check the network"):
        apt.update()


def test_the_release_decides_which_python(apt: debian.Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = "Package: python3-minimal\nPre-Depends: x\nDepends: python3.13-minimal (>= 3.13), dpkg\n"
    monkeypatch.setattr(subprocess, "run", Says(0, shown))
    assert apt.dependency("python3-minimal", r"python3\.\d+-minimal") == "python3.13-minimal"
    monkeypatch.setattr(subprocess, "run", Says(0, "Package: python3-minimal\n"))
    with pytest.raises(BadInput, match="does not depend on"):
        apt.dependency("python3-minimal", r"python3\.\d+-minimal")


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "dpkg-deb" else f"/usr/bin/{name}")
    assert debian.missing_tools().startswith("dpkg-deb not found: ")


def test_versions_are_read_from_file_names() -> None:
    assert debian.version(Path("libc6_2.36-9+deb12u14_arm64.deb")) == "libc6=2.36-9+deb12u14"
    assert debian.version(Path("zlib1g_1%3a1.2.13.dfsg-1_arm64.deb")) == "zlib1g=1:1.2.13.dfsg-1"
