"""Pixel counts, ratios of counts, and statistics of scores. NumPy, pandas and SciPy only."""
