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
from wbcstudy.data.patterns import check_pattern
from wbcstudy.errors import StudyError, show_value
from wbcstudy.labels import LABELS

SPEC_FILE = "dataset.yaml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
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
    """

    case_id: str
    image_path: Path
    mask_path: Path
    cell_type: str | None = None
    group: str | None = None
    instances_path: Path | None = None


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
    labels: dict[str, tuple[int | str, ...]] = Field(
        description="Mask values of background, cytoplasm and nucleus: each a number (grey level or palette index), a "
        "colour '#rrggbb' in quotes, or a list of them. Numbers and colours cannot be mixed."
    )
    tolerance: float = Field(
        0,
        ge=0,
        le=_MAX_TOLERANCE,
        description="Largest distance of a stray mask pixel from a listed value, in grey levels or as Euclidean "
        "distance in RGB. Stray pixels get the nearest label; pixels beyond the tolerance are errors.",
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

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("at most 100 letters, digits, '_', '-' and '.', the first a letter or digit")
        return value

    @field_validator("images", "masks", "instances")
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
        if not isinstance(value, Mapping) or set(value) != set(LABELS):
            raise ValueError(f"exactly these labels, each with one or more values: {', '.join(LABELS)}")
        labels = {name: _values(name, value[name]) for name in LABELS}
        flat = [listed for values in labels.values() for listed in values]
        if len({isinstance(listed, str) for listed in flat}) > 1:
            raise ValueError("either numbers for all labels or '#rrggbb' colours for all labels")
        repeated = sorted({str(listed) for listed in flat if flat.count(listed) > 1})
        if repeated:
            raise ValueError(f"every value once, but {', '.join(repeated)} is listed more than once")
        return labels

    @model_validator(mode="after")
    def _distinct_patterns(self):
        patterns = [pattern for pattern in (self.images, self.masks, self.instances) if pattern]
        if len(set(patterns)) != len(patterns):
            raise ValueError("different patterns for images, masks and instances")
        return self

    @property
    def uses_colours(self) -> bool:
        """True if labels are given as colours, False if as numbers."""
        return isinstance(self.labels["background"][0], str)


def read_spec(path: Path) -> DatasetSpec:
    """Read a `dataset.yaml`.

    Raises:
        StudyError: there is no such file, it is not YAML, a field is unknown (the message suggests the nearest), or a
            value is not valid.
    """
    path = Path(path)
    values = read_yaml(path, example="docs/guides/own_data.md")
    missing = [name for name in _REQUIRED if values.get(name) is None]
    unknown = set(values) - set(DatasetSpec.model_fields)
    if missing and not unknown:
        raise StudyError(
            f"{path} lacks {', '.join(missing)}.",
            expected=f"at least the fields {', '.join(_REQUIRED)}",
            fix=f"Add {missing[0]}. {DatasetSpec.model_fields[missing[0]].description}",
        )
    return make_config(DatasetSpec, values, source=str(path))


def _values(label: str, given: Any) -> tuple[int | str, ...]:
    values = given if isinstance(given, list | tuple) else [given]
    if not values or None in values:
        raise ValueError(
            f"a value for {label}. A colour needs quotes ('#ff0000'); without them YAML reads it as a comment"
        )
    for value in values:
        if isinstance(value, str) and _COLOUR.fullmatch(value):
            continue
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535:
            continue
        raise ValueError(f"whole numbers from 0 to 65535 or quoted colours '#rrggbb'; {label} has {show_value(value)}")
    return tuple(value.lower() if isinstance(value, str) else value for value in values)


def _check_inside(value: str) -> None:
    """Raise ValueError for a path that leads out of the folder of dataset.yaml."""
    if "\\" in value or re.match(r"[A-Za-z]:", value) or "\0" in value:
        raise ValueError("a path with '/' between folders, relative to the folder of dataset.yaml")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("a path below the folder of dataset.yaml, not absolute and without '..'")
