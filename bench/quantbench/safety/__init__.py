"""Whether a stranger's file may be opened: checks before anything loads it, and the walls around what does."""
