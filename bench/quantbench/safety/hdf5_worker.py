"""One short-lived interpreter that opens somebody's HDF5 file, behind walls; started by :mod:`quantbench.safety.hdf5`.

HDF5 trusts what it opens: on a damaged file it may turn in circles for ever, claim memory without end, or crash. So it
is this process that does. Reads a job as JSON from standard input, ``{"path": FILE, "attributes": [NAME, ...]}``; with
``"member": NAME`` the file is a member of a checked archive at ``path``, and with ``"whole": true`` everything in it is
looked through; ``"processor_seconds": N`` bounds its processor time. Writes to standard output ``{"damaged": WORDS}``,
or ``{"wrong": WORDS or null, "attributes": {NAME: VALUE}}``, each value ``{"text": TEXT}``, ``{"bytes": TEXT}`` of one
letter a byte, ``{"other": WORDS}`` or null.
"""

import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from quantbench.core.worker import Job, worker_main
from quantbench.safety import archive

_MOST_OBJECTS = 100_000  # groups and datasets; a model of 1,000 layers with its optimizer has some 15,000
_DEEPEST = 200  # levels of groups; nested models have one or two each
# gzip, shuffle, fletcher32, szip, nbit, scale-offset, and h5py's own LZF: those that HDF5 and h5py bring themselves.
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
_READ_WHOLE = 2**28  # bytes of all datasets; where there are more, their chunks are counted and not read
_MEMORY = 2**31  # bytes that this process may claim besides an unpacked member: Python, the largest dataset, a copy


def run(job: Job) -> dict[str, Any]:
    """Open the file and say what was asked."""
    import h5py

    try:
        with _opened(Path(job["path"]), job.get("member")) as (file, packed), h5py.File(file, "r") as opened:
            wrong = _wrong(opened.id, packed) if job.get("whole") else None
            return {"wrong": wrong, "attributes": {name: _plain(opened.attrs.get(name)) for name in job["attributes"]}}
    except Exception as error:  # as many ways as the format has fields
        return {"damaged": " ".join((str(error) or type(error).__name__).split())[:200]}


@contextmanager
def _opened(path: Path, member: str | None) -> Iterator[tuple[Path | IO[bytes], int]]:
    if member is None:
        yield path, path.stat().st_size
        return
    with zipfile.ZipFile(path) as holder, path.open("rb") as file:
        found = holder.getinfo(member)
        yield archive.opened(holder, found, file), found.file_size


def _plain(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if isinstance(value, str | bytes):
        if len(value) > archive.LARGEST_JSON:
            return {"other": f"a text of {len(value)} bytes"}
        return {"text": value} if isinstance(value, str) else {"bytes": value.decode("latin-1")}
    return {"other": str(value)[:200]}


def _bounded(job: Job) -> dict[str, Any]:
    if sys.platform.startswith("linux"):
        import resource

        limits = {
            resource.RLIMIT_DATA: _MEMORY + int(job.get("unpacked", 0)),
            resource.RLIMIT_CPU: int(job["processor_seconds"]),  # the machine may be busy, and the file still healthy
        }
        for which, most in limits.items():
            with suppress(OSError, ValueError):  # it is bounded further already
                resource.setrlimit(which, (most, most))
    return run(job)


# ---------------------------------------------------------------- all that is in it


def _wrong(root: Any, packed: int) -> str | None:
    """What reaches outside of the file or unpacks to more than it may; raises what HDF5 does where it is damaged."""
    from h5py import h5d, h5g, h5o

    limit = archive.largest_unpacked(packed)
    found, declared = {h5o.get_info(root).addr}, 0
    waiting = [("", 0, h5g.open(root, b"/"))]
    while waiting:
        name, depth, part = waiting.pop()
        if isinstance(part, h5d.DatasetID):
            wrong = _wrong_dataset(part)
            if wrong:
                return f"dataset {name[:200]!r} {wrong}"
            declared += part.get_space().get_simple_extent_npoints() * part.get_type().get_size()
            if declared > limit:
                return (
                    f"its datasets declare more than {limit / 2**20:.1f} MiB, and the file has {packed / 2**20:.1f} MiB"
                )
            _read(part, declared)
        elif isinstance(part, h5g.GroupID):
            if depth > _DEEPEST:
                return f"its groups are nested more than {_DEEPEST} levels deep"
            # Counted before its names are read: a group of millions takes a while.
            if len(found) + part.get_num_objs() > _MOST_OBJECTS:
                return f"it has more than {_MOST_OBJECTS} groups and datasets"
            for key in part:
                inner = f"{name}/{key.decode(errors='replace')}"
                wrong = _wrong_link(part, key)
                if wrong:
                    return f"{inner[:200]!r} is {wrong}"
                child = h5o.open(part, key)
                address = h5o.get_info(child).addr
                if address in found:
                    return f"{inner[:200]!r} is linked to twice, so that its groups may form a circle"
                found.add(address)
                waiting.append((inner, depth + 1, child))
        _read_attributes(part)
    return None


def _read(dataset: Any, declared: int) -> None:
    """Read a dataset and forget it, for whoever loads the weights will do so, and may not be the first."""
    import h5py

    if declared <= _READ_WHOLE:
        h5py.Dataset(dataset)[()]
    elif dataset.get_create_plist().get_layout() == h5py.h5d.CHUNKED:
        dataset.get_num_chunks()


def _read_attributes(part: Any) -> None:
    import h5py
    from h5py import h5a

    if h5a.get_num_attrs(part):
        attributes = h5py.AttributeManager(_Holder(part))
        for name in attributes:
            attributes.get(name)


class _Holder:
    """What h5py's attributes want of an object: its identifier."""

    def __init__(self, part: Any) -> None:
        self.id = part


def _wrong_link(group: Any, key: bytes) -> str | None:
    from h5py import h5l

    kind = group.links.get_info(key).type
    if kind == h5l.TYPE_HARD:
        return None
    words = {h5l.TYPE_EXTERNAL: "a link into another file", h5l.TYPE_SOFT: "a soft link"}
    return words.get(kind, "a link of a kind that somebody made up")


def _wrong_dataset(dataset: Any) -> str | None:
    from h5py import h5d, h5t

    plan = dataset.get_create_plist()
    if plan.get_external_count():
        return "has its bytes in another file"
    if plan.get_layout() not in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED):
        return "is a virtual one, made of others' bytes"
    for index in range(plan.get_nfilters()):
        code = plan.get_filter(index)[0]
        if code not in _FILTERS:
            return f"needs filter {code}, which HDF5 would load from a library; expected {', '.join(_FILTERS.values())}"
    kind = dataset.get_type().get_class()
    if kind == h5t.REFERENCE or dataset.get_type().detect_class(h5t.REFERENCE):
        return "holds references, which no weights are"
    if dataset.get_type().detect_class(h5t.VLEN) or (kind == h5t.STRING and dataset.get_type().is_variable_str()):
        # Each element may point at the same bytes of the file, so that few of them unpack to any size.
        return "holds values of varying lengths, which no weights are"
    return None


if __name__ == "__main__":
    worker_main(_bounded)
