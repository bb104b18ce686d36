"""A dataset is a folder with a `dataset.yaml`: which files, which mask values, which facts about each case.

name: my_smears
title: Smears of our laboratory
images: images/{case}.bmp        # {case} stands for what tells one image from the next
masks: masks/{case}.png
labels:                          # grey levels, palette indices or '#rrggbb'; several per label are fine
  background: ['#000000', '#ff0000']
  cytoplasm: '#00ff00'
  nucleus: '#0000ff'
tolerance: 0                     # how far a stray pixel may be from a listed value
cases: cases.csv                 # optional: case_id,cell_type,group
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from wbcstudy.config_io import make_config
from wbcstudy.errors import StudyError, show_value
from wbcstudy.labels import LABELS

SPEC_FILE = "dataset.yaml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_REQUIRED = ("name", "images", "masks", "labels")
# The largest distance between two colours, and more than that between two 8-bit greys.
_MAX_TOLERANCE = 442
_MAX_STARS = 3


@dataclass(frozen=True)
class Case:
    """One image with its mask.

    Args:
        case_id: what `{case}` stands for in the file names.
        image_path: the image file.
        mask_path: the mask file.
        cell_type: leukocyte type, where known.
        group: what must stay on one side of a split (patient, slide), where known.
        instances_path: the map of single cells, where there is one.
    """

    case_id: str
    image_path: Path
    mask_path: Path
    cell_type: str | None = None
    group: str | None = None
    instances_path: Path | None = None


class DatasetSpec(BaseModel):
    """What `dataset.yaml` says."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    name: str
    """Short name: letters, digits, '_', '-' and '.'."""
    title: str = ""
    """Name as in reports."""
    images: str
    """Pattern of the image files, relative to the folder of dataset.yaml, with {case} once."""
    masks: str
    """Pattern of the mask files, likewise."""
    labels: dict[str, tuple[int | str, ...]]
    """Mask values of background, cytoplasm and nucleus: a number, a '#rrggbb' in quotes, or a list of them."""
    tolerance: float = Field(0, ge=0, le=_MAX_TOLERANCE)
    """Largest distance of a stray pixel from a listed value."""
    cases: str | None = None
    """File of facts about the cases: case_id,cell_type,group."""
    pixel_size_um: float | None = Field(None, gt=0)
    """Side of a pixel in micrometres."""
    citation: str = ""
    """What to cite when results on these data are published."""
    acknowledgement: str = ""
    """What the owners of the data ask to be thanked with."""
    licence: str = ""
    """Licence of the data."""
    instances: str | None = None
    """Pattern of the 16-bit maps of single cells."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("at most 100 letters, digits, '_', '-' and '.', starting with a letter or digit")
        return value

    @field_validator("images", "masks", "instances")
    @classmethod
    def _safe_pattern(cls, value: str | None) -> str | None:
        if value is None:
            return None
        _check_inside(value)
        if value.count("{case}") != 1 or set("{}") & set(value.replace("{case}", "")):
            raise ValueError("a pattern with {case} exactly once, for example images/{case}.bmp")
        if value.count("*") > _MAX_STARS:
            # Each more lets the search for what fits take longer by the length of a name.
            raise ValueError(f"a pattern with at most {_MAX_STARS} '*'")
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
            raise ValueError(f"exactly these labels, each with at least one value: {', '.join(LABELS)}")
        labels = {name: _values(name, value[name]) for name in LABELS}
        flat = [one for values in labels.values() for one in values]
        if len({isinstance(one, str) for one in flat}) > 1:
            raise ValueError("either numbers for all labels or '#rrggbb' colours for all labels")
        twice = sorted({str(one) for one in flat if flat.count(one) > 1})
        if twice:
            raise ValueError(f"every value once; {', '.join(twice)} is listed more than once")
        return labels

    @model_validator(mode="after")
    def _told_apart(self):
        patterns = [pattern for pattern in (self.images, self.masks, self.instances) if pattern]
        if len(set(patterns)) != len(patterns):
            raise ValueError("images, masks and instances: patterns that differ, since one file cannot be two of them")
        return self

    @property
    def uses_colours(self) -> bool:
        """Whether labels are given as colours, not as numbers."""
        return isinstance(self.labels["background"][0], str)


def read_spec(path: Path) -> DatasetSpec:
    """Read a `dataset.yaml`.

    Raises:
        StudyError: no such file, not YAML, an unknown or misspelt field (the nearest is named), or a value that
            breaks its rule.
    """
    path = Path(path)
    example = "Compare it with the example in the README, 'Your own data'."
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise StudyError(
            f"Cannot read {path}: {error.strerror or error}.", expected="a dataset.yaml", fix="Check the path."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise StudyError(
            f"{path} is not valid YAML{place}.",
            expected="one 'field: value' a line, in UTF-8",
            fix=f"{example} Text with ': ' or '#' needs quotes.",
        ) from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise StudyError(f"{path} holds no fields.", expected="one 'field: value' a line", fix=example)
    missing = [name for name in _REQUIRED if values.get(name) is None]
    unknown = set(values) - set(DatasetSpec.model_fields)
    if missing and not unknown:
        raise StudyError(
            f"{path} does not say {', '.join(missing)}.",
            expected=f"at least the fields {', '.join(_REQUIRED)}",
            fix=f"{missing[0]}: {DatasetSpec.model_fields[missing[0]].description}",
        )
    return make_config(DatasetSpec, values, source=str(path))


def _values(label: str, given: Any) -> tuple[int | str, ...]:
    values = given if isinstance(given, list | tuple) else [given]
    if not values or None in values:
        raise ValueError(f"a value for {label}; a colour needs quotes ('#ff0000'), or YAML reads it as a comment")
    for value in values:
        if isinstance(value, str) and _COLOUR.fullmatch(value):
            continue
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535:
            continue
        raise ValueError(f"whole numbers of 0-65535 or quoted colours '#rrggbb'; {label} has {show_value(value)}")
    return tuple(value.lower() if isinstance(value, str) else value for value in values)


def _check_inside(value: str) -> None:
    """A path of a dataset.yaml stays below its folder."""
    if "\\" in value or re.match(r"[A-Za-z]:", value) or "\0" in value:
        raise ValueError("a path with '/' between folders, relative to the folder of dataset.yaml")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("a path below the folder of dataset.yaml, not absolute and without '..'")
