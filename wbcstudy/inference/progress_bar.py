"""How far the images are: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Lines of a log that say how far it is.
_LINES = 10


@contextmanager
def image_bar(console: Console) -> Iterator[tuple[Callable[[str], Any], Callable[[int, int], Any]]]:
    """What `folder.segment_images` takes as `show` and `step`.

    Args:
        console: where to draw.
    """
    columns = TextColumn("Segmenting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("images", total=None)

        def show(line: str) -> None:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

        def step(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if not console.is_terminal and done * _LINES // total != (done - 1) * _LINES // total:
                show(f"{done} of {total} images")

        yield show, step
