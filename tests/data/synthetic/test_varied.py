"""Smears of version 2: exact masks, every domain and oddity, and the first version unchanged."""

import numpy as np
import pytest
import yaml

from tests.helpers.smears import fix_shares
from wbcstudy.data.check import check_dataset
from wbcstudy.data.datasets import load_dataset, read_case
from wbcstudy.data.synthetic import varied
from wbcstudy.data.synthetic.dataset import _make_case
from wbcstudy.data.synthetic.domains import DOMAINS
from wbcstudy.data.synthetic.varied import make_varied_smear, write_varied_dataset
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, IGNORED, NUCLEUS

# Pixels of each label, and mean colour of the four quarters, of the first cases of the dataset `synthetic`.
FIRST_VERSION = (
    (
        [31255, 2182, 3427],
        [[193.08, 156.04, 175.33], [210.89, 170.63, 181.46], [198.8, 153.12, 164.15], [205.82, 170.12, 182.09]],
    ),
    (
        [29585, 3930, 3349],
        [[194.47, 172.77, 184.77], [177.92, 146.06, 163.54], [194.32, 168.45, 178.73], [158.02, 137.07, 164.25]],
    ),
)


@pytest.mark.parametrize("index", [0, 1])
def test_the_first_version_is_unchanged(index):
    counts, colours = FIRST_VERSION[index]
    smear = _make_case(index, seed=0, slides=40)
    assert np.bincount(smear.mask.ravel()).tolist() == counts
    quarters = smear.image.reshape(2, 96, 2, 96, 3).mean((1, 3)).reshape(4, 3)
    np.testing.assert_allclose(quarters, colours, atol=0.02)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_seed_is_a_smear_and_masks_fit_each_other(domain):
    for seed in range(3):
        smear, again = (make_varied_smear(seed, domain, 96, 112) for _ in range(2))
        np.testing.assert_array_equal(smear.image, again.image)
        assert smear.image.shape == (96, 112, 3) and smear.image.dtype == np.uint8
        assert set(np.unique(smear.mask)) <= {BACKGROUND, CYTOPLASM, NUCLEUS, IGNORED}
        labelled = smear.mask != IGNORED
        np.testing.assert_array_equal((smear.mask > 0) & labelled, smear.instances > 0)
        np.testing.assert_array_equal(smear.mask == NUCLEUS, smear.nuclei > 0)


def test_cells_have_the_same_size_in_micrometres_at_every_pixel_size():
    fine, coarse = (make_varied_smear(4, "mgg", side, side, pixel_size_um=um) for side, um in ((400, 0.08), (160, 0.2)))
    areas = [(smear.instances == 1).sum() * smear.pixel_size_um**2 for smear in (fine, coarse)]
    assert areas[0] == pytest.approx(areas[1], rel=0.15) and areas[0] > 20


def test_fields_can_be_empty_or_bare(monkeypatch):
    fix_shares(monkeypatch, empty=1.0)
    assert not make_varied_smear(0).cells and make_varied_smear(0).image.std() > 5
    fix_shares(monkeypatch, bare=1.0)
    assert not make_varied_smear(0).instances.any()


def test_a_written_dataset_can_be_read_and_names_its_domains(tmp_path):
    folder = write_varied_dataset(tmp_path / "smears", cases=12, seed=1, domains=("wright", "rapid"), size_px=96)
    assert check_dataset(str(folder)).ok
    dataset = load_dataset(folder)
    assert [case.case_id for case in dataset.cases[:2]] == ["rapid0001", "rapid0003"] and not dataset.groups
    smear = make_varied_smear(varied.case_seed(1, 5), "rapid", 96, 96)
    image, mask = read_case(dataset, dataset.case("rapid0005"))
    np.testing.assert_array_equal(image, smear.image)
    np.testing.assert_array_equal(mask, smear.mask)
    assert yaml.safe_load((folder / "dataset.yaml").read_text())["pixel_size_um"] == varied.PIXEL_SIZE_UM


def test_unusable_arguments_are_refused(tmp_path):
    with pytest.raises(StudyError, match="rapit"):
        make_varied_smear(0, "rapit")
    with pytest.raises(StudyError, match="cannot be drawn"):
        make_varied_smear(0, pixel_size_um=0.0)
    with pytest.raises(StudyError, match="No domain"):
        write_varied_dataset(tmp_path / "smears", cases=1, seed=0, domains=())
