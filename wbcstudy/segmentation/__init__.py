"""A finished run at work: new images segmented, their cells told apart and measured, and pages to look at them."""
