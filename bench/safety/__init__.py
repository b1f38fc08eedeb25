"""Whether a stranger's file may be opened: checks of what it holds, before anything loads it."""
