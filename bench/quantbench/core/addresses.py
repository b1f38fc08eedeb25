"""Read folders behind addresses such as ``s3://bucket/nights``, through fsspec, which is imported here alone.

A path of this machine needs no fsspec. What is read comes from anybody: no file is read beyond its limit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from quantbench import files
from quantbench.core.echo import line
from quantbench.errors import BadInput

_AT_ONCE = 16  # requests: a thousand small files of a store that answers in 50 ms take 3 s instead of 50 s
# What each kind of address needs besides fsspec, by its package.
PACKAGES: Mapping[str, str] = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "az": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "sftp": "paramiko",
    "ssh": "paramiko",
}
_EXTRA = "pip install 'quantbench[site]'"

T = TypeVar("T")


def is_address(text: str) -> bool:
    """Check whether a text is an address and not a path of this machine."""
    return "://" in text


@dataclass(frozen=True)
class Remote:
    """Read a folder behind an address.

    Attributes:
        address: as a person gave it.
        option: what a message calls it, e.g. ``RUNS``.
    """

    address: str
    option: str
    _system: Any
    _root: str

    def folders(self) -> list[str]:
        """Return the names of the folders in it, sorted.

        Raises:
            BadInput: it does not exist or cannot be listed.
        """
        try:
            found = self._system.ls(self._root, detail=True)
        except FileNotFoundError:
            raise BadInput(f"{self.option}: no such folder: {self.address}; check the address") from None
        except Exception as error:  # every kind of store has errors of its own
            raise BadInput(
                f"{self.option}: cannot list {self.address} ({_words(error)}); check the address and the credentials"
            ) from None
        names = (str(one["name"]).rstrip("/").rpartition("/")[2] for one in found if one["type"] == "directory")
        return sorted(name for name in names if name and name not in (".", ".."))

    def read(self, place: str, what: str, limit: int) -> bytes:
        """Read a file of it.

        Args:
            place: its path below the folder.
            what: what the file is, for messages.
            limit: bytes; a larger file is refused.

        Raises:
            FileNotFoundError: it does not exist.
            BadInput: it is too large or cannot be read.
        """
        try:
            content: bytes = self._system.cat_file(f"{self._root}/{place}", start=0, end=limit + 1)
        except FileNotFoundError:
            raise
        except Exception as error:  # as above
            raise BadInput(f"{self.address}/{place}: cannot read the {what} ({_words(error)})") from None
        if len(content) > limit:
            raise BadInput(f"{self.address}/{place}: {what} is larger than {files.show(limit)}; give another")
        return content

    def holds(self, place: str) -> bool:
        """Check whether a file exists; one that cannot be asked for does not."""
        try:
            return bool(self._system.isfile(f"{self._root}/{place}"))
        except Exception:  # as above
            return False


def for_each(names: Iterable[str], act: Callable[[str], T]) -> Iterator[T]:
    """Yield the results of what waits for answers, several at once, in order."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(act, names)


def opened(address: str, option: str) -> Path | Remote:
    """Return the folder at an address; a path where it is on this machine.

    Raises:
        BadInput: fsspec does not know this kind of address, or a package for it is missing.
    """
    kind, _, rest = address.partition("://")
    if not is_address(address) or kind == "file":
        return Path(rest if is_address(address) else address)
    try:
        import fsspec
    except ImportError:
        raise BadInput(f"{option}: {address} needs fsspec, which is not installed; {_EXTRA}") from None
    try:
        system, root = fsspec.core.url_to_fs(address)
    except ImportError:
        needed = PACKAGES.get(kind, f"a package for {kind}://")
        more = f" {needed}" if kind in PACKAGES else ""
        raise BadInput(f"{option}: {address} needs {needed}, which is not installed; {_EXTRA}{more}") from None
    except Exception as error:  # as above
        known = "a folder of this machine, s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, or another address that fsspec knows"
        raise BadInput(f"{option}: cannot open {address} ({_words(error)}); expected {known}") from None
    return Remote(address.rstrip("/"), option, system, str(root).rstrip("/"))


def _words(error: Exception) -> str:
    return line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
