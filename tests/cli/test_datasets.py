"""The commands of `wbcstudy data`."""

import pytest
from PIL import Image

from tests.helpers.refused import check_refused


@pytest.mark.parametrize("problem", ["truncated image", "unlisted colour", "another size"])
def test_the_check_names_files_that_cannot_be_used(command, cells, places, problem):
    image = sorted((places / "cells" / "images").glob("*.png"))[4]
    mask = places / "cells" / "masks" / image.name
    if problem == "truncated image":
        image.write_bytes(image.read_bytes()[:200])
    elif problem == "unlisted colour":
        Image.new("L", (32, 32), 77).save(mask)
    else:
        Image.new("L", (32, 31), 0).save(mask)
    code, output, _ = command("data", "check", places / "cells")
    assert code == 1
    assert image.name in output
    detail = {"truncated image": "trunc", "unlisted colour": "77", "another size": "32x31"}[problem]
    assert detail in output
    # A study stops too, before it writes a split of files that must be fixed.
    check_refused(command("run", cells), places, image.name, detail)
    assert not list((places / "outputs").rglob("split.json"))


def test_a_check_page_that_cannot_be_written(command, cells, places):
    code, _, message = command("data", "check", places / "cells", "--html", places / "small.yaml" / "check.html")
    assert code == 2
    assert "Cannot write" in message and "--html" in message


def test_an_unknown_set_to_fetch(command, places):
    check_refused(command("data", "fetch", "segmentation_wcb"), places, "'segmentation_wbc'")
