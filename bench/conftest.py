"""Loads the pytest side of quantbench for the suites of this folder, and for nothing else."""

pytest_plugins = ["bench.plugin"]
