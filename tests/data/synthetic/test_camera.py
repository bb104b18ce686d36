"""Cameras change images as their settings say, and keep the size of the field."""

from dataclasses import replace

import numpy as np

from wbcstudy.data.synthetic.camera import photograph
from wbcstudy.data.synthetic.domains import Camera, draw_slide

PLAIN = Camera(np.zeros(3, np.float32), 1.0, 0.16, 0.0, None)


def expose(camera, **of_slide):
    slide = replace(draw_slide("mgg", np.random.default_rng(0))[0], noise=0.5, **of_slide)
    density = np.zeros((60, 80, 3), np.float32)
    density[20:40, 30:50] = 1.0
    return photograph(density, slide, camera, np.random.default_rng(1), 0.16).astype(float)


def test_plasma_gamma_and_light_change_the_background():
    plain = expose(PLAIN, light=np.float32([240, 230, 200]))
    assert plain.shape == (60, 80, 3)
    red, _, blue = plain[:10].mean((0, 1))
    assert red > blue + 20
    stained = expose(replace(PLAIN, plasma=np.float32([0.4, 0.1, 0.0])), light=np.float32([240, 230, 200]))
    assert stained[:10, :, 0].mean() < plain[:10, :, 0].mean() - 30
    assert expose(replace(PLAIN, gamma=1.3)).mean() < expose(PLAIN).mean()


def test_large_pixels_and_lost_focus_blur_the_edge():
    def steepness(image):
        return np.abs(np.diff(image[25:35].mean((0, 2)))).max()

    sharp = steepness(expose(PLAIN, focus_um=0.07))
    assert steepness(expose(replace(PLAIN, pixel_um=0.5), focus_um=0.07)) < 0.9 * sharp
    assert steepness(expose(PLAIN, focus_um=0.32)) < 0.8 * sharp


def test_jpeg_changes_pixels_a_little():
    compressed = expose(replace(PLAIN, jpeg=40))
    assert 0 < np.abs(compressed - expose(PLAIN)).mean() < 6
