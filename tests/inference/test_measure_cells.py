"""Measurements of cells: drawn shapes, whose measures are known."""

import math

import numpy as np
import pandas as pd
import pytest

from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.inference.cell_columns import MEASURED_COLUMNS
from wbcstudy.inference.measure_cells import measure_cells
from wbcstudy.inference.split_cells import split_cells
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS

PLASMA, PINK, VIOLET = (240, 230, 220), (200, 150, 180), (100, 40, 130)


def disc(shape, y, x, radius):
    rows, columns = np.indices(shape)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def paint(mask):
    return np.array([PLASMA, PINK, VIOLET], np.uint8)[mask]


def measure(mask, **options):
    """The one cell that a mask is."""
    mask = np.asarray(mask, np.uint8)
    frame = measure_cells(paint(mask), mask, (mask > 0).astype(np.int32), **options)
    assert len(frame) == 1
    return frame.iloc[0]


def cell(radius, nucleus, side=200):
    mask = np.zeros((side, side), np.uint8)
    mask[disc(mask.shape, side / 2, side / 2, radius)] = CYTOPLASM
    mask[disc(mask.shape, side / 2, side / 2, nucleus)] = NUCLEUS
    return mask


def nucleus_of(*discs, bars=(), side=200):
    """A cell with a nucleus of discs (y, x, radius) and bars (rows, columns)."""
    mask = np.where(disc((side, side), side / 2, side / 2, 0.45 * side), CYTOPLASM, BACKGROUND).astype(np.uint8)
    for y, x, radius in discs:
        mask[disc(mask.shape, y, x, radius)] = NUCLEUS
    for bar in bars:
        mask[bar] = NUCLEUS
    return mask


# -------------------------------------------------------------------------------------------------- where and how large


def test_position_box_and_areas():
    mask = np.zeros((20, 30), np.uint8)
    mask[4:10, 6:18] = CYTOPLASM
    mask[5:8, 7:11] = NUCLEUS
    row = measure(mask, pixel_um=0.5)
    assert (row.x_px, row.y_px) == (11.5, 6.5)
    assert (row.left_px, row.top_px, row.width_px, row.height_px) == (6, 4, 12, 6)
    assert (row.cell_area_px, row.nucleus_area_px, row.cytoplasm_area_px) == (72, 12, 60)
    assert (row.cell_area_um2, row.nucleus_area_um2, row.cytoplasm_area_um2) == (18, 3, 15)
    assert row.nucleus_to_cytoplasm_ratio == 0.2
    assert not row.touches_border


@pytest.mark.parametrize("box", [np.s_[0:3, 5:8], np.s_[5:8, 0:3], np.s_[17:20, 5:8], np.s_[5:8, 27:30]])
def test_a_cell_at_any_border_is_marked(box):
    mask = np.zeros((20, 30), np.uint8)
    mask[box] = NUCLEUS
    assert measure(mask).touches_border


def test_each_cell_has_its_row_in_the_order_of_its_number():
    field = make_smear(1, 256, 256, white_cells=(3, 3), touching=1.0)
    frame = measure_cells(field.image, field.mask, field.instances, pixel_um=field.pixel_size_um)
    assert tuple(frame.columns) == MEASURED_COLUMNS
    assert frame["cell_id"].tolist() == [1, 2, 3]
    assert frame["cell_area_px"].tolist() == np.bincount(field.instances.ravel())[1:].tolist()
    assert (frame["cell_area_px"] == frame["nucleus_area_px"] + frame["cytoplasm_area_px"]).all()
    assert [str(frame[name].dtype) for name in ("cell_id", "x_px", "touches_border")] == ["int64", "float64", "bool"]
    for row, known in zip(frame.itertuples(), field.cells, strict=True):
        assert math.dist((row.y_px, row.x_px), known.centre_px) < 12


def test_a_cell_is_measured_alone():
    mask = np.zeros((60, 120), np.uint8)
    for x in (30, 68):
        mask[disc(mask.shape, 30, x, 20)] = CYTOPLASM
        mask[disc(mask.shape, 30, x, 9)] = NUCLEUS
    cells = split_cells(mask)
    both = measure_cells(paint(mask), mask, cells)
    alone = measure_cells(paint(mask), mask, np.where(cells == 2, 2, 0))
    pd.testing.assert_frame_equal(both[both["cell_id"] == 2].reset_index(drop=True), alone)


def test_numbers_may_be_large_and_have_gaps():
    mask = cell(30, 10)
    frame = measure_cells(paint(mask), mask, np.where(mask > 0, 60_000, 0).astype(np.uint16))
    assert frame["cell_id"].tolist() == [60_000]


# -------------------------------------------------------------------------------------------------------------- shapes


LOBES = ((80, 75, 22), (118, 128, 20))


@pytest.mark.parametrize("radius", [6, 15, 40, 80])
def test_a_disc_is_circular_at_any_size(radius):
    row = measure(cell(radius, radius / 2))
    assert row.cell_circularity == pytest.approx(1, abs=0.01) and row.cell_circularity <= 1
    assert row.cell_eccentricity < 0.1
    assert row.cell_area_px == pytest.approx(math.pi * radius**2, rel=0.06)


def test_a_square_and_an_ellipse_by_their_formulas():
    square = np.zeros((100, 100), np.uint8)
    square[20:80, 20:80] = NUCLEUS
    row = measure(square)
    assert row.cell_circularity == pytest.approx(math.pi / 4, abs=0.03)  # its corners are blurred
    assert row.cell_eccentricity == pytest.approx(0, abs=1e-6)
    rows, columns = np.indices((100, 200))
    ellipse = NUCLEUS * (((rows - 50) / 30) ** 2 + ((columns - 100) / 60) ** 2 <= 1)
    row = measure(ellipse)
    assert row.cell_eccentricity == pytest.approx(math.sqrt(1 - 30**2 / 60**2), abs=0.01)
    # Ramanujan's perimeter of an ellipse.
    around = math.pi * (3 * 90 - math.sqrt((3 * 60 + 30) * (60 + 3 * 30)))
    assert row.cell_circularity == pytest.approx(4 * math.pi * (math.pi * 30 * 60) / around**2, abs=0.02)


def test_scale_changes_areas_by_its_square_and_no_ratio():
    small, large = (
        nucleus_of(*((y * k + (k - 1) / 2, x * k + (k - 1) / 2, radius * k) for y, x, radius in LOBES), side=200 * k)
        for k in (1, 2)
    )
    one, two = measure(small, pixel_um=0.2), measure(large, pixel_um=0.1)
    assert two.cell_area_px == pytest.approx(4 * one.cell_area_px, rel=0.01)
    assert two.cell_area_um2 == pytest.approx(one.cell_area_um2, rel=0.01)
    same = ["nucleus_to_cytoplasm_ratio", "nuclear_lobes", "nucleus_red", "nucleus_od_green"]
    assert two[same].tolist() == pytest.approx(one[same].tolist(), rel=0.02)
    shape = ["cell_circularity", "nucleus_circularity", "cell_eccentricity", "nucleus_eccentricity"]
    assert two[shape].tolist() == pytest.approx(one[shape].tolist(), abs=0.02)


def test_turning_and_mirroring_change_nothing_but_the_place():
    mask = nucleus_of((80, 75, 22), (118, 128, 20), (90, 110, 15))
    kept = [name for name in MEASURED_COLUMNS if not name.startswith(("x_", "y_", "left", "top", "width", "height"))]
    one = measure(mask)[kept].astype(float)
    for turned in (np.rot90(mask), mask[::-1], mask.T):
        other = measure(turned)[kept].astype(float)
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)


def test_turning_by_any_angle_changes_little():
    from skimage.transform import rotate

    mask = nucleus_of(*LOBES)
    one = measure(mask)
    for degrees in (17, 45, 70):
        other = measure(rotate(mask, degrees, order=0, preserve_range=True).astype(np.uint8))
        assert other.nuclear_lobes == one.nuclear_lobes
        assert other.cell_area_px == pytest.approx(one.cell_area_px, rel=0.01)
        assert other.nucleus_circularity == pytest.approx(one.nucleus_circularity, abs=0.02)
        assert other.nucleus_eccentricity == pytest.approx(one.nucleus_eccentricity, abs=0.02)


# --------------------------------------------------------------------------------------------------------------- lobes

STRAND, BAND = np.s_[97:103, 70:130], np.s_[84:116, 70:130]


@pytest.mark.parametrize(
    ("mask", "lobes"),
    [
        pytest.param(cell(60, 0), 1, id="a pixel"),
        pytest.param(cell(60, 30), 1, id="a ball"),
        pytest.param(nucleus_of((100, 70, 20), (100, 130, 20)), 2, id="two apart"),
        pytest.param(nucleus_of((100, 70, 20), (100, 130, 20), bars=[STRAND]), 2, id="two on a strand"),
        pytest.param(nucleus_of((100, 70, 20), (100, 130, 20), bars=[BAND]), 1, id="a thick band"),
        pytest.param(nucleus_of((100, 85, 20), (100, 115, 20)), 1, id="two that overlap"),
        pytest.param(nucleus_of((70, 70, 18), (70, 130, 18), (130, 100, 18)), 3, id="three"),
        pytest.param(nucleus_of((60, 70, 15), (60, 130, 15), (130, 70, 15), (130, 130, 15)), 4, id="four"),
        pytest.param(nucleus_of((100, 100, 30), (40, 100, 2)), 1, id="a ball and a crumb"),
    ],
)
def test_nuclear_lobes(mask, lobes):
    assert measure(mask).nuclear_lobes == lobes


def test_neutrophils_have_more_lobes_than_lymphocytes():
    def lobes(cell_type):
        counts = []
        for seed in range(8):
            smear = make_smear(seed, 192, 192, white_cells=(1, 1), main_type=cell_type)
            counts += measure_cells(smear.image, smear.mask, smear.instances)["nuclear_lobes"].tolist()
        return np.mean(counts)

    assert lobes("lymphocyte") < 1.3 < 2.5 < lobes("neutrophil") < 5


# ------------------------------------------------------------------------------------------------ colour and confidence


def test_colours_are_means_of_each_region():
    mask = cell(60, 30)
    row = measure(mask)
    assert row[["nucleus_red", "nucleus_green", "nucleus_blue"]].tolist() == list(VIOLET)
    assert row[["cytoplasm_red", "cytoplasm_green", "cytoplasm_blue"]].tolist() == list(PINK)


def test_optical_density_is_the_mean_of_the_logarithms_against_plasma():
    mask = np.zeros((10, 10), np.uint8)
    mask[:2] = NUCLEUS
    image = np.full((10, 10, 3), 200, np.uint8)
    image[0], image[1] = 20, 2
    row = measure_cells(image, mask, (mask > 0).astype(int)).iloc[0]
    assert row.nucleus_od_green == pytest.approx((1 + 2) / 2)  # not log10(200 / 11)
    image[1] = 0
    row = measure_cells(image, mask, (mask > 0).astype(int)).iloc[0]
    assert row.nucleus_od_green == pytest.approx((1 + math.log10(200)) / 2)


def test_optical_density_does_not_depend_on_the_lamp():
    mask = cell(60, 30)
    image = paint(mask)
    bright, dim = (
        measure_cells(light, mask, (mask > 0).astype(int)).iloc[0]
        for light in (image, np.rint(image * 0.5))
        for light in [light.astype(np.uint8)]
    )
    for region in ("nucleus", "cytoplasm"):
        for colour in ("red", "green", "blue"):
            assert dim[f"{region}_od_{colour}"] == pytest.approx(bright[f"{region}_od_{colour}"], abs=0.01)


def test_without_background_the_light_is_white():
    mask = np.full((8, 8), NUCLEUS, np.uint8)
    row = measure_cells(np.full((8, 8, 3), 51, np.uint8), mask, mask.astype(int)).iloc[0]
    assert row.nucleus_od_red == pytest.approx(math.log10(5))


def test_confidence_is_the_probability_of_the_label_that_was_given():
    mask = np.zeros((10, 10), np.uint8)
    mask[2:6, 2:6], mask[2:6, 4:6] = CYTOPLASM, NUCLEUS
    probabilities = np.zeros((10, 10, 3), np.float32)
    probabilities[..., CYTOPLASM], probabilities[..., NUCLEUS] = 0.6, 0.4
    assert measure(mask, probabilities=probabilities).mean_confidence == pytest.approx(0.5)
    assert np.isnan(measure(mask).mean_confidence)


# ------------------------------------------------------------------------------------------------------------ undefined


def test_what_is_undefined_is_nan():
    bare = measure(np.where(cell(40, 20) > 0, CYTOPLASM, BACKGROUND))
    assert bare.nuclear_lobes == 0 and bare.nucleus_area_px == 0 and bare.nucleus_to_cytoplasm_ratio == 0
    empty = ["nucleus_circularity", "nucleus_eccentricity", "nucleus_red", "nucleus_od_red", "cell_area_um2"]
    assert bare[empty].isna().all()
    ball = measure(np.where(cell(40, 20) > 0, NUCLEUS, BACKGROUND))
    assert np.isnan(ball.nucleus_to_cytoplasm_ratio) and np.isnan(ball.cytoplasm_red)
    assert ball.cell_circularity == ball.nucleus_circularity


@pytest.mark.parametrize("shape", [(0, 0), (4, 5)])
def test_an_image_without_cells_has_no_rows_and_all_columns(shape):
    empty = np.zeros(shape, np.uint8)
    frame = measure_cells(np.zeros((*shape, 3), np.uint8), empty, split_cells(empty))
    assert tuple(frame.columns) == MEASURED_COLUMNS and len(frame) == 0
    assert frame["cell_id"].dtype == "int64" and frame["touches_border"].dtype == "bool"


def test_a_cell_of_one_pixel():
    mask = np.zeros((5, 5), np.uint8)
    mask[2, 2] = NUCLEUS
    row = measure(mask)
    assert (row.cell_area_px, row.nuclear_lobes, row.x_px, row.y_px) == (1, 1, 2, 2)
    assert np.isnan(row.cell_eccentricity)


# -------------------------------------------------------------------------------------------------------- bad arguments

GOOD = {
    "image": np.zeros((6, 7, 3), np.uint8),
    "mask": np.ones((6, 7), np.uint8),
    "instances": np.ones((6, 7), np.int32),
}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image": np.zeros((6, 7), np.uint8)}, "image"),
        ({"image": np.zeros((6, 7, 3))}, "float64"),
        ({"mask": np.ones((7, 6), np.uint8)}, "mask"),
        ({"mask": np.full((6, 7), 255, np.uint8)}, "255"),
        ({"instances": np.ones((6, 7))}, "instance map"),
        ({"instances": -np.ones((6, 7), np.int32)}, "instance map"),
        ({"probabilities": np.zeros((6, 7), np.float32)}, "probabilities"),
        ({"pixel_um": 0}, "pixel_um"),
        ({"pixel_um": float("nan")}, "pixel_um"),
    ],
)
def test_bad_arguments_are_named(change, named):
    with pytest.raises(StudyError) as error:
        measure_cells(**(GOOD | change))
    assert named in str(error.value)
