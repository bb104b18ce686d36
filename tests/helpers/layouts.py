"""Small folders in the layouts of public datasets and annotation programs, with drawn cells."""

import json
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.labels import CYTOPLASM, NUCLEUS

GREY = np.array([0, 128, 255], np.uint8)
NAMES = ("IMG_001", "IMG_002", "IMG_010", "IMG_011")


@cache
def smear(seed: int):
    return make_smear(seed, 72, 80, white_cells=(1, 2))


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if mode == "palette":
        image.putpalette([0, 0, 0, 0, 200, 0, 200, 0, 0] + [0] * 759)
    image.save(path)


def segmentation_wbc(folder):
    for k in range(4):
        save(folder / f"{k + 1:03d}.bmp", smear(k).image)
        save(folder / f"{k + 1:03d}.png", GREY[smear(k).mask])
    return {f"{k + 1:03d}": k for k in range(4)}


def lisc(folder):
    cases = {}
    for k, (cell_type, number) in enumerate([("Baso", 1), ("Baso", 2), ("eosi", 1), ("lymp", 1), ("lymp", 2)]):
        save(folder / "Main Dataset" / cell_type / f"{number}.bmp", smear(k).image)
        mask = folder / "Ground Truth Segmentation" / cell_type / "areaforexpert1" / f"{number}_expert.bmp"
        save(mask, GREY[smear(k).mask])
        save(mask.parents[1] / "areaforexpert2" / mask.name, GREY[smear(k + 1).mask])
        cases[f"{cell_type}_{number}"] = k
    return cases


def raabin(folder):
    """Images and ground truths in two folders, divided by type, with time stamps as names: a guess, see the guide."""
    cases = {}
    for k, cell_type in enumerate(("Basophil", "Eosinophil", "Lymphocyte", "Monocyte")):
        name = f"20160720_1634{k}_{k}"
        save(folder / "Original" / cell_type / f"{name}.jpg", smear(k).image)
        save(folder / "Ground Truth" / cell_type / f"{name}.png", GREY[smear(k).mask])
        cases[name] = k
    return cases


def nnunet(folder):
    for k in range(4):
        save(folder / "imagesTr" / f"wbc_{k:03d}_0000.png", smear(k).image)
        save(folder / "labelsTr" / f"wbc_{k:03d}.png", smear(k).mask)
    save(folder / "imagesTs" / "wbc_100_0000.png", smear(7).image)
    labels = {"background": 0, "cytoplasm": CYTOPLASM, "nucleus": NUCLEUS}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".png"}))
    return {f"wbc_{k:03d}": k for k in range(4)}


def cvat(folder):
    for k, name in enumerate(NAMES):
        save(folder / "JPEGImages" / f"{name}.jpg", smear(k).image)
        save(folder / "SegmentationClass" / f"{name}.png", smear(k).mask, "palette")
        save(folder / "SegmentationObject" / f"{name}.png", smear(k).instances.astype(np.uint8), "palette")
    table = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncytoplasm:0,200,0::\nnucleus:200,0,0::\n"
    (folder / "labelmap.txt").write_text(table)
    return {name: k for k, name in enumerate(NAMES)}


def labelme_voc(folder):
    """The output of LabelMe's script labelme2voc."""
    for k, name in enumerate(NAMES):
        save(folder / "JPEGImages" / f"{name}.jpg", smear(k).image)
        save(folder / "SegmentationClassPNG" / f"{name}.png", smear(k).mask, "palette")
        save(folder / "SegmentationClassVisualization" / f"{name}.jpg", smear(k).image // 2)
    (folder / "class_names.txt").write_text("__ignore__\n_background_\ncell\nnucleus\n")
    return {name: k for k, name in enumerate(NAMES)}


def types_in_names(folder):
    """The public set BCISC."""
    cases = {}
    for k, cell_type in enumerate(("mono", "mono", "baso", "neut")):
        save(folder / "images" / f"{cell_type}_5-{k}_0.jpg", smear(k).image)
        save(folder / "masks" / f"{cell_type}_5-{k}_0.png", GREY[smear(k).mask])
        cases[f"5-{k}_0"] = k
    return cases


def roboflow_masks(folder):
    cases = {}
    for k, part in enumerate(("train", "train", "valid", "test")):
        name = f"cell{k}_jpg.rf.0123456789abcdef{k}"
        save(folder / part / f"{name}.jpg", smear(k).image)
        save(folder / part / f"{name}_mask.png", smear(k).mask)
        (folder / part / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, Cytoplasm\n2, Nucleus\n")
        cases[name] = k
    return cases


def cellpose(folder):
    for k in range(4):
        save(folder / f"{k:03d}_img.png", smear(k).image)
        save(folder / f"{k:03d}_masks.png", smear(k).instances)
    return {f"{k:03d}": k for k in range(4)}


def two_mask_folders(folder):
    """Nuclei and whole cells in two folders of black and white masks."""
    for k, name in enumerate(NAMES):
        save(folder / "images" / f"{name}.png", smear(k).image)
        save(folder / "nucleus" / f"{name}.png", ((smear(k).mask == NUCLEUS) * 255).astype(np.uint8))
        save(folder / "cell" / f"{name}.png", ((smear(k).mask > 0) * 255).astype(np.uint8))
    return {name: k for k, name in enumerate(NAMES)}


def two_instance_maps(folder):
    """Nuclei and cells of Cellpose, numbered, side by side."""
    for k, name in enumerate(NAMES):
        save(folder / f"{name}.png", smear(k).image)
        save(folder / f"{name}_cells_cp_masks.png", smear(k).instances)
        save(folder / f"{name}_nuclei_cp_masks.png", smear(k).nuclei)
    return {name: k for k, name in enumerate(NAMES)}


def same_names(folder):
    for k, name in enumerate(NAMES):
        save(folder / "images" / f"{name}.tif", smear(k).image)
        save(folder / "masks" / f"{name}.tif", smear(k).mask)
    return {name: k for k, name in enumerate(NAMES)}


def with_suffix(suffix):
    def write(folder):
        for k, name in enumerate(NAMES):
            save(folder / f"{name}.png", smear(k).image)
            save(folder / f"{name}{suffix}.png", GREY[smear(k).mask])
        return {name: k for k, name in enumerate(NAMES)}

    return write


def prefixes(folder):
    for k in range(4):
        save(folder / "data" / f"image_{k + 9}.png", smear(k).image)
        save(folder / "data" / f"mask_{k + 9}.png", GREY[smear(k).mask])
    return {str(k + 9): k for k in range(4)}


def patients(folder):
    cases = {}
    for k in range(6):
        save(folder / f"Patient_{k // 2}" / "images" / f"{k}.png", smear(k).image)
        save(folder / f"Patient_{k // 2}" / "masks" / f"{k}.png", GREY[smear(k).mask])
        cases[str(k)] = k
    return cases


def case_folders(folder):
    for k, name in enumerate(NAMES):
        save(folder / name / "image.png", smear(k).image)
        save(folder / name / "mask.png", GREY[smear(k).mask])
    return {name: k for k, name in enumerate(NAMES)}


def colours(folder):
    palette = np.array([[0, 0, 0], [0, 255, 0], [255, 0, 0]], np.uint8)
    for k, name in enumerate(NAMES):
        save(folder / "img" / f"{name}.jpg", smear(k).image)
        save(folder / "gt" / f"{name}_label.png", palette[smear(k).mask])
    return {name: k for k, name in enumerate(NAMES)}


# Layouts whose proposal is right without a change.
LAYOUTS = {
    "segmentation_WBC": segmentation_wbc,
    "LISC": lisc,
    "Raabin": raabin,
    "nnU-Net": nnunet,
    "CVAT": cvat,
    "LabelMe VOC": labelme_voc,
    "types in names": types_in_names,
    "Roboflow masks": roboflow_masks,
    "two mask folders": two_mask_folders,
    "two instance maps": two_instance_maps,
    "same names": same_names,
    "_mask": with_suffix("_mask"),
    "_gt": with_suffix("_gt"),
    "-label": with_suffix("-label"),
    "prefixes": prefixes,
    "patients": patients,
    "case folders": case_folders,
    "colours": colours,
}
