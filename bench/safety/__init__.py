"""Whether a stranger's file may be opened, and the walls around the process that opens it."""
