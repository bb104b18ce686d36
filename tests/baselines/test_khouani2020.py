"""Mask R-CNN, which is an optional extra."""

import importlib.util
import itertools
import sys

import numpy as np
import pytest

from wbcstudy.baselines.khouani2020 import MaskRcnn, _batches, _instance_targets
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS
from wbcstudy.registry import METHODS

has_torchvision = importlib.util.find_spec("torchvision") is not None


@pytest.fixture(scope="module")
def smears():
    return [make_smear(seed, 160, 160, slide=3) for seed in range(2)]


def test_instances_by_hand():
    mask = np.zeros((6, 9), np.uint8)
    mask[1:4, 1:5] = CYTOPLASM
    mask[2, 2:4] = NUCLEUS
    mask[4, 7] = CYTOPLASM
    targets = _instance_targets(mask)
    assert targets["labels"].tolist() == [1, 1, 2]  # two cells, one nucleus
    assert targets["boxes"].tolist() == [[1, 1, 5, 4], [7, 4, 8, 5], [2, 2, 4, 3]]
    assert targets["masks"].sum((1, 2)).tolist() == [12, 1, 2]
    empty = _instance_targets(np.zeros((6, 9), np.uint8))
    assert empty["boxes"].shape == (0, 4) and empty["masks"].shape == (0, 6, 9)


def test_table_3_states_the_number_of_steps():
    assert f"{MaskRcnn.steps} steps" in METHODS["khouani2020"].algorithm


def test_without_torchvision_the_error_names_the_package(smears, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(StudyError, match="torchvision"):
        MaskRcnn().fit([smears[0].image], [smears[0].mask], np.random.default_rng(0))


@pytest.mark.skipif(not has_torchvision, reason="the extra package torchvision is not installed")
@pytest.mark.slow
def test_mask_rcnn_learns_a_step_and_predicts(smears):
    method = MaskRcnn(image_size_px=64, steps=1, device="cpu")
    images, masks = [smear.image for smear in smears], [smear.mask for smear in smears]
    mask = method.fit(images, masks, np.random.default_rng(0)).predict(images[0])
    assert mask.shape == masks[0].shape and set(np.unique(mask)) <= {BACKGROUND, CYTOPLASM, NUCLEUS}


@pytest.mark.skipif(not has_torchvision, reason="the extra package torchvision is not installed")
@pytest.mark.slow
def test_a_training_that_diverges_is_refused(smears):
    method = MaskRcnn(image_size_px=64, steps=20, learning_rate=1e12, device="cpu")
    images, masks = [smear.image for smear in smears], [smear.mask for smear in smears]
    with pytest.raises(StudyError, match="diverged in step"):
        method.fit(images, masks, np.random.default_rng(0))


def test_each_pass_has_every_image_once():
    batches = list(itertools.islice(_batches(5, 2, np.random.default_rng(0)), 6))
    first, second = (np.concatenate(part).tolist() for part in (batches[:3], batches[3:]))
    assert sorted(first) == sorted(second) == [0, 1, 2, 3, 4] and first != second
