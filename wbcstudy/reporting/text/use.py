"""How to use the recommended network: commands with the names of the study filled in."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from wbcstudy.errors import StudyError
from wbcstudy.files import project_root

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults


def use_commands(results: StudyResults) -> list[tuple[str, str]]:
    """Return (purpose, command) of each way to use the recommended network; none before a network is recommended."""
    if results.best is None or not results.best_runs:
        return []
    name, title = results.study.name, results.best.title
    folder, note = _example_folder(results)
    runs = results.best_runs
    run = f"outputs/{name}/runs/{runs[0].name}"
    several = "one of its" if len(runs) > 1 else "the"
    return [
        (
            f"Segment images with {title}, the network that this report recommends; {note}:",
            f"wbcstudy segment {folder} --model {name} --out {name}_results",
        ),
        (
            f"With {several} run{'s' if len(runs) > 1 else ''} by name, whatever the report recommends later:",
            f"wbcstudy segment {folder} --model {run} --out {name}_results",
        ),
        (
            "Export it for other programs (also keras, savedmodel and bioimageio):",
            f"wbcstudy export {name} --format onnx --out {name}.onnx",
        ),
        (
            f"Look at its predictions, and segment single images, in the browser (choose the study {name}):",
            "wbcstudy app",
        ),
    ]


def _example_folder(results: StudyResults) -> tuple[str, str]:
    """Return a folder with images in the checkout, or a name to be replaced, and a remark on it."""
    try:
        folder = results.dataset.cases[0].image_path.parent
        if folder.is_relative_to(project_root()):
            path = shlex.quote(folder.relative_to(project_root()).as_posix())
            return path, f"{path} holds the images of this study, name the folder with yours instead"
    except StudyError:
        # The images are gone, or the report is made outside of a checkout.
        pass
    return "my_images", "replace my_images by the folder with yours"
