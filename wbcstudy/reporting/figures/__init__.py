"""Figures: arrays or frames in, a matplotlib figure out."""
