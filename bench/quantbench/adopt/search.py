"""Make, score and time the variants of one model: everything that advice is given from."""

from collections.abc import Callable

from quantbench.adopt import understand
from quantbench.core.options import RunOptions
from quantbench.core.signals import settle
from quantbench.engine.progress import on_terminal
from quantbench.engine.session import Session
from quantbench.engine.whole_run import whole_run
from quantbench.errors import Exit
from quantbench.records import Kind

Say = Callable[[str], None]


def search(
    understood: understand.Understood, options: RunOptions, kinds: set[Kind], say: Say
) -> tuple[Session, Exit, bool]:
    """Run everything requested for one model; an interruption still leaves a partial report.

    Returns:
        The run, its exit status, and whether it finished.
    """
    model = understood.model
    session = Session(options, say, models={model.name: model})
    session.progress = on_terminal(say)
    settle()
    status, how = whole_run(session, dict.fromkeys(session.cell_ids(), kinds), understood.notes)
    if how.interrupted:
        say(f"interrupted; what was finished is in {session.folder.path / 'report.md'}")
    return session, status, not how.interrupted
