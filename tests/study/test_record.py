"""run.json of a run that failed."""

import os
import subprocess
import sys

import pytest

from tests.helpers.checkout import ROOT
from wbcstudy.config import RunConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.study import record


def call(*words, outputs, **more):
    environment = os.environ | {"WBCSTUDY_ROOT": str(ROOT), "WBCSTUDY_OUTPUTS": str(outputs), "WBCSTUDY_THREADS": "1"}
    command = [*more.pop("before", ()), sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **more)


@pytest.mark.parametrize(
    ("code", "error", "advice"),
    [
        # Linux kills a process when memory runs out.
        (
            "import os; os.kill(os.getpid(), 9)",
            "process was killed",
            "Lower batch_size (now 8) or image_size (now 256)",
        ),
        ("raise MemoryError", "MemoryError", "Lower batch_size (now 8) or image_size (now 256)"),
        ("raise OSError(28, 'No space left on device')", "No space left", "Free some disk space"),
    ],
)
def test_a_notebook_that_ran_out_of_memory_or_disk_has_failed_with_advice(tmp_path, code, error, advice):
    import nbformat

    config = RunConfig(study="s")
    folder = StudyFolder(tmp_path / "s").run(config.name)
    folder.path.mkdir(parents=True)
    write_yaml(config, folder.params)
    cells = [
        nbformat.v4.new_code_cell("study = 'x'", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(code),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "train.ipynb")
    log = tmp_path / "s" / "logs" / f"{config.name}.log"
    log.parent.mkdir()
    step = ("papermill", tmp_path / "train.ipynb", folder.notebook, folder.params, folder.page, tmp_path)
    done = call("-m", "wbcstudy.cli", *step, outputs=tmp_path)
    assert done.returncode
    log.write_text(done.stdout + done.stderr)
    assert call("-m", "wbcstudy.cli", "mark-failed", folder.path, outputs=tmp_path).returncode == 0
    record = folder.read_record()
    assert record["status"] == "failed" and error in record["error"] and advice in record["advice"]


def test_without_git_the_commit_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert record.current_commit() is None
