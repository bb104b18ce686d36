"""The domain of the synthetic smears of version 2: what laboratories vary, as ranges with their sources.

A `Domain` is a stain. Everything else (`RANGES`) varies in each of them, since every laboratory has its own buffer,
microscope and camera. A network is judged on a stain that it was not trained on ("leave one stain out").

The ranges come from the descriptions of the field named in each row, and from the physics of microscope and camera.
None was fitted to the images of a public dataset. Those of eosinophils, of dye in nuclei and cytoplasm, of borders and
of lateral colour were added after errors of the starter in training images of Dataset 1 (granules and dark borders
taken for nuclei); their sources name the property, the limits are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from wbcstudy.data.synthetic.slide import MGG_STAINS, Slide
from wbcstudy.registry import pick

_ICSH_STAIN = "ICSH reference method for staining of blood films, Br J Haematol 57, 707 (1984)"
_HOROBIN = "Horobin and Walter, Understanding Romanowsky staining, Histochemistry 86, 331 (1987)"
_BAIN = "Bain, Blood Cells: A Practical Guide"
_DACIE = "Dacie and Lewis Practical Haematology"
_ICSH_NAMES = "Palmer et al., ICSH grading of morphology, Int J Lab Hematol 37, 287 (2015)"
_OPTICS = "diffraction at a numerical aperture of 0.9 to 1.4"


@dataclass(frozen=True)
class Domain:
    """A stain.

    Args:
        name: name in commands and at the beginning of case ids.
        title: name in documents.
        stains: dye -> optical density (natural logarithm) in red, green and blue of a typical amount, as in `slide`.
        source: description of its colours.
    """

    name: str
    title: str
    stains: Mapping[str, tuple[float, float, float]]
    source: str


DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {
        domain.name: domain
        for domain in (
            Domain(
                "mgg",
                "May-Grünwald-Giemsa",
                MGG_STAINS,
                f"violet nuclei, blue cytoplasm, pink red cells: azure B with eosin ({_ICSH_STAIN})",
            ),
            Domain(
                "wright",
                "Wright",
                {
                    "haemoglobin": (0.10, 0.52, 0.46),
                    "eosin": (0.10, 0.40, 0.29),
                    "eosin_granule": (0.12, 0.80, 0.78),
                    "azure": (0.33, 0.24, 0.06),
                    "violet": (0.92, 1.38, 0.46),
                    "basophil_granule": (1.25, 1.50, 0.55),
                },
                f"polychromed methylene blue: purple nuclei, paler blue, strong eosin ({_BAIN}; {_HOROBIN})",
            ),
            Domain(
                "leishman",
                "Leishman",
                {
                    "haemoglobin": (0.16, 0.40, 0.29),
                    "eosin": (0.15, 0.42, 0.28),
                    "eosin_granule": (0.16, 0.72, 0.60),
                    "azure": (0.40, 0.25, 0.09),
                    "violet": (0.86, 1.70, 0.84),
                    "basophil_granule": (1.20, 1.80, 0.95),
                },
                f"red-violet nuclei with sharp chromatin, pale blue cytoplasm ({_DACIE}; {_HOROBIN})",
            ),
            Domain(
                "rapid",
                "Rapid (Diff-Quik)",
                {
                    "haemoglobin": (0.13, 0.44, 0.48),
                    "eosin": (0.07, 0.36, 0.27),
                    "eosin_granule": (0.10, 0.74, 0.76),
                    "azure": (0.58, 0.38, 0.06),
                    "violet": (1.50, 1.42, 0.44),
                    "basophil_granule": (1.70, 1.55, 0.50),
                },
                "separate baths of eosin and of azure A with methylene blue: less Romanowsky purple, blue nuclei "
                f"({_HOROBIN})",
            ),
        )
    }
)


class Range(NamedTuple):
    """A range to draw from uniformly.

    Args:
        low: smallest value.
        high: largest value.
        meaning: what it is, with its unit.
        source: where the range comes from.
    """

    low: float
    high: float
    meaning: str
    source: str

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a value."""
        return float(rng.uniform(self.low, self.high))


# Name -> range of one property of a slide, camera or field.
RANGES: Mapping[str, Range] = MappingProxyType(
    {
        "ph": Range(-1.6, 1.6, "buffer: -1.6 about pH 6.0 (pink), 1.6 about pH 7.6 (blue)", f"{_DACIE}; {_ICSH_STAIN}"),
        "strength": Range(0.55, 1.5, "amount of all dyes, relative (time in the stain, age of it)", _DACIE),
        "hue": Range(0.0, 0.12, "spread of each dye's colours, natural logarithm (batches of dyes)", _HOROBIN),
        "red_blue": Range(
            0.0, 0.6, "azure in red cells, relative to haemoglobin (polychromasia, alkaline buffer)", _BAIN
        ),
        "granules": Range(
            0.8,
            2.2,
            "dye in the granules of eosinophils, relative (uptake of eosin, overstaining)",
            f"{_DACIE}; {_BAIN}",
        ),
        "purple_granules": Range(
            0.0, 0.35, "violet in these granules, relative to chromatin (young or abnormal eosinophils)", _BAIN
        ),
        "between_granules": Range(
            0.0, 0.7, "dye between these granules, relative to granules (degranulation, thick cells)", _BAIN
        ),
        "plasma": Range(0.0, 0.45, "optical density of stained plasma (high protein, poor rinsing)", _BAIN),
        "brightness": Range(140, 255, "light behind empty plasma, grey levels", "exposure of cameras"),
        "warmth": Range(
            -0.12, 0.45, "missing blue light (halogen lamp 3200 K without filter)", "Planck's law, 2800 to 7000 K"
        ),
        "tint": Range(-0.06, 0.06, "error of white balance between green and magenta", "cameras without calibration"),
        "gamma": Range(0.75, 1.35, "exponent of the camera's curve, relative to sRGB", "IEC 61966-2-1"),
        "vignette": Range(0.0, 0.25, "how much darker the corners are", "uneven condensers"),
        "tilt": Range(-0.12, 0.12, "change of light across the field", "uneven condensers"),
        "focus_um": Range(
            0.07, 0.32, "standard deviation of the blur, µm (0.09 in focus)", f"{_OPTICS}; 1 µm out of focus"
        ),
        "camera_um": Range(
            0.05, 0.25, "side of the camera's pixels on the slide, µm", "100x and 40x objectives, 3 to 10 µm pixels"
        ),
        "noise": Range(
            0.8, 5.0, "noise at full light, grey levels", "photon noise of 3,000 to 20,000 electrons (EMVA 1288)"
        ),
        "sharpening": Range(0.0, 0.8, "amount of the camera's unsharp mask", "default settings of cameras"),
        "jpeg": Range(35, 95, "quality of JPEG, in half of the images", "ITU-T T.81 and common defaults"),
        "red_cover": Range(
            0.1, 0.75, "share of the plasma under red cells", f"thin feathered edge to thick part ({_DACIE})"
        ),
        "red_overlap": Range(0.05, 0.7, "probability that a red cell overlaps another (rouleaux)", _BAIN),
        "pallor": Range(0.1, 1.0, "paleness of the red cells' centres (spherocytes to hypochromia)", _BAIN),
        "platelets": Range(0.0, 0.25, "platelets per red cell (thrombocytopenia to thrombocytosis)", _BAIN),
        "dirt": Range(-1.5, 2.5, "specks of dried stain per 1000 µm², if above 0", _DACIE),
        "empty": Range(0.08, 0.08, "share of fields without white cells", "slides are scanned in full"),
        "bare": Range(0.03, 0.03, "share of fields without any cell", "slides are scanned in full"),
        "crowded": Range(
            0.15, 0.15, "share of fields with red cells on 75 to 95 %", f"thick part of a film ({_DACIE})"
        ),
        "border": Range(0.35, 0.35, "share of fields with a further cell cut by the border", "fields, not crops"),
        "smudged": Range(0.06, 0.06, "share of smudged white cells", _ICSH_NAMES),
        "ruptured": Range(0.06, 0.06, "share of white cells with torn cytoplasm", _ICSH_NAMES),
        "basket": Range(
            0.06, 0.06, "share of fields with a basket cell (no label: neither trains nor scores)", _ICSH_NAMES
        ),
        "nucleated_red": Range(0.07, 0.07, "share of fields with a nucleated red cell (background)", _ICSH_NAMES),
        "clump": Range(0.10, 0.10, "share of fields with a clump of platelets (background)", _BAIN),
        "debris": Range(0.10, 0.10, "share of fields with precipitated stain (background)", _DACIE),
        "over_nucleus": Range(
            0.1, 0.7, "granules over the nucleus of eosinophils, relative to the rest of the cell", _BAIN
        ),
        "chromatin": Range(0.75, 1.1, "dye in nuclei, relative to the other dyes (time in azure)", _HOROBIN),
        "cytoplasm": Range(0.75, 1.35, "dye in the cytoplasm, relative to the other dyes", _HOROBIN),
        "patches": Range(
            0.1,
            0.45,
            "contrast of darker and paler parts of the cytoplasm (toxic change, Döhle bodies, uneven drying)",
            _BAIN,
        ),
        "edge": Range(
            0.0,
            0.8,
            "optical density of the dark line at borders of cells (refraction: slow drying, closed condenser)",
            _BAIN,
        ),
        "eosinophils": Range(
            0.24,
            0.24,
            "frequency of eosinophils, relative to `cells.LOOKS` (rare, and the hardest nuclei)",
            _BAIN,
        ),
        "lateral_um": Range(0.0, 0.15, "distance between red or blue and green, µm", "lateral colour of achromats"),
    }
)


@dataclass(frozen=True)
class Camera:
    """How a field is photographed; see `RANGES` for the values.

    Args:
        plasma: optical density of stained plasma, float32 (3,).
        gamma: exponent of the curve.
        pixel_um: side of its pixels on the slide.
        sharpening: amount of the unsharp mask.
        jpeg: quality of JPEG, None for no compression.
        lateral_um: offset of blue from green, downwards and to the right; that of red is the opposite.
    """

    plasma: np.ndarray
    gamma: float
    pixel_um: float
    sharpening: float
    jpeg: int | None
    lateral_um: tuple[float, float] = (0.0, 0.0)


def draw_slide(domain: str, rng: np.random.Generator) -> tuple[Slide, Camera]:
    """Draw a slide of a domain and the camera that photographs it.

    Raises:
        StudyError: an unknown domain; the message suggests the nearest.
    """
    dyes = pick(DOMAINS, domain, "domain").stains
    drawn = {name: row.draw(rng) for name, row in RANGES.items()}
    ph, stains = drawn["ph"], {}
    for name, density in dyes.items():
        shift = {"haemoglobin": -0.05, "eosin": -0.20, "eosin_granule": -0.10}.get(name, 0.14)
        amount = drawn["strength"] * np.exp(ph * shift + rng.normal(0, 0.10))
        stains[name] = np.float32(np.array(density) * amount * np.exp(rng.normal(0, drawn["hue"], 3)))
    stains["haemoglobin"] = stains["haemoglobin"] + np.float32(drawn["red_blue"] * rng.uniform()) * stains["azure"]
    purple = drawn["purple_granules"] * rng.uniform() * stains["violet"]
    stains["eosin_granule"] = stains["eosin_granule"] * np.float32(drawn["granules"]) + np.float32(purple)
    # Most lamps are filtered: strong colours of the light are rare.
    warmth = drawn["warmth"] * rng.uniform()
    light = drawn["brightness"] * np.array([1.0, 1 - 0.3 * warmth + drawn["tint"], 1 - warmth])
    # Plasma takes up eosin or azure by the buffer; thick films are grey.
    share = np.clip(0.5 + ph / 3.2 + rng.normal(0, 0.25), 0, 1)
    colour = (1 - share) * stains["eosin"] + share * stains["azure"] + rng.uniform(0, 0.15)
    # The square makes clear plasma the most frequent.
    plasma = drawn["plasma"] * rng.uniform() ** 2 * colour / colour.mean()
    slide = Slide(
        stains=stains,
        light=np.float32(np.clip(light, 90, 255)),
        vignette=drawn["vignette"],
        tilt=(drawn["tilt"], RANGES["tilt"].draw(rng)),
        focus_um=drawn["focus_um"],
        noise=drawn["noise"],
        red_cover=drawn["red_cover"],
        red_overlap=drawn["red_overlap"],
        pallor=drawn["pallor"],
        platelets=drawn["platelets"],
        dirt=max(0.0, drawn["dirt"]),
        between_granules=drawn["between_granules"],
        over_nucleus=drawn["over_nucleus"],
        chromatin=drawn["chromatin"],
        cytoplasm=drawn["cytoplasm"],
        patches=drawn["patches"],
        # The square makes faint lines the most frequent.
        edge=drawn["edge"] * rng.uniform() ** 2,
    )
    angle = rng.uniform(0, 2 * np.pi)
    lateral = drawn["lateral_um"] * np.array([np.sin(angle), np.cos(angle)])
    jpeg = round(drawn["jpeg"]) if rng.random() < 0.5 else None
    return slide, Camera(
        np.float32(plasma), drawn["gamma"], drawn["camera_um"], drawn["sharpening"], jpeg, tuple(lateral)
    )
