"""Outlines of annotation programs become masks."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from roifile import ROI_TYPE, ImagejRoi
from skimage.measure import find_contours, label

from tests.helpers.layouts import save, smear
from wbcstudy.data.datasets import load_dataset, read_case
from wbcstudy.data.import_outlines import draw_outline, find_format, import_outlines, read_classes
from wbcstudy.data.outline_files import Outline
from wbcstudy.data.propose import init_folder
from wbcstudy.data.propose_files import list_folder
from wbcstudy.errors import StudyError

CASES = 3


def rings(area: np.ndarray) -> list[list[list[float]]]:
    """The outlines of an area as x, y from the corner of the first pixel."""
    contours = sorted(find_contours(np.pad(area, 1).astype(float), 0.5), key=len, reverse=True)
    return [[[x + 0.5 - 1, y + 0.5 - 1] for y, x in ring] for ring in contours]


def objects(k: int):
    """(class, rings) of each cell and each nucleus of a drawn image."""
    for name, areas in (("WBC", smear(k).instances), ("Nucleus", smear(k).nuclei)):
        for number in np.unique(areas[areas > 0]):
            pieces = label(areas == number, connectivity=1)
            for piece in range(1, pieces.max() + 1):
                yield name, rings(pieces == piece)


def write_images(folder):
    for k in range(CASES):
        save(folder / f"cell{k}.png", smear(k).image)


def write_labelme(folder):
    write_images(folder)
    for k in range(CASES):
        shapes = [{"label": n, "points": r[0], "shape_type": "polygon"} for n, r in objects(k)]
        height, width = smear(k).mask.shape
        record = {"shapes": shapes, "imagePath": f"..\\data\\cell{k}.png", "imageHeight": height, "imageWidth": width}
        (folder / f"cell{k}.json").write_text(json.dumps(record))


def write_coco(folder, runs=False):
    write_images(folder)
    names = {"cells": 0, "WBC": 1, "Nucleus": 2}
    images, annotations = [], []
    for k in range(CASES):
        height, width = smear(k).mask.shape
        images.append({"id": k, "file_name": f"cell{k}.png", "height": height, "width": width})
        for name, curves in objects(k):
            segmentation = [np.ravel(curves[0]).tolist()]
            if runs:
                area = draw_outline(Outline("", (np.array(curves[0]),)), (height, width))
                segmentation = coco_mask.encode(np.asfortranarray(area.astype(np.uint8)))
                segmentation["counts"] = segmentation["counts"].decode()
            annotations.append({"image_id": k, "category_id": names[name], "segmentation": segmentation})
    record = {"images": images, "annotations": annotations}
    record["categories"] = [{"id": number, "name": name} for name, number in names.items()]
    (folder / "_annotations.coco.json").write_text(json.dumps(record))


def write_qupath(folder):
    write_images(folder)
    for k in range(CASES):
        features = [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]] for ring in curves]},
                "properties": {"objectType": "annotation", "classification": {"name": name, "color": [1, 2, 3]}},
            }
            for name, curves in objects(k)
        ]
        collection = {"type": "FeatureCollection", "features": features}
        (folder / f"cell{k}.geojson").write_text(json.dumps(collection))


def write_imagej(folder):
    write_images(folder)
    for k in range(CASES):
        with zipfile.ZipFile(folder / f"RoiSet_cell{k}.zip", "w") as archive:
            for number, (name, curves) in enumerate(objects(k)):
                roi = ImagejRoi.frompoints(np.array(curves[0], np.float32), name=f"{name}-{number}")
                archive.writestr(f"{name}-{number}.roi", roi.tobytes())


WRITERS = {
    "labelme": write_labelme,
    "coco": write_coco,
    "coco with runs": lambda folder: write_coco(folder, runs=True),
    "qupath": write_qupath,
    "imagej": write_imagej,
}


@pytest.mark.parametrize("name", WRITERS)
def test_masks_come_back_from_their_outlines(tmp_path, name):
    folder, out, form = tmp_path / "annotations", tmp_path / "ours", name.split()[0]
    WRITERS[name](folder)
    assert find_format(folder, list_folder(folder)) == form
    proposed = "\n".join(init_folder(folder, tmp_path / "study.yaml"))
    assert f"wbcstudy data import {form} " in proposed and not (tmp_path / "study.yaml").exists()
    import_outlines(form, folder, out)
    dataset = load_dataset(out)
    assert [case.case_id for case in dataset.cases] == [f"cell{k}" for k in range(CASES)]
    for k, case in enumerate(dataset.cases):
        mask, true = read_case(dataset, case)[1], smear(k).mask
        for least in (1, 2):
            assert ((mask >= least) & (true >= least)).sum() / ((mask >= least) | (true >= least)).sum() >= 0.99


def labelme(folder, *shapes, image="a.png", size=(40, 40)):
    save(folder / "a.png", np.zeros((*size, 3), np.uint8))
    (folder / "a.json").write_text(json.dumps({"imagePath": image, "shapes": list(shapes)}))
    return folder


def box(name, low, high, **more):
    return {
        "label": name,
        "points": [[low, low], [high, low], [high, high], [low, high]],
        "shape_type": "polygon",
    } | more


def test_the_nucleus_is_over_the_cell_whatever_the_order(tmp_path):
    import_outlines("labelme", labelme(tmp_path / "in", box("nucleus", 10, 20), box("cell", 5, 30)), tmp_path / "out")
    mask = np.array(Image.open(tmp_path / "out/masks/a.png"))
    # From corner to corner: 10 to 20 are ten pixels.
    assert (mask == 255).sum() == 100 and (mask[10:20, 10:20] == 255).all() and (mask > 0).sum() == 625


def test_holes_and_several_parts_of_geojson(tmp_path):
    square = [[0, 0], [20, 0], [20, 20], [0, 20], [0, 0]]
    hole = [[5, 5], [10, 5], [10, 10], [5, 10], [5, 5]]
    other = [[30, 30], [35, 30], [35, 35], [30, 35], [30, 30]]
    feature = {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [[square, hole], [other]]}}
    nucleus = {"type": "Polygon", "coordinates": [[[1, 1], [3, 1], [3, 3], [1, 3], [1, 1]]]}
    cell = {"properties": {"objectType": "cell"}, "nucleusGeometry": nucleus}
    save(tmp_path / "in/a.png", np.zeros((40, 40, 3), np.uint8))
    (tmp_path / "in/a.geojson").write_text(json.dumps(feature | cell))
    import_outlines("qupath", tmp_path / "in", tmp_path / "out")
    mask = np.array(Image.open(tmp_path / "out/masks/a.png"))
    assert ((mask > 0).sum(), (mask == 255).sum()) == (400 - 25 + 25, 4)
    assert not mask[5:10, 5:10].any()


def test_ovals_and_rectangles_of_imagej(tmp_path):
    save(tmp_path / "in/a.png", np.zeros((60, 60, 3), np.uint8))
    for name, form, low, high in (("cell", ROI_TYPE.OVAL, 5, 45), ("nucleus", ROI_TYPE.RECT, 20, 30)):
        roi = ImagejRoi(roitype=form, left=low, top=low, right=high, bottom=high, name=name)
        (tmp_path / "in" / f"{name}.roi").write_bytes(roi.tobytes())
    for name in ("cell", "nucleus"):
        (tmp_path / "in" / name).mkdir()
    with zipfile.ZipFile(tmp_path / "in/a.zip", "w") as archive:
        for name in ("cell", "nucleus"):
            archive.write(tmp_path / "in" / f"{name}.roi", f"{name}.roi")
            (tmp_path / "in" / f"{name}.roi").unlink()
    import_outlines("imagej", tmp_path / "in", tmp_path / "out")
    mask = np.array(Image.open(tmp_path / "out/masks/a.png"))
    assert (mask == 255).sum() == 100
    assert abs((mask > 0).sum() - np.pi * 400) < 20


def test_what_is_left_out_is_listed_with_the_reason(tmp_path):
    line = {"label": "cell", "points": [[1, 1], [5, 5]], "shape_type": "line"}
    folder = labelme(tmp_path / "in", box("cell", 5, 30), line, box("RBC", 1, 4), box("nucleus", 100, 110))
    (folder / "b.json").write_text(json.dumps({"imagePath": "b.png", "shapes": [box("cell", 1, 9)]}))
    save(folder / "c.png", np.zeros((40, 40, 3), np.uint8))
    record = {"imagePath": "c.png", "imageHeight": 80, "imageWidth": 40, "shapes": [box("cell", 1, 9)]}
    (folder / "c.json").write_text(json.dumps(record))
    lines = "\n".join(import_outlines("labelme", folder, tmp_path / "out"))
    table = (tmp_path / "out/left_out.csv").read_text()
    for reason in ("a line, not an area", "is background", "outside of the image", "no images of this name"):
        assert reason in table and reason in lines
    assert "drawn on an image of 40x80 px, which now has 40x40 px" in table
    assert len(load_dataset(tmp_path / "out").cases) == 1


def test_folders_of_patients_are_kept(tmp_path):
    for patient in (1, 2, 3):
        labelme(tmp_path / "in" / f"Patient_{patient}", box("cell", 5, 30))
    import_outlines("labelme", tmp_path / "in", tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.groups == {f"Patient_{patient}_a": f"Patient_{patient}" for patient in (1, 2, 3)}


def test_images_of_one_name_and_two_suffixes(tmp_path):
    folder = labelme(tmp_path / "in", box("cell", 5, 30))
    Image.new("RGB", (40, 40)).save(folder / "a.bmp")
    (folder / "b.json").write_text(json.dumps({"imagePath": "a.bmp", "shapes": [box("cell", 1, 9)]}))
    import_outlines("labelme", folder, tmp_path / "out")
    assert len(load_dataset(tmp_path / "out").cases) == 2


def test_unknown_classes_are_one_error_with_the_options(tmp_path):
    folder = labelme(tmp_path / "in", box("Zelle", 5, 30), box("Zelle", 1, 3), box("x", 10, 20))
    with pytest.raises(StudyError) as caught:
        import_outlines("labelme", folder, tmp_path / "out")
    assert "2 classes of outlines is unknown: 'Zelle' (2) and 'x' (1)" in caught.value.message
    assert "--class 'Zelle=cell'" in caught.value.fix and not (tmp_path / "out").exists()
    import_outlines("labelme", folder, tmp_path / "out", read_classes(["Zelle=cell", "x=nucleus"]))
    mask = np.array(Image.open(tmp_path / "out/masks/a.png"))
    assert (mask == 255).sum() == 100
    for classes in (["Zelle"], ["Zelle=cel"], ["Cell=cell"]):
        with pytest.raises(StudyError):
            import_outlines("labelme", folder, tmp_path / "other", read_classes(classes))


def test_nothing_is_overwritten_or_half_written(tmp_path):
    folder = labelme(tmp_path / "in", box("cell", 5, 30))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(StudyError, match="not empty"):
        import_outlines("labelme", folder, tmp_path / "out")
    (folder / "a.png").unlink()
    with pytest.raises(StudyError, match="No image of"):
        import_outlines("labelme", folder, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_image_names_cannot_lead_out_of_the_folder(tmp_path):
    save(tmp_path / "secret.png", np.zeros((40, 40, 3), np.uint8))
    folder = labelme(tmp_path / "in", box("cell", 5, 30), image="../secret.png")
    (folder / "a.png").rename(folder / "b.png")
    save(folder / "c.png", np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(StudyError, match="no images of this name"):
        import_outlines("labelme", folder, tmp_path / "out")


@pytest.mark.parametrize("runs", [[0, 10**9], [5, 3], [-2, 102], [100, 1], []])
def test_run_lengths_that_do_not_fit_are_refused(runs):
    with pytest.raises(ValueError, match="do not fit"):
        draw_outline(Outline("cell", runs=(runs, 10, 10)), (10, 10))


def test_the_command(tmp_path, command):
    folder = labelme(tmp_path / "in", box("leukocyte A", 5, 30))
    code, printed, errors = command(
        "data", "import", "labelme", folder, tmp_path / "out", "--class", "leukocyte A=nucleus"
    )
    assert (code, errors) == (0, "") and "leukocyte A (nucleus): 1" in printed
    code, _, errors = command("data", "import", "labelmee", folder, tmp_path / "out2")
    assert code == 2 and "Did you mean 'labelme'?" in errors
