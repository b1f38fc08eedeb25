"""Check untrusted files before anything loads them, and isolate the processes that do."""
