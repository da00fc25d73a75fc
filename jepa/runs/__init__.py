"""Run directories: their description, their heads, and those that come with the project."""
