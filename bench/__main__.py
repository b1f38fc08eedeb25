"""``python -m bench`` is ``quantbench``."""

from bench.cli import main

main()
