"""Functions that several test files use; import them by this path."""
