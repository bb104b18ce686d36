"""The stain and light of a slide."""

import numpy as np

from tests.helpers.smears import plasma_colour
from wbcstudy.data.synthetic.dataset import make_smear


def test_images_of_one_slide_share_stain_and_light():
    def colours(slide):
        smears = [make_smear(seed, slide=slide, white_cells=(1, 1), main_type="lymphocyte") for seed in range(3)]
        return np.array([plasma_colour(smear) for smear in smears])

    slides = np.array([colours(slide) for slide in range(6)])
    within = slides.std(axis=1).mean()
    between = slides.mean(axis=1).std(axis=0).mean()
    assert between > 2.5 * within
