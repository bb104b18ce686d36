"""Which files are images, and their names."""

from wbcstudy.inference.folder import segment_images
from wbcstudy.inference.inputs import name_images


def test_names_are_paths_and_a_suffix_only_where_it_is_needed(tmp_path):
    for name in ("a/1.png", "a/1.TIF", "a/2.jpg", "a/1_png.bmp", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert {name: path.name for name, path in name_images([tmp_path]).items()} == {
        "a/1_TIF": "1.TIF",
        "a/1_png": "1_png.bmp",
        "a/1_png_": "1.png",
        "a/2": "2.jpg",
        "b/1": "1.png",
    }
    # What is named twice is one image, and single files keep apart by their folders.
    assert list(name_images([tmp_path / "a/2.jpg", tmp_path / "b", tmp_path / "b/1.png"])) == ["a/2", "b/1"]
    assert list(name_images([tmp_path / "a/2.jpg"])) == ["2"]


def test_results_are_not_taken_as_input(slides, places):
    out = slides / "results"
    assert segment_images([slides], "cells", out).images == 3
    assert segment_images([slides], "cells", out).images == 3
    # Not for another output folder either.
    assert segment_images([slides], "cells", places / "out").images == 3
