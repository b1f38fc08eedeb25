"""A folder of nights behind an address says what the same folder here says; what is wrong is one sentence."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import cell, measured, report, write
from quantbench.comparison.history import History, read_history
from quantbench.comparison.nights import LocalNights, RemoteNights, at_address
from quantbench.comparison.summary import SUMMARY
from quantbench.core import addresses
from quantbench.errors import BadInput
from quantbench.records.run_folder import REPORT

fsspec = pytest.importorskip("fsspec", reason="needs fsspec (extra: site)")


def day(number: int) -> str:
    return f"2026-01-{number:02d}T00-00-00Z"


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    """Four nights: with a summary, without, with a damaged report, and with nothing; and a folder that is none."""
    folder = tmp_path / "nights"
    for number in (1, 2, 3):
        made = cell(measurements={"size": measured(1000 + number)})
        write(folder, report([made], day(number)))
    read_history(folder)  # writes the summaries
    (folder / day(1) / "report.html").write_text("a page")
    (folder / day(2) / SUMMARY).unlink()
    (folder / day(3) / SUMMARY).unlink()
    (folder / day(3) / REPORT).write_text("{")
    (folder / day(4)).mkdir()
    (folder / day(4) / "log").write_text("nothing else")
    (folder / "notes").mkdir()
    (folder / "notes" / "x").write_text("")
    return folder


def told(history: History) -> tuple[list[str], list[float], dict[str, str]]:
    return history.folders, history.values["size"][:, 0].tolist(), {one.name: one.why for one in history.skipped}


def upload(nights: Path, filesystem: Any, to: str) -> None:
    for path in nights.rglob("*"):
        if path.is_file():
            filesystem.pipe_file(f"{to}/{path.relative_to(nights).as_posix()}", path.read_bytes())


def same_as_here(nights: Path, address: str) -> None:
    there = at_address(address, "RUNS")
    assert isinstance(there, RemoteNights)
    found = told(read_history(there))
    assert found == told(read_history(nights))
    assert found[0] == [day(1), day(2)]
    assert set(found[2]) == {day(3), day(4)}
    assert "report is not JSON" in found[2][day(3)]
    assert there.with_page([day(1), day(2)]) == {day(1)}


def test_a_folder_in_memory_says_what_it_says_here(nights: Path) -> None:
    memory = fsspec.filesystem("memory")
    upload(nights, memory, "/nights")
    try:
        same_as_here(nights, "memory://nights/")
    finally:
        memory.rm("/nights", recursive=True)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a local S3 server."""
    server_of = pytest.importorskip("moto.server", reason="needs moto (extra: tests)")
    pytest.importorskip("s3fs", reason="needs s3fs (extra: tests)")
    server = server_of.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def as_user_of(s3: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    import s3fs

    for name, value in (
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", s3),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3fs.S3FileSystem()
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_folder_on_s3_says_what_it_says_here(nights: Path, as_user_of: Any) -> None:
    as_user_of.mkdir("nights")
    upload(nights, as_user_of, "nights/of/ours")
    same_as_here(nights, "s3://nights/of/ours")


def test_a_bucket_that_is_not_there_is_one_sentence(as_user_of: Any) -> None:
    with pytest.raises(BadInput, match=r"^RUNS: no such folder: s3://nobody-s/nights; check the address$"):
        read_history(at_address("s3://nobody-s/nights", "RUNS"))


def test_a_store_that_refuses_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("Forbidden\nby the store")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "ls", refuse)
    with pytest.raises(BadInput) as refused:
        read_history(at_address("memory://nights", "RUNS"))
    assert str(refused.value) == (
        "RUNS: cannot list memory://nights (PermissionError: Forbidden by the store); check the address and the "
        "credentials"
    )


def test_a_file_that_is_too_large_is_not_read(nights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    upload(nights, memory, "/large")
    asked: list[int] = []
    whole = type(memory).cat_file

    def cat_file(self: Any, path: str, start: int | None = None, end: int | None = None) -> Any:
        asked.append(end or -1)
        return whole(self, path, start=start, end=end)

    monkeypatch.setattr(type(memory), "cat_file", cat_file)
    monkeypatch.setattr("quantbench.files.LARGEST_RECORD", 100)
    try:
        history = read_history(at_address("memory://large", "RUNS"))
    finally:
        memory.rm("/large", recursive=True)
    assert history.folders == [day(1)]
    assert {one.name: one.why for one in history.skipped}[day(2)] == "report is larger than 100 bytes; give another"
    assert 101 in asked
    assert -1 not in asked


@pytest.mark.parametrize(
    ("address", "absent", "words"),
    [
        ("memory://n", "fsspec", "memory://n needs fsspec, which is not installed; pip install 'quantbench[site]'"),
        ("s3://n/m", "s3fs", "s3://n/m needs s3fs, which is not installed; pip install 'quantbench[site]' s3fs"),
        ("gs://n/m", "gcsfs", "gs://n/m needs gcsfs, which is not installed; pip install 'quantbench[site]' gcsfs"),
    ],
)
def test_a_missing_package_is_named(address: str, absent: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    known = sys.modules["fsspec.registry"]._registry  # type: ignore[attr-defined]
    monkeypatch.delitem(known, address.partition("://")[0], raising=False)
    with pytest.raises(BadInput) as refused:
        at_address(address, "RUNS")
    assert str(refused.value) == f"RUNS: {words}"


def test_an_address_of_an_unknown_kind_is_one_sentence() -> None:
    with pytest.raises(BadInput, match=r"^RUNS: cannot open nights://x \(ValueError: .*\); expected a folder of this"):
        at_address("nights://x", "RUNS")


def test_a_folder_of_this_machine_needs_no_fsspec(nights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    for address in (str(nights), f"file://{nights}"):
        found = at_address(address, "RUNS")
        assert isinstance(found, LocalNights)
        assert read_history(found).folders == [day(1), day(2)]


def test_many_files_are_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, whichever answers first."""
    from threading import Barrier

    together = Barrier(2, timeout=30)

    def answer(name: str) -> str:
        together.wait()
        return name

    assert list(addresses.for_each(["a", "b"], answer)) == ["a", "b"]
