"""Collect cells as pytest tests: the suites, and the plugin that makes each cell a test.

A selection comes in (``-k``, ``-m``, options); each cell's verdict by kind goes out as the outcome of a test. For the
tests of a user's own repository, :mod:`quantbench.suites.entry` offers the same as fixtures and a marker.
"""
