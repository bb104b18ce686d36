"""Counts first, ratios from counts; NumPy and pandas only."""
