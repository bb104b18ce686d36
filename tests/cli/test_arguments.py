"""Numbers on the command line."""

import pytest

from tests.helpers.refused import check_refused


@pytest.mark.parametrize("jobs", ["0", "many", "2.5", "5000"])
def test_a_number_of_jobs_that_cannot_be_used(command, cells, places, jobs):
    check_refused(command("run", cells, "--jobs", jobs), places, f"--jobs {jobs}", "auto")
