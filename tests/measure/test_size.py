"""The size of an artifact, deflated once for all runs."""

import gzip
from pathlib import Path

import pytest
from quantbench.build.store import Store
from quantbench.measure import size


def test_an_artifact_is_deflated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact, store = tmp_path / "a.tflite", Store(tmp_path / "store")
    artifact.write_bytes(bytes(1000) + b"end")
    expected = {"size": 1003, "gzip_size": len(gzip.compress(artifact.read_bytes(), 9, mtime=0))}
    assert size.through_store(artifact, "a", store) == size.sizes(artifact) == expected
    monkeypatch.setattr(size, "sizes", None)  # it would be an error to call it
    assert size.through_store(artifact, "a", store) == expected
