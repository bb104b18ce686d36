"""Files as laboratories and annotation tools write them: read right by pixel, or refused for the true reason.

Users of other programs reported each kind of fault; ../shared/cases/ has one example of each, siblings are made here.
"""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.formats.files import _write_bmp as write_bmp
from tests.helpers.drawn_cases import draw_case
from wbcstudy.data.check import check_dataset
from wbcstudy.data.datasets import load_dataset, read_case
from wbcstudy.labels import IGNORED

CASES = Path(__file__).parents[2] / "shared" / "cases"
LABELS = "background: 0, cytoplasm: 1, nucleus: 2"


def write_dataset(folder, write_image, write_mask, labels=LABELS, more="", image="png", mask="png", count=10):
    """Write a dataset; return its images and label masks by case id."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    text = f"name: real\nimages: images/{{case}}.{image}\nmasks: masks/{{case}}.{mask}\nlabels: {{{labels}}}\n{more}\n"
    (folder / "dataset.yaml").write_text(text)
    drawn = {}
    for number in range(count):
        pixels, labels_of_case = draw_case(number)
        drawn[f"{number:03}"] = pixels, labels_of_case
        write_image(folder / f"images/{number:03}.{image}", pixels)
        write_mask(folder / f"masks/{number:03}.{mask}", labels_of_case)
    return drawn


def save(path, array):
    Image.fromarray(array).save(path)


def check_pixels(folder, drawn):
    report = check_dataset(folder)
    assert report.ok, report.text()
    dataset = load_dataset(folder)
    for case_id, (pixels, labels) in drawn.items():
        image, mask = read_case(dataset, dataset.case(case_id))
        np.testing.assert_array_equal(image, pixels)
        np.testing.assert_array_equal(mask, labels)
    return report


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib", "byteorder": ">"}, {"tile": (16, 16)}],
    ids=["tifffile", "deflate", "tiles"],
)
def test_one_bit_masks_of_tifffile_are_not_inverted(tmp_path, options):
    drawn = write_dataset(
        tmp_path,
        save,
        lambda path, mask: tifffile.imwrite(path, mask == 2, photometric="miniswhite", **options),
        "background: 0, nucleus: 1, cytoplasm: 2",
        mask="tif",
    )
    nuclei = {case_id: (image, np.where(mask == 2, 2, 0)) for case_id, (image, mask) in drawn.items()}
    check_pixels(tmp_path, nuclei)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16], ids=str)
def test_grey_masks_with_an_inverting_table_keep_their_numbers(tmp_path, kind):
    drawn = write_dataset(
        tmp_path,
        save,
        lambda path, mask: tifffile.imwrite(path, mask.astype(kind), photometric="miniswhite"),
        mask="tif",
    )
    check_pixels(tmp_path, drawn)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("options", [{}, {"rowsperstrip": 7}])
def test_planar_rgb_of_16_bits(tmp_path, order, options):
    def write(path, image):
        planes = np.moveaxis(image.astype(np.uint16) * 257, 2, 0)
        tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", byteorder=order, **options)

    check_pixels(tmp_path, write_dataset(tmp_path, write, save, image="tif"))


@pytest.mark.parametrize("alpha", [0, 255])
def test_bmp_with_an_alpha_channel_that_is_not_used(tmp_path, alpha):
    def write(path, image):
        write_bmp(path, np.dstack([image[..., ::-1], np.full(image.shape[:2], alpha)]), 32, None, masks=True)

    check_pixels(tmp_path, write_dataset(tmp_path, write, save, image="bmp"))


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (120, 90, 30)])
def test_an_image_of_one_colour_is_reported(tmp_path, colour):
    write_dataset(tmp_path, save, save)
    Image.new("RGB", Image.open(tmp_path / "images/003.png").size, colour).save(tmp_path / "images/003.png")
    warnings = [finding.message for finding in check_dataset(tmp_path).warnings]
    assert any("003.png has one colour everywhere" in message for message in warnings)


def test_a_fully_transparent_image_is_reported(tmp_path):
    write_dataset(tmp_path, save, save)
    image = Image.open(tmp_path / "images/003.png").convert("RGBA")
    image.putalpha(0)
    image.save(tmp_path / "images/003.png")
    report = check_dataset(tmp_path)
    assert any("003.png has one colour everywhere" in finding.message for finding in report.warnings)
    assert any("transparency" in finding.fix for finding in report.warnings)


def test_grey_images_among_coloured_ones_are_counted_once(tmp_path):
    write_dataset(tmp_path, save, save)
    for number in (1, 4):
        path = tmp_path / f"images/{number:03}.png"
        Image.open(path).convert("L").save(path)
    warnings = [finding.message for finding in check_dataset(tmp_path).warnings]
    assert sum("have no colour" in message for message in warnings) == 1
    assert any("2 of 10 images have no colour" in message and "001.png" in message for message in warnings)


@pytest.mark.parametrize("kind", ["i8", "u8", "f4", "f8", "f2", "i2"])
def test_label_masks_of_any_number_type(tmp_path, kind):
    drawn = write_dataset(tmp_path, save, lambda path, mask: tifffile.imwrite(path, mask.astype(kind)), mask="tif")
    check_pixels(tmp_path, drawn)


@pytest.mark.parametrize("compression", ["jpeg2000", "webp"])
def test_images_compressed_inside_tiff(tmp_path, compression):
    arguments = {"level": 101} if compression == "webp" else {}

    def write(path, image):
        tifffile.imwrite(path, image, photometric="rgb", compression=compression, compressionargs=arguments)

    check_pixels(tmp_path, write_dataset(tmp_path, write, save, image="tif"))


@pytest.mark.parametrize(
    "options", [{"ome": True, "photometric": "minisblack"}, {"imagej": True}], ids=["ome", "imagej"]
)
def test_colours_stored_as_three_channels(tmp_path, options):
    def write(path, image):
        tifffile.imwrite(path, np.moveaxis(image, 2, 0), metadata={"axes": "CYX"}, **options)

    check_pixels(tmp_path, write_dataset(tmp_path, write, save, image="tif"))


def test_probabilities_are_no_mask(tmp_path):
    write_dataset(tmp_path, save, lambda path, mask: tifffile.imwrite(path, (mask / 2).astype("f4")), mask="tif")
    report = check_dataset(tmp_path)
    assert "which is no whole number" in report.errors[0].message
    assert "probabilities" in report.errors[0].fix


@pytest.mark.parametrize("method", ["BILINEAR", "BICUBIC", "BOX"])
def test_an_anti_aliased_mask_with_a_third_label_between_two_is_refused_with_the_way_out(tmp_path, method):
    def write(path, mask):
        values = np.array([0, 255, 128], np.uint8)[mask].repeat(4, 0).repeat(4, 1)
        small = tuple(side * 4 // 3 for side in reversed(mask.shape))
        Image.fromarray(values).resize(small, Image.Resampling[method]).save(path)

    def write_image(path, image):
        small = tuple(side * 4 // 3 for side in reversed(image.shape[:2]))
        Image.fromarray(image).resize(small).save(path)

    values = "background: 0, nucleus: 128, cytoplasm: 255"
    write_dataset(tmp_path, write_image, write, values, "tolerance: 64")
    report = check_dataset(tmp_path)
    error = next(finding for finding in report.errors if "a false rim of nucleus" in finding.message)
    assert "`ignore: [1-127, 129-254]`" in error.fix
    path = tmp_path / "dataset.yaml"
    path.write_text(path.read_text().replace("tolerance: 64", "ignore: [1-127, 129-254]"))
    assert check_dataset(tmp_path).ok


@pytest.mark.parametrize(
    ("values", "void", "labels"),
    [
        ([0, 1, 2], 255, LABELS),
        ([0, 128, 255], 64, "background: 0, cytoplasm: 128, nucleus: 255"),
        ([10, 20, 30], 0, "background: 10, cytoplasm: 20, nucleus: 30"),
    ],
)
@pytest.mark.parametrize("palette", [False, True])
def test_void_borders_are_ignored(tmp_path, values, void, labels, palette):
    def write(path, mask):
        stored = np.array(values, np.uint8)[mask]
        stored[:, 2:4] = void
        image = Image.fromarray(stored)
        if palette:
            image = image.convert("P")
            image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
        image.save(path)

    drawn = write_dataset(tmp_path, save, write, labels)
    error = check_dataset(tmp_path).errors[0]
    assert f"000.png has {void} " in error.message and f"ignore: [{void}]" in error.fix
    with (tmp_path / "dataset.yaml").open("a") as file:
        file.write(f"ignore: {void}\n")
    for _, mask in drawn.values():
        mask[:, 2:4] = IGNORED
    check_pixels(tmp_path, drawn)


def test_triples_in_dataset_yaml_are_colours(tmp_path):
    table = np.array([[0, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    labels = "background: [0, 0, 0], cytoplasm: [0, 255, 0], nucleus: [0, 0, 255]"
    check_pixels(tmp_path, write_dataset(tmp_path, save, lambda path, mask: save(path, table[mask]), labels))


@pytest.mark.parametrize("numbered", [False, True])
def test_nuclei_and_cells_in_two_files(tmp_path, numbered):
    """Binary masks, or instance maps as Cellpose writes them."""
    drawn = write_dataset(tmp_path, save, save)
    (tmp_path / "cells").mkdir()
    for number, (case_id, (_, mask)) in enumerate(drawn.items()):
        factor = number + 1 if numbered else 255
        save(tmp_path / f"masks/{case_id}.png", ((mask == 2) * factor).astype(np.uint16))
        save(tmp_path / f"cells/{case_id}.png", ((mask > 0) * factor).astype(np.uint16))
    text = "name: two\nimages: images/{case}.png\nmasks: masks/{case}.png\ncell_masks: cells/{case}.png\n"
    (tmp_path / "dataset.yaml").write_text(text)
    check_pixels(tmp_path, drawn)
    first = load_dataset(tmp_path).fingerprint
    save(tmp_path / "cells/000.png", np.zeros((12, 16), np.uint8))
    assert load_dataset(tmp_path).fingerprint != first
    (tmp_path / "cells/003.png").unlink()
    assert "without cell mask" in check_dataset(tmp_path).errors[0].message


def test_strays_are_one_warning_with_their_values_and_the_tolerance_that_is_enough(tmp_path):
    def write(path, mask):
        stored = np.array([0, 128, 255], np.uint8)[mask]
        stored[2, 2:5] = 125
        save(path, stored)

    write_dataset(tmp_path, save, write, "background: 0, cytoplasm: 128, nucleus: 255", "tolerance: 100")
    warnings = [finding for finding in check_dataset(tmp_path).warnings if "stray" in finding.message]
    assert len(warnings) == 1
    assert "30 stray pixels" in warnings[0].message and "125 (30 px)" in warnings[0].message
    assert "`tolerance: 64` is enough" in warnings[0].fix


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases")
@pytest.mark.parametrize(
    "name",
    [
        "tifffile-bool-mask",
        "planar-16bit-rgb-tiff",
        "bmp32-v4-alpha-zero",
        "int64-label-tiff",
        "ome-tiff-rgb-as-channels",
    ],
)
def test_the_reported_files_are_read(name):
    report = check_dataset(CASES / name, to_split=False)
    assert report.ok, report.text()
    # Each case is drawn with this share of nucleus.
    assert 0.05 < report.label_shares["nucleus"] < 0.2


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases")
def test_the_reported_masks_are_read_or_refused_for_the_true_reason():
    assert check_dataset(CASES / "labels-as-rgb-triples", to_split=False).ok
    rim = check_dataset(CASES / "antialiased-mask-between-values", to_split=False)
    assert any("a false rim of nucleus" in error.message for error in rim.errors)
    void = check_dataset(CASES / "voc-void-border-255", to_split=False)
    assert "`ignore`" in void.errors[0].fix and "would not help" in void.errors[0].fix
