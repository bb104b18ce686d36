"""The `dataset.yaml` of a dataset folder: file patterns, mask values, and facts about the cases.

name: my_smears
title: Smears of our laboratory
images: images/{case}.bmp        # {case} is the part that an image and its mask share: the case id
masks: masks/{case}.png
labels:                          # grey levels, palette indices or '#rrggbb', one or more per label
  background: ['#000000', '#ff0000']
  cytoplasm: '#00ff00'
  nucleus: '#0000ff'
tolerance: 0                     # largest distance of a stray pixel from a listed value
cases: cases.csv                 # optional: case_id,cell_type,group
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from wbcstudy.config_io import make_config, read_yaml
from wbcstudy.data.mask_values import INSTANCES, NONE, check_together, has_colours, parse_ignore, parse_labels
from wbcstudy.data.patterns import check_pattern
from wbcstudy.errors import StudyError

SPEC_FILE = "dataset.yaml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_REQUIRED = ("name", "images", "masks", "labels")
# The largest distance of two RGB colours; that of two 8-bit grey levels is smaller.
_MAX_TOLERANCE = 442


@dataclass(frozen=True)
class Case:
    """One image with its mask.

    Args:
        case_id: the text in place of `{case}` in the file names, after that of the other fields if it repeats.
        image_path: image file.
        mask_path: mask file.
        cell_type: leukocyte type, or None.
        group: patient or slide, or None; cases of one group are never separated by a split.
        instances_path: instance map, or None.
        cell_mask_path: second mask file, of whole cells, or None.
    """

    case_id: str
    image_path: Path
    mask_path: Path
    cell_type: str | None = None
    group: str | None = None
    instances_path: Path | None = None
    cell_mask_path: Path | None = None


class DatasetSpec(BaseModel):
    """The fields of `dataset.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    name: str = Field(description="Short name of the dataset: at most 100 letters, digits, '_', '-' and '.'.")
    title: str = Field("", description="Name of the dataset in reports; `name` if omitted.")
    images: str = Field(
        description="Path pattern of the image files, relative to the folder of dataset.yaml. {case} is the part of "
        "the name that an image and its mask share, the case id. {group} (patient or slide) and {cell_type} are read "
        "from folder or file names, too; {folder} is any other part that image and mask share. If {case} repeats, as "
        "with numbers that start again in each folder, the other fields become part of the id. '*' matches any "
        "characters. None matches '/'. Example: images/{group}/{case}.bmp"
    )
    masks: str = Field(
        description="Path pattern of the mask files, with the rules of `images`. Example: masks/{case}.png"
    )
    cell_masks: str | None = Field(
        None,
        description="Path pattern of a second mask file per image, with the rules of `images`, if one file has the "
        "nuclei (`masks`) and one the whole cells (`cell_masks`). Everything but background is cell there; the "
        "part of the cell that is not nucleus is cytoplasm. Without `labels`, 0 is background in both files and every "
        "other number is inside.",
    )
    labels: dict[str, tuple[int | str, ...]] = Field(
        description="Mask values of background, cytoplasm and nucleus: each a number (the stored grey level or palette "
        "index), a range ('1-255'), a colour ('#rrggbb' in quotes, or [red, green, blue]), or a list of them. "
        "'instances' is every number above 0 that is not listed (k for the k-th cell), 'none' no value at all. "
        "Numbers and colours cannot be mixed."
    )
    ignore: tuple[int | str, ...] = Field(
        (),
        description="Mask values, as in `labels`, of pixels without label: void borders, unlabelled areas. They "
        "neither train nor score. Example: 255",
    )
    tolerance: float = Field(
        0,
        ge=0,
        le=_MAX_TOLERANCE,
        description="Largest distance of a stray mask pixel from a listed value, in grey levels or as Euclidean "
        "distance in RGB. Stray pixels get the nearest label; pixels beyond the tolerance are errors. Half the gap "
        "between the labels is enough. It does not hold for palette indices, whose distance means nothing.",
    )
    cases: str | None = Field(
        None,
        description="CSV file with the columns case_id, cell_type and group, relative to the folder of dataset.yaml. "
        "Cases of one group (patient, slide) are never separated by a split. Its entries replace {cell_type} and "
        "{group} of the patterns.",
    )
    pixel_size_um: float | None = Field(None, gt=0, description="Side of a pixel, in micrometres.")
    citation: str = Field("", description="Reference to cite in publications of results on these data.")
    acknowledgement: str = Field("", description="Acknowledgement that the owners of the data request.")
    licence: str = Field("", description="Licence of the data.")
    instances: str | None = Field(
        None,
        description="Path pattern of the instance maps (8- or 16-bit grey: 0 is background, k is the k-th cell), with "
        "the rules of `images`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _labels_of_two_files(cls, values: Any) -> Any:
        return _with_labels(values) if isinstance(values, Mapping) else values

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("at most 100 letters, digits, '_', '-' and '.', the first a letter or digit")
        return value

    @field_validator("images", "masks", "cell_masks", "instances")
    @classmethod
    def _safe_pattern(cls, value: str | None) -> str | None:
        if value is None:
            return None
        _check_inside(value)
        check_pattern(value)
        return value

    @field_validator("cases")
    @classmethod
    def _safe_file(cls, value: str | None) -> str | None:
        if value is not None:
            _check_inside(value)
        return value

    @field_validator("labels", mode="before")
    @classmethod
    def _known_labels(cls, value: Any) -> dict[str, tuple[int | str, ...]]:
        return parse_labels(value)

    @field_validator("ignore", mode="before")
    @classmethod
    def _known_ignored(cls, value: Any) -> tuple[int | str, ...]:
        return parse_ignore(value)

    @model_validator(mode="after")
    def _distinct_values(self):
        check_together(self.labels, self.ignore)
        return self

    @model_validator(mode="after")
    def _distinct_patterns(self):
        patterns = [pattern for pattern in (self.images, self.masks, self.cell_masks, self.instances) if pattern]
        if len(set(patterns)) != len(patterns):
            raise ValueError("different patterns for images, masks and instances")
        return self

    @property
    def uses_colours(self) -> bool:
        """True if labels are given as colours, False if as numbers."""
        return has_colours(self.labels)


def read_spec(path: Path) -> DatasetSpec:
    """Read a `dataset.yaml`.

    Raises:
        StudyError: there is no such file, it is not YAML, a field is unknown (the message suggests the nearest), or a
            value is not valid.
    """
    path = Path(path)
    values = read_yaml(path, example="docs/guides/own_data.md")
    values = _with_labels(values)
    missing = [name for name in _REQUIRED if values.get(name) is None]
    unknown = set(values) - set(DatasetSpec.model_fields)
    if missing and not unknown:
        raise StudyError(
            f"{path} lacks {', '.join(missing)}.",
            expected=f"at least the fields {', '.join(_REQUIRED)}",
            fix=f"Add {missing[0]}. {DatasetSpec.model_fields[missing[0]].description}",
        )
    return make_config(DatasetSpec, values, source=str(path))


def _with_labels(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add the labels of two mask files, if there are two and no labels."""
    labels = {"background": 0, "cytoplasm": NONE, "nucleus": INSTANCES}
    return {"labels": labels, **values} if values.get("cell_masks") is not None else dict(values)


def _check_inside(value: str) -> None:
    """Raise ValueError for a path that leads out of the folder of dataset.yaml."""
    if "\\" in value or re.match(r"[A-Za-z]:", value) or "\0" in value:
        raise ValueError("a path with '/' between folders, relative to the folder of dataset.yaml")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("a path below the folder of dataset.yaml, not absolute and without '..'")
