"""Keep what the maintainers accepted: baseline files, overlays, exceptions, updates and checks.

Baseline files and finished runs come in; accepted values and files to write go out.
"""
