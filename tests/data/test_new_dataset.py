"""Names of copies are unique, and dataset.yaml reads what is written."""

from pathlib import Path, PurePosixPath

import pytest

from wbcstudy.data.new_dataset import dataset_name, new_names, new_pair, write_dataset_yaml
from wbcstudy.data.spec import read_spec


@pytest.mark.parametrize(
    ("images", "copies"),
    [
        (["in/a.png", "in/b.png"], ["a.png", "b.png"]),
        (["p1/a.png", "p2/a.png"], ["p1/a.png", "p2/a.png"]),
        (["in/p1/a.png", "in/p2/a.png"], ["p1/a.png", "p2/a.png"]),
        (["a.png", "p2/a.png"], ["a.png", "p2_a.png"]),
        ([], []),
        (["a.png", "a.jpg"], ["0001_a.png", "0002_a.jpg"]),
    ],
)
def test_copies_have_masks_of_their_own(images, copies):
    names = new_names([PurePosixPath(image) for image in images])
    assert [str(name) for name in names.values()] == copies
    assert len({new_pair(name)[1] for name in names.values()}) == len(copies)


def test_the_file_describes_images_and_masks_and_leaves_out_unknown_fields(tmp_path):
    pairs = [new_pair(PurePosixPath(f"{name}.tif")) for name in "ab"]
    assert write_dataset_yaml(tmp_path, "mine", pairs, "A comment.", pixel_size_um=None, licence="CC0") == []
    assert (tmp_path / "dataset.yaml").read_text().startswith("# A comment.\n")
    spec = read_spec(tmp_path / "dataset.yaml")
    assert (spec.images, spec.masks, spec.licence) == ("images/{case}.tif", "masks/{case}.png", "CC0")
    assert spec.labels == {"background": (0,), "cytoplasm": (128,), "nucleus": (255,)} and spec.pixel_size_um is None


def test_a_dataset_is_named_like_its_folder():
    assert dataset_name(Path("/x/my smears (2)")) == "my_smears_2" and dataset_name(Path("/x/é")) == "imported"
