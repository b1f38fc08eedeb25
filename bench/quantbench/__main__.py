"""``python -m quantbench`` is ``quantbench``."""

from quantbench.cli.app import main

main()
