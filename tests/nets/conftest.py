import numpy as np
import pytest

from tests.helpers.arrays_in_memory import make_arrays


def make_cells(count, size=32, seed=0):
    """Round cells on a pale background: as `Arrays`."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    images = np.full((count, size, size, 3), 200, np.uint8)
    masks = np.zeros((count, size, size), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        distance = np.hypot(*(grid - centre for grid, centre in zip((y, x), draw.integers(size // 3, size // 2, 2))))  # noqa: B905
        for radius, colour, label in ((size / 3, (180, 150, 200), 1), (size / 5, (90, 30, 120), 2)):
            image[distance < radius] = colour
            mask[distance < radius] = label
    images += draw.integers(0, 20, images.shape, dtype=np.uint8)
    return make_arrays(images, masks)


@pytest.fixture(scope="session")
def cells():
    return make_cells


@pytest.fixture(scope="session")
def write_h5():
    """Write weights as Keras 2 did: attribute `layer_names`, a group per layer, `weight_names` in it."""
    import h5py

    def write(path, layers):
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [name.encode() for name in layers]
            file.attrs["backend"] = b"tensorflow"
            for name, arrays in layers.items():
                group = file.create_group(name)
                names = [f"{name}/weight_{i}:0".encode() for i in range(len(arrays))]
                group.attrs["weight_names"] = names
                for weight, array in zip(names, arrays, strict=True):
                    group.create_dataset(weight.decode(), data=array)
        return path

    return write


@pytest.fixture
def narrow_unet(monkeypatch):
    """Make the plain U-Net one of a few thousand weights."""
    monkeypatch.setattr("wbcstudy.nets.unet._WIDTHS", (4, 8))
