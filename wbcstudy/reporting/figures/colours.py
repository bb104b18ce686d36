"""Colours of the figures, and how captions call them."""

PLAIN_COLOUR = "#E9E9EC"
INK = "#333333"
BLUE, ORANGE = "#0072B2", "#D55E00"
# Distinguishable with any common colour-vision deficiency (Okabe, Ito 2008, and shades of it).
PALETTE = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#7F7F7F", "#BCBD22", INK)
# Hexadecimal colour and name of the line that captions mention.
PARETO_FRONT = (INK, "dark grey")
