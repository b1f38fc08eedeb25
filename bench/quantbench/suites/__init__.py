"""The suites that pytest collects, and the plugin that makes a cell a test.

A selection comes in (``-k``, ``-m``, options); the verdict of each cell and kind goes out as the outcome of a test.
"""
