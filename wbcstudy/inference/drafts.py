"""Write a network's masks as drafts for correction: a dataset folder, with outlines for QuPath and ImageJ.

    images/slide1/field07.tif        copy of the image
    masks/slide1/field07.png         0 background, 128 cytoplasm, 255 nucleus
    geojson/slide1/field07.geojson   outlines for QuPath
    roi/slide1/field07.zip           outlines for ImageJ
    dataset.yaml                     describes images and masks

All three kinds of drafts show the same cells, those of `wbcstudy segment`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from wbcstudy.data.new_dataset import MASK_VALUES, new_names, new_pair, write_dataset_yaml
from wbcstudy.data.propose_files import IMAGE_SUFFIXES
from wbcstudy.inference.image import Segmentation
from wbcstudy.inference.outlines import KINDS, write_outlines
from wbcstudy.labels import BACKGROUND

_OUTLINES = ("geojson", "roi")


def write_drafts(
    folder: Path,
    images: Mapping[str, Path],
    segment: Callable[[Path], Segmentation],
    name: str,
    pixel_um: float | None = None,
) -> tuple[dict[str, str], list[str]]:
    """Write drafts and the dataset.yaml that reads them.

    Args:
        folder: new folder to write.
        images: name -> file, in the order in which they are segmented; see `inputs.Inputs.images`.
        segment: segments a file.
        name: name of the dataset.
        pixel_um: side of a pixel in micrometres, None if unknown.

    Returns:
        Name -> mask file below the folder, and questions about the meaning of folders, which are also in dataset.yaml.

    Raises:
        StudyError: an image can no longer be read.
        OSError: a file cannot be written.
    """
    # Of other suffixes, such as .jfif, the pixels are written as PNG: other programs know these.
    sources = {
        image: PurePosixPath(f"{image}{path.suffix if path.suffix.lower() in IMAGE_SUFFIXES else '.png'}")
        for image, path in images.items()
    }
    copies = new_names(list(sources.values()))
    pairs, masks = [], {}
    for image_name, path in images.items():
        copy = copies[sources[image_name]]
        pairs.append(new_pair(copy))
        masks[image_name] = str(pairs[-1][1])
        segmentation = segment(path)
        for part in pairs[-1]:
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
        if copy.suffix == path.suffix:
            shutil.copyfile(path, folder / pairs[-1][0])
        else:
            Image.fromarray(segmentation.image).save(folder / pairs[-1][0])
        mask = np.where(segmentation.instances > 0, segmentation.mask, BACKGROUND)
        Image.fromarray(MASK_VALUES[mask]).save(folder / pairs[-1][1])
        for kind in _OUTLINES:
            outlines_folder, (ending,) = KINDS[kind]
            file = folder / outlines_folder / copy.with_suffix(ending)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_outlines(file, ending, mask, segmentation.instances, pixel_um)
    comment = "Written by `wbcstudy annotate-next`. The masks are drafts of a network: correct them before a training."
    return masks, write_dataset_yaml(folder, name, pairs, comment, pixel_size_um=pixel_um)
