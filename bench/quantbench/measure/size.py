"""Measure the size of an artifact: its bytes, and its bytes after deflate (as for a download)."""

import gzip
from pathlib import Path


def sizes(artifact: Path) -> dict[str, int]:
    """Return ``size`` and ``gzip_size`` in bytes (gzip level 9, no timestamp)."""
    content = artifact.read_bytes()
    return {"size": len(content), "gzip_size": len(gzip.compress(content, compresslevel=9, mtime=0))}
