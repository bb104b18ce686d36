"""A finished network at work: new images segmented, cells split and measured, networks exported."""
