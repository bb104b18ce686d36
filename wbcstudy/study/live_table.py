"""A table of the current runs that stays at the bottom of a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import NamedTuple

from wbcstudy.errors import printable
from wbcstudy.wording import align, shorten_middle

# Lines of the terminal that the table leaves free: for its head and its summary, and for the newest lines above it.
_OTHER_LINES = 10
_HEAD = ("run", "epoch", "validation Dice", "time left")


class Row(NamedTuple):
    """One line of the table.

    Args:
        run: title of the run.
        epoch: last epoch of all, "5/10".
        dice: validation Dice of nucleus and cytoplasm after this epoch.
        left: time left, or a state.
    """

    run: str
    epoch: str
    dice: str
    left: str


def can_show_table() -> bool:
    """Return whether lines can be replaced where this process writes: a terminal that is not set to plain text."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") in ("dumb", "unknown", "")
    return sys.stdout.isatty() and not plain


class LiveTable:
    """Show a table below all other lines, as a context manager; it vanishes at the end.

    It is written again only if it has changed, in one piece, so that nothing flickers.

    Args:
        enabled: whether to show it.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled, self._live, self._last = enabled, None, None
        if enabled:
            # Imported here, since a run in the background needs none of it.
            from rich.console import Console
            from rich.live import Live

            self._console = Console(file=sys.stdout, highlight=False)
            self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> LiveTable:
        """Start to write other lines above the table."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception) -> None:
        """Remove the table."""
        if self._live:
            # A closed terminal cannot be written to, and must not hide why the block ended.
            with contextlib.suppress(OSError):
                self._live.stop()

    def print(self, line: str) -> None:
        """Write a line above the table."""
        from rich.text import Text

        # A terminal that was closed must not end the study.
        with contextlib.suppress(OSError):
            # Names and errors come from other people: they must not send commands to the terminal.
            self._console.print(Text(printable(line)))

    def show(self, rows: Sequence[Row], summary: Callable[[], str]) -> None:
        """Show rows, as many as fit on the screen, and a summary below them."""
        if not self._live:
            return
        from rich.text import Text

        size = self._console.size
        lines = table_lines(rows, summary(), size.width, size.height)
        if (lines, size) != self._last:
            self._last = lines, size
            with contextlib.suppress(OSError):
                self._live.update(Text("\n".join(lines), no_wrap=True, overflow="crop"), refresh=True)


def table_lines(rows: Sequence[Row], summary: str, width: int, height: int) -> list[str]:
    """Return the lines of the table, cut to a terminal of this width and height."""
    shown = rows[: max(1, height - _OTHER_LINES)]
    cells = [_HEAD, *shown]
    room = width - 1 - sum(max(map(len, column)) + 2 for column in list(zip(*cells, strict=True))[1:])
    table = align([(shorten_middle(run, room), *others) for run, *others in cells]) if shown else []
    return ["", *table, *textwrap.wrap(summary, width - 1)]
