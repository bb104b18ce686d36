"""Synthetic blood smears with exact masks."""
