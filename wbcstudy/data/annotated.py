"""Find the annotated images of a folder that may be annotated in part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wbcstudy.data.case_files import find_case_files
from wbcstudy.data.datasets import find_spec
from wbcstudy.data.propose_files import list_folder, pair_files
from wbcstudy.data.spec import SPEC_FILE, read_spec
from wbcstudy.errors import StudyError
from wbcstudy.files import expand_home


@dataclass(frozen=True)
class AnnotatedFiles:
    """The annotated images of a folder.

    Args:
        images: images that have a mask, sorted.
        masks: their masks, and all other files of masks and cells that the folder's dataset.yaml names.
    """

    images: tuple[Path, ...]
    masks: frozenset[Path]


def find_annotated(source: str | Path) -> AnnotatedFiles:
    """Find the images with a mask; images without one are left out.

    Args:
        source: name of a dataset, a dataset.yaml or its folder, or any folder of images and masks, which are then
            paired by content and name.

    Returns:
        Absolute paths.

    Raises:
        StudyError: there is no such folder, its dataset.yaml cannot be used, or no image has a mask.
    """
    folder = expand_home(source)
    if folder.is_dir() and not (folder / SPEC_FILE).is_file():
        paired = pair_files(folder, list_folder(folder))
        pairs = paired.pairs if paired else ()
        images, masks = [folder / image for image, _ in pairs], [folder / mask for _, mask in pairs]
    else:
        spec_path = find_spec(source if isinstance(source, str) else str(source))
        files = find_case_files(spec_path.parent, read_spec(spec_path))
        images = [files.images[case_id] for case_id in files.complete]
        masks = [*files.masks.values(), *files.instances.values(), *files.cell_masks.values()]
    if not images:
        raise StudyError(
            f"No image in {source} has a mask.",
            expected="images and their masks, or a dataset.yaml that describes them",
            fix="Check the path, or omit --done if no image is annotated yet.",
        )
    return AnnotatedFiles(tuple(sorted(path.resolve() for path in images)), frozenset(path.resolve() for path in masks))
