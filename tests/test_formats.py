"""Files of hundreds of kinds are read as the array they were written from, or refused; `python -m tests.formats`."""

import pytest

from tests.formats.compare import compare
from tests.formats.files import write_files


@pytest.fixture(scope="module")
def written_files(tmp_path_factory):
    return list(write_files(tmp_path_factory.mktemp("formats")))


def test_no_file_is_read_as_something_else(written_files):
    assert len(written_files) >= 300
    # Every third, and all that must be refused.
    for written in [*written_files[::3], *(one for one in written_files if one.refused)]:
        outcome, detail = compare(written)
        assert outcome == ("refused" if written.refused else "equal"), f"{written.path.name}: {detail}"
