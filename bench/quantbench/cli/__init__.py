"""What people touch: the ``quantbench`` command.

Arguments come in; a job below is started, and its result is printed. Nothing is measured or judged here.
"""

from quantbench.cli.app import main

__all__ = ["main"]
