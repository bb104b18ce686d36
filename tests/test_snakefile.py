"""The rules that Snakemake would run, from a dry run."""

import json
import os
import subprocess
import sys

from tests.helpers.checkout import ROOT


def dry_run(folder) -> str:
    """The output of a dry run in a study's folder."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--dry-run", "--cores", "1", "--rerun-triggers", "mtime", "--nocolor", "--ignore-incomplete"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_finished_run_is_not_repeated_when_dataset_json_is_missing(tmp_path):
    (tmp_path / "selected_runs.txt").write_text("done\nwaiting\n")
    (tmp_path / "selected_baselines.txt").write_text("method\n")
    (tmp_path / "selected_transfers.txt").write_text("")
    for run in ("runs/done", "baselines/method"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "run.json").write_text(json.dumps({"status": "complete"}))
    output = dry_run(tmp_path)
    assert "rule dataset" in output and "rule summary" in output
    assert "output: runs/waiting/run.json" in output
    assert "output: runs/done/run.json" not in output
    assert "rule baseline" not in output
