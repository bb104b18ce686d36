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
