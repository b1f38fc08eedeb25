"""Measure the size of an artifact: its bytes, and its bytes after deflate (as for a download)."""

import gzip
import zlib
from pathlib import Path
from typing import Any

from quantbench.build.store import Store

_PACKED = "gzip_size"
_LEVEL = 9


def sizes(artifact: Path) -> dict[str, int]:
    """Return ``size`` and ``gzip_size`` in bytes (gzip level 9, no timestamp)."""
    content = artifact.read_bytes()
    return {"size": len(content), _PACKED: len(gzip.compress(content, compresslevel=_LEVEL, mtime=0))}


def through_store(artifact: Path, sha256: str, store: Store) -> dict[str, int]:
    """Return the sizes, deflating an artifact once for all runs."""

    def make() -> dict[str, bytes]:
        return {_PACKED: str(sizes(artifact)[_PACKED]).encode()}

    def read(folder: Path, _cached: bool) -> dict[str, int]:
        return {"size": artifact.stat().st_size, _PACKED: int((folder / _PACKED).read_text(encoding="utf-8"))}

    return store.remember(recipe(sha256), make, read)


def recipe(sha256: str) -> dict[str, Any]:
    """List everything that affects the deflated size."""
    return {"what": "gzip size", "level": _LEVEL, "artifact": sha256, "zlib": zlib.ZLIB_RUNTIME_VERSION}
