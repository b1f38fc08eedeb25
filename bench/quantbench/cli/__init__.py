"""Provide the ``quantbench`` command.

Arguments come in; a job is started in another room, and its result is printed. Nothing is measured or judged here.
"""

from quantbench.cli.app import main

__all__ = ["main"]
