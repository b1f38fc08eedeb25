"""HDF5 files that others made: they read no other files, load no code, end, and unpack to no more than they hold.

The format can name other files for a dataset's bytes, link to other files, load filters from shared objects, and
declare what it does not hold. Keras writes none of these. HDF5 itself may hang, crash or claim any memory on a damaged
file, so that no file is opened here: :mod:`quantbench.safety.hdf5_worker` does it, within limits.
"""

from pathlib import Path
from typing import Any

from quantbench.core import child_process, walls
from quantbench.errors import BadInput
from quantbench.safety.archive import LARGEST_JSON

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LIMIT_SECONDS = 8  # of processor time; a healthy file takes half a second, most of it for the start of the process
_WAIT_SECONDS = 60.0  # for those seconds on a loaded machine


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


def attribute(path: Path, name: str) -> str | bytes | None:
    """An attribute of the file itself; where it is no text, a few words of it. Raises BadInput."""
    value = _answer({"path": str(path.absolute()), "attributes": [name]}, path, path)["attributes"][name]
    return _text(value) if value is None or "other" not in value else str(value["other"])


def check(path: Path, member: str | None = None, unpacked: int = 0, text: str = "") -> str | bytes | None:
    """Refuse what reaches outside of an HDF5 file, or unpacks to far more than it holds.

    Args:
        path: the file, or the checked archive that holds it.
        member: its name in the archive.
        unpacked: bytes of memory that a compressed member takes.
        text: an attribute to return, which has to be text.

    Raises:
        BadInput: a link, external or virtual storage, a filter of others, a bomb, or damage.
    """
    where = f"{path}" if member is None else f"{path}: {member}"
    job = {"path": str(path.absolute()), "whole": True, "attributes": [text] if text else []}
    if member is not None:
        job |= {"member": member, "unpacked": unpacked}
    answer = _answer(job, path, where)
    if answer["wrong"]:
        raise BadInput(f"{where}: {answer['wrong']}; give the file as Keras saved it")
    if not text:
        return None
    value = answer["attributes"][text]
    if value is not None and "other" in value:
        raise BadInput(f"{where}: {text} is not a text of at most {LARGEST_JSON} bytes")
    return _text(value)


def _text(value: dict[str, str] | None) -> str | bytes | None:
    if value is None:
        return None
    return value["text"] if "text" in value else value["bytes"].encode("latin-1")


def _answer(job: dict[str, Any], path: Path, where: object) -> dict[str, Any]:
    """What another process says of the file. Raises BadInput where it is damaged, or HDF5 fails on it."""
    try:
        answer = _asked(job, path)
    except child_process.ChildFailed as error:
        words = str(error)
        if words.startswith(("did not finish", "died of SIGXCPU")):
            words = f"takes more than {_LIMIT_SECONDS} s; a healthy model this large can be given as a SavedModel"
        elif words.startswith("died of"):
            words = "crashes HDF5"
        raise BadInput(f"{where}: is not a whole HDF5 file (reading it {words})") from None
    if "damaged" in answer:
        raise BadInput(f"{where}: is not a whole HDF5 file ({answer['damaged']})")
    return answer


def _asked(job: dict[str, Any], path: Path) -> dict[str, Any]:
    room = walls.Room(read=(path.absolute(),))
    job = job | {"processor_seconds": _LIMIT_SECONDS}
    done = child_process.start("quantbench.safety.hdf5_worker", job, _WAIT_SECONDS, child_process.ONE_THREAD, room=room)
    result: dict[str, Any] = child_process.result(done)
    return result
