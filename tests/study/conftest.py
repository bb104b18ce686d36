"""A study of two networks, and finished runs of it."""

import pytest
import yaml

from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.runs.results import write_record
from wbcstudy.runs.start import start_run
from wbcstudy.study import run as study_run
from wbcstudy.study.plan import prepare


@pytest.fixture
def write_study(places):
    """A function that writes a study of two networks, with changed settings, and returns its file."""
    cells = write_synthetic_dataset(places / "cells", cases=15, seed=0, size_px=48, slides=5)

    def write(**changed):
        file = places / "ours.yaml"
        settings = {"dataset": str(cells), "encoders": ["unet", "mobilenet"], "losses": ["dice"], "image_size": 32}
        file.write_text(yaml.safe_dump(settings | changed))
        return file

    return write


@pytest.fixture
def finish():
    """A function that writes finished runs, as trainings do, and a report."""

    def write(plan, *names, status="complete"):
        prepare(plan)
        for config in plan.runs:
            if config.name in names:
                write_record(start_run(config), {"status": status, "error": "invented", "advice": ""})
        plan.folder.dataset.write_text("{}")
        plan.folder.report.parent.mkdir(exist_ok=True)
        plan.folder.report.touch()
        plan.folder.report_done.touch()
        study_run._mark_report_current(plan)

    return write
