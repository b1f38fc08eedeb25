"""HDF5 files that others made: every byte that they give is in the file itself, and they give no more than they hold.

The format can name other files for a dataset's bytes, link to other files, load filters from shared objects, and
declare what it does not hold. Keras writes none of these. Names and headers are read here, and no dataset's bytes.
"""

import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from quantbench.errors import BadInput
from quantbench.safety.archive import largest_unpacked

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MOST_OBJECTS = 100_000  # groups and datasets; a model of 1,000 layers with its optimizer has some 15,000
_DEEPEST = 200  # levels of groups; nested models have one or two each
# gzip, shuffle, fletcher32, szip, nbit, scale-offset, and h5py's own LZF: those that HDF5 and h5py bring themselves.
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}

# HDF5 may turn in circles for ever, or crash, on a damaged file: another process makes the first contact with it.
_CONTACT = """
import sys, h5py
with h5py.File(sys.argv[1], "r") as file:
    [file.attrs.get(name) for name in ("keras_version", "model_config")]
    file.visit(lambda name: None)
"""
_CONTACT_SECONDS = 8  # a healthy file takes half a second, most of it for the start of the process


def _answers(path: Path) -> None:
    """Raises BadInput where HDF5 crashes on the file or comes to no end; its errors are for those who read it."""
    command = [sys.executable, "-I", "-c", _CONTACT, str(path.absolute())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_CONTACT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise BadInput(
            f"{path}: is not a whole HDF5 file (reading its headers takes more than {_CONTACT_SECONDS} s)"
        ) from None
    if done.returncode < 0:
        raise BadInput(f"{path}: is not a whole HDF5 file (reading its headers crashes HDF5)")


def is_hdf5(path: Path) -> bool:
    """Whether HDF5 would read the file: its signature is at the start, or behind a user block of 512 B, 1 KiB, ..."""
    offset = 0
    with path.open("rb") as file:
        size = file.seek(0, 2)
        while offset + len(SIGNATURE) <= size:
            file.seek(offset)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return True
            offset = offset * 2 or 512
    return False


def attribute(path: Path, name: str, checked: bool = False) -> Any:
    """An attribute of the file itself, or None; ``checked`` says that :func:`check` let it pass. Raises BadInput."""
    import h5py

    if not checked:
        _answers(path)
    try:
        with h5py.File(path, "r") as file:
            return file.attrs.get(name)
    except Exception as error:  # as many ways as the format has fields
        raise _damaged(path, error) from None


def check(path: Path, file: IO[bytes] | None = None, size: int | None = None) -> None:
    """Refuse what reaches outside of an HDF5 file, or unpacks to far more than it holds.

    Args:
        path: the file, or the archive that holds it.
        file: the opened member of an archive, in place of ``path`` itself.
        size: its bytes.

    Raises:
        BadInput: a link, external or virtual storage, a filter of others, a bomb, or damage.
    """
    import h5py

    where = f"{path}" if file is None else f"{path}: model.weights.h5"
    packed = path.stat().st_size if size is None else size
    if file is None:
        _answers(path)
    try:
        with h5py.File(path if file is None else file, "r") as opened:
            wrong = _wrong(opened.id, packed)
    except BadInput:
        raise
    except Exception as error:  # as many ways as the format has fields
        raise _damaged(where, error) from None
    if wrong:
        raise BadInput(f"{where}: {wrong}; give the file as Keras saved it")


def _damaged(where: object, error: Exception) -> BadInput:
    return BadInput(f"{where}: is not a whole HDF5 file ({' '.join(str(error).split())[:200]})")


def _wrong(root: Any, packed: int) -> str | None:
    from h5py import h5d, h5g, h5o

    limit = largest_unpacked(packed)
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
    return None


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
