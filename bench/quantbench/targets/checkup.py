"""Ask each declared target what it is, and say what is wrong with it, for ``quantbench doctor``."""

from collections.abc import Iterable, Mapping

from quantbench.build.store import Store, default_root
from quantbench.core.targets import Target
from quantbench.files import show
from quantbench.targets.failures import TargetFailed
from quantbench.targets.runner import Runner

LOW_ROOM = 2**30  # bytes: artifacts and test data of a model take up to some hundred MB


def lines(targets: Mapping[str, Target], ask: bool) -> list[str]:
    """Return a line for each target, with what is wrong there below it.

    Args:
        ask: whether to connect to each.
    """
    if not targets:
        return ["none is declared in [tool.quantbench.targets]"]
    return [line for target in targets.values() for line in _of(target, ask)]


def _of(target: Target, ask: bool) -> Iterable[str]:
    if not ask:
        yield f"{target.name}: {target.address} (not asked, because of --quick)"
        return
    runner = Runner(target, Store(default_root()))
    try:
        machine = runner.connect().machine
    except TargetFailed as failure:
        yield f"{target.name}: no, {target.address}: {failure}"
        return
    finally:
        runner.close()
    yield (
        f"{target.name}: yes, {target.address}: {machine.cpu} ({machine.machine}), {machine.cores} cores, Python "
        f"{machine.python}, NumPy {machine.numpy}, {machine.runtime} {machine.litert}"
    )
    yield f"  keeps files in {machine.folder}, where {show(machine.free)} are free"
    yield f"  machine profile: {machine.results_class}"
    if machine.free < LOW_ROOM:
        yield "  little room is left there: free some, or set the target's 'folder'"
    yield from (f"  {note}" for note in runner.notes)
