"""The results of a folder, and which of them are current."""

import json
import os

import pytest

from wbcstudy.errors import StudyError
from wbcstudy.inference.folder import segment_images


def files_below(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_changed_or_incomplete_image_is_done_again(slides, places):
    segment_images([slides], "cells", places / "out")
    os.utime(slides / "slide1" / "1.png", (1, 1))
    (places / "out" / "overlays" / "slide2" / "1.png").unlink()
    assert segment_images([slides], "cells", places / "out").kept == 1


def test_results_of_an_earlier_version_are_kept_but_not_for_another_file_of_the_same_name(slides, places):
    segment_images([slides / "slide1"], "cells", places / "out")
    settings = json.loads((places / "out" / "segment.json").read_text())
    del settings["images"]
    (places / "out" / "segment.json").write_text(json.dumps(settings))
    assert segment_images([slides / "slide1"], "cells", places / "out").kept == 1
    before = files_below(places / "out")
    with pytest.raises(StudyError, match=r"holds results of .*slide1/1\.png, whose name '1' is also"):
        segment_images([slides / "slide2" / "1.png"], "cells", places / "out")
    assert files_below(places / "out") == before
