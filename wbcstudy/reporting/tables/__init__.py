"""Tables: tidy frames, their layout, and their HTML, LaTeX and CSV."""
