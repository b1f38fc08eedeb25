"""Record the versions of all packages that results may depend on: what the tools require, and what model files import.

Nothing is imported for it.
"""

import ast
import re
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from quantbench import files
from quantbench.errors import BadInput

# What builds and runs artifacts. Keras 3 loads models that were saved by it.
TOOLS = (
    "tensorflow",
    "tf-keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "litert-quantizer",
    "ai-edge-quantizer",
    "numpy",
    "keras",
)
_LARGEST = 2**20  # bytes of a model file that is searched for imports
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@lru_cache
def required(roots: tuple[str, ...] = TOOLS) -> dict[str, str]:
    """Return the version of each installed distribution that these require, and theirs; extras are left out."""
    found: dict[str, str] = {}
    waiting, seen = list(roots), set[str]()
    while waiting:
        name = _normal(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # not on this system, or under another name
            continue
        found[name] = distribution.version
        for requirement in distribution.requires or []:
            named = _NAME.match(requirement)
            if named is not None and "extra ==" not in requirement.partition(";")[2]:
                waiting.append(named[0])
    return dict(sorted(found.items()))


def imported(folder: Path) -> dict[str, str]:
    """Return the installed version of each distribution that Python files of a folder import, in functions too."""
    names = {name for path in sorted(folder.glob("*.py")) for name in _imports(path)}
    names -= {
        *sys.stdlib_module_names,
        "quantbench",
        "numpy",
        "tensorflow",
        *(path.stem for path in folder.glob("*.py")),
    }
    if not names:
        return {}  # looking up the distribution of a module takes a quarter of a second
    by_module = metadata.packages_distributions()
    found = {_normal(one) for name in names for one in by_module.get(name, ())}
    return {name: metadata.version(name) for name in sorted(found)}


def _imports(path: Path) -> set[str]:
    try:
        tree = ast.parse(files.read_text(path, "model file", _LARGEST, follow=True))
    except (BadInput, SyntaxError, ValueError, RecursionError):  # the loader refuses it, in words
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name.partition(".")[0] for name in found}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
